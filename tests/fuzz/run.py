"""Runs one input within limits, and says what came of it."""

from __future__ import annotations

import re
import resource
import signal
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random

from tests.fuzz.targets import TARGETS, Target

__all__ = ["FOUND", "Outcome", "new_input", "run", "stored", "write"]

FOUND = Path(__file__).parent / "found"
"""Inputs that once failed: ``target-digest``."""
SECONDS = 10
MEMORY = 2 << 30  # bytes
OURS = re.compile(r"\b(got|expected|no such|not readable|is missing)\b")
"""One of these is in every message of ours."""


@dataclass(frozen=True)
class Outcome:
    """What came of an input.

    Args:
        kind: used, refused, skipped (with a warning) or FAULT.
        text: The error, or what is wrong.
    """

    kind: str
    text: str = ""


class _Hang(BaseException):
    pass


def _stop(*_: object) -> None:
    raise _Hang


def run(name: str, content: bytes) -> Outcome:
    """Feed one input to its target."""
    _make_ready(name)
    before, start = _peak(), time.monotonic()
    signal.signal(signal.SIGALRM, _stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        outcome = _outcome(TARGETS[name], content)
    except _Hang:
        outcome = Outcome("FAULT", f"still running after {SECONDS} s")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    if time.monotonic() - start > SECONDS:  # inside compiled code, signals wait
        return Outcome("FAULT", f"took {time.monotonic() - start:.0f} s")
    if _peak() - before > MEMORY:
        return Outcome("FAULT", f"took {(_peak() - before) / (1 << 30):.1f} GiB")
    return outcome


@cache
def _make_ready(name: str) -> None:
    """Without a limit, import what the target needs: an import that is interrupted cannot be had again."""
    with suppress(Exception), tempfile.TemporaryDirectory() as folder:
        TARGETS[name].run(TARGETS[name].seeds()[0], Path(folder))


def _outcome(target: Target, content: bytes) -> Outcome:
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            counts = target.run(content, Path(folder))
        except ValueError as error:
            if not _is_ours(error):
                return Outcome("FAULT", _last(error))
            return Outcome("refused", str(error))
        except Exception as error:
            return Outcome("FAULT", _last(error))
        except BaseException as error:
            if type(error).__name__ != "PanicException":  # of Rust
                raise
            return Outcome("FAULT", _last(error))
    if counts is None or counts[0] == counts[1]:
        return Outcome("used")
    text = f"{counts[0]} items of {counts[1]}"
    return Outcome("skipped" if said else "FAULT", f"silent loss: {text}")


def _is_ours(error: ValueError) -> bool:
    """A class of ours, or a message that says what was got or expected."""
    if type(error).__module__.startswith("multiseq"):
        return True
    return type(error) is ValueError and bool(OURS.search(str(error)))


def _last(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}: {type(error).__name__}: {str(error)[:200]}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def new_input(name: str, random: Random) -> bytes:
    """A changed input of a target."""
    return TARGETS[name].change(random, random.choice(TARGETS[name].seeds()))


def write(name: str, content: bytes) -> Path:
    """Keep an input, so that pytest tries it again."""
    file = FOUND / f"{name.replace(' ', '_')}-{sha256(content).hexdigest()[:8]}"
    file.write_bytes(content)
    return file


def stored() -> list[tuple[str, Path]]:
    """All inputs that once failed, with their targets."""
    return [
        (file.name.rpartition("-")[0].replace("_", " "), file)
        for file in sorted(FOUND.iterdir())
        if file.name != ".gitkeep"
    ]
