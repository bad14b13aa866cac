"""The columns of CoNLL-U, and the labels in them: FEATS and MISC hold several, ``Case=Nom|Number=Sing``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = [
    "EMPTY",
    "FIELDS",
    "LABELS",
    "LISTS",
    "ROW",
    "annotation",
    "fill",
    "is_conllu",
    "labels_in",
    "value_of",
]

FIELDS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
"""The columns, in their order."""

LABELS = ("lemma", "upos", "xpos", "feats", "deprel", "misc")
"""The columns that are labels of words."""

LISTS = ("feats", "misc")
"""The columns whose cells are lists. In them ``_`` is an empty list; in others it is a missing label."""

EMPTY = "_"
"""A column without a value."""

ROW = re.compile(r"[0-9]+([-.][0-9]+)?")
"""The first column of a row: a word, a multi-word token or an empty node."""

TEXT_ENTRIES = ("SpaceAfter", "SpacesAfter", "SpacesBefore", "SpacesInToken")
"""Entries of MISC that describe the text. They stay as they are, whatever is predicted for MISC."""


def is_conllu(lines: Iterable[str]) -> bool:
    """Whether the first line that is no comment is a row of CoNLL-U."""
    rows = (line.split("\t") for line in lines if line.strip() and not line.startswith("#"))
    first = next(rows, [""])
    return len(first) == len(FIELDS) and bool(ROW.fullmatch(first[0]))


def labels_in(cell: str, column: str) -> list[str]:
    """The labels in a cell: of FEATS and MISC its entries, of a single feature its values.

    >>> labels_in("Case=Nom|PronType=Int,Rel", "feats"), labels_in("Int,Rel", "PronType")
    (['Case=Nom', 'PronType=Int,Rel'], ['Int', 'Rel'])
    >>> labels_in("_", "feats")
    []
    """
    return [] if cell == EMPTY else cell.split("|" if column in LISTS else ",")


def annotation(misc: str) -> str:
    """A cell of MISC without the entries that describe the text, such as ``SpaceAfter=No``."""
    if not any(name in misc for name in TEXT_ENTRIES):
        return misc
    return _cell(entry for entry in labels_in(misc, "misc") if _name(entry) not in TEXT_ENTRIES)


def value_of(cell: str, name: str) -> str:
    """The value of an entry of FEATS or MISC; ``_`` if there is none of that name.

    >>> value_of("Case=Nom|Number=Sing", "Number"), value_of("Case=Nom", "Number")
    ('Sing', '_')
    """
    return next((e.partition("=")[2] for e in labels_in(cell, "feats") if _name(e) == name), EMPTY)


def fill(fields: list[str], column: str, label: Any) -> None:
    """Put a label of a word into its ten columns, in place.

    Args:
        fields: The columns.
        column: A column; ``misc.NAME`` for the entry NAME of MISC; any other name is a feature in FEATS. The
            other entries of FEATS and MISC stay.
        label: A label, or a list of several. An empty list and ``_`` mean none. Several values of one feature
            become one entry, as UD writes them: ``Case=Acc,Dat``.

    Raises:
        ValueError: A label for FEATS has no ``=``.
    """
    labels = [str(one) for one in (label if isinstance(label, list) else [label])]
    if column in FIELDS and column not in LISTS:
        fields[FIELDS.index(column)] = ",".join(labels) or EMPTY
        return
    if column in LISTS:
        place = column
        kept = [e for e in labels_in(fields[9], "misc") if place == "misc" and _name(e) in TEXT_ENTRIES]
        new = [entry for one in labels for entry in labels_in(one, place)]
        if place == "feats" and (bare := [entry for entry in new if "=" not in entry]):
            raise ValueError(
                f"got the label {bare[0]!r} for FEATS, expected NAME=VALUE; write .jsonl or .csv"
            )
    else:
        place = "misc" if column.startswith("misc.") else "feats"
        name = column.removeprefix("misc.")
        kept = [e for e in labels_in(fields[FIELDS.index(place)], place) if _name(e) != name]
        value = ",".join(labels)
        new = [] if value in ("", EMPTY) else [f"{name}={value}"]
    at = FIELDS.index(place)
    fields[at] = _features([*kept, *new]) if place == "feats" else _as_before(fields[at], [*kept, *new])


def _name(entry: str) -> str:
    return entry.partition("=")[0]


def _cell(entries: Iterable[str]) -> str:
    return "|".join(entries) or EMPTY


def _as_before(cell: str, entries: Iterable[str]) -> str:
    """A cell of MISC with its entries in the order that they had; new ones are last."""
    order = {_name(entry): i for i, entry in enumerate(labels_in(cell, "misc"))}
    return _cell(sorted(entries, key=lambda entry: order.get(_name(entry), len(order))))


def _features(entries: Iterable[str]) -> str:
    """A cell of FEATS: sorted by name, and one entry for several values of a name, as UD wants both."""
    values: dict[str, set[str]] = {}
    for entry in entries:
        name, equals, value = entry.partition("=")
        values.setdefault(name + equals, set()).update(value.split(","))
    names = sorted(values, key=lambda name: (name.lower(), name))
    return _cell(f"{name}{','.join(sorted(values[name], key=str.lower))}" for name in names)
