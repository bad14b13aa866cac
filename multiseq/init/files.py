"""What kind of data a file holds, by its name and its first lines; and which file is which split."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from multiseq.data.conll import COLUMNS, COMMENT, layout_of, word_line
from multiseq.data.conllu import is_conllu
from multiseq.data.formats import SPLITS
from multiseq.data.readers.text import is_fasttext
from multiseq.data.recordings import is_audio
from multiseq.data.records import DataError
from multiseq.data.tables import SEPARATORS, TABLES
from multiseq.data.text_files import WITH_PANDAS, lines_of, parse_json, suffix_of, text_of
from multiseq.init.columns import word_set

__all__ = [
    "BYTES",
    "Group",
    "encoding_of",
    "files_of",
    "groups_of",
    "kind_of",
    "labelled_separator",
    "language_of",
]

BYTES = "cp437"
"""An encoding in which all bytes are text, to look at a file before its encoding is known."""

LINES = 2000
"""Lines that are looked at to tell what a text file is."""

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("dev", "development", "val", "valid", "validation", "testa"), "dev"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "testb"), "test"),
}
"""A word in the name of a file or folder -> the split."""

IGNORED = re.compile(r"(readme|licen[cs]e|copying|authors|changelog|sha256sums|md5|citation)", re.IGNORECASE)
"""Names of files that come with data and are none."""

UNREAD = {
    ".smi": (
        "a SMILES and a name in each line, without labels; `multiseq predict RUN --input FILE` reads it; to "
        "train, save a table with a header and a column for each label, such as smiles,name,solubility"
    ),
    ".mol2": "molecules as MOL2 files; save them as .sdf or as a table with a column of SMILES",
    **dict.fromkeys(
        (".gml", ".gexf"), "networks; save them as GraphML, or as two tables, of nodes and of edges"
    ),
    **dict.fromkeys((".npz", ".npy", ".mat"), "arrays; save them as tables"),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth"), "pickled objects, which may run code and are never opened"
    ),
    **dict.fromkeys(
        (".phn", ".wrd"), "segments of TIMIT, in samples; save them as a table: file, start, end, label"
    ),
    **dict.fromkeys(
        (".xml", ".html", ".pdf", ".docx"), "documents; save the texts as a table or as JSON lines"
    ),
    **dict.fromkeys((".xls", ".ods"), "an old spreadsheet; save it as .xlsx or .csv"),
}
"""Suffix -> what the file is, and what to do with it."""

LANGUAGES = word_set(
    "af am ar as az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is "
    "it ja ka kk km kn ko lo lt lv mk ml mn mr ms my nb ne nl nn no pa pl ps pt ro ru si sk sl sq sr sv "
    "sw ta te th tl tr uk ur uz vi xh yo zh zu src tgt trg source target"
)
"""Endings of the names of aligned files: languages, or source and target."""


@dataclass
class Group:
    """The files of one data set.

    Args:
        name: What their names have in common.
        splits: Split -> its file. A single file without a split in its name is ``train``.
    """

    name: str
    splits: dict[str, Path] = field(default_factory=dict)


def files_of(paths: Iterable[Path]) -> list[Path]:
    """The files that were named, and those of folders that were named, without hidden ones and read-mes."""
    files = []
    for path in paths:
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
        inner = sorted(path.iterdir()) if path.is_dir() else [path]
        files += [p for p in inner if p.is_file() and not p.name.startswith(".")]
    named = [path for path in files if not IGNORED.search(path.name)]
    return named or files


def groups_of(files: Sequence[Path]) -> list[Group]:
    """Files whose names differ only in a word for the split are one data set.

    >>> [group.splits["test"].name for group in groups_of([Path("a-train.csv"), Path("a-test.csv")])]
    ['a-test.csv']
    """
    groups: dict[str, Group] = {}
    alone: list[tuple[str, Path]] = []
    for file in files:
        split, rest = _split_of(file)
        if split in groups.setdefault(rest, Group(rest)).splits:  # two files of one split and one name
            alone.append((split, file))
        else:
            groups[rest].splits[split] = file
    whole = [group for group in groups.values() if "train" in group.splits]
    for group in groups.values():
        if group in whole:
            continue
        # test_2016.en goes with train.en: the same ending, and no other data set with it
        fitting = [one for one in whole if _ending(one.name) == _ending(group.name)]
        for split, file in group.splits.items():
            if len(fitting) == 1 and split not in fitting[0].splits:
                fitting[0].splits[split] = file
            else:
                whole.append(Group(file.name, {"train": file}))
    return whole + [Group(file.name, {"train": file}) for _, file in alone]


def _split_of(file: Path) -> tuple[str, str]:
    """The split that a file's name says (train if it says none), and the rest of the name."""
    name = file.name.lower()
    for packed in (".gz", ".xz", ".zip"):
        name = name.removesuffix(packed)
    words = re.split(r"([._\- ])", name)
    for i, word in enumerate(words):
        if word in SPLIT_WORDS:
            rest = "".join(words[:i] + words[i + 1 :])
            return SPLIT_WORDS[word], re.sub(r"([._\- ])[._\- ]+", r"\1", rest).strip("._- ")
    return "train", name


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def language_of(file: Path) -> str:
    """The language, or source or target, at the end of a file's name; empty if there is none.

    >>> language_of(Path("train.en.gz")), language_of(Path("notes.txt"))
    ('en', '')
    """
    ending = suffix_of(file).removeprefix(".")
    return ending if re.split("[_-]", ending)[0] in LANGUAGES else ""


