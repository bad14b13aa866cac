"""Processes: which of several writes files and prints, how to fork safely, and how to share work."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

__all__ = ["in_processes", "is_first_process", "tokenizers_on_one_thread"]

_T = TypeVar("_T")


def in_processes(make: Callable[[int], Iterator[_T]], number: int) -> Iterator[_T]:
    """What ``number`` processes make, in turn: the first of each, then the second of each, and so on.

    They are forked, so each has what this process has in memory, without a copy. Each uses one thread.

    Args:
        make: Is called in each process with the process's number, from 0 on.
        number: Number of processes.

    Raises:
        ValueError: ``make`` raised it in one of them.
    """
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info

    class Shares(IterableDataset[Any]):
        def __iter__(self) -> Iterator[Any]:
            worker: Any = get_worker_info()
            try:
                yield from make(worker.id)
            except ValueError as error:
                yield ValueError(str(error))  # if raised, its message would have the worker's traceback

    loader = DataLoader(
        Shares(), batch_size=None, collate_fn=None, num_workers=number, multiprocessing_context="fork"
    )
    for made in loader:
        if isinstance(made, ValueError):
            raise made
        yield made


def is_first_process() -> bool:
    """Whether this is the first of the processes that Lightning or torchrun start. It writes and prints."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"]) == 0
    names = ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return not any(int(os.environ.get(name) or 0) for name in names)


@contextmanager
def tokenizers_on_one_thread() -> Iterator[None]:
    """Make `tokenizers` use a single thread. After it used several, forking loader workers would warn."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        del os.environ["TOKENIZERS_PARALLELISM"]
        if before is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = before
