"""Prepared items, kept: in memory for one run, and in a folder, where one is given, for all runs.

What `Adapter.prepare` makes of an item (log-mel frames, a molecule's graph, what was gathered around a
node) depends on the item and on some settings of the adapter, and on nothing else. So it is looked up by a
digest of the item's content, in a sub-folder for each set of settings:

    DIR/SpeechAdapter-1f0c9a2b/about.json                 the settings, to read
    DIR/SpeechAdapter-1f0c9a2b/4be1…-89d2c0f1.safetensors  a pack: the examples of many items

An item or setting that changed has another digest, so nothing stale is found. A file is named after the CRC
of its bytes and moved to its place when it is whole; one that does not fit its name is deleted and its items
are prepared again. Nothing is unpickled: a pack holds numbers and JSON, and of classes only those that the
adapter names are built.

Packs are mapped into memory, not read: loader workers share their pages, and the system drops pages when
memory is short.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import shutil
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from multiseq.protocols import Adapter
from multiseq.system.files import remove_leftovers, write_whole
from multiseq.tasks import Source
from multiseq.training.digest import digest_of, plain

__all__ = ["ItemCache", "Entry", "Keeps", "delete", "entries", "place_of", "prepare_all"]

FORMAT = 2
"""Raised where packs change, or what a `prepare` of this library makes of the same item."""
PACK = 2**26
"""Bytes after which a pack is closed: what a run that is killed has to prepare again, at most."""
RESERVE = 2**30
"""Bytes of the disk that are left free."""
ALONE = 0.1 if sys.platform == "linux" and sys.version_info < (3, 14) else 2.0
"""Seconds for which one process prepares items before others are started to help: about what starting them
takes, which is little where processes are forked."""
KEY = 16
"""Bytes of a digest."""
LEFT = 3600.0
"""Seconds after which a file that was being written is taken for one that a killed process left."""
LIBRARIES = ("numpy", "rdkit", "soundfile", "tokenizers", "torch", "torchaudio")
"""Another version of these may prepare another example."""

_Numbers = Mapping[str, Tensor]
"""The tensors of a pack: all numbers of a dtype in one, and three more."""


@runtime_checkable
class Keeps(Protocol):
    """What an `Adapter` has besides, where its prepared items can be kept in a folder.

    ``kept``: the dataclasses that its examples are made of, besides tensors, numbers, strings, lists, tuples
    and dictionaries with strings as keys.
    """

    kept: tuple[type, ...]

    def prepared_by(self) -> dict[str, Any]:
        """All that `prepare` depends on besides the item, as plain JSON values."""

    def content(self, item: Any) -> Any:
        """All of an item that `prepare` depends on: JSON values, bytes, arrays and tensors."""


def place_of(where: Sequence[str], number: int) -> str:
    """What a message calls an item: its file and line where they are known, else its number."""
    return where[number] if where else f"item {number}"


def prepare_all(
    adapter: Adapter, items: Sequence[Any], where: Sequence[str] = (), first: int = 0
) -> list[list[Any]]:
    """The examples of every item; an error names its file and line, or its number from ``first`` on."""
    return [_prepare(adapter, item, place_of(where, first + i)) for i, item in enumerate(items)]


def _prepare(adapter: Adapter, item: Any, place: str) -> list[Any]:
    try:
        return adapter.prepare(item)
    except (ValueError, OSError) as error:
        raise ValueError(f"{place}: {error}") from error


class ItemCache:
    """Examples of items, prepared once.

    Args:
        folder: Where they are kept for other runs; None keeps them in memory, as long as this object lives.
            Texts are never kept in a folder: to prepare one takes no longer than to read it back.
        workers: Processes that prepare what the folder has not got; 0 does it in this one.
    """

    def __init__(self, folder: str | Path | None = None, *, workers: int = 0) -> None:
        self.folder = None if folder is None else Path(folder)
        self.workers = workers
        self._known: dict[tuple[int, int], tuple[Adapter, Sequence[Any], list[list[Any]]]] = {}
        self._digests: dict[int, tuple[Source, str]] = {}

    def examples(self, adapter: Adapter, items: Sequence[Any], where: Sequence[str] = ()) -> list[list[Any]]:
        """The examples of every item: those of a list that was asked for before are the same objects.

        Args:
            adapter: Its `prepare` makes them.
            items: Raw items. The list and the adapter must not be changed afterwards.
            where: File and line of each, for messages.

        Raises:
            ValueError: A bad item, with its place.
        """
        key = id(adapter), id(items)
        if key not in self._known:
            found = self._in_folder(adapter, items, where)
            self._known[key] = adapter, items, found  # held, so that no other object gets their ids
        return self._known[key][2]

    def digest(self, adapter: Adapter, source: Source) -> str:
        """A digest of a source's items and labels: of recordings what is in their files, all of it.

        About a second for a gigabyte of files, besides the time that the disk takes.
        """
        if id(source) not in self._digests:
            content = adapter.content if isinstance(adapter, Keeps) else _itself
            rows = zip(source.items, *source.targets.values(), strict=True)
            found = digest_of((_content(content, item), *labels) for item, *labels in rows)
            self._digests[id(source)] = source, found
        return self._digests[id(source)][1]

    def _in_folder(self, adapter: Adapter, items: Sequence[Any], where: Sequence[str]) -> list[list[Any]]:
        if self.folder is None or adapter.modality == "text" or not isinstance(adapter, Keeps):
            return prepare_all(adapter, items, where)
        shelf = _Shelf(self.folder, adapter)
        keys = [shelf.key(item) for item in items]
        missing = [i for i, key in enumerate(keys) if key not in shelf]
        todo = _Missing(shelf, adapter, items, where, missing)
        todo.numbers = todo.keep(missing, ALONE if self.workers else math.inf)
        if todo.numbers:
            for message in DataLoader(todo, batch_size=None, num_workers=self.workers):
                raise ValueError(message)
        shelf.refresh()
        return [
            shelf.examples(key) if key in shelf else _prepare(adapter, item, place_of(where, i))
            for i, (item, key) in enumerate(zip(items, keys, strict=True))
        ]


def _itself(item: Any) -> Any:
    return item


def _content(content: Callable[[Any], Any], item: Any) -> Any:
    """An item's content; of one that cannot be read (`prepare` says why) the item itself."""
    try:
        return content(item)
    except (ValueError, TypeError, LookupError, AttributeError, OSError):
        return item


