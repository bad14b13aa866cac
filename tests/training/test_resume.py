"""What a run goes on from: whole, its own, and with the data that it began with."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from multiseq import ClassTarget, Encoder, Model, SetHead, Source, Task, TextAdapter, train
from multiseq.system.lock import hold
from multiseq.training.resume import PREVIOUS, RESUME, ResumeError, ResumeFile, check_identity, read_resume
from multiseq.training.run_log import read_log

ROOT = Path(__file__).parents[2]
TEXTS = ["a red lamp", "a blue lamp", "red and red", "blue again", "the red one"]
COLOURS = ["red", "blue", "red", "blue", "red"]


def source(texts: list[str], colours: list[str], weight: float = 1.0) -> Source:
    return Source("text", texts, {"colour": colours}, weight)


def build(texts: list[str] | None = None, classes: list[str] | None = None) -> Model:
    torch.manual_seed(0)
    return Model(
        {"text": TextAdapter.fit(texts or TEXTS, dim=8)},
        Encoder(dim=8, depth=1, heads=2),
        {"colour": Task("text", SetHead(8, ClassTarget(classes or ["blue", "red"])))},
    )


def fit(out: Path | None, model: Model | None = None, **changes: Any) -> Model:
    settings: dict[str, Any] = {"steps": 8, "max_vectors": 10, "save_every": 2, "progress": False}
    sources = changes.pop("sources", [Source("text", TEXTS, {"colour": COLOURS})])
    settings |= {"accelerator": "cpu", "devices": 1, "out": out, **changes}
    return train(model or build(), sources, **settings)


def losses(folder: Path) -> list[str]:
    return [row["value"] for row in read_log(folder / "metrics.csv") if row["task"] == "total"]


def stopped(model: Model, step: int) -> Model:
    """The same model, whose training fails at that step."""
    steps, loss = [0], model.loss

    def failing(batch: Any) -> Any:
        steps[0] += 1
        if steps[0] > step:
            raise RuntimeError("stopped here")
        return loss(batch)

    model.loss = failing  # type: ignore[method-assign]
    return model


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that was stopped at step 7 of 8; it saved at steps 2, 4 and 6."""
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(tmp_path / "run", stopped(build(), 7))
    assert {path.name for path in (tmp_path / "run").iterdir()} == {"metrics.csv", RESUME, PREVIOUS}
    return tmp_path / "run"


# --- the file -------------------------------------------------------------------------------------


def spoil(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif how == "foreign":
        torch.save({"state_dict": {}}, path)
    elif how == "text":
        path.write_text("not a checkpoint")
    elif how == "zip":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("thesis.txt", "all of it")
    elif how == "folder in it":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("archive/data.pkl", b"cposix\nsystem\n(S'true'\ntR.")
    else:  # a bit of the weights
        with zipfile.ZipFile(path) as file:
            largest = max(file.infolist(), key=lambda entry: entry.file_size)
        place = whole.index(b"PK", largest.header_offset + 4) - largest.file_size // 2
        changed = bytearray(whole)
        changed[place] ^= 1
        path.write_bytes(changed)


HOW = ["empty", "cut", "foreign", "text", "zip", "folder in it", "bit"]


@pytest.mark.parametrize("how", HOW)
def test_where_the_file_is_damaged_the_one_before_stands_in(run: Path, tmp_path: Path, how: str) -> None:
    spoil(run / RESUME, how)
    with pytest.warns(UserWarning, match=r"resume\.ckpt: .*; continuing from resume\.previous"):
        fit(run, resume=True)
    fit(tmp_path / "whole")
    assert losses(run) == losses(tmp_path / "whole")
    assert not (run / PREVIOUS).exists()


@pytest.mark.parametrize("how", HOW)
def test_where_both_are_damaged_one_line_says_so(run: Path, how: str) -> None:
    spoil(run / RESUME, how)
    spoil(run / PREVIOUS, how)
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    expected = r"was not written by multiseq" if how == "foreign" else r"damaged or no resume file \("
    with pytest.raises(ResumeError, match=rf"resume\.ckpt: {expected}.*copy it again, or train") as caught:
        fit(run, resume=True)
    assert "\n" not in str(caught.value)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_every_flipped_bit_of_the_numbers_is_noticed(tmp_path: Path) -> None:
    numbers = torch.arange(97, dtype=torch.float32)
    ResumeFile().save_checkpoint({"multiseq": {}, "numbers": numbers}, tmp_path / RESUME)
    whole = (tmp_path / RESUME).read_bytes()
    first = whole.index(numbers.numpy().tobytes())
    for bit in range(0, 8 * 4 * 97, 37):
        changed = bytearray(whole)
        changed[first + bit // 8] ^= 1 << bit % 8
        (tmp_path / RESUME).write_bytes(changed)
        with pytest.raises(ResumeError, match="the checksum of"):
            read_resume(tmp_path)
    (tmp_path / RESUME).write_bytes(whole)
    assert torch.equal(read_resume(tmp_path)["numbers"], numbers)


def test_a_file_between_two_renames(run: Path, tmp_path: Path) -> None:
    """A kill after the last file became the one before: that one is what there is."""
    (run / RESUME).replace(run / PREVIOUS)
    fit(run, resume=True)
    fit(tmp_path / "whole")
    assert losses(run) == losses(tmp_path / "whole")


@pytest.mark.parametrize("after", [3, 7, 10])
def test_a_disk_that_is_full_in_the_middle_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    out, changes = tmp_path / "run", {"dev": [source(TEXTS, COLOURS)], "evaluate_every": 3}
    count, fsync = [0], os.fsync

    def full(handle: int) -> None:
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match=rf"\w+: not written to the folder {out}: No space left on device"):
            fit(out, **changes)
    assert {path.name for path in out.iterdir()} <= {"metrics.csv", "model", RESUME, PREVIOUS}
    fit(out, resume=(out / RESUME).exists(), **changes)
    fit(tmp_path / "whole", **changes)
    assert losses(out) == losses(tmp_path / "whole")


def test_nothing_in_the_file_has_a_layout(tmp_path: Path) -> None:
    state = {"multiseq": {}, "w": torch.arange(6.0).view(2, 3).t(), "in": [{"w": torch.ones(2, 3).t()}]}
    ResumeFile().save_checkpoint(state, tmp_path / RESUME)
    again = read_resume(tmp_path)
    assert again["w"].is_contiguous()
    assert again["in"][0]["w"].is_contiguous()
    assert torch.equal(again["w"], state["w"])


def test_checksums_are_written_whatever_torch_was_told(tmp_path: Path) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        ResumeFile().save_checkpoint({"multiseq": {}, "w": torch.ones(7)}, tmp_path / RESUME)
        assert torch.serialization.get_crc32_options() is False
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_resume(tmp_path)["w"], torch.ones(7))


