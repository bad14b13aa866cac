"""One process trains into a folder at a time, and its death gives the folder free."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import multiseq
from multiseq.checkpoint import CheckpointError
from multiseq.system.lock import FolderInUseError, hold, is_held

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from multiseq.system.lock import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    time.sleep(600)
"""

FORK = """
import os, sys, time
from multiseq.system.lock import hold
with hold(sys.argv[1]):
    if (child := os.fork()) == 0:
        time.sleep(600)
    print(child, flush=True)
    time.sleep(600)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_whether_a_folder_is_held(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert not is_held(folder)
    with holder(folder) as process:
        assert is_held(folder)
        with pytest.raises(
            CheckpointError, match=r"run: its training has not saved a model yet; wait for it"
        ):
            multiseq.load(folder)
        process.kill()
        process.wait()
    assert (folder / ".lock").is_file()
    assert not is_held(folder)  # the process is dead
    with pytest.raises(CheckpointError, match=r"run: not a checkpoint"):
        multiseq.load(folder)
    with hold(folder):
        assert is_held(folder)
        assert is_held(folder)
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        other = subprocess.run(
            [sys.executable, "-c", HOLD, str(folder)], capture_output=True, text=True, env=environment
        )
        assert "trains into this folder" in other.stderr  # asking did not release the lock


def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with holder(folder) as process:
        message = rf"run: process {process.pid} trains into this folder; wait for it, stop it, or choose"
        with pytest.raises(FolderInUseError, match=message), hold(folder):
            pass
        process.kill()
        process.wait()
        assert process.returncode == -signal.SIGKILL
        with hold(folder):
            assert (folder / ".lock").read_text() == str(os.getpid())
    assert list(folder.iterdir()) == []


def test_loader_workers_do_not_hold_it(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", FORK, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.kill()
        process.wait()
        with hold(tmp_path):  # although the child lives
            os.kill(child, signal.SIGKILL)


def test_within_itself_it_is_held_once(tmp_path: Path) -> None:
    with hold(tmp_path):
        with hold(tmp_path / "." / "x" / ".."):
            pass
        assert (tmp_path / ".lock").exists()
    assert not (tmp_path / ".lock").exists()


def test_another_thread_is_refused(tmp_path: Path) -> None:
    caught: list[Any] = []

    def train() -> None:
        try:
            with hold(tmp_path):
                pass
        except FolderInUseError as error:
            caught.append(str(error))

    with hold(tmp_path):
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
    assert len(caught) == 1
    with hold(tmp_path):
        pass


def test_a_folder_made_for_nothing_is_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="bad"), hold(tmp_path / "runs" / "a"):
        raise ValueError("bad")
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "runs" / "a"):
        (tmp_path / "runs" / "a" / "x").touch()
    assert (tmp_path / "runs" / "a" / "x").exists()


def test_who_waits_on_a_file_that_was_removed_looks_again(tmp_path: Path) -> None:
    """Ten processes take turns; never are two inside."""
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert sum(pool.map(_take_turns, [str(tmp_path)] * 4)) > 0
    assert list(tmp_path.iterdir()) == []


def _take_turns(folder: str) -> int:
    inside = 0
    for _ in range(200):
        try:
            with hold(folder):
                mark = Path(folder, "inside")
                mark.touch(exist_ok=False)
                mark.unlink()
                inside += 1
        except FolderInUseError:
            pass
    return inside
