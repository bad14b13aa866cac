"""``metrics.csv`` of a run: one line for each step and task, and one for each score."""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from torch import Tensor

from multiseq.options import MONITOR, TOTAL
from multiseq.system.files import WriteError, not_written, write_whole

if TYPE_CHECKING:
    from multiseq.training.evaluation import Score

__all__ = ["COLUMNS", "RunLog", "read_log", "seconds_of"]

COLUMNS = ("step", "split", "task", "metric", "value", "lr", "seconds")


class RunLog:
    """Writes ``metrics.csv`` to a run's folder, or nothing if there is no folder.

    Columns: ``step`` (0 is the first), ``split`` (train or dev), ``task`` (or total; or monitor, the score
    that chooses the best weights), ``metric`` (loss, the task's metric, or what the monitor is), ``value``,
    ``lr`` (learning rate, only for losses), ``seconds`` (since this process started).
    """

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "metrics.csv"
        self.started = time.perf_counter()
        self.loggers: Sequence[Any] = ()  # Lightning's loggers get the same numbers
        self.total: Tensor | None = None  # the loss of the last step
        self._file: IO[str] | None = None
        self._waiting: list[tuple[int, dict[str, Tensor], float, float]] = []

    def begin(self, step: int) -> None:
        """Open the file. Remove lines of ``step`` and later, because a resumed run writes them again."""
        if self.path is None:
            return
        kept = [row for row in read_log(self.path) if int(row["step"]) < step] if self.path.exists() else []
        lines = io.StringIO(newline="")
        csv.writer(lines).writerow(COLUMNS)
        csv.writer(lines).writerows([row[c] for c in COLUMNS] for row in kept)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, lines.getvalue())
        self._file = self.path.open("a", newline="", encoding="utf-8", buffering=1)

    def losses(self, step: int, losses: Mapping[str, Tensor], lr: float) -> None:
        """Record one step's mean losses by task. They are copied from the GPU later, by :meth:`flush`."""
        self.total = losses.get(TOTAL)
        self._waiting.append((step, dict(losses), lr, time.perf_counter() - self.started))
        if len(self._waiting) >= 20:
            self.flush()

    def flush(self) -> None:
        """Write the losses that are not written yet. Raises ValueError if a loss is NaN or infinite."""
        for step, losses, lr, seconds in self._waiting:
            numbers = {task: value.item() for task, value in losses.items()}
            self._tell(step, {"lr": lr, **{f"train/{task}/loss": loss for task, loss in numbers.items()}})
            for task, number in numbers.items():
                self._write(step, "train", task, "loss", number, f"{lr:.6g}", seconds)
                if not math.isfinite(number):
                    raise ValueError(f"step {step}: the loss of {task} is {number}; try a lower lr")
        self._waiting.clear()

    def sync(self) -> None:
        """Write everything to the disk. Call this before writing a resume file, which relies on it."""
        self.flush()
        if self._file is not None:
            with self._explained():
                self._file.flush()
                os.fsync(self._file.fileno())

    def scores(self, step: int, scores: Mapping[str, Score], monitor: tuple[str, float]) -> None:
        """Record the scores on dev after ``step`` steps, and name and value of the monitored score."""
        self.flush()
        seconds = time.perf_counter() - self.started
        for task, score in scores.items():
            self._write(step - 1, "dev", task, score.metric, score.value, "", seconds)
        self._write(step - 1, "dev", MONITOR, *monitor, "", seconds)
        self._tell(step - 1, {f"dev/{task}/{score.metric}": score.value for task, score in scores.items()})

    def close(self, *, failed: bool = False) -> None:
        """Write what is not written yet and close the file. If training ``failed``, only close it."""
        if not failed:
            self.flush()
            for logger in self.loggers:  # again: the last scores come after the end of Lightning's loop
                logger.finalize("success")
        if self._file is not None:
            with suppress(OSError) if failed else self._explained():
                self._file.close()
            self._file = None

    def _tell(self, step: int, numbers: dict[str, float]) -> None:
        for logger in self.loggers:
            logger.log_metrics(numbers, step=step)

    def _write(
        self, step: int, split: str, task: str, metric: str, value: float, lr: str, seconds: float
    ) -> None:
        if self._file is not None:
            with self._explained():
                csv.writer(self._file).writerow(
                    [step, split, task, metric, repr(value), lr, f"{seconds:.2f}"]
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            assert self.path is not None
            raise WriteError(not_written(self.path, error)) from error


def seconds_of(log: Sequence[Mapping[str, Any]]) -> float:
    """The seconds of all processes that wrote a log: a process begins where they fall.

    >>> seconds_of([{"seconds": "1.0"}, {"seconds": "4.0"}, {"seconds": "2.5"}])
    6.5
    """
    seconds = [float(row["seconds"]) for row in log]
    ends = [before for before, after in pairwise(seconds) if after < before]
    return sum(ends) + (seconds[-1] if seconds else 0.0)


def read_log(path: str | Path) -> list[dict[str, str]]:
    """The lines of a ``metrics.csv`` as dictionaries, without an incomplete line that a killed run left."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["seconds"]]