class _Missing(IterableDataset[str]):
    """Items that are not in the folder yet: prepares and keeps them, and gives messages of bad ones."""

    def __init__(
        self,
        shelf: _Shelf,
        adapter: Adapter,
        items: Sequence[Any],
        where: Sequence[str],
        numbers: Sequence[int],
    ) -> None:
        self.shelf, self.adapter, self.items, self.where = shelf, adapter, items, where
        self.numbers = numbers

    def __iter__(self) -> Iterator[str]:
        worker = get_worker_info()
        own, num = (worker.id, worker.num_workers) if worker else (0, 1)
        try:
            self.keep(self.numbers[own::num])
        except ValueError as error:
            yield str(error)  # as a value: a worker's exception arrives with its traceback in the message

    def keep(self, numbers: Sequence[int], seconds: float = math.inf) -> Sequence[int]:
        """Prepare items and keep them, until the time is over; gives the numbers of those that are left."""
        began, begun, pack = time.monotonic(), set[bytes](), _Pack(self.shelf.kinds)
        try:
            for done, i in enumerate(numbers):
                if time.monotonic() - began >= seconds:
                    return numbers[done:]
                # Again, and just before: a file may have changed since the others were looked up.
                key = self.shelf.key(self.items[i])
                if key is None or key in begun:
                    continue
                begun.add(key)
                pack.add(key, _prepare(self.adapter, self.items[i], place_of(self.where, i)))
                if pack.size > PACK:
                    full, pack = pack, _Pack(self.shelf.kinds)
                    if not self.shelf.keep(full):
                        break
            return ()
        finally:  # also what was there before a bad item, or before Ctrl-C
            self.shelf.keep(pack)


# --- a sub-folder ---------------------------------------------------------------------------------


