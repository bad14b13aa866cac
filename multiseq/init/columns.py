"""What the columns of a table hold: texts, recordings, SMILES, classes, numbers, ids, dates, names of splits.

A guess is made from a sample of the cells and from the column's name. The rules and their reasons:
docs/decisions/0020-guessing.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from multiseq.data.formats import SPLIT_NAMES
from multiseq.data.recordings import is_audio
from multiseq.labels import LIMITS, MISSING_WORDS, decimal_mark, with_point
from multiseq.requires import MissingLibraryError, need

__all__ = ["SAMPLE", "Column", "decimal_of", "is_limit", "is_smiles", "look_at", "word_set", "words_of"]

SAMPLE = 10_000
"""Number of rows that guesses are made from."""
FEW_CLASSES = 20
"""Whole numbers with more different values are numbers, not classes."""
ENOUGH = 10
"""From so many numbers on, a column may hold them although many of its cells hold words."""
OFTEN = 5
"""A class occurs so many times on average. Rarer whole numbers are numbers, rarer words are texts or ids."""


def word_set(words: str) -> frozenset[str]:
    """A set of words from one text.

    >>> sorted(word_set("id ids"))
    ['id', 'ids']
    """
    return frozenset(words.split())


LABELS = word_set(
    "label labels class classes target targets y sentiment category categories genre genres topic "
    "topics tag tags stars rating score polarity emotion intent toxic toxicity spam gold outcome grade "
    "activity active solubility logp logs logd lipo pic50 ic50 measured affinity quality relevance "
    "verdict upos pos ner"
)
"""Words in the name of a column that is probably a label."""
TEXTS = (
    *("text", "sentence", "review", "comment", "content", "body", "message", "tweet", "post", "document"),
    *("article", "abstract", "question", "utterance", "transcript", "description", "title", "premise"),
)
"""Words in the name of a column that is probably the text to learn from, the most likely first."""
GROUPS = word_set(
    "speaker subject patient user author scaffold participant session customer sprecher kunde nutzer autor"
)
"""Words in the name of a column whose values should not be divided between training and test."""
IDS = word_set(
    "id ids uuid guid key index idx row number nr no utt utterance_id doi url link hash phone zip "
    "zipcode postal postcode plz isbn sku inchi inchikey"
)
"""Words in the name of a column that names or numbers its row, and is nothing to learn."""
MANY = 20
"""From this number of different ids on, of which each has several rows, they are groups by themselves."""
MEASURES = word_set("n num mol mw count duration seconds length lat lon latitude longitude predicted year")
"""Words in the name of a column that describes the item, and is rarely what should be learned."""
TIMES = word_set("date time timestamp datetime created updated")
MISSING = MISSING_WORDS | word_set(". unknown unk n.d. nd")
"""What people write, in small letters, in a cell of numbers that has none."""

_NUMBER = re.compile(
    r"[+-]?(\d+([.,]\d*)?|[.,]\d+|[1-9]\d{0,2}((\.\d{3})+(,\d+)?|(,\d{3})+(\.\d+)?|([ ']\d{3})+([.,]\d+)?))"
    r"([eE][+-]?\d+)?"
)
_LIMIT = re.compile(rf"[{''.join(LIMITS)}]=?\s?({_NUMBER.pattern})")
"""A number that is only known to be below or above another one, as in "<0.5"."""
_WITH_UNIT = re.compile(
    r"(?P<before>(?:[^\w\s.,+<>≤≥~-]|EUR|USD|GBP|CHF|Rs\.?)\s?)?"
    rf"(?:{_NUMBER.pattern})(?P<after>\s?[^\d\s.,+_-][^\d\s]{{0,7}})?"
)
"""A number with a currency before it, or with a percent sign, currency or unit after it."""
_DATE = re.compile(
    r"(\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.]\d{2,4})([T ]\d{1,2}:\d{2}.*)?"
    r"|\d{1,2}:\d{2}(:\d{2})?"
)
_SMILES = re.compile(r"[A-Za-z0-9@+\-\[\]()=#$:/\\.%*]+")
_BONDS = re.compile(r"[\[\]()=#@/\\\d]")


def words_of(name: str) -> list[str]:
    """The words of a column's name, in lower case, without a unit in brackets.

    >>> words_of("measured logS (mol/L)"), words_of("userID"), words_of("HIV_active")
    (['measured', 'logs'], ['user', 'id'], ['hiv', 'active'])
    """
    name = re.sub(r"(?<=.)\s*[(\[][^)\]]*[)\]]", "", name)
    split = re.sub(r"(?<=[a-z])(?=[A-Z][a-z]|ID\b|Id\b)", " ", name)
    split = re.sub(r"\bnumber of\b", "num", split, flags=re.IGNORECASE)
    return [word.lower() for word in re.split(r"[\W_]+", split) if word]


@dataclass(frozen=True)
class Column:
    """What a column holds, as far as a sample shows.

    Args:
        name: Its name.
        kind: ``text``, ``audio``, ``smiles``, ``class``, ``classes`` (several in a cell), ``number``, ``id``,
            ``date``, ``split``, ``empty``, ``constant``, ``words`` (a list of texts), ``labels`` (a list of
            labels), ``triples``, ``graph`` or ``other``.
        why: The reason, for people.
        num: Number of cells in the sample.
        filled: Number of cells that are not empty.
        values: The different values and how often they occur; for lists, their entries.
        size: Mean number of words in a text, or of entries in a list.
        missing: Words for a missing number in a column of numbers, such as ``n/a``.
    """

    name: str
    kind: str
    why: str
    num: int
    filled: int
    values: Mapping[Any, int] = field(repr=False)
    size: float = 1.0
    missing: Sequence[str] = ()

    @cached_property
    def words(self) -> set[str]:
        """The words of its name."""
        return set(words_of(self.name))

    @property
    def is_group(self) -> bool:
        """Whether its values are people or things that several rows come from."""
        codes = self.kind == "id" and len(self.values) >= MANY
        return (bool(self.words & GROUPS) or codes) and 1 < len(self.values) <= self.filled / 2

    @property
    def is_stray(self) -> bool:
        """Whether nearly no row has a cell in it, as with a key that is written wrongly in one line."""
        return 0 < self.filled <= max(1, self.num / 200) and self.num >= ENOUGH

    @cached_property
    def marks(self) -> Counter[str]:
        """The decimal marks of its numbers, as `multiseq.labels.decimal_mark` names them, and how often."""
        marks: Counter[str] = Counter()
        for value, count in self.values.items() if self.kind == "number" else ():
            marks[decimal_mark(str(value))] += count
        return marks

    @property
    def limits(self) -> list[str]:
        """Those of its missing numbers that are limits, such as ``<0.5``."""
        return list(filter(is_limit, self.missing))

    @property
    def is_label(self) -> bool:
        """Whether it could be what should be learned."""
        return self.kind in ("class", "classes", "number", "labels")

    @property
    def likely(self) -> int:
        """How likely it is a label by its name: 2 if a word says so, 1, or 0 for measures and groups."""
        named = bool(self.words & LABELS) or self.name.lower() in LABELS
        if self.words & MEASURES or (self.words & GROUPS and not named):
            return 0
        return 2 if named or self.name.lower().startswith(("is_", "has_")) else 1


def look_at(name: str, cells: Sequence[Any]) -> Column:
    """Guess what a column holds from a sample of its cells.

    >>> look_at("stars", ["1", "5", "4", "1", "5", "4", "1", "5", "4", "1"]).kind
    'number'
    >>> look_at("zip", ["01069", "01099", "01069"]).kind, look_at("when", ["2024-02-01", "2024-02-03"]).kind
    ('id', 'date')
    """
    filled = [cell for cell in cells if cell is not None and cell != "" and cell == cell]
    if not filled:
        return Column(name, "empty", "no cell is filled", len(cells), 0, {})
    if any(isinstance(cell, list | dict) for cell in filled):
        return _structured(name, cells, filled)
    texts = [str(cell).strip() for cell in filled]
    values = Counter(texts)
    size = sum(len(text.split()) for text in texts) / len(texts)
    kind, why = _kind(name, texts, values, size)
    missing: list[str] = []
    if numbers := _numbers_among(name, texts):
        (kind, why), missing = numbers
    elif (
        kind == "class"
        and any(map(_NUMBER.fullmatch, values))
        and (limits := sorted(filter(is_limit, values)))
    ):
        why += f'; if they are numbers: empty cells such as {limits[0]!r}, and set target = "number"'
    if unit := _unit_of(name, kind, texts, len(values)):
        kind = "other"
        why = f"numbers with {unit!r}, such as {texts[0]!r}; to learn them, write the cells without it"
    if kind == "classes":
        values = Counter(label.strip() for text in texts for label in text.split(",") if label.strip())
    return Column(name, kind, why, len(cells), len(filled), values, size, missing)


def _unit_of(name: str, kind: str, texts: list[str], different: int) -> str | None:
    """What stands before or after nearly all numbers of a column that holds no class: "€", "%", "kg"."""
    few = kind == "class" and different <= FEW_CLASSES
    if few or kind not in ("id", "other", "text", "class", "classes") or set(words_of(name)) & IDS:
        return None
    found = [match for text in texts if (match := _WITH_UNIT.fullmatch(text))]
    units = Counter((match["before"] or match["after"] or "").strip() for match in found)
    unit, often = max(units.items(), key=lambda pair: pair[1], default=("", 0))
    return unit if unit and often >= 0.9 * len(texts) else None


def decimal_of(columns: Sequence[Column], separator: str | None) -> str | None:
    """The decimal mark of a table to name in its recipe; None if its numbers can be read without.

    Most of its numbers decide. If all are like ``51,494`` or ``4.474``, the separator of its cells does: with
    ``;`` the decimal mark is a comma, otherwise a point.
    """
    marks = sum((column.marks for column in columns), Counter[str]())
    if marks[","] != marks["."]:
        comma = marks[","] > marks["."]
    else:
        comma = separator == ";" and marks["?,"] + marks["?."] > 0
    return "," if comma else "." if marks["?,"] else None


def is_limit(text: str) -> bool:
    """Whether a text says that a number is below or above another one.

    >>> is_limit("<0.5"), is_limit(">= 10"), is_limit("<b>")
    (True, True, False)
    """
    return bool(_LIMIT.fullmatch(text))


def _numbers_among(name: str, texts: list[str]) -> tuple[tuple[str, str], list[str]] | None:
    """The kind of a column of numbers in which some cells hold none, and what these hold.

    They may hold words such as "n/a", limits (``<8``), and in a tenth of the cells anything else (``12 h``).
    If the numbers are many and differ, up to half of the cells may also hold a few other words that recur.
    If more than a third of the cells hold no number, the kind is ``other``: too many rows would be left out.
    """
    known = [text for text in texts if _NUMBER.fullmatch(text)]
    others = Counter(text for text in texts if not _NUMBER.fullmatch(text))
    num, different = others.total(), len(set(known))
    if not num or not known:
        return None
    many = len(known) >= ENOUGH and (different > FEW_CLASSES or len(known) / different < OFTEN)
    strange = [count for word, count in others.items() if word.lower() not in MISSING and not is_limit(word)]
    few = sum(strange) <= 0.1 * (len(known) + sum(strange))
    recur = len(strange) <= ENOUGH / 2 and 2 * len(strange) <= sum(strange) <= len(known)
    if not (few or (many and recur)) or (num >= len(known) and not many):
        return None
    kind, why = _kind(name, known, Counter(known), 1.0)
    if kind != "number":  # of a few classes, "unknown" may be one
        return None
    words = sorted(others)
    shown = ", ".join(map(repr, words[:4])) + (" …" if words[4:] else "")
    if 2 * num > len(known):
        why = f"numbers but for {shown} in {num:,} of {len(texts):,} cells; to learn them, empty these cells"
        return ("other", why), []
    hold = "cell holds" if num == 1 else "cells hold"
    return (kind, f"{why}; {num:,} {hold} no number but {shown}"), words


def _kind(name: str, texts: list[str], values: Counter[str], size: float) -> tuple[str, str]:
    words, different = set(words_of(name)), len(values)
    if different == 1 and len(texts) > 1:
        return "constant", f"always {texts[0][:40]!r}"
    if set(values) <= set(SPLIT_NAMES) and "train" in values:
        return "split", ", ".join(f"{value} {count:,}" for value, count in values.most_common())
    if words & {"split", "fold", "partition", "subset"}:
        return "other", f"its name, but its values ({texts[0][:20]!r}, …) are not train, dev and test"
    if _share(texts, is_audio) > 0.9:
        return "audio", f"names of audio files such as {texts[0]!r}"
    if _share(texts, _DATE.fullmatch) > 0.95:
        return "date", f"dates or times such as {texts[0]!r}"
    numeric = _share(texts, _NUMBER.fullmatch) > 0.98
    if numeric:
        return _numeric(words, texts, values)
    if not words & {"inchi", "inchikey"} and is_smiles(name, texts):
        return "smiles", "RDKit reads the sampled cells as SMILES"
    if words & {"url", "link", "inchi", "inchikey", "doi", "uuid", "guid", "hash"}:
        return "id", "its name"
    rare = len(texts) / different < 2
    if rare and size < 2 and (words & IDS or _share(texts, lambda text: bool(re.search(r"\d", text))) > 0.9):
        return "id", f"a name or number for each row, such as {texts[0][:40]!r}"
    if _holds_lists(name, texts):
        return "classes", "several in a cell, with commas between them"
    if size >= 1.5 and words & set(TEXTS):
        return "text", f"its name says so, and a cell has {size:.1f} words on average"
    if not rare and different <= len(texts) / OFTEN and size <= 3:
        return "class", f"{different:,} different values"
    if not rare and size < 3 and different <= len(texts) / 2:
        return "class", f"{different:,} different values"
    if rare and size < 1.5 and max(map(len, texts)) < 40:
        names = different == len(texts)
        return ("id", "different in every row") if names else ("other", "short, and rarely the same")
    return "text", f"a cell has {size:.1f} words on average"


def _numeric(words: set[str], texts: list[str], values: Counter[str]) -> tuple[str, str]:
    different, example = len(values), texts[0]
    whole = all(re.fullmatch(r"[+-]?\d+([.,]0+)?", value) for value in values)
    padded = any(re.fullmatch(r"0\d+", value) for value in values)
    if words & GROUPS and 1 < different <= len(texts) / 2:
        return "class", f"{different:,} different ones"
    if words & {"zip", "zipcode", "postal", "postcode", "plz", "phone"} or (
        padded and different > FEW_CLASSES
    ):
        return "id", f"a code, such as {example!r}"
    if words & TIMES and whole and len(example) >= 8:
        return "date", "its name, and whole numbers that count seconds or days"
    if whole and "year" in words and all(1500 < _value(value) < 2200 for value in values):
        return "date", "years"
    counted = whole and different == len(texts) and different > 2 and _counts(values)
    if counted or (words & IDS and whole and different > len(texts) / OFTEN):
        return "id", "the number of the row" if counted else "its name, and whole numbers"
    if words & IDS and whole and not words & (LABELS | GROUPS | {"class", "label"}):
        return "id", "its name, and whole numbers"
    if whole and (different <= 2 or (different <= FEW_CLASSES and len(texts) / different >= OFTEN)):
        return "class", f"{different} different whole numbers"
    return "number", f"{different:,} different numbers, such as {example}"


def _value(text: str) -> float:
    return float(with_point(text, "," if "," in text else "."))


def _counts(values: Mapping[str, int]) -> bool:
    numbers = sorted(int(_value(value)) for value in values)
    return numbers[-1] - numbers[0] < 2 * len(numbers) and (numbers[0] <= 1 or len(numbers) > FEW_CLASSES)


def _holds_lists(name: str, texts: list[str]) -> bool:
    """Whether cells hold lists of classes with commas between them."""
    if _share(texts, lambda text: "," in text) < 0.1:
        return False
    labels = [label.strip() for text in texts for label in text.split(",") if label.strip()]
    short = sum(len(label.split()) for label in labels) / len(labels) < 2.5
    named = bool(set(words_of(name)) & {"labels", "tags", "genres", "topics", "classes", "categories"})
    often = len(labels) / len(set(labels))
    return short and (often >= 2 * OFTEN or (named and often >= 2))


def is_smiles(name: str, texts: Sequence[str], tried: int = 50) -> bool:
    """Whether most of the texts are molecules. RDKit is asked about a few of them only."""
    sample = sorted(set(texts), key=_mixed)[:tried]
    named = bool(set(words_of(name)) & {"smiles", "smi", "molecule", "mol"})
    if _share(sample, _SMILES.fullmatch) < (0.8 if named else 0.95):
        return False
    if not named and (sum(map(len, sample)) / len(sample) < 5 or _share(sample, _BONDS.search) < 0.8):
        return False
    try:
        chem, logs = need("rdkit.Chem"), need("rdkit.rdBase")
    except MissingLibraryError:
        return named
    with logs.BlockLogs():
        return _share(sample, lambda text: chem.MolFromSmiles(text) is not None) > (0.5 if named else 0.9)


def _mixed(text: str) -> tuple[int, str]:
    """A fixed order of texts that is not their alphabetical one: by length, modulo a prime."""
    return len(text) * 7919 % 101, text


def _structured(name: str, cells: Sequence[Any], filled: Sequence[Any]) -> Column:
    """A field of JSON, or a list in Parquet."""

    def column(kind: str, why: str, values: Mapping[Any, int], size: float = 1.0) -> Column:
        return Column(name, kind, why, len(cells), len(filled), values, size)

    lists = [cell for cell in filled if isinstance(cell, list)]
    if not lists:
        graphs = all("nodes" in cell or "edges" in cell for cell in filled if isinstance(cell, dict))
        return column("graph" if graphs else "other", "JSON objects", {})
    entries = [entry for cell in lists for entry in cell if entry is not None]
    size = len(entries) / len(lists)
    if _share(filled, _are_triples) > 0.5:  # the others are bad rows
        return column("triples", "lists of (subject, relation, object)", {}, size)
    if entries and all(isinstance(entry, list) for entry in entries):
        three = all(len(entry) == 3 for entry in entries)
        if three and all(isinstance(value, int | float) for entry in entries for value in entry[:2]):
            return column(
                "labels", "segments: (start, end, label)", Counter(str(e[2]) for e in entries), size
            )
        return column("other", "lists of lists", {}, size)
    if any(isinstance(entry, dict) for entry in entries):
        return column("other", "lists of JSON objects", {}, size)
    values = Counter(map(str, entries))
    repeated = (
        len(values) <= max(FEW_CLASSES * 5, len(entries) / OFTEN) and len(entries) / len(values or "-") >= 2
    )
    named = bool(set(words_of(name)) & {"words", "tokens", "forms", "text", "sentence"})
    texts = all(isinstance(entry, str) for entry in entries)
    if texts and (named or not (repeated and len(values) <= 100)):
        return column("words", f"lists of {size:.1f} words on average", values, size)
    return column("labels", f"lists of labels, {len(values):,} different ones", values, size)


def _are_triples(cell: Any) -> bool:
    return isinstance(cell, list) and bool(cell) and all(map(_is_triple, cell))


def _is_triple(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 3 and all(isinstance(value, str) for value in entry)


def _share(cells: Sequence[Any], test: Any) -> float:
    """The share of cells that pass a test."""
    return sum(map(bool, map(test, cells))) / len(cells) if cells else math.nan
