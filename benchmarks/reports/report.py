"""Tables: what a part of the benchmark hands back; and the report of a run, printed and kept as JSON."""

from __future__ import annotations

import json
import math
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.setting import Setting
from benchmarks.timing import Spread

__all__ = ["Cell", "Part", "Report", "Table", "shown"]

Cell = str | int | float | Spread

PEERS = ("transformers", "x-transformers")
"""Versions told beside those that every run of the library tells."""


@dataclass(frozen=True)
class Table:
    """Rows of one part.

    Args:
        name: Its key in the JSON file.
        title: Said above it.
        rows: Column to value; every row has the same columns.
        note: What a reader must know to read it, said below.
    """

    name: str
    title: str
    rows: Sequence[Mapping[str, Cell]] = ()
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What came of one part: its tables, or why there are none.

    Args:
        seconds: How long it took.
        tables: In the order in which they are shown.
        skipped: Why it was left out.
        failed: Whether that was an error of ours.
    """

    seconds: float
    tables: list[Table]
    skipped: str = ""
    failed: bool = False


@dataclass(frozen=True)
class Report:
    """A run: where and with what it was measured, and its parts by name."""

    head: dict[str, Any]
    parts: dict[str, Part] = field(default_factory=dict)

    @classmethod
    def begin(cls, setting: Setting) -> Report:
        """With the date, the command, the machine, versions and settings of a run that begins now."""
        from multiseq.system.machine import describe_machine, versions

        head = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
            "machine": {**describe_machine(), "load": round(os.getloadavg()[0], 2)},
            "versions": {**versions(), **{name: _version(name) for name in PEERS}},
            "setting": _plain_setting(setting),
        }
        return cls(head)

    @property
    def tables(self) -> list[Table]:
        """Of all parts."""
        return [table for part in self.parts.values() for table in part.tables]

    def head_lines(self) -> list[str]:
        """The head as people read it."""
        machine, setting = self.head["machine"], self.head["setting"]
        gpu = [machine["gpu"]] if machine["gpu"] else []
        return [
            f"{self.head['date']}  {self.head['command']}",
            ", ".join([machine["cpu"], *gpu, f"{machine['memory_gib']} GiB", machine["system"]]),
            f"{machine['threads']} threads on {machine['cores']} cores; load before {machine['load']}",
            ", ".join(f"{name} {version}" for name, version in self.head["versions"].items() if version),
            ", ".join(f"{name} {value}" for name, value in setting.items() if value is not None),
        ]

    # --- to disk and back -----------------------------------------------------------------------------

    def write(self, folder: Path) -> None:
        """``results.json`` and, to be read, ``results.md``."""
        text = json.dumps(self._to_json(), ensure_ascii=False, indent=1)
        (folder / "results.json").write_text(text + "\n", encoding="utf-8")
        (folder / "results.md").write_text(self.markdown(), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Report:
        """The inverse of :meth:`write`."""
        content = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        parts = {
            name: Part(
                p["seconds"], [_table_of(t) for t in p["tables"]], p["skipped"], p.get("failed", False)
            )
            for name, p in content.pop("parts").items()
        }
        return cls(content, parts)

    def markdown(self) -> str:
        """The head and all tables."""
        lines = ["# Benchmark", "", *(f"- {line}" for line in self.head_lines())]
        for name, part in self.parts.items():
            lines += ["", f"## {name} ({part.seconds:.0f} s)"]
            lines += ["", f"Left out: {part.skipped}"] if part.skipped else []
            for table in part.tables:
                lines += ["", f"**{table.title}**", "", *_markdown(table)]
                lines += ["", table.note] if table.note else []
        return "\n".join(lines) + "\n"

    def _to_json(self) -> dict[str, Any]:
        parts = {
            name: {
                "seconds": part.seconds,
                "skipped": part.skipped,
                "failed": part.failed,
                "tables": [
                    {
                        "name": t.name,
                        "title": t.title,
                        "rows": [{k: _plain(v) for k, v in row.items()} for row in t.rows],
                        "note": t.note,
                    }
                    for t in part.tables
                ],
            }
            for name, part in self.parts.items()
        }
        return {**self.head, "parts": parts}


def shown(cell: Cell) -> str:
    """A cell as people read it: three digits of what is not whole.

    >>> shown(1234), shown(1234.5), shown(12.345), shown(0.012345), shown(float("nan"))
    ('1,234', '1,234', '12.3', '0.0123', '–')
    """
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Spread):
        return f"{shown(cell.median)} ({shown(cell.low)}–{shown(cell.high)})"
    if isinstance(cell, float) and math.isnan(cell):
        return "–"
    if isinstance(cell, int) or abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{cell:#.3g}"


def _markdown(table: Table) -> list[str]:
    columns = list(table.rows[0]) if table.rows else []
    rows = [[shown(row[name]) for name in columns] for row in table.rows]
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return [f"| {' | '.join(line)} |" for line in lines]


def _plain(cell: Cell) -> Any:
    """A cell as JSON has it, which has no NaN."""
    if isinstance(cell, Spread):
        return asdict(cell)
    return None if isinstance(cell, float) and math.isnan(cell) else cell


def _table_of(table: Mapping[str, Any]) -> Table:
    rows = [{name: _cell(value) for name, value in row.items()} for row in table["rows"]]
    return Table(table["name"], table["title"], rows, table["note"])


def _cell(value: Any) -> Cell:
    if isinstance(value, dict):
        return Spread(**value)
    return math.nan if value is None else value


def _plain_setting(setting: Setting) -> dict[str, Any]:
    """Device and dtype as names; of a user's lengths how many there are; workloads in one line."""
    values = {f.name: getattr(setting, f.name) for f in fields(setting)}
    values |= {"device": str(setting.device), "dtype": str(setting.dtype).removeprefix("torch.")}
    values |= {"lengths": None if setting.lengths is None else len(setting.lengths)}
    return values | {"only": ", ".join(setting.only) or None}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
