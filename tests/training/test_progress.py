"""What a training says while it runs, where it can draw no bar."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from multiseq import ClassTarget, Encoder, Model, SetHead, Source, Task, train
from multiseq.system.progress import Count, span
from multiseq.training import callbacks
from multiseq.training.callbacks import Bar, BusyCores, Lines


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that a test sets."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(callbacks, "peak_memory", lambda: 1234)
    return clock


def steps(
    lines: Lines,
    clock: Any,
    *,
    first: int,
    last: int,
    of: int,
    seconds: float,
    rank: int = 0,
    patience: int = 0,
) -> None:
    """Steps that take so many seconds each; the loss of step n is n."""
    for step in range(first, last + 1):
        clock.now += seconds
        trainer = SimpleNamespace(global_step=step, max_steps=of, is_global_zero=rank == 0)
        record = SimpleNamespace(total=torch.tensor(float(step)))
        module = SimpleNamespace(record=record, settings=SimpleNamespace(patience=patience))
        lines.on_train_batch_end(trainer, module, None, None, 0)


def test_it_says_how_long_it_takes_and_then_goes_on(clock: Any, capsys: pytest.CaptureFixture[str]) -> None:
    clock.now += 100  # before the first step: not counted
    steps(Lines(), clock, first=1, last=150, of=1250, seconds=0.5)
    assert capsys.readouterr().out.splitlines() == [
        "training takes about 10 minutes for 1,250 steps; 1,234 MiB of memory so far",
        "step 11 of 1,250: loss 11, about 10 minutes left",
        "step 71 of 1,250: loss 71, about 10 minutes left",
        "step 131 of 1,250: loss 131, about 9 minutes left",
    ]


@pytest.mark.parametrize(
    ("load", "worked", "workers", "threads", "told"),
    [
        (5.0, 0.5, 0, 2, True),
        (5.0, 1.6, 0, 2, False),  # this process itself is the load
        (1.0, 0.5, 0, 2, False),  # it waits for a disk
        (5.0, 0.5, 3, 2, False),  # it waits for its workers
        (5.0, 0.5, 0, 1, False),  # it has one thread already
    ],
)
def test_busy_cores_are_said_once(
    load: float,
    worked: float,
    workers: int,
    threads: int,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = SimpleNamespace(monotonic=lambda: now, process_time=lambda: now * worked)
    monkeypatch.setattr(callbacks, "time", clock)
    monkeypatch.setattr(callbacks.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(callbacks.os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    monkeypatch.setattr(callbacks.torch, "get_num_threads", lambda: threads)
    watch, trainer = BusyCores(), SimpleNamespace(is_global_zero=True)
    module = SimpleNamespace(device=torch.device("cpu"), settings=SimpleNamespace(num_workers=workers))
    for now in range(20):  # noqa: B007  # the clock shows it
        watch.on_train_batch_end(trainer, module, None, None, 0)
    said = capsys.readouterr().out
    assert said.count("OMP_NUM_THREADS=1 before the command may be faster") == told
    assert not told or "other processes use the cores (load 5.0 on 2), so 2 threads wait" in said


def test_a_run_that_goes_on_counts_the_steps_that_are_left(
    clock: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    steps(Lines(), clock, first=1001, last=1004, of=1050, seconds=2.0, patience=3)
    assert capsys.readouterr().out.splitlines() == [
        "training takes at most about 2 minutes for 50 steps; 1,234 MiB of memory so far",
        "step 1,004 of 1,050: loss 1004, about 92 seconds left",
    ]


@pytest.mark.parametrize(("last", "rank"), [(3, 0), (100, 1)])
def test_it_is_silent_in_short_trainings_and_other_processes(
    clock: Any, capsys: pytest.CaptureFixture[str], last: int, rank: int
) -> None:
    steps(Lines(), clock, first=1, last=last, of=last, seconds=3.0, rank=rank)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(("where", "bar"), [("file", False), ("terminal", True), ("notebook", True)])
def test_a_bar_in_terminals_and_notebooks_and_lines_elsewhere(
    where: str, bar: bool, point_adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightning
    import rich

    console = SimpleNamespace(is_terminal=where == "terminal", is_jupyter=where == "notebook")
    monkeypatch.setattr(rich, "get_console", lambda: console)
    shown: list[Any] = []

    def seen(**options: Any) -> None:
        kinds = [type(c) for c in options["callbacks"] if isinstance(c, Bar | Lines)]
        shown.append((options["enable_progress_bar"], kinds))
        raise KeyboardInterrupt

    monkeypatch.setattr(lightning, "Trainer", seen)
    for wanted in (True, False):
        with pytest.raises(KeyboardInterrupt):
            trained(point_adapter, progress=wanted)
    assert shown == [(bar, [Bar if bar else Lines]), (False, [])]


def trained(adapter: Any, **options: Any) -> Model:
    torch.manual_seed(0)
    head = SetHead(8, ClassTarget(["a", "b"]))
    model = Model({"points": adapter(dim=8)}, Encoder(dim=8, depth=1, heads=2), {"t": Task("points", head)})
    source = Source("points", [[[1.0, 2.0, 3.0]]] * 4, {"t": ["a", "b", "a", "b"]})
    return train(model, [source], **{"steps": 3, "devices": 1, "accelerator": "cpu", **options})


def test_lines_of_a_training(
    point_adapter: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(callbacks, "FIRST", 0.0)
    monkeypatch.setattr(callbacks, "EVERY", 0.0)
    trained(point_adapter, steps=4)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 steps of up to 4,096 vectors, 4.0 epochs"
    assert re.fullmatch(r"training takes about 1 second for 4 steps; [\d,]+ MiB of memory so far", lines[1])
    for number, line in zip((2, 3), lines[2:], strict=True):
        assert re.fullmatch(rf"step {number} of 4: loss 0\.\d+, about 1 second left", line)


def test_lines_of_a_count(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("multiseq.system.progress.FIRST", 0.0)
    monkeypatch.setattr("multiseq.system.progress.EVERY", 0.0)
    for total, of, left in ((20_000, " of 20,000", ", about 1 second left"), (None, "", "")):
        with Count("rows", total, done=4000) as count:
            count.add(6000)
        out, line = capsys.readouterr()
        assert out == ""
        assert re.fullmatch(rf"10,000{of} rows, [0-9,]+ a second{left}\n", line)


def test_times_are_what_people_say() -> None:
    assert [span(s) for s in (0.0, 1.4, 99.0, 100.0, 5999.0, 6000.0)] == [
        "1 second",
        "1 second",
        "99 seconds",
        "2 minutes",
        "100 minutes",
        "1.7 hours",
    ]