# --- whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 9}, r"settings\.steps 9, but the run began with 8; go on with what it began with"),
        ({"sources": [source([*TEXTS[:4], "the red two"], COLOURS)]}, r"got sources\[0\]\.digest of items"),
        ({"sources": [source(TEXTS, [*COLOURS[:4], "blue"])]}, r"got sources\[0\]\.digest of items"),
        ({"sources": [source(TEXTS[::-1], COLOURS[::-1])]}, r"got sources\[0\]\.digest of items"),
        ({"sources": [source(TEXTS, COLOURS, 2.0)]}, r"sources\[0\]\.weight 2\.0"),
        ({"model": build([*TEXTS, "a zebra"])}, r"vocabular|adapters"),
        ({"model": build(classes=["red", "blue"])}, r"tasks\.colour\.head\.target\.labels\[0\] 'red'"),
        ({"model": build(classes=["blue", "green", "red"])}, r"target\.labels \['blue', 'green', 'red'\]"),
        ({"dev": [source(TEXTS, COLOURS)]}, r"got dev \["),
    ],
    ids=["steps", "a text", "a label", "order", "weight", "vocabulary", "order of classes", "a class", "dev"],
)  # fmt: skip
def test_another_run_is_refused(run: Path, changes: dict[str, Any], message: str) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with pytest.raises(ResumeError, match=message):
        fit(run, resume=True, **changes)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before


def test_rounding_of_another_processor_is_no_difference() -> None:
    check_identity({"mean": 1.0, "names": ["a"]}, {"mean": 1.0 + 1e-6, "names": ["a"]})
    with pytest.raises(ResumeError, match=r"got mean 1\.0, but the run began with 1\.1"):
        check_identity({"mean": 1.0}, {"mean": 1.1})


def test_a_lost_file_is_not_taken_for_a_new_run(run: Path) -> None:
    for name in (RESUME, PREVIOUS):
        (run / name).unlink()
    with pytest.raises(FileNotFoundError, match=r"resume\.ckpt does not exist; train without resume first"):
        fit(run, resume=True)
    with pytest.raises(ValueError, match="resume: got no folder, expected out"):
        fit(None, resume=True)


def test_a_new_run_in_an_old_folder_does_not_go_on_from_the_old_one(run: Path) -> None:
    with pytest.raises(RuntimeError, match="stopped here"):
        fit(run, stopped(build(), 1))
    assert {path.name for path in run.iterdir()} == {"metrics.csv"}


