"""Files are written whole or not at all, beside their place, and what a kill left is removed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from multiseq.system import files
from multiseq.system.files import (
    WriteError,
    put,
    recover_folder,
    remove_leftovers,
    replace_folder,
    write_whole,
)

ROOT = Path(__file__).parents[2]


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_is_replaced_and_the_one_before_is_kept(tmp_path: Path) -> None:
    path, before = tmp_path / "a.txt", tmp_path / "a.old.txt"
    write_whole(path, "é", previous=before)
    assert (path.read_bytes(), names(tmp_path)) == ("é".encode(), {"a.txt"})
    write_whole(path, b"two", previous=before)
    write_whole(path, memoryview(b"three"), previous=before)
    assert (path.read_bytes(), before.read_bytes()) == (b"three", b"two")
    assert names(tmp_path) == {"a.txt", "a.old.txt"}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_decides_who_may_read_what_is_written(tmp_path: Path, mask: int, mode: int) -> None:
    def fill(folder: Path) -> None:
        put(folder / "c.bin", b"c")

    before = os.umask(mask)
    try:
        write_whole(tmp_path / "a.txt", "a")
        write_whole(tmp_path / "a.txt", "b", previous=tmp_path / "a.old.txt")
        replace_folder(tmp_path / "folder", fill)
    finally:
        os.umask(before)
    written = [tmp_path / name for name in ("a.txt", "a.old.txt", "folder/c.bin")]
    assert [path.stat().st_mode & 0o777 for path in written] == [mode] * 3
    assert (tmp_path / "folder").stat().st_mode & 0o777 == mode | (mode & 0o444) >> 2


def test_it_never_leaves_the_folder_and_is_flushed_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    fsync, replace = os.fsync, Path.replace

    def flushed(handle: int) -> None:
        done.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        fsync(handle)

    def renamed(path: Path, target: Path) -> Path:
        assert path.parent == Path(target).parent == tmp_path
        done.append("rename")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    write_whole(tmp_path / "a.txt", b"one")
    assert done == ["file", "rename", "folder"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EDQUOT])
def test_a_full_disk_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    path = tmp_path / "a.txt"
    write_whole(path, b"one")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "w").write_bytes(b"one")

    def full(handle: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", full)
    why = f"a.txt: not written to the folder {tmp_path}: {os.strerror(number)}; its previous content is kept"
    with pytest.raises(WriteError) as caught:
        write_whole(path, b"two")
    assert str(caught.value) == why
    with pytest.raises(WriteError, match=r"model: not written to the folder"):
        replace_folder(tmp_path / "model", lambda folder: put(folder / "w", b"two"))
    assert (path.read_bytes(), (tmp_path / "model" / "w").read_bytes()) == (b"one", b"one")
    assert names(tmp_path) == {"a.txt", "model"}


def test_a_folder_that_is_not_there_or_takes_no_files(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"a\.txt: not written to the folder .*nowhere: No such file"):
        write_whole(tmp_path / "nowhere" / "a.txt", b"one")


def test_a_kill_between_the_two_renames_of_a_folder_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    replace_folder(folder, lambda fresh: put(fresh / "w", b"one"))
    rename, count = Path.rename, [0]

    def killed(path: Path, target: Path) -> Path:
        count[0] += 1
        if count[0] == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        replace_folder(folder, lambda fresh: put(fresh / "w", b"two"))
    monkeypatch.undo()
    assert names(tmp_path) == {".model.old"}
    recover_folder(folder)
    assert (folder / "w").read_bytes() == b"one"
    assert names(tmp_path) == {"model"}


def test_leftovers_of_killed_processes_are_removed(tmp_path: Path) -> None:
    script = f"""
        import os, signal
        from pathlib import Path
        from multiseq.system import files
        os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
        files.write_whole(Path({str(tmp_path)!r}, "a.txt"), b"two")
    """
    (tmp_path / "a.txt").write_bytes(b"one")
    command = [sys.executable, "-c", textwrap.dedent(script)]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert killed.returncode == -signal.SIGKILL
    assert (tmp_path / "a.txt").read_bytes() == b"one"
    assert len(names(tmp_path)) == 2
    (tmp_path / ".model.new").mkdir()
    (tmp_path / ".model.new" / "w").write_bytes(b"half")
    remove_leftovers(tmp_path, seconds=3600.0)
    assert len(names(tmp_path)) == 3
    remove_leftovers(tmp_path)
    assert names(tmp_path) == {"a.txt"}


def test_one_helper_writes_all_that_must_be_whole() -> None:
    for file in (ROOT / "multiseq").rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != Path(files.__file__).name:
            assert ".write_text(" not in text, file.name
            assert ".write_bytes(" not in text, file.name
            assert "os.replace(" not in text, file.name