def encoding_of(path: Path) -> str:
    """The encoding of a text file: utf-8 (or what its byte order mark says), latin-1 or cp1252."""
    try:
        for _ in lines_of(path):
            pass
    except DataError as error:
        if ": not utf-8" not in str(error):
            raise
        controls = any(re.search("[\x80-\x9f]", line) for line in lines_of(path, "latin-1"))
        return "cp1252" if controls else "latin-1"
    return "utf-8"


def kind_of(path: Path, encoding: str = "utf-8") -> str:
    """What a file is: audio, archive, splits, lines (of text), or the name of a format.

    Raises:
        DataError: The file is nothing that multiseq reads. The message says what it seems to be.
    """
    suffix = suffix_of(path)
    if is_audio(path):
        return "audio"
    if suffix == ".tar":
        return "archive"
    if suffix == ".textgrid":
        return "textgrid"
    if suffix in UNREAD and not (suffix == ".smi" and _has_header(path, encoding)):
        raise DataError(f"{path}: {UNREAD[suffix]}")
    if suffix in TABLES and not (suffix in (".tsv", ".tab") and _has_numbered_words(path, encoding)):
        return "table"
    if suffix in (".sdf", ".graphml"):
        return suffix[1:]
    if suffix == ".json" and _is_splits(path):
        return "splits"
    with path.open("rb") as raw:
        if raw.read(9).startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"ccopy_reg")):
            raise DataError(f"{path}: {UNREAD['.pkl']}")
    lines = [line.rstrip("\r\n") for line in islice(lines_of(path, encoding), LINES)]
    filled = [line for line in lines if line.strip()]
    if not filled:
        raise DataError(f"{path}: empty")
    if suffix == ".conllu" or is_conllu(filled):
        return "conllu"
    if suffix in (".jsonl", ".ndjson") or _is_json_lines(filled):
        return "jsonl"
    if suffix == ".json":
        raise DataError(
            f"{path}: got JSON, expected one object a line (JSON lines); write it so, {WITH_PANDAS}"
        )
    if suffix == ".conll" or _has_tags(path, lines):
        return "conll"
    if labelled_separator(filled):
        return "labelled"
    widths = {len(line.split("\t")) for line in filled}
    return "table" if len(widths) == 1 and widths != {1} else "lines"