def test_a_folder_in_use_is_refused(run: Path) -> None:
    holder = "import sys, time; from multiseq.system.lock import hold\n"
    holder += "with hold(sys.argv[1]): print(flush=True); time.sleep(99)"
    command = [sys.executable, "-c", holder, str(run)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        process.stdout.readline()
        for resume in (False, True):
            with pytest.raises(ValueError, match=rf"process {process.pid} trains into this folder"):
                fit(run, resume=resume)
        process.kill()
    with hold(run):
        fit(run, resume=True)


# --- SIGTERM and Ctrl-C ---------------------------------------------------------------------------

SCRIPT = """
    import os, signal, sys
    sys.path.insert(0, {root!r})
    from pathlib import Path
    from tests import processor
    from tests.training import test_resume as t
    processor.force()
    if __name__ == "__main__":
        model, steps = t.build(), [0]
        old = model.loss
        def loss(batch):
            steps[0] += 1
            if steps[0] == 5: {send}
            return old(batch)
        model.loss = loss
        out = Path({out!r}) if {out!r} else None
        t.fit(out, model, {options})
        print("not stopped")
"""


ONE, ALL = "os.kill(os.getpid(), signal.SIGTERM)", "os.killpg(0, signal.SIGTERM)"


def terminated(
    folder: Path, out: Path | None, options: str = "", send: str = ONE
) -> subprocess.CompletedProcess[str]:
    text = SCRIPT.format(root=str(ROOT), out=str(out or ""), options=options, send=send)
    path = folder / "script.py"
    path.write_text(textwrap.dedent(text))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(path)]
    return subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        start_new_session=True,
        # A test run in the background may have been told to ignore Ctrl-C, which children inherit.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_sigterm_saves_and_exits_with_143(tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = terminated(tmp_path, out)
    assert done.returncode == 143, done.stderr
    assert done.stderr == f"multiseq: stopped by SIGTERM after step 5; saved to {out / RESUME}\n"
    assert read_resume(out)["global_step"] == 5
    fit(out, resume=True)
    fit(tmp_path / "whole")
    assert losses(out) == losses(tmp_path / "whole")


def test_sigterm_reaches_the_loader_processes_too(tmp_path: Path) -> None:
    """As `timeout` and clusters send it."""
    out = tmp_path / "run"
    done = terminated(tmp_path, out, "num_workers=2", ALL)
    assert done.returncode == 143, done.stderr
    assert done.stderr == f"multiseq: stopped by SIGTERM after step 5; saved to {out / RESUME}\n"
    assert read_resume(out)["global_step"] == 5


def test_the_last_step_is_saved(tmp_path: Path) -> None:
    """What comes after it, such as scoring, may be stopped, too."""
    fit(tmp_path / "run", save_every=100)
    assert read_resume(tmp_path / "run")["global_step"] == 8
    before = losses(tmp_path / "run")
    fit(tmp_path / "run", resume=True, save_every=100)
    assert losses(tmp_path / "run") == before


NOTICE = "\nmultiseq: stopping after this step; Ctrl-C again stops at once\n"


@pytest.mark.parametrize(("send", "options"), [(ONE, ""), (ALL, "num_workers=2")])
def test_ctrl_c_saves_too(tmp_path: Path, send: str, options: str) -> None:
    out = tmp_path / "run"
    done = terminated(tmp_path, out, options, send.replace("SIGTERM", "SIGINT"))
    assert done.returncode in (1, -signal.SIGINT), done.stderr
    begin = f"{NOTICE}multiseq: stopped by Ctrl-C after step 5; saved to {out / RESUME}\n"
    assert done.stderr.startswith(begin)
    assert done.stderr.endswith("\nKeyboardInterrupt\n")
    assert read_resume(out)["global_step"] == 5


def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    send = ONE.replace("SIGTERM", "SIGINT")
    done = terminated(tmp_path, tmp_path / "run", send=f"({send}, {send})")
    assert done.returncode in (1, -signal.SIGINT), done.stderr
    assert done.stderr.startswith(NOTICE)
    assert "stopped by" not in done.stderr
    assert done.stderr.endswith("\nKeyboardInterrupt\n")
    assert read_resume(tmp_path / "run")["global_step"] == 4


BROKEN = """
    import sys
    sys.path.insert(0, {root!r})
    from multiseq.training.batching import BatchPlan
    from tests import processor
    from tests.training import test_resume as t
    processor.force()
    def broken(self, step, chosen):
        raise OSError("damaged file")
    BatchPlan.collate = broken
    if __name__ == "__main__":
        t.fit(None, t.build(), num_workers=2)
"""


def test_an_error_in_a_loader_process_ends_the_script(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(BROKEN.format(root=str(ROOT))))
    command = [sys.executable, "-W", "ignore", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    assert "OSError: damaged file" in done.stderr


def test_sigterm_without_a_folder(tmp_path: Path) -> None:
    done = terminated(tmp_path, None)
    assert (done.returncode, done.stdout) == (143, "")
    assert done.stderr == "multiseq: stopped by SIGTERM after step 5; nothing is saved\n"


def test_sigterm_stops_all_processes_after_the_same_step(tmp_path: Path) -> None:
    out = tmp_path / "run"
    options = "steps=40, save_every=100, devices=2, strategy='ddp_find_unused_parameters_true'"
    done = terminated(tmp_path, out, options)
    assert done.returncode == 143, done.stderr
    assert f"stopped by SIGTERM after step 10; saved to {out / RESUME}" in done.stderr
    assert read_resume(out)["global_step"] == 10


def test_a_handler_of_the_users_own_is_left_alone(tmp_path: Path) -> None:
    caught: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: caught.append(number))
    try:
        model = build()
        loss = model.loss

        def asking(batch: Any) -> Any:
            if not caught:
                os.kill(os.getpid(), signal.SIGTERM)
            return loss(batch)

        model.loss = asking  # type: ignore[method-assign]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(tmp_path / "run", model, steps=3)
        assert caught == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
