"""The folder that stores prepared items for other runs, with a sub-folder for each set of settings."""

from __future__ import annotations

import hashlib
import json
import shutil
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from multiseq.protocols import Adapter, Keeps
from multiseq.system.files import remove_leftovers, write_whole
from multiseq.system.libraries import versions_of
from multiseq.training.digest import as_json
from multiseq.training.item_cache_file import KEY, Numbers, Pack, decoded, read_pack

__all__ = ["Entry", "Shelf", "delete", "entries"]

FORMAT = 3
"""Version of the format. Increase it when packs change, or when a `prepare` gives another result."""

RESERVE = 2**30
"""Bytes that must stay free on the disk."""

LEFT = 3600.0
"""After so many seconds, an unfinished file counts as left over from a killed process."""

LIBRARIES = ("numpy", "rdkit", "soundfile", "tokenizers", "torch", "torchaudio")
"""Libraries whose version can change a prepared example."""


class Shelf:
    """The sub-folder of items that were prepared with one adapter's settings."""

    def __init__(self, folder: Path, adapter: Adapter) -> None:
        assert isinstance(adapter, Keeps)
        self.kinds, self.content = adapter.kept, adapter.content
        self.about = _about(adapter)
        about = json.dumps(self.about, sort_keys=True).encode()
        self.folder = folder / f"{type(adapter).__name__}-{hashlib.sha256(about).hexdigest()[:8]}"
        self._packs: dict[str, Numbers] = {}
        self._places: dict[bytes, tuple[str, int, int]] = {}  # key -> (pack, begin and end of its JSON)
        remove_leftovers(self.folder, seconds=LEFT)
        self.refresh()

    def refresh(self) -> None:
        """Look for packs that were written since the last call. A damaged pack is deleted."""
        for path in sorted(self.folder.glob("*.safetensors")):
            if path.name in self._packs:
                continue
            try:
                pack = read_pack(path)
                if pack is None:
                    path.unlink(missing_ok=True)
            except OSError:  # it is gone, or we may not read or delete it
                continue
            if pack is None:
                continue
            self._packs[path.name] = pack
            keys, ends = bytes(pack["keys"].numpy()), [0, *pack["ends"].tolist()]
            for number, (first, end) in enumerate(pairwise(ends)):
                self._places[keys[KEY * number : KEY * (number + 1)]] = path.name, first, end

    def key(self, item: Any) -> bytes | None:
        """A digest of everything in an item that affects its examples, or None if the item cannot be read."""
        try:
            text = json.dumps(self.content(item), default=as_json)
        except (ValueError, TypeError, LookupError, AttributeError, OSError):
            # `prepare` reports what is wrong with the item.
            return None
        return hashlib.sha256(text.encode()).digest()[:KEY]

    def __contains__(self, key: bytes | None) -> bool:
        return key in self._places

    def examples(self, key: bytes | None) -> list[Any]:
        """The examples stored under a key that this sub-folder has."""
        assert key is not None
        name, first, end = self._places[key]
        pack = self._packs[name]
        text = bytes(pack["text"][first:end].numpy())
        examples: list[Any] = decoded(json.loads(text), self.kinds, pack, [])
        return examples

    def keep(self, pack: Pack) -> bool:
        """Write a pack. If the disk does not accept it, warn and return False."""
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
    """Everything besides the items that affects the result of preparing them."""
    return {
        "format": FORMAT,
        "adapter": type(adapter).__name__,
        "settings": adapter.prepared_by(),
        "examples": {kind.__name__: [f.name for f in fields(kind)] for kind in adapter.kept},
        "versions": versions_of(LIBRARIES),
    }


# --- show and delete ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """A sub-folder of a cache, with the items that were prepared with one set of settings."""

    folder: Path
    settings: dict[str, Any]
    items: int
    bytes: int

    def about(self) -> str:
        """The settings that are single values, for example ``sample_rate 16000, n_mels 80``."""
        plain = {k: v for k, v in self.settings.items() if isinstance(v, str | int | float)}
        return ", ".join(f"{k} {v}" for k, v in plain.items())


def entries(folder: str | Path) -> list[Entry]:
    """The entries of a cache, one for each set of settings.

    Raises:
        ValueError: The folder does not exist, or it has files but no cache.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected one that was given as --cache")
    stored = [_read_entry(path.parent) for path in sorted(folder.glob("*/about.json")) if _is_ours(path)]
    if not stored and any(folder.iterdir()):
        raise ValueError(f"{folder}: holds no prepared items; expected a folder that was given as --cache")
    return stored


def delete(folder: str | Path) -> int:
    """Delete a cache, and also its folder if nothing else is in it. Returns how many bytes this freed.

    Raises:
        ValueError: As for `entries`.
    """
    stored = entries(folder)
    for entry in stored:
        for path in _cache_files(entry.folder):
            path.unlink()
        _remove_if_empty(entry.folder)
    _remove_if_empty(Path(folder))
    return sum(entry.bytes for entry in stored)


def _read_entry(folder: Path) -> Entry:
    items = 0
    for path in folder.glob("*.safetensors"):
        with suppress(SafetensorError), safe_open(path, framework="pt") as pack:
            items += pack.get_slice("ends").get_shape()[0]
    settings = json.loads((folder / "about.json").read_text(encoding="utf-8"))["settings"]
    return Entry(folder, settings, items, sum(path.stat().st_size for path in _cache_files(folder)))


def _is_ours(about: Path) -> bool:
    try:
        content = json.loads(about.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return isinstance(content, dict) and {"format", "adapter", "settings", "versions"} <= set(content)


def _cache_files(folder: Path) -> list[Path]:
    """Packs, their ``about.json``, and unfinished files that a killed run has left."""
    kinds = ("about.json", "*.safetensors", ".*.new")
    return [path for kind in kinds for path in folder.glob(kind)]


def _remove_if_empty(folder: Path) -> None:
    if not any(folder.iterdir()):
        folder.rmdir()
