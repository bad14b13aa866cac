"""A few of the kills that `python -m tests.kill` makes by the hundred."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process are set on Linux alone")
def test_runs_that_are_killed_at_random_moments_end_as_if_they_were_not() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.kill"]
    counts = ["--kills", "2", "--sigterm", "1", "--full-disk", "1", "--two", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, *counts], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [
        "kills",
        "sigterm",
        "full_disk",
        "two",
    ]
    assert done.stdout.count("as if never stopped") == 4
