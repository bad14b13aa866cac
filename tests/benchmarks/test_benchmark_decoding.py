"""Both decoders of the benchmark say texts of the lengths they are told to, and the tables are filled."""

from __future__ import annotations

import math

import pytest
import torch

pytest.importorskip("transformers", reason="the extra benchmarks is not installed")

from benchmarks import decoding
from benchmarks.setting import Setting
from benchmarks.timing import Spread
from benchmarks.workloads import sets_of
from multiseq.heads.text_target import TextTarget

TINY = Setting(dim=16, depth=2, heads=2, draws=2, lengths=(2, 5, 3, 7))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SIZE": 29, "BATCH": 3, "ROUNDS": 2, "BEAMS": (1, 3), "CTC_SIZE": 7}.items():
        monkeypatch.setattr(decoding, name, value)


@pytest.mark.parametrize("num_beams", [1, 3])
def test_texts_have_the_lengths_that_are_wanted(num_beams: int) -> None:
    sets, texts = sets_of([5, 1, 7, 2, 11], TINY), [3, 19, 1, 4, 0]
    ours = decoding._ours(decoding._head(TINY), sets, texts, num_beams)
    generate = decoding._generate(decoding._marian(TINY), sets, texts, num_beams)
    for decode in (ours, generate, ours, generate):
        found = decode()
        assert [len(tokens) for tokens in found] == texts
        assert TextTarget.end not in {token for tokens in found for token in tokens}


def test_an_end_is_forced_where_it_is_due_and_nowhere_else() -> None:
    log_probs = torch.zeros(2, 3, 4)
    decoding._end(log_probs, [5, 6], said=6)
    never, end = -math.inf, TextTarget.end
    assert log_probs[0].tolist() == [[never if i == end else 0.0 for i in range(4)]] * 3
    assert log_probs[1].tolist() == [[0.0 if i == end else never for i in range(4)]] * 3


def test_the_tables() -> None:
    decoders, ctc = decoding.measure(TINY)
    assert [(row["search"], row["lengths"]) for row in decoders.rows] == [
        ("greedy", "differ"),
        ("beam 3", "differ"),
        ("greedy", "one"),
        ("beam 3", "one"),
    ]
    assert [row["padding"] for row in decoders.rows][2:] == [1.0, 1.0]
    for row in decoders.rows:
        assert set(row) == {"search", "lengths", "padding", "ours", "generate", "times as fast"}
        assert isinstance(row["times as fast"], Spread)
    assert [row["search"] for row in ctc.rows] == ["CTC greedy", "CTC prefix beam 10"]
    for row in ctc.rows:
        assert set(row) == {"search", "tokens/s", "frames/s", "times as long as greedy"}
