"""Plans for every layout of files: tables, treebanks, aligned or labelled lines, folders, networks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from multiseq.data.bad_rows import BadRows
from multiseq.data.conllu import labels_in
from multiseq.data.formats import SPLIT_NAMES
from multiseq.data.graphs.graphml import DEGREE, networks_of
from multiseq.data.kaldi import is_kaldi
from multiseq.data.readers.text import is_fasttext
from multiseq.data.recordings import AUDIO, is_audio
from multiseq.data.records import DataError, Records
from multiseq.data.tables import open_table
from multiseq.data.text_files import lines_of, parse_json, suffix_of, text_of
from multiseq.data.textgrids import is_grid
from multiseq.data.timit import is_timit
from multiseq.init.columns import SAMPLE, Column, look_at
from multiseq.init.files import (
    BYTES,
    LINES,
    SPLIT_WORDS,
    UNREAD,
    Group,
    encoding_of,
    files_of,
    groups_of,
    kind_of,
    labelled_separator,
    language_of,
    separator_of,
    splits_in_order,
)
from multiseq.init.networks import large_network, plan_published, plan_webnlg
from multiseq.init.plan import Plan, TaskPlan, listed, table_name
from multiseq.init.speech import plan_annotated
from multiseq.init.tables import (
    Wish,
    add_decimal,
    add_shares,
    columns_of,
    plan_molecules,
    plan_rows,
    plan_triples,
)

__all__ = ["plan_for"]

Kinds = dict[Path, tuple[str, str]]
"""File -> (what `kind_of` says, its encoding)."""

GRAPHS = 500
"""GraphML files that are looked at."""

TEXT_KINDS = ("conllu", "conll", "jsonl", "labelled", "lines", "sdf")
"""Kinds of files that are always text."""

FEATURES = 3
"""Features of words that are offered as further tasks."""

TEXTUAL = (".txt", ".md", "")
SOURCES = (
    ("source", "target"),
    ("src", "dst"),
    ("from", "to"),
    ("id_1", "id_2"),
    ("head", "tail"),
    ("u", "v"),
)
"""Names of the two columns of a table of edges."""


def plan_for(paths: Sequence[Path], wish: Wish) -> Plan:
    """Look at files and folders, and plan a recipe for the data set in them.

    Raises:
        DataError: There is no data set, or there are several, or it cannot be read. The message says what was
            seen and what to do.
    """
    annotated = plan_annotated(paths, wish, table_name(_stem(paths[0]))) if _is_annotated(paths) else None
    if annotated is not None:
        return annotated
    facts = plan_webnlg(paths, table_name(_stem(paths[0])))
    if facts is not None:
        return facts
    if len(paths) == 1 and paths[0].is_dir():
        by_class = _plan_folders(paths[0])
        if by_class is not None:
            return by_class
        _refuse_nested(paths[0])
    name = table_name(_stem(paths[0]))
    published = plan_published(paths, name)
    if published is not None:
        return published
    files = files_of(paths)
    kinds, unread = _kinds(files)
    if not kinds:
        raise unread[0] if unread else DataError(f"{paths[0]}: {_nothing(paths[0])}")
    plan = _plan_files(paths, kinds, wish, name, unread)
    plan.odd += [f"not read: {error}" for error in unread[:3]]
    return plan


def _nothing(path: Path) -> str:
    """Why there is no data in a folder or file."""
    classes = _classes(path) if path.is_dir() else {}
    if len(classes) == 1:
        return f"got files of one class, {next(iter(classes))!r}, expected a folder for each of two or more"
    return "nothing in it that could be data"


def _is_annotated(paths: Sequence[Path]) -> bool:
    """Whether TextGrids, TIMIT or data folders of Kaldi may be meant, and no other data beside them."""
    if len(paths) > 1 or not paths[0].is_dir() or is_kaldi(paths[0]) or is_timit(paths[0]):
        return True
    beside = [p for p in files_of(paths) if not is_grid(p) and not is_audio(p) and suffix_of(p) != ".tar"]
    return not any(map(_is_data, beside))


def _stem(path: Path) -> str:
    """The name of a data set: of its folder, or of its file without endings and the word for the split."""
    path = path.resolve()
    if path.is_dir():
        return path.name
    words = path.name.split(".")[0].replace("-", "_").split("_")
    kept = [word for word in words if word.lower() not in SPLIT_WORDS]
    return "_".join(kept) or path.parent.name


def _kinds(files: Sequence[Path]) -> tuple[Kinds, list[DataError]]:
    """File -> (kind, encoding); and what could not be read."""
    kinds: Kinds = {}
    errors = []
    for file in files:
        if is_audio(file):
            kinds[file] = ("audio", "")
            continue
        try:
            kind = kind_of(file, BYTES)  # what it is does not depend on letters outside ASCII
            text = kind in TEXT_KINDS or _is_text_table(file, kind)
            encoding = encoding_of(file) if text else "utf-8"
            if kind in ("table", "jsonl", "sdf"):
                columns_of(file, kind, encoding)
            kinds[file] = (kind, encoding)
        except DataError as error:
            errors.append(error)
    return kinds, errors


def _is_text_table(file: Path, kind: str) -> bool:
    return kind == "table" and not file.name.lower().endswith((".parquet", ".xlsx", ".xlsm"))


def _plan_files(
    paths: Sequence[Path], kinds: Kinds, wish: Wish, name: str, unread: Sequence[DataError]
) -> Plan:
    def of(*wanted: str) -> list[Path]:
        return [file for file, (kind, _) in kinds.items() if kind in wanted]

    aligned = _aligned(of("lines", "labelled"))
    if aligned:
        return _plan_aligned(aligned, kinds, name)
    tables = of("table")
    network = _network_tables(tables, kinds)
    if network is not None:
        return _plan_network(*network, kinds, name)
    for wanted in ("conllu", "conll", "sdf", "jsonl", "table", "labelled"):
        groups = groups_of(of(wanted))
        segments = _segment_tables(groups, kinds) if wanted == "table" else []
        groups = [group for group in groups if group not in segments]
        if len(groups) > 1:
            raise DataError(_several_sets(paths[0], groups))
        if groups:
            plan = _plan_group(groups[0], wanted, kinds, wish, name)
            _add_split_file(plan, of("splits"))
            _add_segments(plan, segments)
            return plan
    if of("graphml"):
        return _plan_graphml(paths[0], of("graphml"), wish, name)
    if of("audio"):
        return _plan_audio(paths[0], of("audio"), name)
    if of("archive"):
        raise DataError(f"{of('archive')[0]}: an archive; unpack it, and name the folder")
    saw = ", ".join(f"{file.name} ({kind})" for file, (kind, _) in list(kinds.items())[:5])
    first = next(iter(kinds))
    if of("lines"):
        if len(of("lines")) > 1 and len({file.name.split(".")[0] for file in of("lines")}) == 1:
            return _plan_classes(of("lines"), kinds, name)
        if unread:
            raise unread[0]
        line = next(iter(lines_of(first, kinds[first][1])), "").strip()[:60]
        raise DataError(
            f"{first}: lines of text without labels, such as {line!r}; expected a label in each line, "
            "a table, or a second file with a line for each of these (names such as a.en and a.de)"
        )
    raise DataError(f"{paths[0]}: nothing to learn from; saw {saw}")


def _plan_group(group: Group, kind: str, kinds: Kinds, wish: Wish, name: str) -> Plan:
    encoding = _encoding([file for _, file in splits_in_order(group)], kinds)
    if kind == "conllu":
        return _plan_conllu(group, encoding, name)
    if kind == "conll":
        return _plan_conll(group, encoding, name)
    if kind == "labelled":
        return _plan_labelled(group, encoding, name)
    if kind == "sdf":
        return plan_molecules(group, encoding, wish, name)
    triples = plan_triples(group, encoding, wish, name) if kind == "table" else None
    return triples or plan_rows(group, kind, encoding, wish, name)


def _add_split_file(plan: Plan, files: Sequence[Path]) -> None:
    """Use a file of row numbers instead of shares, if there is one that the reader takes."""
    if not files or not isinstance(plan.data.get("test"), float) or "train" not in plan.data:
        return
    for file in files:
        content = parse_json(text_of(file))
        splits = content.get("splits", [content])[0]
        more = [
            key for key, numbers in splits.items() if isinstance(numbers, list) and key not in SPLIT_NAMES
        ]
        if more:
            plan.odd.append(
                f"{file.name} is not used: it has rows under {listed(more)} besides train, dev and test"
            )
            continue
        for key in ("dev", "test"):
            del plan.data[key]
            plan.notes.pop(key, None)
        plan.data = {**plan.data, "file": plan.data["train"], "split_file": file}
        del plan.data["train"]
        others = [other.name for other in files if other != file]
        plan.notes["split_file"] = f"not used: {listed(others)}" if others else "rows of train, dev and test"
        if "splits" in content:
            plan.data["fold"] = 0
            plan.notes["fold"] = f"the first of {len(content['splits'])}"
        return


def _encoding(files: Sequence[Path], kinds: Kinds) -> str:
    """The encoding of several files; a recipe has one for all of them."""
    encodings = {kinds[file][1] for file in files}
    return next((encoding for encoding in ("cp1252", "latin-1") if encoding in encodings), "utf-8")


def _several_sets(path: Path, groups: Sequence[Group]) -> str:
    shown = "; or ".join(" ".join(file.name for _, file in splits_in_order(group)) for group in groups[:4])
    return f"{path}: got {len(groups)} data sets, expected one; name the files of one of them: {shown}"


# --- text -----------------------------------------------------------------------------------------


def _plan_conllu(group: Group, encoding: str, name: str) -> Plan:
    from multiseq.data.readers import read_conllu

    plan, columns = _plan_sentences(group, encoding, name, "conllu", read_conllu)
    _add_tags(plan, columns, ("upos", "xpos", "deprel", "lemma"))
    plan.tasks += _feature_tasks(columns["feats"])
    return plan


def _plan_conll(group: Group, encoding: str, name: str) -> Plan:
    from multiseq.data.readers import read_conll

    plan, columns = _plan_sentences(group, encoding, name, "conll", read_conll)
    last = "ner" if "ner" in columns else next(reversed(columns), "")
    _add_tags(plan, columns, [last, *(name for name in reversed(columns) if name != last)])
    return plan


def _plan_sentences(
    group: Group, encoding: str, name: str, format_: str, read: Callable[..., Records]
) -> tuple[Plan, dict[str, list[Any]]]:
    """A plan for sentences with a word on each line, without its tasks; and the label columns.

    Raises:
        DataError: Most sentences cannot be read.
    """
    plan = Plan(name, "text", {"format": format_, **dict(splits_in_order(group))})
    if encoding != "utf-8":
        plan.data["encoding"] = encoding
    add_shares(plan)
    first, bad = next(splits_in_order(group))[1], BadRows()
    records = read(first, encoding=encoding, reject=bad.add)
    if bad.rows and not records.items:
        raise DataError(f"{bad.rows[0].location}: {bad.rows[0].reason}")
    bad.check(0, len(records.items), str(first))
    return plan, records.columns


def _add_tags(plan: Plan, columns: Mapping[str, Sequence[Any]], wanted: Sequence[str]) -> None:
    """A task for each of the wanted columns that has labels. All but the first are offered as comments."""
    for column in wanted:
        labels = Counter(label for row in columns[column] for label in row if label is not None)
        if not labels:
            continue
        active = not plan.tasks and column != "lemma"
        why = f"{len(labels):,} classes of words" + ("" if active else "; remove the # to learn it too")
        spec = {"output": "vector", "target": "class", "column": column}
        if column != "lemma":
            plan.tasks.append(TaskPlan(column, spec, why, active))
        plan.seen.append(
            (column, f"{len(labels):,} different -> {'LABEL of each word' if active else 'left out'}")
        )


def _feature_tasks(sentences: Sequence[Sequence[str | None]]) -> list[TaskPlan]:
    """All features of words as one set, and the most frequent ones, such as Case, as alternatives."""
    values: dict[str, Counter[str]] = {}
    cells = (feats for words in sentences for feats in words if feats is not None)
    for pair in (pair for feats in cells for pair in labels_in(feats, "feats")):
        name, _, value = pair.partition("=")
        values.setdefault(name, Counter())[value] += 1
    often = sorted((name for name in values if len(values[name]) > 1), key=lambda n: -values[n].total())
    spec = {"output": "vector", "target": "multilabel", "column": "feats"}
    whole = TaskPlan("feats", spec, "all features of a word, as a set; remove the # to learn it too", False)
    single = [
        TaskPlan(
            table_name(name),
            {"output": "vector", "target": "class", "column": name},
            f"{listed(list(values[name]))}; remove the # to learn it too",
            False,
        )
        for name in often[:FEATURES]
    ]
    return [whole, *single] if values else []


def _plan_labelled(group: Group, encoding: str, name: str) -> Plan:
    from multiseq.data.readers import read_labelled

    files = dict(splits_in_order(group))
    lines = [line.rstrip("\r\n") for line in lines_of(files["train"], encoding)]
    filled = [line for line in lines if line.strip()]
    separator = labelled_separator(filled[:LINES])
    records = read_labelled(
        files["train"], separator=separator, encoding=encoding, reject=BadRows().add
    )  # bad lines are listed when all the data is read
    data: dict[str, Any] = {"format": "labelled", **files}
    plan = Plan(name, "text", data)
    if separator != " ":
        data["separator"] = separator
    if encoding != "utf-8":
        data["encoding"] = encoding
    add_shares(plan)
    values = records.columns["label"]
    labels = Counter(label for value in values for label in (value if isinstance(value, list) else [value]))
    target = "multilabel" if any(isinstance(value, list) for value in values) else "class"
    example = listed(sorted(labels, key=lambda label: -labels[label]))
    where = "in the lines, as in fastText" if is_fasttext(filled) else "at the beginning of the lines"
    why = f"{len(labels):,} labels {where}: {example}"
    plan.tasks.append(TaskPlan("label", {"output": "set", "target": target, "column": "label"}, why))
    coarse = {label.partition(":")[0] for label in labels}
    if len(coarse) < len(labels):
        spec = {"output": "set", "target": target, "column": "coarse"}
        plan.tasks.append(TaskPlan("coarse", spec, f"the part before the colon: {listed(sorted(coarse))}"))
    plan.seen.append(("label", f"{why} -> LABEL"))
    plan.seen.append(("text", "the rest of the line -> THE ITEM"))
    return plan


def _aligned(files: Sequence[Path]) -> dict[str, dict[str, Path]]:
    """Language -> split -> file, if the files are aligned lines in two languages or more."""
    by_language: dict[str, dict[str, Path]] = {}
    for group in groups_of([file for file in files if language_of(file)]):
        for split, file in splits_in_order(group):
            by_language.setdefault(language_of(file), {}).setdefault(split, file)
    return by_language if len(by_language) > 1 else {}


def _plan_aligned(files: dict[str, dict[str, Path]], kinds: Kinds, name: str) -> Plan:
    first = next((one for one in ("source", "src", "input", "en") if one in files), min(files))
    others = sorted(language for language in files if language != first)
    second = others[0]
    splits = {
        s: [files[first][s], files[second][s]]
        for s in ("train", "dev", "test")
        if s in files[first] and s in files[second]
    }
    if "train" not in splits:
        raise DataError(
            f"{name}: no file of {first} has a partner in {second}; names must agree up to the ending"
        )
    plan = Plan(name, "text", {"format": "lines", **{split: list(pair) for split, pair in splits.items()}})
    encoding = _encoding([file for pair in splits.values() for file in pair], kinds)
    if encoding != "utf-8":
        plan.data["encoding"] = encoding
    add_shares(plan)
    spec = {"output": "sequence", "target": "text", "tokens": "piece", "column": "target", "metric": "bleu"}
    plan.tasks.append(
        TaskPlan("translation", spec, f"from {first} to {second}; exchange the files for the other direction")
    )
    plan.seen.append((first, f"{splits['train'][0].name} -> THE ITEM"))
    plan.seen.append((second, f"{splits['train'][1].name} -> the text to write"))
    plan.seen += [(language, "not used") for language in others[1:]]
    return plan


def _plan_classes(files: Sequence[Path], kinds: Kinds, name: str) -> Plan:
    """A plan for files of lines whose names agree up to the ending, which is the class."""
    files = sorted(files)
    classes = [file.suffix.removeprefix(".") for file in files]
    plan = Plan(name, "text", {"format": "files", "train": files, "classes": classes})
    encoding = _encoding(files, kinds)
    if encoding != "utf-8":
        plan.data["encoding"] = encoding
    add_shares(plan)
    why = f"{len(files)} files of lines: {listed(classes)}"
    plan.tasks.append(TaskPlan("label", {"output": "set", "target": "class", "column": "label"}, why))
    plan.seen.append(("files", f"{why} -> LABEL"))
    plan.seen.append(("lines", "their lines -> THE ITEMS"))
    return plan


# --- speech and folders ---------------------------------------------------------------------------


def _plan_folders(folder: Path) -> Plan | None:
    """A plan for a folder of folders by class, or for train and test folders of those."""
    inner = [p for p in sorted(folder.iterdir()) if p.is_dir() and not p.name.startswith(".")]
    splits = {SPLIT_WORDS[p.name.lower()]: p for p in inner if p.name.lower() in SPLIT_WORDS}
    roots = splits if "train" in splits else {"train": folder}
    counts = {split: _classes(root) for split, root in roots.items()}
    beside = [p for p in files_of([folder]) if p.is_file()]
    if len(counts["train"]) < 2 or (not splits and any(map(_is_data, beside))):
        return None
    kinds = Counter(kind for count in counts.values() for _, kind in count.values())
    if len(kinds) > 1:
        raise DataError(f"{folder}: got folders of {' and of '.join(kinds)}, expected one kind of file")
    adapter = "speech" if "recordings" in kinds else "text"
    plan = Plan(table_name(folder.resolve().name), adapter, {"format": "folders", **roots})
    add_shares(plan)
    total = sum(num for num, _ in counts["train"].values())
    names = listed([f"{name} ({num:,})" for name, (num, _) in counts["train"].items()])
    why = f"{len(counts['train'])} folders: {names}"
    plan.tasks.append(TaskPlan("label", {"output": "set", "target": "class", "column": "label"}, why))
    plan.seen.append(("folders", f"{why} -> LABEL"))
    plan.seen.append(("files", f"{total:,} {next(iter(kinds))} -> THE ITEMS"))
    unseen = {name for count in counts.values() for name in count} - set(counts["train"])
    if unseen:
        plan.odd.append(f"folders that are not in train: {listed(sorted(unseen))}")
    if beside:
        plan.odd.append(f"files beside the folders, which are not read: {listed([p.name for p in beside])}")
    return plan


def _refuse_nested(folder: Path) -> None:
    """Raise DataError if most files in the folders below are of a layout that nothing reads yet."""
    files = [p for p in islice(folder.glob("*/**/*"), 5000) if p.is_file()]
    suffixes = Counter(p.suffix.lower() for p in files)
    for suffix, count in suffixes.most_common(4):
        if suffix in UNREAD and count > len(files) / 10:
            example = next(p for p in files if p.suffix.lower() == suffix)
            raise DataError(f"{example}: {UNREAD[suffix]} ({count:,} such files in {folder})")


def _is_data(path: Path) -> bool:
    """Whether a file beside folders may be a data set itself. Lines of text without labels are notes."""
    if path.suffix.lower() in (".md", ".html", ""):
        return False
    try:
        return is_audio(path) or kind_of(path, BYTES) != "lines"
    except DataError:
        return True


def _classes(root: Path) -> dict[str, tuple[int, str]]:
    """Folder of a class -> (number of files, texts or recordings)."""
    classes = {}
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        suffixes = Counter(
            p.suffix.lower() for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")
        )
        audio = sum(suffixes[suffix] for suffix in AUDIO)
        texts = sum(suffixes[suffix] for suffix in TEXTUAL)
        if audio + texts and max(audio, texts) > 0.5 * suffixes.total():
            classes[folder.name] = (audio, "recordings") if audio >= texts else (texts, "texts")
    return classes


def _plan_audio(path: Path, files: Sequence[Path], name: str) -> Plan:
    """Recordings and nothing that says what is in them: the recipe asks for a table."""
    folder = files[0].parent
    plan = Plan(
        name,
        "speech",
        {"format": "recordings", "train": folder / "labels.csv", "input": "file", "audio": folder},
    )
    plan.notes["train"] = "make this table: a first line `file,label`, then a line for each recording"
    add_shares(plan)
    plan.tasks.append(
        TaskPlan(
            "label",
            {"output": "set", "target": "class", "column": "label"},
            "a class for each recording",
            False,
        )
    )
    said = {"output": "sequence", "target": "text", "column": "text", "head": {"kind": "ctc"}}
    plan.tasks.append(TaskPlan("text", said, "speech recognition: what is said, in a column `text`", False))
    plan.seen.append((str(path), f"{len(files):,} recordings ({files[0].name} …) -> THE ITEMS"))
    plan.question = (
        f"what should be learned from the {len(files):,} recordings? Nothing says what is in them. "
        f"Write the table labels.csv (columns file and label, or text) into {folder.name}, and remove the # "
        "of a task below."
    )
    return plan


# --- networks -------------------------------------------------------------------------------------


def _network_tables(tables: Sequence[Path], kinds: Kinds) -> tuple[Path, list[Column], Path] | None:
    """The table of nodes and the table of edges with their columns, if two of the tables are these."""
    looked = {file: columns_of(file, "table", kinds[file][1]) for file in tables} if len(tables) > 1 else {}
    edges = [file for file, columns in looked.items() if _ends(columns)]
    nodes = [file for file in looked if file not in edges]
    if len(edges) != 1 or not nodes:
        return None
    best = next((file for file in nodes if "node" in {column.name for column in looked[file]}), nodes[0])
    return best, looked[best], edges[0]


def _ends(columns: Sequence[Column]) -> tuple[str, str] | None:
    names = {column.name.lower(): column.name for column in columns}
    return next(((names[a], names[b]) for a, b in SOURCES if a in names and b in names), None)


def _plan_network(
    nodes: Path,
    columns: Sequence[Column],
    edges: Path,
    kinds: Kinds,
    name: str,
) -> Plan:
    node = next((column for column in columns if column.name == "node"), columns[0])
    graph = None if columns[0] is node else columns[0]
    free = [column for column in columns if column not in (node, graph)]
    split = next((column for column in free if column.kind == "split"), None)
    candidates = [c for c in free if c is not split and c.is_label]
    labels = [c for c in candidates if c.likely == 2] or candidates[-1:]
    seen = [c for c in free if c is not split and c not in labels and c.kind in ("class", "number")]
    features = [c.name for c in seen if c.kind == "class" or _all_numbers(c)]
    data: dict[str, Any] = {"format": "networks", "file": nodes, "edges": edges, "features": features}
    plan = Plan(name, "graph", data, {"features": "what the model sees of each node"})
    for column in seen:
        if column.name not in features:
            strange = f"cells such as {column.missing[0]!r}" if column.missing else "empty cells"
            plan.odd.append(
                f"{column.name}: among its numbers are {strange}, so the model does not see it; fill them "
                "in, and add it to features"
            )
    large_network(plan, sum(len(lines) for lines, _ in open_table(nodes, encoding=BYTES).batches))
    ids = next((file for file in kinds if _are_ids(file)), None)
    if ids is not None:
        data["ids"] = ids
        plan.notes["ids"] = "lists of ids of the nodes"
        plan.seen.append((ids.name, "ids of each node -> seen by the model"))
        if not features:
            del data["features"]
    encoding = _encoding([nodes, edges], kinds)
    if encoding != "utf-8":
        data["encoding"] = encoding
    separator = separator_of(nodes, encoding)
    if separator and nodes.suffix.lower() != ".csv":
        data["separator"] = separator
    add_decimal(plan, [*free, *columns_of(edges, "table", encoding)], separator)
    if split is not None:
        data["split_column"] = split.name
        plan.notes["split_column"] = split.why
    else:
        add_shares(plan, "nodes" if graph is None else "networks")
    for column in labels:
        is_number = column.kind == "number" and not column.missing  # a bad label would cost its network
        target = "number" if is_number else "class"
        spec = {"output": "vector", "target": target, "column": column.name}
        plan.tasks.append(TaskPlan(table_name(column.name), spec, f"of each node; {column.why}"))
    if not plan.tasks:
        plan.question = "what should be learned of the nodes? No column looks like a label."
    elif not features and ids is None:
        plan.question = "what does the model see of a node? No column but the label holds classes or numbers."
    roles = dict.fromkeys(features, "seen by the model") | {c.name: "LABEL of each node" for c in labels}
    for column in columns:
        role = roles.get(column.name, "split" if column is split else "not used")
        plan.seen.append((column.name, f"{column.kind}: {column.why} -> {role}"))
    return plan


def _all_numbers(column: Column) -> bool:
    """Whether each cell holds a number: with words in it, each number would be a category."""
    return column.kind == "number" and not column.missing and column.filled == column.num


def _are_ids(file: Path) -> bool:
    """Whether a file is ``{"node": [3, 17, 2045], …}`` in JSON."""
    if suffix_of(file) != ".json":
        return False
    try:
        values = list(parse_json(text_of(file)).values())
    except (ValueError, AttributeError):
        return False
    return bool(values) and all(isinstance(v, list) and {int} >= set(map(type, v)) for v in values)


def _plan_graphml(path: Path, files: Sequence[Path], wish: Wish, name: str) -> Plan:
    """A plan for one network with labels of its nodes, or for several graphs with labels."""
    graphs = [graph for file in files[:GRAPHS] for _, graph in networks_of(file)]
    members = [attributes for graph in graphs for _, attributes in graph.nodes(data=True)]
    nodes = _attributes(members)
    wholes = [c for c in _attributes([g.graph for g in graphs]) if not c.name.endswith("_default")]
    of_graphs = len(graphs) > 1 and any(column.is_label for column in wholes)
    candidates = [c for c in (wholes if of_graphs else nodes) if c.is_label]
    named = [c for c in candidates if c.name in wish.labels]
    labels = named or [c for c in candidates if c.likely == 2] or candidates[-1:]
    taken = () if of_graphs else labels
    seen = [c for c in nodes if c not in taken and c.kind in ("class", "number") and c.filled == c.num]
    features = [c.name for c in seen] or [DEGREE]
    key = "file" if len(graphs) == 1 else "train"
    data = {"format": "graphml", key: path if path.is_dir() else files[0], "features": features}
    plan = Plan(name, "graph", data, {"features": "what the model sees of each node"})
    add_shares(plan, "nodes" if len(graphs) == 1 else "graphs")
    for column in labels:
        target = "number" if column.kind == "number" else "class"
        spec = {"output": "set" if of_graphs else "vector", "target": target, "column": column.name}
        of = "each graph" if of_graphs else "each node"
        plan.tasks.append(TaskPlan(table_name(column.name), spec, f"of {of}; {column.why}"))
    if not plan.tasks:
        plan.question = "what should be learned? No attribute of graphs or nodes looks like a label."
    for column in [*wholes, *nodes]:
        role = "LABEL" if column in labels else "seen by the model" if column in seen else "not used"
        plan.seen.append((column.name, f"{column.kind}: {column.why} -> {role}"))
    return plan


def _attributes(entries: Sequence[Mapping[str, Any]]) -> list[Column]:
    names = dict.fromkeys(name for entry in entries for name in entry)
    return [look_at(name, [entry.get(name) for entry in entries[:SAMPLE]]) for name in names]


# --- segments -------------------------------------------------------------------------------------


def _segment_tables(groups: Sequence[Group], kinds: Kinds) -> list[Group]:
    """The tables of segments (file, start, end, label), which belong to a table of recordings."""

    def is_segments(group: Group) -> bool:
        file = next(splits_in_order(group))[1]
        names = [column.name for column in columns_of(file, *kinds[file])]
        return len(names) == 4 and names[1].startswith("start") and names[2].startswith("end")

    return list(filter(is_segments, groups)) if len(groups) > 1 else []


def _add_segments(plan: Plan, groups: Sequence[Group]) -> None:
    if not groups or plan.data["format"] != "recordings":
        return
    plan.data["segments"] = next(splits_in_order(groups[0]))[1]
    first = not any(task.active for task in plan.tasks)
    spec = {"output": "vector", "target": "class", "column": "segments"}
    why = "a label for each moment, from the table of segments"
    plan.tasks.append(
        TaskPlan("segments", spec, why + ("" if first else "; remove the # to learn it"), first)
    )
    plan.question = "" if first else plan.question