class _Shelf:
    """What the folder has of items that were prepared with an adapter's settings."""

    def __init__(self, folder: Path, adapter: Adapter) -> None:
        assert isinstance(adapter, Keeps)
        self.kinds, self.content = adapter.kept, adapter.content
        self.about = _about(adapter)
        about = json.dumps(self.about, sort_keys=True).encode()
        self.folder = folder / f"{type(adapter).__name__}-{hashlib.sha256(about).hexdigest()[:8]}"
        self._packs: dict[str, _Numbers] = {}
        self._places: dict[bytes, tuple[str, int, int]] = {}  # pack, and where the JSON is in it
        remove_leftovers(self.folder, seconds=LEFT)
        self.refresh()

    def refresh(self) -> None:
        """Look for packs that were written since; one that is damaged is deleted."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._packs:
                continue
            try:
                pack = _read(path)
                if pack is None:
                    path.unlink(missing_ok=True)
            except OSError:  # not there any more, or not ours to read or delete
                continue
            if pack is None:
                continue
            self._packs[path.name] = pack
            keys, ends = bytes(pack["keys"].numpy()), [0, *pack["ends"].tolist()]
            for number, (first, end) in enumerate(pairwise(ends)):
                self._places[keys[KEY * number : KEY * (number + 1)]] = path.name, first, end

    def key(self, item: Any) -> bytes | None:
        """A digest of all that decides an item's examples; None where it cannot be read."""
        try:
            text = json.dumps(self.content(item), default=plain)
        except (ValueError, TypeError, LookupError, AttributeError, OSError):
            # `prepare` says what is wrong with it.
            return None
        return hashlib.sha256(text.encode()).digest()[:KEY]

    def __contains__(self, key: bytes | None) -> bool:
        return key in self._places

    def examples(self, key: bytes | None) -> list[Any]:
        """What was kept under a key that is here."""
        assert key is not None
        name, first, end = self._places[key]
        pack = self._packs[name]
        text = bytes(pack["text"][first:end].numpy())
        examples: list[Any] = _decoded(json.loads(text), self.kinds, pack, [])
        return examples

    def keep(self, pack: _Pack) -> bool:
        """Write a pack; False, with a warning, where the disk does not take it."""
        if not pack.keys:
            return True
        data = pack.to_bytes()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < RESERVE + len(data):
                raise OSError(f"less than {RESERVE >> 30} GiB left on the disk")
            write_whole(self.folder / "about.json", json.dumps(self.about, indent=1).encode())
            name = hashlib.sha256(b"".join(pack.keys)).hexdigest()[:16]
            write_whole(self.folder / f"{name}-{zlib.crc32(data):08x}.safetensors", data)
        except OSError as error:
            warnings.warn(f"{self.folder}: prepared items are not kept: {error}", stacklevel=2)
            return False
        return True


