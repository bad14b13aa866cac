"""A pack, which is a file of prepared items: numbers and JSON in a safetensors file. Nothing is unpickled."""

from __future__ import annotations

import json
import math
import mmap
import zlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

__all__ = ["KEY", "Numbers", "Pack", "decoded", "read_pack"]

KEY = 16
"""Length of a digest in bytes."""

Numbers = Mapping[str, Tensor]
"""The tensors of a pack: one for each dtype with all its numbers, and ``keys``, ``text`` and ``ends``."""


class Pack:
    """Collects examples for a file: all numbers of one dtype in one tensor, all else as JSON."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self.kinds = kinds
        self.keys: list[bytes] = []
        self.size = 0
        self._texts: list[bytes] = []
        self._tensors: dict[str, list[Tensor]] = {}
        self._numbers: dict[str, int] = {}

    def add(self, key: bytes, examples: list[Any]) -> None:
        """Add the examples of an item."""
        text = json.dumps(self._encoded(examples, {})).encode()
        self.keys.append(key)
        self._texts.append(text)
        self.size += len(text)

    def to_bytes(self) -> bytes:
        """The content of the file, in safetensors format."""
        ends = np.cumsum([len(text) for text in self._texts], dtype=np.int64)
        tensors = {name: torch.cat(pieces) for name, pieces in self._tensors.items()}
        return save(
            {
                **tensors,
                "keys": torch.frombuffer(bytearray(b"".join(self.keys)), dtype=torch.uint8),
                "text": torch.frombuffer(bytearray(b"".join(self._texts)), dtype=torch.uint8),
                "ends": torch.from_numpy(ends),
            }
        )

    def _encoded(self, value: Any, seen: dict[int, int]) -> Any:
        """A value as JSON. An object ``{kind: …}`` means a tensor, a tuple, a dictionary or a dataclass.

        A dataclass that several examples share is written once, and then as its number in ``seen``.
        """
        if value is None or type(value) in (bool, int, float, str):
            return value
        if isinstance(value, Tensor):
            return {"tensor": self._placed(value)}
        if type(value) in (list, tuple):
            encoded = [self._encoded(v, seen) for v in value]
            return encoded if type(value) is list else {"tuple": encoded}
        if type(value) is dict and all(type(k) is str for k in value):
            return {"dict": {k: self._encoded(v, seen) for k, v in value.items()}}
        if type(value) not in self.kinds or not is_dataclass(value):
            raise TypeError(
                f"got a {type(value).__name__} in an example, which its adapter's `kept` does not name"
            )
        if id(value) in seen:
            return {"again": seen[id(value)]}
        values = [self._encoded(getattr(value, field.name), seen) for field in fields(value)]
        seen[id(value)] = len(seen)
        return {"made": [self.kinds.index(type(value)), *values]}

    def _placed(self, tensor: Tensor) -> list[Any]:
        """Add a tensor. Returns its dtype, its first index among the numbers of that dtype, its shape."""
        name = str(tensor.dtype).removeprefix("torch.")
        first = self._numbers.setdefault(name, 0)
        self._tensors.setdefault(name, []).append(tensor.detach().cpu().flatten())
        self._numbers[name] += tensor.numel()
        self.size += tensor.nbytes
        return [name, first, *tensor.shape]


def decoded(value: Any, kinds: tuple[type, ...], numbers: Numbers, built: list[Any]) -> Any:
    """The inverse of `Pack._encoded`. ``built`` lists the dataclasses decoded so far, in order."""
    if isinstance(value, list):
        return [decoded(v, kinds, numbers, built) for v in value]
    if not isinstance(value, dict):
        return value
    [(kind, inner)] = value.items()
    if kind == "tensor":
        name, first, *shape = inner
        return numbers[name][first : first + math.prod(shape)].view(shape)
    if kind == "again":
        return built[inner]
    if kind == "dict":
        return {k: decoded(v, kinds, numbers, built) for k, v in inner.items()}
    if kind == "tuple":
        return tuple(decoded(inner, kinds, numbers, built))
    made = kinds[inner[0]](*[decoded(v, kinds, numbers, built) for v in inner[1:]])
    built.append(made)
    return made


def read_pack(path: Path) -> Numbers | None:
    """The tensors of a pack, mapped into memory, or None if the file is damaged. Raises OSError."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if f"{zlib.crc32(data):08x}" != path.stem.rpartition("-")[2]:
                return None
        with safe_open(path, framework="pt") as pack:
            names = list(pack.keys())
            return {name: pack.get_tensor(name) for name in names}
    except (ValueError, SafetensorError):
        return None
