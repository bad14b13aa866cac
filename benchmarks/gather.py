"""One summary to be read, and one JSON, of what the parts of `on_gpu.sh` left.

    python -m benchmarks.gather WORK OUT

Light, for it runs after every part: what was measured is there even if the machine is taken away.
"""

from __future__ import annotations

import csv
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["gather"]

PADDED = ("torch", "BERT", "ModernBERT", "x-transformers")
MIXED = "mixed batches, width 768, depth 12"
BARS = (
    (f"share of the rate of one large product: {MIXED}", 0.45, "768", "limits", ("of that rate",)),
    (f"ModernBERT with flash attention ÷ ours: {MIXED}", 1.5, "768-peers", "encoder", ("ModernBERT flash",)),
    (f"fastest padded encoder ÷ ours: {MIXED}", 3.0, "768-peers", "encoder", PADDED),
)
"""What was asked of a GPU: what, at least, in which part and table, the smallest of which columns."""

FILES = {
    "*-peers/overview.png": "overview.png",
    "starter/curves.png": "curves.png",
    "starter/metrics.csv": "starter.csv",
    "pos/metrics.csv": "pos.csv",
}
ENDS = {0: "passed", 124: "out of time", 137: "out of time"}
CPU = Path(__file__).parent / "results" / "starter-cpu.json"


def gather(work: Path, out: Path) -> None:
    """Write ``summary.md``, ``results.json``, the pictures and the losses of what is there."""
    results = {folder.name: files for folder in sorted(work.iterdir()) if (files := _read(folder))}
    ends = [line.split("\t") for line in (work / "parts.tsv").read_text(encoding="utf-8").splitlines()]
    parts = [dict(zip(("part", "exit code", "seconds", "limit"), end, strict=True)) for end in ends]
    _write(out / "results.json", json.dumps({"parts": parts, **results}, ensure_ascii=False, indent=1), work)
    lines = [*_head(results), *_parts(ends), *_bars(results), *_starter(results), *_pos(results)]
    for table in sorted(work.glob("*/results.md")):
        lines += ["", f"# {table.parent.name}", *table.read_text(encoding="utf-8").splitlines()[1:]]
    _write(out / "summary.md", "\n".join(lines), work)
    for pattern, name in FILES.items():
        for file in work.glob(pattern):
            shutil.copyfile(file, out / name)


def _write(file: Path, text: str, work: Path) -> None:
    """The commands name the folder that they wrote to, which is gone afterwards."""
    file.write_text(text.replace(str(work), "WORK") + "\n", encoding="utf-8")


def _read(folder: Path) -> dict[str, Any]:
    """The JSON files of a part: of a benchmark one, of a training what it wrote before it ended."""
    files: dict[str, Any] = {}
    for name in ("results.json", "run.json", "test.json"):
        if (folder / name).is_file():
            files[name] = json.loads((folder / name).read_text(encoding="utf-8"))
    if (folder / "metrics.csv").is_file():
        with (folder / "metrics.csv").open(newline="", encoding="utf-8") as file:
            totals = [row for row in csv.DictReader(file) if row["seconds"] and row["task"] == "total"]
        files["steps"] = [[int(row["step"]), float(row["seconds"])] for row in totals]
    return files


def _head(results: Mapping[str, Any]) -> list[str]:
    heads = [part["results.json"] for part in results.values() if "results.json" in part]
    if not heads:
        return ["# On a GPU"]
    machine = heads[0]["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in heads[0]["versions"].items() if version)
    return [f"# On {machine['gpu'] or machine['cpu']}", "", heads[0]["date"], "", versions]


def _parts(ends: list[list[str]]) -> list[str]:
    lines = ["", "| part | came of it | seconds | limit |", "|---|---|---:|---:|"]
    for name, code, seconds, limit in ends:
        end = ENDS.get(int(code), f"failed, exit code {code}: see log.txt")
        lines.append(f"| {name} | {end} | {seconds} | {limit} |")
    return lines


def _bars(results: Mapping[str, Any]) -> list[str]:
    lines = ["", "| bar | at least | measured |", "|---|---:|---:|"]
    for what, least, part, table, columns in BARS:
        row = _mixed(results.get(part, {}).get("results.json"), table)
        values = [_number(row[name]) for name in columns if row.get(name) is not None]
        lines.append(f"| {what} | {least} | {f'{min(values):.2f}' if values else '–'} |")
    return lines


def _mixed(report: Any, name: str) -> dict[str, Any]:
    """The row of mixed batches in random order, in the last table whose name begins so."""
    parts = [] if report is None else report["parts"].values()
    tables = [table for part in parts for table in part["tables"] if table["name"].startswith(name)]
    rows = [row for table in tables for row in table["rows"] if row["workload"] == "mixed"]
    return next((row for row in reversed(rows) if row.get("order", "random") == "random"), {})


def _number(cell: Any) -> float:
    return float(cell["median"] if isinstance(cell, dict) else cell)


def _starter(results: Mapping[str, Any]) -> list[str]:
    """Scores and seconds beside those of a CPU; where it did not come to its end, the seconds of a step."""
    files = results.get("starter", {})
    steps = files.get("steps", [])
    if not steps:
        return []
    cpu = json.loads(CPU.read_text(encoding="utf-8"))
    lines = ["", f"Starter data: {len(steps):,} steps, {_pace(steps):.1f} milliseconds each."]
    if (seconds := files.get("run.json", {}).get("training_seconds")) is not None:
        lines += [f"Training took {seconds} s; on {cpu['cpu']} {cpu['training_seconds']} s."]
    if "test.json" in files:
        lines += ["", "| task | metric | here | CPU |", "|---|---|---:|---:|"]
    for task, entry in files.get("test.json", {}).get("tasks", {}).items():
        there = cpu["tasks"].get(task, {}).get("value")
        lines.append(f"| {task} | {entry['metric']} | {_shown(entry['value'])} | {_shown(there)} |")
    return lines


def _pos(results: Mapping[str, Any]) -> list[str]:
    files = results.get("pos", {})
    steps = files.get("steps", [])
    if not steps:
        return []
    line = f"english-pos: {_pace(steps):.1f} milliseconds a step"
    if budget := _budget(files["run.json"]["command"]):
        line += f", at most {1e3 * budget / _pace(steps):,.0f} words a second"
    if memory := files["run.json"].get("peak_gpu_memory_mib"):
        line += f"; at most {memory:,} MiB of the GPU"
    return ["", f"{line}."]


def _pace(steps: list[list[float]]) -> float:
    """Milliseconds of a step, without the first quarter, in which kernels are made."""
    (first, start), (last, end) = steps[len(steps) // 4], steps[-1]
    return 1e3 * (end - start) / (last - first) if last > first else 1e3 * end


def _budget(command: str) -> int:
    """Vectors of a step at most, as the command says."""
    _, option, rest = command.partition("training.max_vectors=")
    return int(rest.split()[0]) if option else 0


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


if __name__ == "__main__":
    gather(*map(Path, sys.argv[1:3]))