def _has_header(path: Path, encoding: str) -> bool:
    """Whether a ``.smi`` file is a table with tabs, whose first column is called SMILES."""
    return next(iter(lines_of(path, encoding)), "").lower().startswith("smiles\t")


def _is_splits(path: Path) -> bool:
    """Whether a JSON file lists row numbers of train and test, as ``split_file`` takes them."""
    try:
        content = parse_json(text_of(path))
    except ValueError:
        return False
    first = content.get("splits", [content])[:1] if isinstance(content, dict) else []
    lists = [
        isinstance(numbers, list) and all(type(i) is int for i in numbers[:5])
        for numbers in dict(*first).values()
    ]
    return bool(first) and "train" in first[0] and any(lists)


def _is_json_lines(lines: Sequence[str]) -> bool:
    try:
        return all(isinstance(parse_json(line), dict) for line in lines[:20])
    except (ValueError, json.JSONDecodeError):
        return False


def _has_numbered_words(path: Path, encoding: str) -> bool:
    """Whether the first column of a file with tabs counts words from 1 (GermEval 2014)."""
    return layout_of(islice(lines_of(path, encoding), LINES)).is_numbered


def _has_tags(path: Path, lines: Sequence[str]) -> bool:
    """Whether there are a word and its tags on each line, and empty lines between sentences (CoNLL-2003).

    Raises:
        DataError: There are, but in columns that nothing reads.
    """
    words = [line.split() for line in lines if word_line(line) and not COMMENT.match(line)]
    widths = {len(row) for row in words}
    empty = len(re.findall(r"\n\s*\n", "\n".join(lines).strip()))
    sentences = empty and len(words) / empty < 60
    if len(widths) != 1 or not sentences or len(words) <= 10:
        return False
    [width] = widths
    if width > max(COLUMNS):
        raise DataError(
            f"{path}: seems to have a word and its tags on each line, in {width} columns "
            f"({' '.join(words[0])!r}); expected 2 to {max(COLUMNS)} columns, or CoNLL-U; other columns need "
            'a recipe with format = "conll" and column_names = ["word", …]'
        )
    return width > 1


def labelled_separator(lines: Sequence[str]) -> str:
    """What stands between label and text if every line begins with a label; empty otherwise.

    In lines of fastText (`is_fasttext`), where labels may stand anywhere, it is a blank.
    Ordinary sentences also begin alike ("The", "I"), so labels are numbers, names in capitals, or
    words before a tab; and nearly all of them occur several times.
    """
    if is_fasttext(lines):
        return " "
    for separator in ("\t", " "):
        split = [line.partition(separator) for line in lines]
        if not all(between and text.strip() for _, between, text in split):
            continue
        if separator == "\t" and any("\t" in text for *_, text in split):
            continue
        labels = Counter(label for label, _, _ in split)
        often = sum(count for count in labels.values() if count > 1) / len(lines)
        marked = all(re.fullmatch(r"[+-]?\d{1,3}|[A-Z][A-Z_]+(:\w+)?", label) for label in labels)
        short = all(len(label.split()) <= 3 for label in labels)
        texts = sum(len(text.split()) for *_, text in split) / len(lines)
        few = len(labels) <= max(2, min(100, len(lines) / 3)) and often > 0.9 and short and texts >= 3
        if few and (marked or separator == "\t"):
            return separator
    return ""


def separator_of(path: Path, encoding: str) -> str | None:
    """The separator of a table whose name does not end in .csv; None for tabs, which need not be named."""
    first = next(iter(lines_of(path, encoding)), "")
    bare = re.sub('"[^"]*"', "", first)
    return None if "\t" in bare else next((s for s in SEPARATORS if s in bare), None)


def splits_in_order(group: Group) -> Iterator[tuple[str, Path]]:
    """The files of a data set: train, dev, test."""
    return ((split, group.splits[split]) for split in SPLITS if split in group.splits)
