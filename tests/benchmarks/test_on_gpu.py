"""benchmarks/on_gpu.sh in little, on the CPU: every part starts and leaves what it measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TAGGED = "1\tI\t_\tPRON\t_\t_\t_\t_\t_\t_\n2\tsaw\t_\tVERB\t_\t_\t_\t_\t_\t_\n\n"
PARTS = ["tests", "64", "64-peers", "pos", "starter", "96", "32"]


def run(out: Path, data: Path, *parts: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Exit codes by part, and the results."""
    done = subprocess.run(
        ["bash", ROOT / "benchmarks" / "on_gpu.sh", "--device", "cpu", "--tiny", out, *parts],
        env={**os.environ, "PYTHON": sys.executable, "MULTISEQ_DATA": str(data)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return {part["part"]: part["exit code"] for part in results["parts"]}, results


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    """Two sentences a part, in files of the names that the treebank has."""
    import gzip

    folder = tmp_path / "data" / "text_pos" / "UD_English-EWT"
    folder.mkdir(parents=True)
    for part in ("dev", "test"):
        (folder / f"en_ewt-ud-{part}.conllu").write_text(2 * TAGGED, encoding="utf-8")
    with gzip.open(folder / "en_ewt-ud-train.conllu.gz", "wt", encoding="utf-8") as file:
        file.write(2 * TAGGED)
    return folder


def test_every_part_starts_and_leaves_its_results(tmp_path: Path, treebank: Path) -> None:
    out = tmp_path / "out"
    ends, results = run(out, tmp_path / "data")
    assert ends == dict.fromkeys(PARTS, "0"), (out / "log.txt").read_text(encoding="utf-8")[-5000:]
    assert {p.name for p in out.iterdir()} == {
        "summary.md",
        "log.txt",
        "results.json",
        "overview.png",
        "curves.png",
        "starter.csv",
        "pos.csv",
    }
    summary = (out / "summary.md").read_text(encoding="utf-8")
    for said in (
        *(f"| {part} | passed |" for part in PARTS),
        "| share of the rate of one large product:",
        "Starter data: 2 steps, ",
        "english-pos: ",
        "**The encoder in other ways, forward and backward: mixed**",
        "**Operations: forward and backward, mixed,",
    ):
        assert said in summary
    assert str(Path(os.sep, "tmp", "tmp.")) not in summary  # the folder in which it worked
    assert set(results["64-peers"]["results.json"]["parts"]) == {"encoders"}
    assert set(results["starter"]["test.json"]["tasks"]) >= {"pos", "recognition", "facts"}


def test_a_part_that_fails_costs_only_itself(tmp_path: Path, treebank: Path) -> None:
    (treebank / "en_ewt-ud-test.conllu").write_text("1\tI\n", encoding="utf-8")
    out = tmp_path / "out"
    ends, results = run(out, tmp_path / "data", "32", "pos")
    assert ends == {"32": "0", "pos": "1"}
    assert set(results) == {"parts", "32"}
    summary = (out / "summary.md").read_text(encoding="utf-8")
    assert "| 32 | passed |" in summary
    assert "| pos | failed, exit code 1: see log.txt |" in summary
    assert "en_ewt-ud-test.conllu:1: " in (out / "log.txt").read_text(encoding="utf-8")


def test_the_limits_of_all_parts_are_under_nine_minutes() -> None:
    script = (ROOT / "benchmarks" / "on_gpu.sh").read_text(encoding="utf-8")
    limits = re.findall(r"^ *(?:part|bench) (\S+) (\d+) ", script, flags=re.MULTILINE)
    assert len(limits) == len(PARTS)
    assert sum(int(limit) for _, limit in limits) < 9 * 60


def test_a_part_that_is_none_is_named(tmp_path: Path) -> None:
    script = [
        "bash",
        ROOT / "benchmarks" / "on_gpu.sh",
        "--tiny",
        "--device",
        "cpu",
        tmp_path / "out",
        "test",
    ]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2
    assert "PART: got test, expected some of tests 64 64-peers pos starter 96 32" in done.stderr


def test_a_part_that_takes_too_long_is_stopped(tmp_path: Path) -> None:
    from benchmarks.gather import gather

    work, out = tmp_path / "work", tmp_path / "out"
    (work / "starter").mkdir(parents=True)
    out.mkdir()
    (work / "parts.tsv").write_text("starter\t124\t105\t105\n", encoding="utf-8")
    rows = "".join(f"{step},train,total,loss,1.0,0.001,{step * 0.25}\n" for step in range(5))
    header = "step,split,task,metric,value,lr,seconds\n"
    (work / "starter" / "metrics.csv").write_text(header + rows, encoding="utf-8")
    gather(work, out)
    summary = (out / "summary.md").read_text(encoding="utf-8")
    assert "| starter | out of time | 105 | 105 |" in summary
    assert "Starter data: 5 steps, 250.0 milliseconds each." in summary


def test_the_bars_are_read_from_the_tables(tmp_path: Path) -> None:
    from benchmarks.gather import gather

    work, out = tmp_path / "work", tmp_path / "out"
    out.mkdir(parents=True)
    both = [
        {"workload": "mixed", "order": "random", "torch": 4.0, "BERT": 3.5, "ModernBERT flash": 1.75},
        {"workload": "mixed", "order": "sorted", "torch": 1.0, "BERT": 1.0, "ModernBERT flash": 1.0},
    ]
    rows = [{"workload": "mixed", "of that rate": {"median": 0.5, "low": 0.4, "high": 0.6}}]
    tables = {
        "768": [{"name": "limits", "rows": rows}],
        "768-peers": [
            {"name": "encoder_forward", "rows": [{**both[0], "torch": 9.0}]},
            {"name": "encoder_forward_and_backward", "rows": both},
        ],
    }
    head = {"date": "today", "machine": {"gpu": "a card", "cpu": ""}, "versions": {"torch": "2.11"}}
    for name, found in tables.items():
        (work / name).mkdir(parents=True)
        report = {**head, "parts": {"some": {"tables": found}}}
        (work / name / "results.json").write_text(json.dumps(report), encoding="utf-8")
    (work / "parts.tsv").write_text("768\t0\t30\t60\n", encoding="utf-8")
    gather(work, out)
    lines = (out / "summary.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| bar | at least | measured |") + 2
    assert [line.split(" | ")[-1] for line in lines[start : start + 3]] == ["0.50 |", "1.75 |", "3.50 |"]
    assert lines[0] == "# On a card"
