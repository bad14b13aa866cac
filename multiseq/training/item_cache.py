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

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
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
"""Bytes after which a pack is closed: what a run that is killed has to prepare again, at most."""
ALONE = 0.1 if sys.platform == "linux" and sys.version_info < (3, 14) else 2.0
"""Seconds for which one process prepares items before others are started to help: about what starting them
takes, which is little where processes are forked."""


class ItemCache:
    """Examples of items, prepared once.

    Args:
        folder: Where they are kept for other runs; None keeps them in memory, as long as this object lives.
            Texts are never kept in a folder: to prepare one takes no longer than to read it back.
        num_workers: Processes that prepare what the folder has not got; 0 does it in this one.
    """

    def __init__(self, folder: str | Path | None = None, *, num_workers: int = 0) -> None:
        self.folder = None if folder is None else Path(folder)
        self.num_workers = num_workers
        self._known: dict[tuple[int, int], tuple[Adapter, Sequence[Any], list[list[Any]]]] = {}
        self._digests: dict[int, tuple[Source, str]] = {}

    def examples(
        self, adapter: Adapter, items: Sequence[Any], locations: Sequence[str] = ()
    ) -> list[list[Any]]:
        """The examples of every item: those of a list that was asked for before are the same objects.

        Args:
            adapter: Its `prepare` makes them.
            items: Raw items. The list and the adapter must not be changed afterwards.
            locations: File and line of each, for messages.

        Raises:
            ValueError: A bad item, with its place.
        """
        key = id(adapter), id(items)
        if key not in self._known:
            found = self._in_folder(adapter, items, locations)
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

    def _in_folder(self, adapter: Adapter, items: Sequence[Any], locations: Sequence[str]) -> list[list[Any]]:
        quick = getattr(adapter, "quick_to_prepare", False)
        if self.folder is None or quick or not isinstance(adapter, Keeps):
            return prepare_all(adapter, items, locations)
        shelf = Shelf(self.folder, adapter)
        keys = [shelf.key(item) for item in items]
        missing = [i for i, key in enumerate(keys) if key not in shelf]
        todo = _Missing(shelf, adapter, items, locations, missing)
        todo.numbers = todo.keep(missing, ALONE if self.num_workers else math.inf)
        if todo.numbers:
            for message in DataLoader(todo, batch_size=None, num_workers=self.num_workers):
                raise ValueError(message)
        shelf.refresh()
        return [
            shelf.examples(key) if key in shelf else prepare(adapter, item, place_of(locations, i))
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
        shelf: Shelf,
        adapter: Adapter,
        items: Sequence[Any],
        locations: Sequence[str],
        numbers: Sequence[int],
    ) -> None:
        self.shelf, self.adapter, self.items, self.locations = shelf, adapter, items, locations
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
        began, begun, pack = time.monotonic(), set[bytes](), Pack(self.shelf.kinds)
        try:
            for done, i in enumerate(numbers):
                if time.monotonic() - began >= seconds:
                    return numbers[done:]
                # Again, and just before: a file may have changed since the others were looked up.
                key = self.shelf.key(self.items[i])
                if key is None or key in begun:
                    continue
                begun.add(key)
                pack.add(key, prepare(self.adapter, self.items[i], place_of(self.locations, i)))
                if pack.size > PACK:
                    full, pack = pack, Pack(self.shelf.kinds)
                    if not self.shelf.keep(full):
                        break
            return ()
        finally:  # also what was there before a bad item, or before Ctrl-C
            self.shelf.keep(pack)
