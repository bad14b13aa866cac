"""The unit of numbers changes nothing: neither a factor of 1e-12 to 1e12 nor 1e9 more."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from multiseq.adapters import GraphAdapter, TextAdapter
from multiseq.adapters._graph.columns import Columns
from multiseq.adapters._graph.items import Rows
from multiseq.heads.per_set import SetHead
from multiseq.heads.targets import NumberTarget, is_constant
from multiseq.model import Model
from multiseq.nn.encoder import Encoder
from multiseq.results import Number, digits
from multiseq.runs.baselines import baseline
from multiseq.runs.scoring import shown
from multiseq.tasks import Source, Task
from multiseq.training.evaluation import evaluate
from multiseq.training.loop import train
from multiseq.training.metrics import compute
from multiseq.training.run_log import read_log

Unit = Callable[[float], float]

FACTORS = st.integers(-12, 12).map(lambda power: 10.0**power)
UNITS: st.SearchStrategy[Unit] = st.tuples(FACTORS, st.sampled_from([0.0, 1e9])).map(
    lambda unit: lambda value: (value + unit[1]) * unit[0]
)
NUMBERS = st.lists(st.integers(-40, 40).map(lambda i: i / 4), min_size=5, max_size=11).filter(
    lambda values: len(set(values)) > 2
)
ROUNDING = 1e-5  # of 1e9 in double precision, against numbers of about 1
many = settings(max_examples=60, deadline=None)


def results(values: list[float]) -> list[Number]:
    return [Number({"v": value}) for value in values]


@many
@given(wanted=NUMBERS, unit=UNITS, off=st.integers(1, 20))
def test_metrics(wanted: list[float], unit: Unit, off: int) -> None:
    found = [value + (off if i % 2 else -1) for i, value in enumerate(wanted)]
    labels, outputs = [unit(v) for v in wanted], results([unit(v) for v in found])
    mean = sum(wanted) / len(wanted)
    squares = sum((a - b) ** 2 for a, b in zip(wanted, found, strict=True))
    by_hand = 1 - squares / sum((v - mean) ** 2 for v in wanted)
    assert compute("r2", outputs, labels) == pytest.approx(by_hand, rel=ROUNDING, abs=ROUNDING)
    for metric in ("rmse", "mae"):
        there = compute(metric, outputs, labels)
        here = compute(metric, results(found), wanted)
        assert there / (unit(1.0) - unit(0.0)) == pytest.approx(here, rel=ROUNDING)


@many
@given(wanted=NUMBERS, unit=UNITS)
def test_targets(wanted: list[float], unit: Unit) -> None:
    here, there = NumberTarget.fit(wanted), NumberTarget.fit([unit(v) for v in wanted])
    batch = there.batch([unit(v) for v in wanted])
    torch.testing.assert_close(batch, here.batch(wanted), rtol=ROUNDING, atol=ROUNDING)
    step = unit(1.0) - unit(0.0)
    for result, value in zip(there.decode(batch), wanted, strict=True):
        assert (result.value - unit(0.0)) / step == pytest.approx(value, abs=ROUNDING)


@many
@given(unit=UNITS, value=st.integers(-99, 99).map(lambda i: i / 7), size=st.integers(1, 13))
def test_what_never_changes_is_not_blown_up(unit: Unit, value: float, size: int) -> None:
    target = NumberTarget.fit([unit(value)] * size)
    assert target.std == [pytest.approx(abs(unit(value)) or 1.0)]
    assert target.batch([unit(value)]).abs().item() <= 1e-6
    assert is_constant(torch.full((size,), unit(value), dtype=torch.float64))
    assert math.isnan(compute("r2", results([0.0] * size), [unit(value)] * size))


@many
@given(
    columns=st.lists(st.tuples(NUMBERS, st.booleans()), min_size=2, max_size=3),
    unit=UNITS,
)
def test_columns_of_graphs(columns: list[tuple[list[float], bool]], unit: Unit) -> None:
    """Numbers and flags of two or three graphs, and a column that never changes."""

    def encoded(unit: Unit) -> torch.Tensor:
        graphs = []
        for values, flag in columns:
            rows = [[unit(v), unit(float(flag ^ (i == 0))), unit(3.0)] for i, v in enumerate(values)]
            graphs.append(Rows(len(rows), numbers={"x": torch.tensor(rows, dtype=torch.float64)}))
        learned = Columns("node")
        for graph in graphs:
            learned.learn(graph)
        return torch.cat([learned.encode(graph)[1] for graph in graphs])

    torch.testing.assert_close(encoded(unit), encoded(lambda v: v), rtol=ROUNDING, atol=ROUNDING)


@many
@given(wanted=NUMBERS, unit=UNITS)
def test_printed_numbers(wanted: list[float], unit: Unit) -> None:
    """Every number is printed to a thousandth of the deviation of the training numbers."""
    target = NumberTarget.fit([unit(v) for v in wanted], unit="mol/l")
    for value in wanted:
        text = str(Number({"value": unit(value)}, target.unit, {"value": target.std[0]}))
        assert text.endswith(" mol/l")
        assert abs(float(text.removesuffix(" mol/l")) - unit(value)) <= 1e-3 * target.std[0]
    assert len({digits(unit(v), target.std[0]) for v in wanted}) == len(set(wanted))


@many
@given(value=st.integers(100, 999).map(lambda i: i / 100), power=st.integers(-12, 12))
def test_printed_scores(value: float, power: int) -> None:
    for metric in ("rmse", "mae"):
        text = shown(metric, value * 10.0**power)
        assert float(text) == pytest.approx(value * 10.0**power, rel=1e-3)
        assert len(re.sub(r"e.*|\D|^0\.0*", "", text)) <= 9


# --- a whole model --------------------------------------------------------------------------------

TEXTS = ["a b", "b c d", "c", "d a a", "e", "a c e", "b b", "e d c b", "a", "d e"]
SIZES = [2.0, 3.0, 1.0, 3.5, 1.25, 3.0, 2.0, 4.0, 0.75, 2.0]
EXAMPLES: list[Unit] = [
    lambda v: v,
    lambda v: v * 1e-12,
    lambda v: v * 1e-4,
    lambda v: v * 1e12,
    lambda v: v + 1e9,
]


def model_of(unit: Unit, metric: str) -> Model:
    torch.manual_seed(0)
    adapter = TextAdapter.fit(TEXTS, dim=8, vocab_size=270, dropout=0.0, word_dropout=0.0)
    head = SetHead(8, NumberTarget.fit([unit(v) for v in SIZES]), dropout=0.0)
    return Model({"a": adapter}, Encoder(8, 1, 2), {"t": Task("a", head, metric=metric)})


def source_of(unit: Unit, stop: int | None = None) -> Source:
    return Source("a", TEXTS[:stop], {"t": [unit(v) for v in SIZES[:stop]]})


@pytest.mark.parametrize("metric", ["r2", "rmse", "mae"])
@pytest.mark.parametrize("stop", [None, 1], ids=["ten items", "one item"])
def test_goodness(metric: str, stop: int | None) -> None:
    found = [
        evaluate(model_of(unit, metric), [source_of(unit, stop)], task="t").goodness for unit in EXAMPLES
    ]
    assert found == pytest.approx([found[0]] * len(EXAMPLES), rel=ROUNDING)
    assert math.isfinite(found[0])


def test_goodness_of_numbers_in_different_units() -> None:
    """The second column counts as much as the first, in whatever unit it is."""
    found = []
    for factor in (1.0, 1e9):
        labels = [{"a": v, "b": v * v * factor} for v in SIZES]
        torch.manual_seed(0)
        model = model_of(EXAMPLES[0], "rmse")
        head = SetHead(8, NumberTarget.fit(labels))
        model = Model({"a": model.adapter("a")}, Encoder(8, 1, 2), {"t": Task("a", head, metric="rmse")})
        found.append(evaluate(model, [Source("a", TEXTS, {"t": labels})], task="t").goodness)
    assert found[1] == pytest.approx(found[0])


def test_training_and_stopping(tmp_path: Path) -> None:
    logs = []
    for number, unit in enumerate(EXAMPLES):
        out, source = tmp_path / str(number), source_of(unit)
        options = {"steps": 60, "lr": 0.1, "evaluate_every": 4, "patience": 1, "progress": False}
        train(model_of(unit, "r2"), [source], dev=[source_of(unit, 5)], out=out, **options)
        dev = [row for row in read_log(out / "metrics.csv") if row["split"] == "dev"]
        logs.append([row for row in dev if row["task"] == "monitor"])
    assert len(logs[0]) < 15  # it stopped before the end
    for log in logs[1:]:
        assert [row["step"] for row in log] == [row["step"] for row in logs[0]]
        values = [float(row["value"]) for row in logs[0]]
        assert [float(row["value"]) for row in log] == pytest.approx(values, rel=0.01, abs=0.01)


@pytest.mark.parametrize("unit", EXAMPLES[1:])
def test_baselines(unit: Unit) -> None:
    plain = EXAMPLES[0]
    here, there = (baseline(model_of(u, "r2"), "t", source_of(u), source_of(u, 7)) for u in (plain, unit))
    assert there == pytest.approx(here, rel=ROUNDING)

    def of_graphs(unit: Unit) -> float:
        graphs = [{"nodes": {"age": [unit(v), unit(v + 1)]}, "edges": [(0, 1)]} for v in SIZES]
        labels = [unit(v) for v in SIZES]
        head = SetHead(8, NumberTarget.fit(labels))
        adapter = GraphAdapter.fit(graphs, dim=8)
        model = Model({"a": adapter}, Encoder(8, 1, 2), {"t": Task("a", head, metric="r2")})
        source = Source("a", graphs, {"t": labels})
        return baseline(model, "t", source, source)

    assert of_graphs(unit) == pytest.approx(of_graphs(plain), rel=ROUNDING)
