"""The frame of the benchmark: workloads, timing, the report, the command. No test asserts a speed."""

from __future__ import annotations

import doctest
import json
import math
import os
import subprocess
import sys
import types
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks import __main__ as command
from benchmarks import growth
from benchmarks.process import in_fresh_process, peak_of
from benchmarks.reports import plots
from benchmarks.reports.report import Cell, Part, Report, Table, shown
from benchmarks.setting import Setting
from benchmarks.timing import Spread, alternate, ratio, seconds_of
from benchmarks.workloads import (
    SHAPES,
    WORKLOADS,
    draw,
    padding_factor,
    read_lengths,
    sets_of,
    sorted_batches,
)

ROOT = Path(__file__).parents[2]
TINY = Setting(dim=32, depth=1, heads=1, sets=8, draws=2)


@pytest.mark.parametrize("module", ["workloads", "reports.report", "reports.plots"])
def test_the_examples_in_docstrings(module: str) -> None:
    assert doctest.testmod(import_module(f"benchmarks.{module}")).failed == 0


# --- workloads ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_workload_is_the_same_for_the_same_seed(workload: str) -> None:
    lengths = draw(workload, 64, seed=3)
    assert lengths == draw(workload, 64, seed=3) != draw(workload, 64, seed=4)
    assert len(lengths) == 64
    shortest, longest = (f(shape[i] for shape in SHAPES.values()) for f, i in ((min, 2), (max, 3)))
    assert shortest <= min(lengths) <= max(lengths) <= longest


@pytest.mark.parametrize("workload", SHAPES)
def test_a_workload_has_its_shape(workload: str) -> None:
    mean, deviation, shortest, longest = SHAPES[workload]
    logs = torch.tensor(draw(workload, 20_000, seed=0)).log()
    assert shortest <= logs.exp().min().round() <= logs.exp().max().round() <= longest
    assert logs.mean().item() == pytest.approx(mean, abs=0.03)
    assert logs.std().item() == pytest.approx(deviation, abs=0.03)


def test_own_lengths_are_drawn_from() -> None:
    assert sorted(draw("own lengths", 5, seed=0, own=(3, 7))) in ([3, 3, 3, 7, 7], [3, 3, 7, 7, 7])
    assert sorted(draw("own lengths", 4, seed=1, own=(1, 2, 400, 9))) == [1, 2, 9, 400]


def test_an_unknown_workload_is_named() -> None:
    with pytest.raises(ValueError, match="got 'songs', expected one of sentences, "):
        draw("songs", 2, seed=0)


def test_sorted_batches_share_one_pool() -> None:
    batches = sorted_batches("own lengths", 2, seed=0, own=(1, 2, 3), batches=3)
    flat = [n for batch in batches for n in batch]
    assert [len(b) for b in batches] == [2, 2, 2]
    assert flat == sorted(flat) == sorted(draw("own lengths", 6, 0, (1, 2, 3)))


def test_sets_have_the_lengths_asked_for() -> None:
    sets = sets_of([2, 3], TINY)
    assert sets.lengths == (2, 3)
    assert sets.values.shape == (5, 32)
    assert sets.positions is not None
    assert sets.positions.tolist() == [0, 1, 0, 1, 2]
    assert padding_factor([2, 3, 1]) == 1.5


def test_a_file_of_lengths(tmp_path: Path) -> None:
    (tmp_path / "lengths.txt").write_text("12\n\n 7 \n")
    assert read_lengths(tmp_path / "lengths.txt") == (12, 7)


