"""Handle SIGTERM, which clusters send to end a job, and Ctrl-C: training ends its step and saves."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["SIGTERM_CODE", "Stop", "Terminated", "terminable"]

SIGTERM_CODE = 128 + signal.SIGTERM
"""The exit code that shells report for a process ended by SIGTERM."""

NAMES = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "Ctrl-C"}
"""Signal -> its name in messages."""

STANDARD = {signal.SIGTERM: (signal.SIG_DFL, None), signal.SIGINT: (signal.default_int_handler,)}
"""Signal -> what handles it in a program that has no handler of its own."""


class Terminated(SystemExit):
    """Raised when a signal ends a training. If nothing catches it, the process exits with 128 + signal."""

    def __init__(self, message: str, number: int = signal.SIGTERM) -> None:
        super().__init__(128 + number)
        self.message, self.number = message, number


class Stop:
    """Handles SIGTERM and Ctrl-C: ends the process at once, or remembers the signal while a step runs.

    Args:
        installed: Signal -> the handler that the user's program installed. It stays in use.
    """

    def __init__(self, installed: Mapping[int, Any] | None = None) -> None:
        self.handlers: dict[int, Any] = {**dict.fromkeys(NAMES, self), **(installed or {})}
        self.process = os.getpid()
        self.asked = 0
        """The signal that came; 0 if none did."""
        self.waits = False
        """Whether the training will soon look at ``asked``. If so, the signal interrupts nothing."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Python calls this when the signal arrives."""
        # A second signal ends the process at once.
        if self.asked or not self.waits:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated("stopped by SIGTERM")
        self.asked = number
        if number == signal.SIGINT and os.getpid() == self.process:  # loader workers get the signal too
            # A handler may not print: it may have interrupted a print.
            os.write(2, b"\nmultiseq: stopping after this step; Ctrl-C again stops at once\n")

    def ended(self, step: int, saved: str) -> Terminated:
        """The exception that ends the training after a step."""
        number = self.asked or signal.SIGTERM  # 0: another process of a distributed training got it
        return Terminated(f"stopped by {NAMES[signal.Signals(number)]} after step {step}; {saved}", number)

    def install(self) -> None:
        """Install this handler or the user's, instead of Lightning's, which would exit with code 0."""
        if threading.current_thread() is threading.main_thread():
            for number, handler in self.handlers.items():
                signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[Stop]:
    """Handle SIGTERM and Ctrl-C inside this context, unless the user's program has its own handler.

    Python handles signals only in the main thread; in other threads this does nothing. A nested context uses
    the handler of the outer one.
    """
    before: dict[int, Any] = {number: signal.getsignal(number) for number in NAMES}
    for handler in before.values():
        if isinstance(handler, Stop):
            yield handler
            return
    stop = Stop({n: handler for n, handler in before.items() if handler not in STANDARD[signal.Signals(n)]})
    stop.install()
    try:
        yield stop
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
