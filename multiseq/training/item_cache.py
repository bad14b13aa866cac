"""A cache of prepared items (features): in memory for one run; in a folder, if one is given, for all runs.

The result of `Adapter.prepare` (log-mel frames, a molecule's graph, a node with its neighbourhood) depends
only on the item and on some settings of the adapter. So the cache finds it by a digest of the item's content,
in a sub-folder for each set of settings:

    DIR/SpeechAdapter-1f0c9a2b/about.json                 the settings, for people to read
    DIR/SpeechAdapter-1f0c9a2b/4be1…-89d2c0f1.safetensors  a pack: the examples of many items

If an item or a setting changes, its digest changes, so outdated examples are never found. The name of a pack
contains a checksum (CRC) of its bytes. A pack is written under another name first and renamed when it is
complete. A pack whose checksum is wrong is deleted, and its items are prepared again. Nothing is unpickled:
a pack holds numbers and JSON, and reading it creates objects only of the classes that the adapter names.

Packs are mapped into memory, not loaded: loader workers share their memory pages, and the operating system
can drop pages when memory is short.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import is_
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from multiseq.batch import place_of, prepare, prepare_all
from multiseq.protocols import Adapter, Keeps
from multiseq.tasks import Source
from multiseq.training.digest import digest_of
from multiseq.training.item_cache_file import Pack
from multiseq.training.item_cache_folder import Shelf

__all__ = ["ItemCache"]

PACK = 2**26
"""Size in bytes at which a pack is written. A killed run loses at most so much prepared data."""
ALONE = 0.1 if sys.platform == "linux" and sys.version_info < (3, 14) else 2.0
"""Seconds for which one process prepares items alone before it starts others to help. This is about the time
that starting them takes, which is short if processes are forked."""


class ItemCache:
    """Prepares each item once and keeps its examples.

    Args:
        folder: Folder that keeps the examples for other runs. None keeps them in memory, as long as this
            object exists. Texts are never stored in a folder: preparing a text is as fast as reading it back.
        num_workers: Number of processes that prepare items missing in the folder; 0 uses only this process.
    """

    def __init__(self, folder: str | Path | None = None, *, num_workers: int = 0) -> None:
        self.folder = None if folder is None else Path(folder)
        self.num_workers = num_workers
        self._known: dict[tuple[int, int], tuple[Adapter, Sequence[Any], list[list[Any]]]] = {}
        self._digests: dict[int, tuple[Source, str]] = {}

    def examples(
        self,
        adapter: Adapter,
        items: Sequence[Any],
        locations: Sequence[str] = (),
        fail: Callable[[int, str], Any] | None = None,
    ) -> list[list[Any]]:
        """The examples of every item. The same items give the same objects again.

        Args:
            adapter: The adapter whose `prepare` makes the examples.
            items: Raw items. The list and the adapter must not be changed afterwards.
            locations: File and line of each item, for error messages.
            fail: Called with the number of an invalid item and the reason; the item then has no examples.
                Without it, an invalid item is an error.

        Raises:
            ValueError: An item is invalid; the message says where it is.
        """
        key = id(adapter), id(items)
        if key not in self._known:
            examples = self._of_same(adapter, items) or self._in_folder(adapter, items, locations, fail)
            # Keep both alive, so that no other object gets their id.
            self._known[key] = adapter, items, examples
        return self._known[key][2]

    def select(self, adapter: Adapter, items: Sequence[Any], rows: Sequence[int]) -> list[Any]:
        """A new list with the chosen items, whose examples are known if those of ``items`` are."""
        chosen = [items[i] for i in rows]
        key = id(adapter), id(items)
        if key in self._known:
            examples = self._known.pop(key)[2]
            self._known[id(adapter), id(chosen)] = adapter, chosen, [examples[i] for i in rows]
        return chosen

    def num_vectors(self, adapter: Adapter, source: Source, rows: Sequence[int]) -> list[int]:
        """The number of vectors of the chosen items. A few are prepared for this alone; all are kept."""
        items = source.items
        known = (id(adapter), id(items)) in self._known or len(rows) == len(items)
        of_all = self.examples(adapter, items, source.locations) if known else None
        examples = (of_all[i] if of_all else adapter.prepare(items[i]) for i in rows)
        return [sum(map(adapter.num_vectors, of_item)) for of_item in examples]

    def digest(self, adapter: Adapter, source: Source) -> str:
        """A digest of a source's items and labels. For recordings it covers the full content of their files.

        It takes about one second for a gigabyte of files, plus the time to read them from disk.
        """
        if id(source) not in self._digests:
            content = adapter.content if isinstance(adapter, Keeps) else _itself
            entries = zip(source.items, *source.targets.values(), strict=True)
            digest = digest_of((_content(content, item), *labels) for item, *labels in entries)
            self._digests[id(source)] = source, digest
        return self._digests[id(source)][1]

    def _of_same(self, adapter: Adapter, items: Sequence[Any]) -> list[list[Any]] | None:
        """The examples of another list with the same objects: the splits of a network have it in common."""
        for known, others, examples in self._known.values():
            if known is adapter and len(others) == len(items) and all(map(is_, others, items)):
                return examples if all(examples) else None  # each split names its own bad items
        return None

    def _in_folder(
        self,
        adapter: Adapter,
        items: Sequence[Any],
        locations: Sequence[str],
        fail: Callable[[int, str], Any] | None,
    ) -> list[list[Any]]:
        quick = getattr(adapter, "quick_to_prepare", False)
        if self.folder is None or quick or not isinstance(adapter, Keeps):
            return prepare_all(adapter, items, locations, fail=fail)
        shelf = Shelf(self.folder, adapter)
        keys = [shelf.key(item) for item in items]
        missing = [i for i, key in enumerate(keys) if key not in shelf]
        todo = _Missing(shelf, adapter, items, locations, missing, skips=fail is not None)
        todo.numbers = todo.keep(missing, ALONE if self.num_workers else math.inf)
        if todo.numbers:
            for message in DataLoader(todo, batch_size=None, num_workers=self.num_workers):
                raise ValueError(message)
        shelf.refresh()
        return [
            shelf.examples(key)
            if key in shelf
            else prepare(adapter, item, place_of(locations, i), fail and partial(fail, i))
            for i, (item, key) in enumerate(zip(items, keys, strict=True))
        ]


def _itself(item: Any) -> Any:
    return item


def _content(content: Callable[[Any], Any], item: Any) -> Any:
    """An item's content, or the item itself if it cannot be read (`prepare` reports the reason)."""
    try:
        return content(item)
    except (ValueError, TypeError, LookupError, AttributeError, OSError):
        return item


