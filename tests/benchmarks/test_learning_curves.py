"""Learning curves: which sentences are drawn, the table, and a run with few sentences."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import pytest

from benchmarks.accuracy import learning_curves
from benchmarks.accuracy.beside import SMALL
from benchmarks.accuracy.learning_curves import Point, chosen, means, table
from multiseq.tasks import Source
from tests.first_lines import first_lines
from tests.pretrained.tiny import write_folder


def test_items_keep_their_labels_and_another_seed_draws_others() -> None:
    source = Source("text", [str(i) for i in range(100)], {"task": list(range(100))})
    drawn = chosen(source, 10, 0)
    assert [int(item) for item in drawn.items] == drawn.targets["task"]
    assert len(set(drawn.items)) == 10
    assert chosen(source, 10, 0).items == drawn.items
    assert chosen(source, 10, 1).items != drawn.items


def test_the_table_has_means_and_standard_deviations() -> None:
    found = [Point("A", "scratch", num, seed, 0.5 + 0.1 * seed, 1.0) for num in (50, 200) for seed in (0, 1)]
    found.append(Point("A", "scratch", 900, 0, 0.9, 1.0))
    assert means(found)["A", "scratch"][200] == pytest.approx((0.55, 0.0707), abs=1e-4)
    head, _, row = table(found).splitlines()
    assert head == "| data | start | 50 | 200 | all |"
    assert row == "| A | scratch | 0.550 ± 0.071 | 0.550 ± 0.071 | 0.900 |"


def test_one_command_gives_the_curves(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = first_lines(data_dir / "text_class/SST", tmp_path / "sst", 60)
    model = write_folder(tmp_path / "model", "bert")
    given = ["--sst", str(data), "--start", str(model), "--out", str(tmp_path / "out")]
    small = [part for change in SMALL for part in ("--set", change)]
    monkeypatch.setattr(
        sys, "argv", ["learning_curves", *given, "--numbers", "5", "20", "--seeds", "2", *small]
    )
    learning_curves.main()
    rows = list(csv.DictReader((tmp_path / "out/curves.csv").read_text().splitlines()))
    assert [(row["start"], row["sentences"], row["seed"]) for row in rows[:5]] == [
        ("scratch", "5", "0"),
        ("scratch", "5", "1"),
        ("scratch", "20", "0"),
        ("scratch", "20", "1"),
        ("scratch", "60", "0"),
    ]
    assert {row["start"] for row in rows[5:]} == {"MiniLM"}
    assert all(0 < float(row["accuracy"]) < 1 for row in rows)
    assert (tmp_path / "out/curves.md").read_text() == capsys.readouterr().out
    assert (tmp_path / "out/curves.png").read_bytes().startswith(b"\x89PNG")