@pytest.mark.parametrize(
    ("text", "message"),
    [("3\n4.5\n", r"lengths.txt:2: got '4.5', expected"), ("3\n\n0\n", ":3: got '0'"), ("\n", "no lengths")],
)
def test_a_bad_file_of_lengths(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "lengths.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_lengths(tmp_path / "lengths.txt")


# --- timing and memory ----------------------------------------------------------------------------------


def test_contenders_take_turns() -> None:
    calls: list[str] = []
    steps: dict[str, Callable[[], object]] = {name: partial(calls.append, name) for name in "AB"}
    seconds = alternate(steps, rounds=2, warm_up=1)
    assert "".join(calls) == "ABABAB"
    assert [len(taken) for taken in seconds.values()] == [2, 2]


def test_ratios_are_taken_round_by_round() -> None:
    assert ratio([1.0, 2.0, 4.0], [2.0, 8.0, 4.0]) == Spread(2.0, 1.0, 4.0)
    assert str(Spread(2.0, 1.0, 4.0)) == "2.00 (1.00–4.00)"
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_seconds_are_those_of_the_call() -> None:
    assert 0 <= seconds_of(lambda: None) < 60


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
def test_the_peak_is_that_of_the_call() -> None:
    mib = 2**18  # numbers of four bytes
    big = peak_of(lambda: torch.ones(96 * mib), torch.device("cpu"))
    small = peak_of(lambda: torch.ones(32 * mib), torch.device("cpu"))
    assert 95 <= big < 120
    assert 31 <= small < 56


def test_a_fresh_process() -> None:
    assert in_fresh_process(os.getpid) != os.getpid()
    with pytest.raises(ValueError, match="math domain"):
        in_fresh_process(math.sqrt, -1.0)
    with pytest.raises(MemoryError, match="its process died"):
        in_fresh_process(os._exit, 1)


# --- growth ---------------------------------------------------------------------------------------------


def test_lengths_of_any_total_have_one_shape() -> None:
    assert growth.lengths_of(7, "own lengths", (2,)) == [2, 2, 2, 1]
    for total in (1000, 64_000):
        lengths = growth.lengths_of(total, "mixed")
        assert sum(lengths) == total
        assert total / len(lengths) == pytest.approx(48, rel=0.1)


def test_growth_is_to_the_size_before() -> None:
    costs = [growth.Cost([1.0, 1.0], 10.0), growth.Cost([2.0, 3.0], 20.0)]
    first, second = growth._rows("vectors", [1, 2, 4], costs)
    assert first["× time"] == first["× memory"] == ""
    assert (second["× time"], second["× memory"]) == (Spread(2.5, 2.0, 3.0), 2.0)
    assert growth._left_out([1, 2, 4], costs) == " Left out for want of memory: 4."


# --- the report -----------------------------------------------------------------------------------------


def report() -> Report:
    rows: list[dict[str, Cell]] = [
        {"peer": "torch", "sets": 64, "seconds": 0.5, "ratio": Spread(2.0, 1.5, 2.5), "MiB": math.nan}
    ]
    growing: list[dict[str, Cell]] = [{"vectors": n, "seconds": n / 10, "MiB": n / 1.0} for n in (1, 2, 4)]
    tables = [Table("encoders", "Beside peers", rows, "A note."), Table("growth_x", "Growth: x", growing)]
    made = Report.begin(TINY)
    made.parts["encoders"] = Part(1.5, tables)
    made.parts["decoding"] = Part(0.1, [], "no such library")
    return made


def test_a_report_comes_back_from_disk(tmp_path: Path) -> None:
    made = report()
    made.write(tmp_path)
    assert Report.read(tmp_path) == made
    found = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert {"date", "command", "machine", "versions", "setting", "parts"} == set(found)
    assert {"torch", "multiseq", "transformers", "x-transformers", "torch-geometric"} <= set(
        found["versions"]
    )
    assert {"cpu", "cores", "threads", "gpu", "load"} <= set(found["machine"])
    assert found["setting"]["dtype"] == "float32"


def test_a_report_as_people_read_it() -> None:
    lines = report().markdown().splitlines()
    assert "| peer | sets | seconds | ratio | MiB |" in lines
    assert "| torch | 64 | 0.500 | 2.00 (1.50–2.50) | – |" in lines
    assert "Left out: no such library" in lines
    assert shown(12_345.6) == "12,346"


def test_pictures_are_drawn(tmp_path: Path) -> None:
    assert [p.name for p in plots.draw(report(), tmp_path)] == ["overview.png", "growth.png"]
    assert all((tmp_path / name).stat().st_size for name in ("overview.png", "growth.png"))
    assert plots.draw(Report.begin(TINY), tmp_path) == []


# --- the command ----------------------------------------------------------------------------------------


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    """Parts that measure nothing: one gives a table, three fail."""

    def fail(error: BaseException) -> Any:
        raise error

    measures: dict[str, Callable[[Setting], Any]] = {
        "good": lambda setting: report().parts["encoders"].tables,
        "lacking": lambda setting: fail(ModuleNotFoundError("No module named 'peer'", name="peer")),
        "stopped": lambda setting: fail(KeyboardInterrupt()),
        "broken": lambda setting: fail(RuntimeError("no kernel")),
    }
    for name, measure in measures.items():
        module = types.ModuleType(f"benchmarks.{name}")
        vars(module)["measure"] = measure
        monkeypatch.setitem(sys.modules, f"benchmarks.{name}", module)
    monkeypatch.setattr(command, "PARTS", dict.fromkeys(measures, "nothing"))
    return {name: sys.modules[f"benchmarks.{name}"] for name in measures}


@pytest.mark.usefixtures("parts")
def test_a_missing_library_leaves_out_its_part_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(["lacking", "good"], TINY, tmp_path) == 0
    said = capsys.readouterr().out
    assert "lacking: left out: No module named 'peer'; install what it is compared with: pip install" in said
    assert "2.00 (1.50–2.50)" in said
    assert {p.name for p in tmp_path.iterdir()} == {
        "results.json",
        "results.md",
        "overview.png",
        "growth.png",
    }


@pytest.mark.usefixtures("parts")
def test_a_part_that_fails_costs_only_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.run(["broken", "good"], TINY, tmp_path) == 1
    said = capsys.readouterr()
    assert "broken: left out: it failed: RuntimeError: no kernel" in said.out
    assert "Traceback (most recent call last)" in said.err
    found = Report.read(tmp_path)
    assert [part.failed for part in found.parts.values()] == [True, False]
    assert found.parts["good"].tables


@pytest.mark.usefixtures("parts")
def test_what_was_measured_before_ctrl_c_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(["good", "stopped", "lacking"], TINY, tmp_path) == 130
    assert capsys.readouterr().err == "benchmarks: stopped\n"
    assert list(Report.read(tmp_path).parts) == ["good"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["encoder"], "part: got 'encoder' (did you mean 'encoders'?), expected some of encoders, "),
        (["--lengths", "nowhere.txt"], "--lengths: nowhere.txt: no such file"),
        (["--device", "tpu"], "--device: got 'tpu', expected cpu or cuda"),
        (["--dim", "100"], "--dim: got 100, expected a multiple of 32"),
        (
            ["--workload", "sentence"],
            "--workload: got 'sentence' (did you mean 'sentences'?), expected some of",
        ),
        (["--workload", "mixed", "--lengths", "x"], "--workload: got one beside --lengths"),
        (["--lengths", "none.txt"], "none.txt"),
        (["--out", "full"], "--out: full is not empty; choose a new folder"),
        pytest.param(
            ["--device", "cuda"],
            "torch finds no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_errors_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "results.json").touch()
    done = CliRunner().invoke(command.app, arguments)
    assert done.exit_code == 1
    assert done.stderr.startswith("benchmarks: error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_the_command_from_end_to_end(tmp_path: Path) -> None:
    (tmp_path / "lengths.txt").write_text("3\n40\n5\n")
    arguments = ["start", "memory", "growth", "variants", "kernels", "recordings"]
    arguments += ["--dim", "64", "--depth", "1", "--sets", "4", "--draws", "2"]
    arguments += ["--lengths", str(tmp_path / "lengths.txt"), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "MULTISEQ_QUICK": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert done.stderr == ""
    found = Report.read(tmp_path / "out")
    assert list(found.parts) == ["kernels", "variants", "memory", "growth", "recordings", "start"]
    names = {table.name for table in found.tables if table.rows}
    growing = {"growth_vectors", "growth_length", "growth_nodes"}
    assert names == {"variants", "operations", "memory", *growing, "recordings", "recordings_memory", "start"}
    assert not any(part.skipped for part in found.parts.values())
    assert {"overview.png", "growth.png", "results.md"} <= {p.name for p in (tmp_path / "out").iterdir()}
