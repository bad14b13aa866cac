"""Handle SIGTERM, which clusters send to end a job: training finishes its step, saves, and exits with 143."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["SIGTERM_CODE", "Stop", "Terminated", "terminable"]

SIGTERM_CODE = 128 + signal.SIGTERM
"""The exit code that shells report for a process ended by SIGTERM."""


class Terminated(SystemExit):
    """Raised when SIGTERM ends a training. If nothing catches it, the process exits with code 143."""

    def __init__(self, message: str) -> None:
        super().__init__(SIGTERM_CODE)
        self.message = message


class Stop:
    """Handles SIGTERM: ends the process at once, or remembers the signal while a training step runs.

    Args:
        installed: A handler that the user's program installed. If there is one, it stays in use.
    """

    def __init__(self, installed: Any = None) -> None:
        self.handler: Any = installed or self
        self.asked = False
        self.waits = False
        """Whether the training will soon look at ``asked``. If so, the signal interrupts nothing."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Python calls this when the signal arrives."""
        # A second signal ends the process at once.
        if self.asked or not self.waits:
            raise Terminated("stopped by SIGTERM")
        self.asked = True

    def install(self) -> None:
        """Install this handler or the user's, instead of Lightning's, which would exit with code 0."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.handler)


@contextmanager
def terminable() -> Iterator[Stop]:
    """Handle SIGTERM inside this context, unless the user's program has its own handler.

    Python handles signals only in the main thread; in other threads this does nothing. A nested context uses
    the handler of the outer one.
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
