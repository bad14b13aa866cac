"""SIGTERM, with which clusters end a job: the training saves at the end of its step, then exits with 143."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["SIGTERM_CODE", "Stop", "Terminated", "terminable"]

SIGTERM_CODE = 128 + signal.SIGTERM
"""What a shell calls a process that SIGTERM ended."""


class Terminated(SystemExit):
    """Raised where SIGTERM ends a training. Uncaught, the process exits with 143."""

    def __init__(self, message: str) -> None:
        super().__init__(SIGTERM_CODE)
        self.message = message


class Stop:
    """Handles SIGTERM: ends the process there and then, or remembers it while a step is made.

    Args:
        own: A handler of the user's own, which is left in charge.
    """

    def __init__(self, own: Any = None) -> None:
        self.handler: Any = own or self
        self.asked = False
        self.waits = False
        """Whether someone looks at ``asked`` soon, so that nothing is interrupted."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """What the system calls."""
        # A second signal does not wait.
        if self.asked or not self.waits:
            raise Terminated("stopped by SIGTERM")
        self.asked = True

    def install(self) -> None:
        """Be the only handler, or leave it to the user's own: Lightning's beside it would exit with 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


@contextmanager
def terminable() -> Iterator[Stop]:
    """Handle SIGTERM while the block runs, unless the program has a handler of its own.

    Signals reach the main thread alone; elsewhere nothing is handled. Within another such block it is the
    same handler.
    """
    before: Any = signal.getsignal(signal.SIGTERM)
    if isinstance(before, Stop):
        yield before
        return
    stop = Stop(None if before in (signal.SIG_DFL, None) else before)
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