class _Missing(IterableDataset[str]):
    """Prepares the items that the folder lacks, and stores them. Yields messages about invalid items."""

    def __init__(
        self,
        shelf: Shelf,
        adapter: Adapter,
        items: Sequence[Any],
        locations: Sequence[str],
        numbers: Sequence[int],
        *,
        skips: bool,
    ) -> None:
        self.shelf, self.adapter, self.items, self.locations = shelf, adapter, items, locations
        self.numbers, self.skips = numbers, skips

    def __iter__(self) -> Iterator[str]:
        worker = get_worker_info()
        number, num = (worker.id, worker.num_workers) if worker else (0, 1)
        try:
            self.keep(self.numbers[number::num])
        except ValueError as error:
            yield str(error)  # not raised: the DataLoader would put the worker's traceback into the message

    def keep(self, numbers: Sequence[int], seconds: float = math.inf) -> Sequence[int]:
        """Prepare and store items until the time is over. Returns the numbers of the remaining items."""
        began, begun, pack = time.monotonic(), set[bytes](), Pack(self.shelf.kinds)
        try:
            for done, i in enumerate(numbers):
                if time.monotonic() - began >= seconds:
                    return numbers[done:]
                # Compute the key again, just before preparing: the file may have changed in the meantime.
                key = self.shelf.key(self.items[i])
                if key is None or key in begun:
                    continue
                begun.add(key)
                failed: list[str] = []
                fail = failed.append if self.skips else None
                examples = prepare(self.adapter, self.items[i], place_of(self.locations, i), fail)
                if failed:
                    continue  # it is not stored, and is prepared again for the reason
                pack.add(key, examples)
                if pack.size > PACK:
                    full, pack = pack, Pack(self.shelf.kinds)
                    if not self.shelf.keep(full):
                        break
            return ()
        finally:  # also store what was prepared before an invalid item or Ctrl-C
            self.shelf.keep(pack)
