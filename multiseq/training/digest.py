"""Digests (short hashes) of items and labels. They show on any machine whether the data has changed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_json", "digest_of"]


def digest_of(rows: Iterable[Any]) -> str:
    """A digest of 16 hexadecimal digits for rows of any values. The order of the rows counts.

    An adapter's ``content`` may describe a file by its name and its bytes. Then only the bytes count, because
    the data may have moved to another folder.

    >>> digest_of([("a text", {"b", "a"})]) == digest_of([("a text", {"a", "b"})]) != digest_of([("a text",)])
    True
    """
    digest = hashlib.blake2b(digest_size=8)
    for row in rows:
        digest.update(json.dumps(_nameless(row), default=_anything).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def as_json(value: Any) -> Any:
    """A stand-in, for digests, for a value that JSON cannot hold. Raises TypeError for other objects."""
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, Tensor):
        tensor = value.detach().cpu()
        if tensor.layout != torch.strided:
            tensor = tensor.to_sparse_coo().coalesce()
            return ["sparse", list(value.shape), as_json(tensor.indices()), as_json(tensor.values())]
        numbers = tensor.contiguous().flatten().view(torch.uint8).numpy()
        return [str(value.dtype), list(value.shape), as_json(numbers.tobytes())]
    if isinstance(value, np.ndarray):
        numbers = value.tolist() if value.dtype == object else as_json(value.tobytes())
        return [str(value.dtype), list(value.shape), numbers]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(type(value).__name__)


def _anything(value: Any) -> Any:
    """Like `as_json`, and also accepts sets and other objects, which are represented by their attributes."""
    if isinstance(value, Set):
        return sorted(json.dumps(_nameless(v), default=_anything) for v in value)
    try:
        return as_json(value)
    except TypeError:
        return [type(value).__name__, _nameless(getattr(value, "__dict__", {}))]


def _nameless(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = {"name"} if {"name", "bytes"} == set(value) else set()
        return [[_nameless(k), _nameless(v)] for k, v in value.items() if k not in names]
    if isinstance(value, list | tuple) and not all(type(v) in (str, int, float) for v in value):
        return [_nameless(v) for v in value]
    return value
