"""Processes: which of several writes files and prints, and how to fork safely after using tokenizers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_first_process", "tokenizers_on_one_thread"]


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
