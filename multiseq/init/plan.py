"""A plan: what `multiseq init` guessed, and the recipe that it becomes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multiseq.options import RESERVED

__all__ = ["Plan", "TaskPlan", "recipe_text", "table_name"]

ORDER = (
    *("format", "file", "train", "dev", "test", "split_column", "split_file", "fold", "group"),
    *("edges", "features", "ids", "labels", "audio", "segments", "silence", "input"),
)
"""The keys of data in the order in which a reader looks for them."""

FAR = 3
"""A file more folders up than this is named by its full path."""


@dataclass
class TaskPlan:
    """One task.

    Args:
        name: Its name in the recipe.
        spec: Key -> value, without ``data``.
        why: The reason, for a comment.
        active: Whether it is in the recipe; otherwise it is a comment, as an alternative.
        hints: Lines that could be added to it, with a reason; they are comments.
        guessed: Whether another column could be the label just as well.
    """

    name: str
    spec: dict[str, Any]
    why: str = ""
    active: bool = True
    hints: list[str] = field(default_factory=list)
    guessed: bool = False


@dataclass
class Plan:
    """One table of data and its tasks.

    Args:
        name: Name of the data in the recipe.
        adapter: text, speech or graph.
        data: Key -> value of ``[data.NAME]``, after ``adapter``. Paths are `Path` objects.
        notes: Key of ``data`` -> a comment.
        tasks: The tasks and their alternatives.
        adapter_options: Options of the adapter.
        encoder: Options of the encoder.
        seen: What was found, as (name, what it is) for people.
        odd: What is odd, a sentence each.
        question: What the user must decide, if the recipe is not complete.
    """

    name: str
    adapter: str
    data: dict[str, Any]
    notes: dict[str, str] = field(default_factory=dict)
    tasks: list[TaskPlan] = field(default_factory=list)
    adapter_options: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=dict)
    seen: list[tuple[str, str]] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    question: str = ""

    def tables(self, folder: Path) -> dict[str, dict[str, Any]]:
        """The tables of the recipe, with paths relative to its folder."""
        data = {key: _relative(value, folder) for key, value in self.data.items()}
        tasks = {task.name: {"data": self.name, **task.spec} for task in self.tasks if task.active}
        adapters = {self.adapter: self.adapter_options} if self.adapter_options else {}
        return {
            "data": {self.name: {"adapter": self.adapter, **{key: data[key] for key in _in_order(data)}}},
            "tasks": tasks,
            "adapters": adapters,
            "encoder": self.encoder,
            "training": {},
        }


def table_name(name: str) -> str:
    """A name that a recipe may give to data or to a task.

    >>> table_name("measured log(S), mol/l"), table_name("total")
    ('measured_log_S_mol_l', 'total_')
    """
    name = re.sub(r"\W+", "_", name).strip("_") or "data"
    return name + "_" if name in RESERVED else name


def recipe_text(plan: Plan, folder: Path, command: str, name: str) -> str:
    """The recipe as TOML, with comments.

    Args:
        plan: What it says.
        folder: The folder that it will be in. Its paths are relative to it.
        command: The command that wrote it.
        name: Its file name.
    """
    tables = plan.tables(folder)
    sections = [
        _comment(f"Written by `{command}`, which looked at the data and guessed.") + "\n"
        f"# Correct it where it is wrong. `multiseq check {name}` reads all data and says what is in it;\n"
        f"# `multiseq train {name}` trains and scores. All keys: docs/options.md"
    ]
    if plan.question:
        sections.append(_comment(f"QUESTION: {plan.question}"))
    if plan.encoder:
        sections.append(_section("encoder", plan.encoder, plan.notes))
    if plan.adapter_options:
        sections.append(_section(f"adapters.{_key(plan.adapter)}", plan.adapter_options, {}))
    data = tables["data"][plan.name]
    sections.append(_section(f"data.{_key(plan.name)}", data, plan.notes))
    for task in plan.tasks:
        text = _section(f"tasks.{_key(task.name)}", {"data": plan.name, **task.spec}, {})
        text = "\n".join([text, *(f"# {_one_line(hint)}" for hint in task.hints)])
        why = f"# {_one_line(task.why)}\n" if task.why else ""
        if not task.active:
            text = _commented(text)
        sections.append(why + text)
    return "\n\n".join(sections) + "\n"


def _section(name: str, values: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    lines = [f"[{name}]"]
    for key, value in values.items():
        line = f"{key} = {toml(value)}"
        lines.append(f"{line:29} # {_one_line(notes[key])}" if key in notes else line)
    return "\n".join(lines)


def toml(value: Any) -> str:
    """A value in TOML, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    # TOML has the escapes of JSON, and DEL as one more that must be escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml(name)


def _comment(text: str) -> str:
    lines, line = [], "#"
    for word in _one_line(text).split(" "):
        if len(line) + len(word) > 105:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return "\n".join([*lines, line])


def _commented(text: str) -> str:
    return "\n".join(f"# {line}" for line in text.splitlines())


def _one_line(text: str) -> str:
    """A text without line ends and control characters, which a comment cannot contain."""
    return "".join(char if char.isprintable() else " " for char in text)


def _in_order(keys: Iterable[str]) -> list[str]:
    return sorted(keys, key=lambda key: ORDER.index(key) if key in ORDER else len(ORDER))


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_relative(entry, folder) for entry in value]
    if not isinstance(value, Path):
        return value
    try:
        path = Path(os.path.relpath(value.resolve(), folder.resolve()))
    except ValueError:  # another drive of Windows
        return value.resolve().as_posix()
    return (value.resolve() if path.parts[:FAR] == ("..",) * FAR else path).as_posix()


def listed(names: Sequence[str], most: int = 6) -> str:
    """A few names for a sentence.

    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
