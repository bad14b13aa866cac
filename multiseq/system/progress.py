"""Show how far a long loop is: a bar in a terminal, lines elsewhere; and times in words."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["EVERY", "FIRST", "Count", "span"]

FIRST = 5.0
"""Seconds before the first line."""
EVERY = 30.0
"""Seconds between lines."""


class Count:
    """Counts what is done, on stderr: a bar in a terminal, or a line from time to time.

    Args:
        what: What is counted, in the plural.
        total: How many there are, about. None if nobody knows.
        done: How many were done before.

    Example:
        >>> with Count("rows", 10) as progress:
        ...     progress.add(4)
    """

    def __init__(self, what: str, total: int | None, done: int = 0) -> None:
        self.what, self.total, self.done = what, total, done
        self.bar: Any = None

    def __enter__(self) -> Count:
        from rich.console import Console

        self.began, self.before = time.monotonic(), self.done
        self.due = self.began + FIRST
        console = Console(stderr=True)
        if console.is_terminal:
            from rich import progress

            columns = (progress.BarColumn(), progress.MofNCompleteColumn(), progress.TextColumn(self.what))
            self.bar = progress.Progress(*columns, progress.TimeRemainingColumn(), console=console)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total, completed=self.done)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()

    def add(self, number: int) -> None:
        """Count ``number`` more."""
        self.done += number
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done)
            return
        now = time.monotonic()
        if now < self.due:
            return
        self.due = now + EVERY
        rate = (self.done - self.before) / (now - self.began)
        of, left = "", ""
        if self.total is not None and self.total > self.done:
            of, left = f" of {self.total:,}", f", about {span((self.total - self.done) / rate)} left"
        print(f"{self.done:,}{of} {self.what}, {rate:,.0f} a second{left}", file=sys.stderr, flush=True)


def span(seconds: float) -> str:
    """A time in words.

    >>> span(0.2), span(80.0), span(250.0), span(9000.0)
    ('1 second', '80 seconds', '4 minutes', '2.5 hours')
    """
    if seconds >= 6000:
        return f"{seconds / 3600:.1f} hours"
    if seconds >= 100:
        return f"{seconds / 60:.0f} minutes"
    number = max(1, round(seconds))
    return f"{number} second{'s' if number > 1 else ''}"