def _about(adapter: Any) -> dict[str, Any]:
    """All that prepared items depend on besides the items."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = ""
    return {
        "format": FORMAT,
        "adapter": type(adapter).__name__,
        "settings": adapter.prepared_by(),
        "examples": {kind.__name__: [f.name for f in fields(kind)] for kind in adapter.kept},
        "versions": versions,
    }


# --- a pack ---------------------------------------------------------------------------------------


class _Pack:
    """Examples of items on their way into a file: all numbers of a dtype in one tensor, the rest as JSON."""

    def __init__(self, kinds: tuple[type, ...]) -> None:
        self.kinds = kinds
        self.keys: list[bytes] = []
        self.size = 0
        self._texts: list[bytes] = []
        self._tensors: dict[str, list[Tensor]] = {}
        self._numbers: dict[str, int] = {}

    def add(self, key: bytes, examples: list[Any]) -> None:
        """Take an item's examples in."""
        text = json.dumps(self._encoded(examples, {})).encode()
        self.keys.append(key)
        self._texts.append(text)
        self.size += len(text)

    def to_bytes(self) -> bytes:
        """The file, in the format of safetensors."""
        ends = np.cumsum([len(text) for text in self._texts], dtype=np.int64)
        tensors = {name: torch.cat(parts) for name, parts in self._tensors.items()}
        return save(
            {
                **tensors,
                "keys": torch.frombuffer(bytearray(b"".join(self.keys)), dtype=torch.uint8),
                "text": torch.frombuffer(bytearray(b"".join(self._texts)), dtype=torch.uint8),
                "ends": torch.from_numpy(ends),
            }
        )

    def _encoded(self, value: Any, seen: dict[int, int]) -> Any:
        """JSON: an object ``{kind: …}`` is a tensor, a tuple, a dictionary or one of the dataclasses.

        One that several examples share is written once, and then as the number that it has in ``seen``.
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
        own = [self._encoded(getattr(value, field.name), seen) for field in fields(value)]
        seen[id(value)] = len(seen)
        return {"made": [self.kinds.index(type(value)), *own]}

    def _placed(self, tensor: Tensor) -> list[Any]:
        """Dtype, where the tensor begins in the numbers of that dtype, shape."""
        name = str(tensor.dtype).removeprefix("torch.")
        first = self._numbers.setdefault(name, 0)
        self._tensors.setdefault(name, []).append(tensor.detach().cpu().flatten())
        self._numbers[name] += tensor.numel()
        self.size += tensor.nbytes
        return [name, first, *tensor.shape]


def _decoded(value: Any, kinds: tuple[type, ...], numbers: _Numbers, built: list[Any]) -> Any:
    """The inverse of `_Pack._encoded`; ``built`` are the dataclasses so far, in their order."""
    if isinstance(value, list):
        return [_decoded(v, kinds, numbers, built) for v in value]
    if not isinstance(value, dict):
        return value
    [(kind, inner)] = value.items()
    if kind == "tensor":
        name, first, *shape = inner
        return numbers[name][first : first + math.prod(shape)].view(shape)
    if kind == "again":
        return built[inner]
    if kind == "dict":
        return {k: _decoded(v, kinds, numbers, built) for k, v in inner.items()}
    if kind == "tuple":
        return tuple(_decoded(inner, kinds, numbers, built))
    made = kinds[inner[0]](*[_decoded(v, kinds, numbers, built) for v in inner[1:]])
    built.append(made)
    return made


def _read(path: Path) -> _Numbers | None:
    """The tensors of a pack, mapped into memory; None of a file that is damaged. Raises OSError."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if f"{zlib.crc32(data):08x}" != path.stem.rpartition("-")[2]:
                return None
        with safe_open(path, framework="pt") as pack:
            names = list(pack.keys())
            return {name: pack.get_tensor(name) for name in names}
    except (ValueError, SafetensorError):
        return None


# --- to see and to delete -------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A sub-folder of a cache: the items that were prepared with one set of settings."""

    folder: Path
    settings: dict[str, Any]
    items: int
    bytes: int

    def about(self) -> str:
        """The settings that are single values: ``rate 16000, mels 80``."""
        plain = {k: v for k, v in self.settings.items() if isinstance(v, str | int | float)}
        return ", ".join(f"{k} {v}" for k, v in plain.items())


def entries(folder: str | Path) -> list[Entry]:
    """What a cache holds, by settings.

    Raises:
        ValueError: The folder is not there, or holds something and no cache.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected one that was given as --cache")
    found = [_entry(path.parent) for path in sorted(folder.glob("*/about.json")) if _is_ours(path)]
    if not found and any(folder.iterdir()):
        raise ValueError(f"{folder}: holds no prepared items; expected a folder that was given as --cache")
    return found


def delete(folder: str | Path) -> int:
    """Delete a cache, and its folder where nothing else is in it; says how many bytes that freed.

    Raises:
        ValueError: As for `entries`.
    """
    found = entries(folder)
    for entry in found:
        for path in _files(entry.folder):
            path.unlink()
        _remove_if_empty(entry.folder)
    _remove_if_empty(Path(folder))
    return sum(entry.bytes for entry in found)


def _entry(folder: Path) -> Entry:
    items = 0
    for path in folder.glob("*.safetensors"):
        with suppress(SafetensorError), safe_open(path, framework="pt") as pack:
            items += pack.get_slice("ends").get_shape()[0]
    settings = json.loads((folder / "about.json").read_text(encoding="utf-8"))["settings"]
    return Entry(folder, settings, items, sum(path.stat().st_size for path in _files(folder)))


def _is_ours(about: Path) -> bool:
    try:
        found = json.loads(about.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(found, dict) and {"format", "adapter", "settings", "versions"} <= set(found)


def _files(folder: Path) -> list[Path]:
    """Packs, what they are about, and what a run that was killed left of either."""
    kinds = ("about.json", "*.safetensors", ".*.new")
    return [path for kind in kinds for path in folder.glob(kind)]


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
