"""Plans for tables and JSON lines: which columns are items, labels and splits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from multiseq.checks import one_of
from multiseq.data.archives import AudioFile, member_of
from multiseq.data.graphs.sdf import entries_of
from multiseq.data.kaldi import TEXT, labels_of
from multiseq.data.readers.graphs import TRIPLE, columns_of_triples
from multiseq.data.recordings import AudioSegment, by_stem, find_recordings, is_audio
from multiseq.data.records import DataError
from multiseq.data.tables import BINARY, EXCEL, open_table, sheet_sizes
from multiseq.data.text_files import lines_of, parse_json, suffix_of
from multiseq.init.columns import SAMPLE, TEXTS, Column, decimal_of, look_at, word_set
from multiseq.init.files import LANGUAGES, Group, separator_of, splits_in_order
from multiseq.init.plan import Plan, TaskPlan, listed, table_name
from multiseq.requires import MissingLibraryError, need

__all__ = [
    "Wish",
    "add_decimal",
    "add_shares",
    "add_sound",
    "columns_of",
    "has_audio",
    "plan_kaldi",
    "plan_molecules",
]
__all__ += ["plan_rows", "plan_triples"]

PAIRS = (
    {"source", "target"},
    {"src", "tgt"},
    {"input", "output"},
    {"text", "summary"},
    {"article", "summary"},
)
LANGUAGE_NAMES = word_set(
    "english german french spanish chinese italian portuguese dutch russian japanese korean arabic "
    "hindi turkish polish czech swedish danish finnish greek hebrew latin"
)
ADAPTERS = {
    "text": "text",
    "words": "text",
    "audio": "speech",
    "smiles": "graph",
    "graph": "graph",
    "triples": "graph",
}
"""Kind of a column of items -> adapter; the better the item, the later."""


MOST = 5
"""Columns that are offered as further tasks."""


FOLDERS, ENTRIES = 50, 2000
"""The most folders beside a table that are looked into for recordings, and the most files of each."""


class Wish:
    """What the user said instead of a guess: the column of the items, the columns of the labels."""

    def __init__(self, item: str | None = None, labels: Sequence[str] = ()) -> None:
        self.item, self.labels = item, list(labels)


def columns_of(path: Path, kind: str, encoding: str) -> list[Column]:
    """What each column of a table, or each field of JSON lines, holds; from the first rows."""
    status = path.stat()
    return _columns_of(path, kind, encoding, (path.resolve(), status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=64)
def _columns_of(path: Path, kind: str, encoding: str, version: Any) -> list[Column]:
    """As `columns_of`. ``version`` is only there so that a changed file is read again."""
    if kind == "jsonl":
        return [look_at(name, cells) for name, cells in _fields(path, encoding).items()]
    if kind == "kaldi":
        return _of_kaldi(path)
    if kind == "sdf":
        entries = [entry.properties for entry in islice(entries_of(path, encoding), SAMPLE)]
        named = dict.fromkeys(name for properties in entries for name in properties)
        return [look_at(name, [properties.get(name) for properties in entries]) for name in named]
    separator, sheet = _separator(path, encoding), next(iter(_sheets(path)), None)
    table = open_table(path, encoding=encoding, separator=separator, sheet=sheet, reject=_pass)
    cells: list[list[Any]] = [[] for _ in table.names]
    for _, columns in table.batches:
        for known, new in zip(cells, columns, strict=True):
            known.extend(new)
        if len(cells[0]) >= SAMPLE:
            cells = [column[:SAMPLE] for column in cells]
            break
    _refuse_headless(path, table.names, cells)
    return [look_at(name, known) for name, known in zip(table.names, cells, strict=True)]


def _of_kaldi(path: Path) -> list[Column]:
    """The label columns of a data folder. ``text`` is what is said, even if it is one of a few words."""
    found = []
    for name, values in labels_of(path, reject=_pass).items():
        column = look_at(name, [label for label, _ in islice(values.values(), SAMPLE)])
        found.append(replace(column, kind="text") if name == TEXT and column.filled else column)
    return found


def _separator(path: Path, encoding: str) -> str | None:
    """The separator to name in the recipe; None if the reader finds it."""
    if suffix_of(path) in (".csv", ".parquet", ".xlsx", ".xlsm"):
        return None
    return separator_of(path, encoding)


def _sheets(path: Path) -> list[str]:
    """The sheets of an Excel file that has several, that with most rows first; otherwise none."""
    sizes = sheet_sizes(path) if suffix_of(path) in EXCEL else {}
    return sorted(sizes, key=lambda name: -sizes[name]) if len(sizes) > 1 else []


def _add_sheet(plan: Plan, path: Path) -> None:
    if sheets := _sheets(path):
        plan.data["sheet"] = sheets[0]
        plan.notes["sheet"] = f"the longest of {listed(sheets, 5)}"


def _pass(location: str, reason: str, raw: str = "") -> None:
    """Pass over a bad row: reading all data tells how many there are."""


def _fields(path: Path, encoding: str) -> dict[str, list[Any]]:
    objects: list[dict[str, Any]] = []
    bad: list[str] = []
    for number, line in enumerate(islice(lines_of(path, encoding), SAMPLE), 1):
        if line.strip():
            try:
                entry = parse_json(line)
            except ValueError as error:
                bad.append(f"{path}:{number}: not JSON: {error}")
                continue
            if isinstance(entry, dict):
                objects.append(entry)
            else:
                bad.append(f"{path}:{number}: expected a JSON object")
    if len(bad) > len(objects):
        raise DataError(bad[0])
    names = dict.fromkeys(name for entry in objects for name in entry)
    return {name: [entry.get(name) for entry in objects] for name in names}


def _refuse_headless(path: Path, names: Sequence[str], cells: Sequence[Sequence[Any]]) -> None:
    """Raise DataError if the first line looks like a row of data.

    A column may be called like one of its classes (spam), so such a name counts only beside a sentence.
    """
    numeric = [name for name in names if re.fullmatch(r"[+-]?\d+([.,]\d+)?", name)]
    long = [name for name in names if len(name.split()) > 12]
    if any(len(name.split()) >= 5 for name in names):
        long += [name for name, column in zip(names, cells, strict=True) if name in column[:200]]
    if numeric or long:
        which = (numeric + long)[0]
        raise DataError(
            f"{path}:1: the first line seems to be data ({which[:60]!r}), expected the names of the columns; "
            f"add a first line, for example: {_example_header(cells)}"
        )


def _example_header(cells: Sequence[Sequence[Any]]) -> str:
    kinds = [look_at("", column[:1000]).kind for column in cells]
    named = {
        "text": "text",
        "class": "label",
        "number": "value",
        "id": "id",
        "audio": "file",
        "smiles": "smiles",
    }
    return ",".join(
        f"{named.get(kind, 'column')}{'' if kinds.count(kind) == 1 else i}" for i, kind in enumerate(kinds, 1)
    )


def plan_rows(group: Group, kind: str, encoding: str, wish: Wish, name: str) -> Plan:
    """A plan for a table or JSON lines.

    Raises:
        DataError: No column is an item that multiseq learns from, or a column that the user named is missing.
    """
    path = next(splits_in_order(group))[1]
    columns = columns_of(path, kind, encoding)
    known = {column.name: column for column in columns}
    usual = [column for column in columns if not column.is_stray or column.name == wish.item]
    audio = _Audio(path, usual, wish)
    item = _item(path, usual, wish, audio)
    adapter = "speech" if item is audio.column else ADAPTERS.get(item.kind, "text")
    data: dict[str, Any] = {"format": "jsonl" if kind == "jsonl" else "table", "input": item.name}
    plan = Plan(name, adapter, data, {"input": item.why})
    if item is audio.column:
        audio.into(plan)
    if encoding != "utf-8":
        data["encoding"] = encoding
    separator = _separator(path, encoding)
    if kind == "table" and separator not in (None, "\t"):
        data["separator"] = separator
    _add_sheet(plan, path)
    others = [column for column in columns if column is not item]
    split = next((c for c in others if c.kind == "split" and c.name not in wish.labels), None)
    _add_files(plan, group, split, kind, encoding)
    plan.tasks = _tasks(item, others, adapter, wish, known, path)
    for i, task in enumerate(plan.tasks):
        if task.name in [other.name for other in plan.tasks[:i]]:
            task.name += f"_{i + 1}"
    add_decimal(plan, columns, _between(path, kind, encoding))
    _add_group(plan, columns)
    _add_seen(plan, columns, item, split)
    _add_options(plan, item)
    _add_question(plan, others)
    return plan


def plan_triples(group: Group, encoding: str, wish: Wish, name: str) -> Plan | None:
    """A plan for a table with one triple in a row, if the names of its columns say so."""
    path = next(splits_in_order(group))[1]
    columns = columns_of(path, "table", encoding)
    names = [column.name for column in columns]
    if len(names) < 4 or not ({name.lower() for name in names[1:]} >= set(TRIPLE) or _triple(names[1:4])):
        return None
    graph, triple = columns_of_triples(path, names)
    others = [column for column in columns if column.name not in (graph, *triple)]
    facts = Column(listed(triple), "triples", "the facts of a graph, one in a row", 0, 0, {})
    plan = Plan(name, "graph", {"format": "triples"})
    _add_sheet(plan, path)
    plan.seen.append((graph, "the name of the graph"))
    _plan_around(plan, facts, others, group, "table", encoding, wish)
    return plan


def plan_molecules(group: Group, encoding: str, wish: Wish, name: str) -> Plan:
    """A plan for an SDF file, whose properties are the columns."""
    columns = columns_of(next(splits_in_order(group))[1], "sdf", encoding)
    molecule = Column("molecules", "smiles", "MOL blocks", 0, 0, {})
    plan = Plan(name, "graph", {"format": "sdf"})
    _plan_around(plan, molecule, columns, group, "sdf", encoding, wish)
    return plan


def plan_kaldi(folders: Mapping[str, Path], wish: Wish, name: str) -> Plan:
    """A plan for data folders of Kaldi, one for each split. What is in their files are the columns."""
    columns = columns_of(folders["train"], "kaldi", "utf-8")
    utterances = Column("utterances", "audio", "recordings, or parts of them", 0, 0, {})
    plan = Plan(name, "speech", {"format": "kaldi"})
    _plan_around(plan, utterances, columns, Group(name, dict(folders)), "kaldi", "utf-8", wish)
    return plan


def _plan_around(
    plan: Plan,
    item: Column,
    others: Sequence[Column],
    group: Group,
    kind: str,
    encoding: str,
    wish: Wish,
) -> None:
    """Fill in the plan for a file whose items are no column."""
    if encoding != "utf-8":
        plan.data["encoding"] = encoding
    split = next((c for c in others if c.kind == "split" and c.name not in wish.labels), None)
    _add_files(plan, group, split, kind, encoding)
    known, path = {column.name: column for column in others}, next(splits_in_order(group))[1]
    plan.tasks = _tasks(item, others, plan.adapter, wish, known, path)
    add_decimal(plan, others, _between(path, kind, encoding))
    _add_group(plan, others)
    _add_seen(plan, [item, *others], item, split)
    _add_options(plan, item)
    _add_question(plan, others)


def _add_options(plan: Plan, item: Column) -> None:
    """Options that suit the items: what generalises best from molecules (RESULTS.md)."""
    if item.kind == "smiles":
        plan.encoder = {"depth": 1, "dropout": 0.0}
        plan.notes["depth"] = "after messages along bonds, one block of attention suits molecules"
        plan.adapter_options |= {"walk_length": 0, "dropout": 0.0}


def _add_question(plan: Plan, others: Sequence[Column]) -> None:
    """Ask what should be learned if the plan has no task."""
    if not any(task.active for task in plan.tasks):
        plan.question = "what should be learned? No column looks like a label. " + (
            "Choose one of the tasks below, or name the column: --label COLUMN"
            if plan.tasks
            else "Add a column with the labels, and run `multiseq init` again."
        )
        measured = [f"{c.name}: {c.why}" for c in others if c.kind == "other" and c.why.startswith("numbers")]
        plan.question += "".join(f" {what}." for what in measured)


def _triple(names: Sequence[str]) -> bool:
    lower = [name.lower() for name in names]
    return lower[0] in ("head", "subject", "subj") and lower[2] in ("tail", "object", "obj")


# --- the item -------------------------------------------------------------------------------------


def _item(path: Path, columns: Sequence[Column], wish: Wish, audio: _Audio) -> Column:
    if wish.item is not None:
        one_of(wish.item, [column.name for column in columns], "--input")
        return next(column for column in columns if column.name == wish.item)
    free = [column for column in columns if column.name not in wish.labels]
    for kind in ("graph", "triples"):
        for column in free:
            if column.kind == kind:
                return column
    if audio.column is not None:
        return audio.column
    for kind in ("smiles", "words"):
        for column in free:
            if column.kind == kind:
                return column
    texts = [column for column in free if column.kind == "text"]
    if not texts:
        saw = "; ".join(f"{column.name}: {column.kind} ({column.why})" for column in columns[:8])
        raise DataError(
            f"{path}: no column holds texts, recordings, SMILES or graphs, which multiseq learns from; saw "
            f"{saw}; name the column with --input if one does"
        )

    def rank(column: Column) -> tuple[int, float]:
        places = [TEXTS.index(word) for word in column.words if word in TEXTS]
        pair = ["source", "src", "input", "article", "english"]
        return (-min(places, default=len(TEXTS)), float(bool(column.words & set(pair))) * 1e6 + column.size)

    return max(texts, key=rank)


class _Audio:
    """The column that names recordings, and where these are: in a folder, or in a .tar."""

    def __init__(self, table: Path, columns: Sequence[Column], wish: Wish) -> None:
        self.column: Column | None = None
        self.place: Path | None = None
        self.missing, self.tried = 0, 0
        beside = sorted(table.parent.iterdir())
        inner = [p for p in beside if p.is_dir() and not p.name.startswith(".")]
        archives = [p for p in beside if p.suffix.lower() == ".tar"]
        self.places = [*filter(has_audio, inner[:FOLDERS]), *archives, table.parent]
        chosen = [column for column in columns if wish.item in (None, column.name)]
        for column in chosen:
            if column.kind == "audio":
                self.column = column
                self._look(column)
                return
        for column in chosen:  # names without an ending: utt-1 for utt-1.flac
            names = (
                column.kind in ("id", "other", "text", "number") and len(column.values) == column.filled > 1
            )
            if names and all(map(_plain_name, islice(column.values, 3))) and self._look(column):
                self.column = column
                return

    def _look(self, column: Column) -> bool:
        """Find the place that has recordings of these names."""
        values = list(map(str, column.values))
        names = values[:: len(values) // 50 + 1]
        most = 0
        for place in self.places:
            known = by_stem(place) if column.kind != "audio" and has_audio(place) else {}
            there = [name in known or (column.kind == "audio" and _is_there(place, name)) for name in names]
            if sum(there) > most:
                most = sum(there)
                self.place, self.missing, self.tried = place, there.count(False), len(there)
        return most > 0

    def into(self, plan: Plan) -> None:
        assert self.column is not None
        plan.data["format"] = "recordings"
        if self.column.kind != "audio":
            plan.notes["input"] = "names of recordings without their ending"
        if self.place is None:
            example = next(iter(self.column.values))
            plan.question = (
                f'where are the recordings? {example!r} is not beside the table. Set audio = "FOLDER".'
            )
        elif self.place.is_file() or self.place.name:
            plan.data["audio"] = self.place
        if self.missing:
            plan.odd.append(
                f"{self.missing} of {self.tried} recordings that were tried are not in {self.place}"
            )
        names = [str(value) for value in islice(self.column.values, 20)]
        add_sound(plan, find_recordings(self.place, names) if self.place else [])


def add_sound(plan: Plan, recordings: Sequence[str | AudioFile | AudioSegment]) -> None:
    """Say how some recordings sound, and choose the options that depend on it."""
    rate, seconds = _rate_and_seconds(recordings)
    if rate:
        num = len(recordings)
        plan.seen.append(("sound", f"{rate:,} Hz, {seconds:.1f} seconds on average (of {num} recordings)"))
    if 0 < rate < 16_000:
        plan.adapter_options["sample_rate"] = rate
    if seconds > 30:
        plan.adapter_options["chunk_seconds"] = 20
        plan.odd.append(
            f"recordings are long ({seconds:.0f} seconds on average): they are cut into 20 seconds"
        )


def has_audio(place: Path) -> bool:
    """Whether there are recordings among the first files of a folder, or it is or has an archive."""
    return place.is_file() or any(
        is_audio(p) or p.suffix == ".tar" for p in islice(place.rglob("*"), ENTRIES)
    )


def _plain_name(name: str) -> bool:
    return bool(name) and len(name) < 120 and name.isprintable() and not any(c in name for c in ' "\t<>|')


def _is_there(place: Path, name: str) -> bool:
    if place.is_dir():
        return (place / name).is_file()
    try:
        member_of(AudioFile(place, name)).close()
    except (ValueError, OSError):
        return False
    return True


def _rate_and_seconds(recordings: Sequence[str | AudioFile | AudioSegment]) -> tuple[int, float]:
    """The sample rate in Hz and the mean length in seconds of some recordings; 0 if they cannot be read."""
    rates, seconds = [], []
    for item in recordings:
        file = item.file if isinstance(item, AudioSegment) else item
        try:
            with member_of(file) if isinstance(file, AudioFile) else Path(file).open("rb") as opened:
                info = need("soundfile").info(opened)
        except (MissingLibraryError, ValueError, OSError, RuntimeError):
            continue
        rates.append(info.samplerate)
        start, end = (item.start, item.end) if isinstance(item, AudioSegment) else (0.0, None)
        seconds.append(min(end or info.duration, info.duration) - start)
    return (max(set(rates), key=rates.count), sum(seconds) / len(seconds)) if rates else (0, 0.0)


# --- files and splits -----------------------------------------------------------------------------


def _add_files(plan: Plan, group: Group, split: Column | None, kind: str, encoding: str) -> None:
    files = dict(splits_in_order(group))
    if split is not None and set(files) == {"train"}:
        plan.data.update(file=files["train"], split_column=split.name)
        plan.notes["split_column"] = split.why
        splits = {"dev" if value not in ("train", "test") else value for value in split.values}
        if "dev" not in splits:
            plan.data["dev"] = 0.1
            plan.notes["dev"] = "a tenth is held out: to calibrate, and to choose the weights if it is large"
        return
    names = (
        {column.name for column in columns_of(files["train"], kind, encoding)} if "train" in files else set()
    )
    for name, path in list(files.items()):
        missing = (
            names - {column.name for column in columns_of(path, kind, encoding)} if name != "train" else set()
        )
        if missing:
            plan.odd.append(
                f"{path.name} has no column {listed(sorted(missing))}: not used, but `multiseq predict` can"
            )
            del files[name]
    plan.data.update(files)
    add_shares(plan)


def add_shares(plan: Plan, what: str = "rows") -> None:
    """Let the library hold out dev and test if there is no file for them."""
    if "dev" not in plan.data:
        plan.data["dev"] = 0.1
        plan.notes["dev"] = "a tenth is held out: to calibrate, and to choose the weights if it is large"
    if "test" not in plan.data:
        plan.data["test"] = 0.2
        plan.notes["test"] = f"a fifth of the {what} is held out, for the final score"


def _between(path: Path, kind: str, encoding: str) -> str | None:
    """What separates the cells of a table of text; None for a tab and for other files."""
    return separator_of(path, encoding) if kind == "table" and suffix_of(path) not in BINARY else None


def add_decimal(plan: Plan, columns: Sequence[Column], separator: str | None) -> None:
    """Name the decimal mark of numbers: as the labels have it, or if they do not show it, other columns."""
    names = {name for t in plan.tasks if t.active for name in t.spec.get("columns", [t.spec.get("column")])}
    learned = [column for column in columns if column.name in names]
    shows = any(column.marks["."] != column.marks[","] for column in learned)
    decimal = decimal_of(learned if shows else columns, separator)
    if decimal is not None:
        plan.data["decimal"] = decimal
        example = "3,5 and 1.234,5" if decimal == "," else "3.5 and 1,234.5"
        plan.notes["decimal"] = f"numbers are written {example}"


def _add_group(plan: Plan, columns: Sequence[Column]) -> None:
    learned = {task.spec.get("column") for task in plan.tasks if task.active}
    for column in sorted(columns, key=lambda one: one.kind == "id"):  # names say more than codes
        if column.is_group and column.name not in learned and isinstance(plan.data.get("test"), float):
            plan.data["group"] = column.name
            plan.notes["group"] = f"no {column.name} is in two splits: the test is on unseen ones"
            return


# --- the labels -----------------------------------------------------------------------------------


def _tasks(
    item: Column, others: Sequence[Column], adapter: str, wish: Wish, known: Mapping[str, Column], path: Path
) -> list[TaskPlan]:
    for name in wish.labels:
        one_of(name, [column.name for column in others], "--label")
    if wish.labels:
        return [_task(item, known[name], adapter, "you named it") for name in wish.labels]
    others = [column for column in others if not column.is_stray]
    candidates = [column for column in others if column.is_label]
    flags = [
        column for column in candidates if set(column.values) <= {"0", "1", "0.0", "1.0"} and column.likely
    ]
    texts = [column for column in others if column.kind == "text"]
    if adapter == "speech" and texts:
        spoken = max(texts, key=lambda column: ("text" in column.words, bool(column.words & set(TEXTS))))
        rest = [column for column in [*texts, *candidates] if column is not spoken]
        return [_task(item, spoken, adapter, "what is said"), *_alternatives(item, rest, adapter)]
    pair = next((column for column in texts if _is_pair(item, column)), None)
    if item.kind in ("triples", "graph") and texts:
        pair = pair or texts[0]
    if pair is not None:
        rest = [column for column in [*texts, *candidates] if column is not pair]
        return [_task(item, pair, adapter, "the text to write"), *_alternatives(item, rest, adapter)]
    if len(flags) >= 3 and len(flags) == len([c for c in candidates if c.likely]):
        spec = {"output": "set", "target": "multilabel", "columns": [column.name for column in flags]}
        several = TaskPlan("labels", spec, f"{len(flags)} columns of 0 and 1: several labels at once")
        return [several, *_alternatives(item, [c for c in candidates if c not in flags], adapter)]
    best = [column for column in candidates if column.likely == 2]
    if not best:
        fair = [column for column in candidates if column.likely == 1] or candidates
        best = fair[-1:]
        if len(fair) > 1:
            which = listed([c.name for c in fair])
            reason = f"A GUESS: {which} could all be the label; this is the last one; to choose: --label NAME"
            rest = [column for column in candidates if column not in best]
            task = _task(item, best[0], adapter, reason)
            task.guessed = True
            return [task, *_alternatives(item, rest, adapter)]
    rest = [column for column in [*candidates, *texts] if column not in best]
    return [*(_task(item, column, adapter) for column in best), *_alternatives(item, rest, adapter)]


def _is_pair(item: Column, other: Column) -> bool:
    """Whether one column is the translation or summary of the other, by their names."""
    names = [item.name.lower(), other.name.lower()]
    languages = all(name in LANGUAGE_NAMES or name in LANGUAGES for name in names)
    return languages or set(names) in PAIRS


def _alternatives(item: Column, columns: Sequence[Column], adapter: str) -> list[TaskPlan]:
    shown = [column for column in columns if column.likely or column.is_group or column.kind == "text"]
    tasks = [
        _task(item, column, adapter, "not learned; remove the # to learn it too") for column in shown[:MOST]
    ]
    for task in tasks:
        task.active = False
    return tasks


def _task(item: Column, column: Column, adapter: str, why: str = "") -> TaskPlan:
    spec: dict[str, Any] = {"output": "set"}
    note = column.why
    if column.kind == "labels":
        aligned = column.why.startswith("segments") or (
            item.kind in ("words", "graph") and abs(column.size - item.size) < 1e-9
        )
        aligned = aligned or (item.kind == "graph" and column.size > 3)
        spec = (
            {"output": "vector", "target": "class"} if aligned else {"output": "set", "target": "multilabel"}
        )
        note = (
            f"a label for each {'moment' if adapter == 'speech' else 'word or node'}"
            if aligned
            else column.why
        )
    elif column.kind == "classes":
        spec["target"] = "multilabel"
    elif column.kind == "number":
        spec["target"] = "number"
    elif column.kind == "text" or (column.kind == "id" and column.size > 2):
        spec = {"output": "sequence", "target": "text"}
    else:
        spec["target"] = "class"
        if column.why.endswith("whole numbers") and len(column.values) > 2:
            note += '; if their order matters: target = "number"'
    spec["column"] = column.name
    if spec["target"] == "text" and adapter == "speech":
        spec |= {"head": {"kind": "ctc"}, "metric": "word_error_rate"}
    elif spec["target"] == "text":
        spec["metric"] = "bleu"
    return TaskPlan(table_name(column.name), spec, f"{note} ({why})" if why else note)


# --- what was seen --------------------------------------------------------------------------------


def _add_seen(plan: Plan, columns: Sequence[Column], item: Column, split: Column | None) -> None:
    learned = {
        name
        for task in plan.tasks
        if task.active
        for name in task.spec.get("columns", [task.spec.get("column")])
    }
    guessed = {task.spec["column"] for task in plan.tasks if task.guessed}
    left = {task.spec.get("column") for task in plan.tasks if not task.active}
    for column in columns:
        role = (
            "THE ITEM" if column is item
            else "LABEL (A GUESS; to choose another: --label NAME)" if column.name in guessed
            else "LABEL" if column.name in learned
            else "split" if column is split
            else "group" if column.name == plan.data.get("group")
            else "left out (a comment in the recipe)" if column.name in left
            else "not used"
        )  # fmt: skip
        few = f" (in {column.filled:,} of {column.num:,} rows only)" if column.is_stray else ""
        plan.seen.append((column.name, f"{column.kind}: {column.why}{few} -> {role}"))
    for column in columns:
        if column.name in learned and column.limits:
            plan.odd.append(
                f"{column.name}: {column.limits[0]!r} is a limit, no number: training and score lack these "
                "labels, and so the values beyond it"
            )
    smiles = [column.name for column in columns if column.kind == "smiles"]
    if len(smiles) > 1:
        plan.odd.append(f"several columns hold molecules ({listed(smiles)}); an item has one: {item.name}")
