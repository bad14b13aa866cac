"""Splits made by the library: which rows are for training, dev and test, by class, by group or by time.

Rows that must stay together form a *unit*: the rows of a group, or equal items. Units are drawn in a random
order that depends on the seed alone. Each goes to the split that still needs most rows of its rarest label
(iterative stratification, Sechidis et al. 2011, https://doi.org/10.1007/978-3-642-23808-6_10). Unlike there,
what a split should get of each label is rounded beforehand, so that without groups every class is in every
split in proportion, to within one item.

Only `random.Random(seed).random()` is drawn from, which Python promises to keep: the same rows, labels and
seed give the same split on every machine and with every version of Python.
"""

from __future__ import annotations

import json
import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

from multiseq.checks import check_number, check_whole_number
from multiseq.data.graphs.molecules import scaffold as scaffold_of
from multiseq.data.graphs.molecules import smiles_of
from multiseq.labels import class_name, in_order, plain

__all__ = ["ClassesError", "first_equal", "folds", "is_empty", "moment", "split"]

RowNumbers = dict[str, list[int]]
"""Split (train, dev, test) -> its row numbers, in ascending order."""
Labels = tuple[tuple[int, int], ...]
"""The labels of a unit: (number of the label, how often it has it)."""

BINS = 10
"""Numbers are stratified by so many bins of equal size."""
LEAST = 10
"""The fewest rows of a bin of numbers."""
TINY = 1e-9
"""Rounding errors of a fraction: 0.1 * 30 is 3."""


def split(
    items: Sequence[Any],
    *,
    labels: Sequence[Any] | None = None,
    test: float = 0.0,
    dev: float = 0.0,
    group: Sequence[Any] | None = None,
    time: Sequence[Any] | None = None,
    scaffold: bool = False,
    seed: int = 0,
) -> RowNumbers:
    """Divide items into train, dev and test.

    Args:
        items: All items. Equal items stay in one split (compared by value: texts, lists, dictionaries; arrays
            and tensors count as different). A SMILES is a text like any other here: for molecules, give
            ``compared(smiles)`` of `multiseq.data.graphs.molecules`, so that OCC and CCO are equal. The row
            numbers are the same.
        labels: One label for each item. Each split gets every class in proportion to its size. A class with
            fewer items than there are splits is in train first, then in test. A label may be a list of
            classes (several at once). Floats are put into ten bins of equal size, so that small and large
            ones are in every split. None is a missing label.
        test: Fraction of the items for test. 0 makes no test split.
        dev: Fraction of the items for dev. 0 makes no dev split.
        group: One value for each item, for example its speaker. No group is in two splits; equal items of two
            groups may be. The sizes of the splits are as near to the fractions as the groups allow. An item
            with the group None is a group by itself.
        time: One number or `datetime.datetime` for each item. The latest items are test, those before them
            dev. Items of the same time stay together, and nothing is drawn at random.
        scaffold: The items are SMILES, and no scaffold (rings and what links them) is in two splits. Nothing
            is drawn at random: as in MoleculeNet (https://arxiv.org/abs/1703.00564), the most frequent
            scaffolds fill train, then dev; the others are test. So test has the rarest ones.
        seed: Seed of the draw.

    Returns:
        Row numbers from 0 under ``train`` and, where there are any, under ``dev`` and ``test``.

    Raises:
        ValueError: The fractions leave nothing for train, lengths differ, two of ``group``, ``time`` and
            ``scaffold`` are given, there are fewer different items, groups or times than splits, or an item
            is no SMILES.

    Example:
        >>> texts, moods = [f"text {i}" for i in range(10)], ["up", "down"] * 5
        >>> drawn = split(texts, labels=moods, test=0.2, dev=0.2)
        >>> {name: sorted(moods[i] for i in numbers) for name, numbers in drawn.items() if name != "train"}
        {'test': ['down', 'up'], 'dev': ['down', 'up']}
    """
    items = in_order(items, "items")
    shares = _shares(test, dev)
    _check_lengths(len(items), labels=labels, group=group, time=time)
    if (group is not None) + (time is not None) + scaffold > 1:
        raise ValueError("group, time, scaffold: got two of them, expected one")
    if scaffold:
        return _by_scaffold([scaffold_of(smiles_of(item)) for item in items], shares)
    if time is not None:
        return _by_time(in_order(time, "time"), shares)
    units = _units(items, group)
    drawn = _draw_splits(units, labels, list(shares.values()), seed, keep_first=True)
    what = "different items" if group is None else "groups"
    return _checked_splits(dict(zip(shares, drawn, strict=True)), what, len(set(units)))


def folds(
    items: Sequence[Any],
    num: int,
    *,
    labels: Sequence[Any] | None = None,
    dev: float = 0.0,
    group: Sequence[Any] | None = None,
    seed: int = 0,
) -> list[RowNumbers]:
    """Divide items for cross-validation: each is in test in exactly one of ``num`` folds.

    Args:
        items: As for `split`.
        num: Number of folds, 2 or more.
        labels: As for `split`.
        dev: Fraction of the rest of each fold that is dev, drawn in the same way. 0 makes no dev split.
        group: As for `split`.
        seed: Seed of the draw.

    Returns:
        What `split` returns, for each fold.

    Raises:
        ValueError: As for `split`; also if there are fewer different items or groups than folds.

    Example:
        >>> [fold["test"] for fold in folds(["a", "b", "c", "d"], 2, labels=["x", "x", "y", "y"])]
        [[1, 3], [0, 2]]
    """
    items = in_order(items, "items")
    check_whole_number("folds", num, 2)
    _check_lengths(len(items), labels=labels, group=group)
    units = _units(items, group)
    drawn = _draw_splits(units, labels, [1 / num] * num, seed, keep_first=False)
    what = "different items" if group is None else "groups"
    _checked_splits({f"fold {i}": numbers for i, numbers in enumerate(drawn)}, what, len(set(units)))
    labels, group = (None if c is None else in_order(c, "labels, group") for c in (labels, group))
    made = []
    for numbers in drawn:
        test = set(numbers)
        rest = [i for i in range(len(items)) if i not in test]
        fold: RowNumbers = {"train": rest, "test": numbers}
        if dev:
            of_rest = [None if column is None else [column[i] for i in rest] for column in (labels, group)]
            inner = split([items[i] for i in rest], labels=of_rest[0], dev=dev, group=of_rest[1], seed=seed)
            fold |= {name: [rest[i] for i in of_name] for name, of_name in inner.items()}
        made.append(fold)
    return made


def first_equal(items: Iterable[Any], others: Iterable[Any]) -> dict[int, int]:
    """Number of an item -> number of the first of ``others`` that is equal, compared as in `split`.

    Items without content are equal to nothing.

    >>> first_equal(["b", "c", ""], ["a", "b", "b", ""])
    {0: 1}
    """
    known: dict[Hashable, int] = {}
    for number, item in enumerate(others):
        known.setdefault(_short(_comparable(item)), number)
    keys = ((i, _short(_comparable(item))) for i, item in enumerate(items) if not is_empty(item))
    return {i: known[key] for i, key in keys if key in known}


def is_empty(item: Any) -> bool:
    """Whether an item has no content: a text of blanks, or an empty list."""
    return bool(item == [] or (isinstance(item, str) and not item.strip()))


def _short(key: Hashable) -> Hashable:
    """64 bits in place of a text, because there may be millions."""
    return hash(key) if isinstance(key, str) else key


def moment(value: Any) -> float | datetime:
    """A number, or a date and time from an ISO text; without a time zone it is UTC.

    Raises:
        ValueError: It is neither.

    >>> moment("3.5"), moment("2024-02-01").isoformat(), moment("2024-02").isoformat()
    (3.5, '2024-02-01T00:00:00+00:00', '2024-02-01T00:00:00+00:00')
    """
    text = str(value).strip()
    for read in (float, datetime.fromisoformat, lambda month: datetime.fromisoformat(f"{month}-01")):
        try:
            parsed: Any = read(text)
        except ValueError:
            continue
        if parsed != parsed:  # NaN
            break
        if isinstance(parsed, datetime) and parsed.tzinfo is None:
            return parsed.replace(tzinfo=UTC)
        return parsed  # type: ignore[no-any-return]  # the three functions share no type
    raise ValueError(f"got {value!r}, expected a number or an ISO date, as in 2024-01-31")


# --- what is given --------------------------------------------------------------------------------


def _shares(test: float, dev: float) -> dict[str, float]:
    """Split -> its fraction, train first."""
    for name, share in (("test", test), ("dev", dev)):
        check_number(name, share, 0.0, 1.0)
    if not test and not dev:
        raise ValueError("test, dev: got 0 for both, expected a fraction for one of them, as in test=0.2")
    if test + dev > 1 - TINY:
        raise ValueError(
            f"test, dev: got {test} and {dev}, which leaves nothing for train; expected less than 1 together"
        )
    return {"train": 1 - test - dev} | {n: s for n, s in (("test", test), ("dev", dev)) if s}


def _check_lengths(num: int, **columns: Sequence[Any] | None) -> None:
    for name, values in columns.items():
        if values is not None and len(values) != num:
            raise ValueError(f"{name}: got {len(values)} for {num} items, expected one for each")


def _comparable(item: Any) -> Hashable:
    """Something that is equal for equal items."""
    if isinstance(item, Hashable) and not isinstance(item, tuple):
        return item
    try:
        return json.dumps(item, sort_keys=True)
    except (TypeError, ValueError):  # an array in it
        return object()


def _units(items: Sequence[Any], group: Sequence[Any] | None) -> list[int]:
    """The number of each row's unit; they are numbered in the order of their first rows."""
    keys: Iterable[Hashable] = map(_comparable, items)
    if group is not None:
        names = (plain(name) for name in in_order(group, "group"))
        keys = (object() if name is None else _comparable(name) for name in names)
    known: dict[Hashable, int] = {}
    return [known.setdefault(key, len(known)) for key in keys]


def _strata(labels: Sequence[Any] | None, num: int) -> list[tuple[Any, ...]]:
    """The labels of each row that are to be in every split in proportion; (None,) for none."""
    if labels is None:
        return [(None,)] * num
    values = [plain(label) for label in in_order(labels, "labels")]
    if _are_numbers(values):
        values = _bins(values)
    known: dict[Any, tuple[Any, ...]] = {}
    strata = []
    for value in values:
        if isinstance(value, list | tuple | set | frozenset):
            names = sorted({class_name(name) or "" for name in value})  # a set has no order of its own
            strata.append(tuple(names) or (None,))
        else:
            strata.append(known[value] if value in known else known.setdefault(value, (class_name(value),)))
    return strata


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether labels are numbers. Whole numbers alone may be the numbers of classes."""
    kinds = set(map(type, values))
    return float in kinds and kinds <= {float, int, type(None)}


def _bins(values: Sequence[float | None]) -> list[Any]:
    """The bin of each number. Few different numbers are a bin each."""
    ordered = sorted(value for value in values if value is not None)
    if len(set(ordered)) <= BINS:
        return list(values)
    num = max(1, min(BINS, len(ordered) // LEAST))
    cuts = [ordered[len(ordered) * i // num] for i in range(1, num)]
    return [None if value is None else bisect_right(cuts, value) for value in values]


# --- by time --------------------------------------------------------------------------------------


def _by_time(time: Sequence[Any], shares: Mapping[str, float]) -> RowNumbers:
    """Cut the rows in the order of time, each time between the two different times that are nearest."""
    counts = Counter(time)
    times = sorted(counts)
    names = [name for name in ("train", "dev", "test") if name in shares]
    if len(times) < len(names):
        raise ValueError(_too_few("different times", len(times), names))
    ends = [0]  # rows up to the end of each time
    for value in times:
        ends.append(ends[-1] + counts[value])
    cuts, wanted = [0], 0.0
    for number, name in enumerate(names[:-1], 1):
        wanted += shares[name] * len(time)
        possible = range(cuts[-1] + 1, len(times) - (len(names) - number) + 1)
        cuts.append(min(possible, key=lambda cut: abs(ends[cut] - wanted)))
    owner = {
        value: name
        for name, first, last in zip(names, cuts, [*cuts[1:], len(times)], strict=True)
        for value in times[first:last]
    }
    by_split: RowNumbers = {name: [] for name in shares}
    for row, value in enumerate(time):
        by_split[owner[value]].append(row)
    return by_split


# --- by scaffold ----------------------------------------------------------------------------------


def _by_scaffold(scaffolds: Sequence[str], shares: Mapping[str, float]) -> RowNumbers:
    """Put each scaffold into the first split that it does not overfill, the most frequent ones first.

    This is the rule of DeepChem's ScaffoldSplitter: of two scaffolds that are equally frequent, the one that
    occurs later comes first.
    """
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(scaffolds):
        rows.setdefault(name, []).append(row)
    names = [name for name in ("train", "dev", "test") if name in shares]
    limits = [total * len(scaffolds) + TINY for total in accumulate(shares[name] for name in names)]
    by_split: RowNumbers = {name: [] for name in names}
    for of_scaffold in sorted(rows.values(), key=lambda of: (len(of), of[0]), reverse=True):
        filled = list(accumulate(len(by_split[name]) for name in names))
        fitting = (
            n for n, num, limit in zip(names, filled, limits, strict=True) if num + len(of_scaffold) <= limit
        )
        by_split[next(fitting, names[-1])] += of_scaffold
    if empty := [name for name, of in by_split.items() if not of]:
        largest = max(map(len, rows.values()))
        raise ValueError(
            f"got no item for {' and '.join(empty)} from {len(rows)} scaffolds, the most frequent of which "
            f"has {largest} of {len(scaffolds)} items; expected more different molecules with rings"
        )
    return {name: sorted(of) for name, of in by_split.items()}


# --- by drawing -----------------------------------------------------------------------------------


def _draw_splits(
    units: Sequence[int],
    labels: Sequence[Any] | None,
    shares: Sequence[float],
    seed: int,
    *,
    keep_first: bool,
) -> list[list[int]]:
    """The rows of each split, in order. Numbers count for nothing if their bins leave a split empty."""
    drawn = _draw_strata(units, _strata(labels, len(units)), shares, seed, keep_first=keep_first)
    if labels is not None and not all(drawn) and _are_numbers([plain(v) for v in in_order(labels, "labels")]):
        return _draw_strata(units, _strata(None, len(units)), shares, seed, keep_first=keep_first)
    return drawn


def _draw_strata(
    units: Sequence[int],
    strata: Sequence[tuple[Any, ...]],
    shares: Sequence[float],
    seed: int,
    *,
    keep_first: bool,
) -> list[list[int]]:
    """The rows of each split, in ascending order.

    Args:
        units: The number of each row's unit.
        strata: The labels of each row.
        shares: The fraction of each split; together 1.
        seed: Seed of the order in which units are drawn.
        keep_first: Whether the first split gets a label that is not frequent enough for all splits.
    """
    check_whole_number("seed", seed, 0)
    sizes = [0] * (max(units, default=-1) + 1)
    for unit in units:
        sizes[unit] += 1
    order = _order(sizes, seed)
    held = _labels_of(units, strata, sizes, order)
    members: dict[int, list[int]] = {}
    for unit in order:
        for label, _ in held[unit]:
            members.setdefault(label, []).append(unit)
    totals = {label: sum(dict(held[u])[label] for u in of_label) for label, of_label in members.items()}
    labels = sorted(members, key=lambda label: (totals[label], label))  # the rarest first
    wanted = _wanted({label: totals[label] for label in labels}, shares, keep_first=keep_first)
    owner = _owners(labels, members, held, wanted, len(shares))
    drawn: list[list[int]] = [[] for _ in shares]
    for row, unit in enumerate(units):
        drawn[owner[unit]].append(row)
    return drawn


def _order(sizes: Sequence[int], seed: int) -> list[int]:
    """Units in random order, but those of about twice the size first: the small ones can fill the gaps."""
    draw = random.Random(seed)
    drawn = [draw.random() for _ in sizes]
    order = sorted(range(len(sizes)), key=drawn.__getitem__)
    return sorted(order, key=lambda unit: -sizes[unit].bit_length())


def _labels_of(
    units: Sequence[int], strata: Sequence[tuple[Any, ...]], sizes: Sequence[int], order: Sequence[int]
) -> list[Labels]:
    """The labels of each unit. They are numbered in the order of the draw, so their names do not matter."""
    counts: dict[int, Counter[Any]] = {}
    alone: list[tuple[Any, ...]] = [()] * len(sizes)
    for names, unit in zip(strata, units, strict=True):
        if sizes[unit] > 1:
            counts.setdefault(unit, Counter()).update(names)
        else:
            alone[unit] = names
    numbers: dict[Any, int] = {}
    known: dict[tuple[Any, ...], Labels] = {}
    held: list[Labels] = [()] * len(sizes)
    for unit in order:
        if unit in counts:
            held[unit] = tuple(
                (numbers.setdefault(name, len(numbers)), num) for name, num in counts[unit].items()
            )
            continue
        names = alone[unit]
        if names not in known:  # one object for all rows with the same labels
            known[names] = tuple((numbers.setdefault(name, len(numbers)), 1) for name in names)
        held[unit] = known[names]
    return held


def _wanted(totals: Mapping[int, int], shares: Sequence[float], *, keep_first: bool) -> dict[int, list[int]]:
    """How many rows of each label each split should get: its share, rounded down or up.

    What rounding down leaves over goes to the splits without the label, then to those that lack most rows;
    frequent labels first among those that a split would be without.
    """
    wanted = {label: [int(total * share + TINY) for share in shares] for label, total in totals.items()}
    num = sum(totals.values())
    sizes = [max(1, int(num * share + 0.5)) for share in shares]
    sizes[0] = num - sum(sizes[1:])
    lack = [size - sum(counts[i] for counts in wanted.values()) for i, size in enumerate(sizes)]
    for label in sorted(wanted, key=lambda label: (0 not in wanted[label], -totals[label], label)):
        counts, candidates = wanted[label], list(range(len(shares)))
        for _ in range(totals[label] - sum(counts)):
            without = {i: (lack[i] > 0 or (keep_first and i == 0)) and not counts[i] for i in candidates}
            best = max(
                candidates, key=lambda i: (keep_first and i == 0 and without[i], without[i], lack[i], -i)
            )
            candidates.remove(best)
            counts[best] += 1
            lack[best] -= 1
    return wanted


def _owners(
    labels: Sequence[int],
    members: Mapping[int, Sequence[int]],
    held: Sequence[Labels],
    wanted: Mapping[int, Sequence[int]],
    num_splits: int,
) -> list[int]:
    """The split of each unit."""
    need = {label: list(wanted[label]) for label in labels}
    room = [sum(counts[i] for counts in need.values()) for i in range(num_splits)]
    has = {label: [False] * num_splits for label in labels}
    owner = [-1] * len(held)
    for label in labels:
        waiting = [unit for unit in members[label] if owner[unit] < 0]
        for number, unit in enumerate(waiting):
            candidates = [i for i in range(num_splits) if room[i] > 0]
            best = max(candidates, key=lambda i: (need[label][i], room[i], -i))
            left = len(waiting) - number
            if left <= num_splits:  # the last ones go where there is none, if that is wanted
                without = [i for i in sorted({0, *candidates}) if wanted[label][i] and not has[label][i]]
                best = without[0] if left <= len(without) else best
            owner[unit] = best
            for other, count in held[unit]:
                need[other][best] -= count
                room[best] -= count
                has[other][best] = True
    for i in sorted(set(range(num_splits)) - set(owner)):
        _fill(i, owner, held)
    return owner


def _fill(empty: int, owner: list[int], held: Sequence[Labels]) -> None:
    """Move the smallest unit to a split that has none. The first split (train) keeps all of its labels."""
    for donor, num_units in Counter(owner).most_common():
        units = [unit for unit, of_unit in enumerate(owner) if of_unit == donor]
        num = Counter(label for unit in units for label, _ in held[unit])
        movable = [unit for unit in units if donor or all(num[label] > 1 for label, _ in held[unit])]
        if movable and num_units > 1:
            owner[min(movable, key=lambda unit: sum(count for _, count in held[unit]))] = empty
            return


# --- errors ---------------------------------------------------------------------------------------


class ClassesError(ValueError):
    """The labels leave a split empty."""


def _checked_splits(splits: Mapping[str, list[int]], what: str, num: int) -> RowNumbers:
    if num < len(splits):
        raise ValueError(_too_few(what, num, list(splits)))
    empty = [name for name, numbers in splits.items() if not numbers]
    if empty:
        raise ClassesError(
            f"got no item for {' and '.join(empty)}, because nearly every class has one of the {num} {what}; "
            'expected classes with several. Numbers need target = "number"; ids are nothing to learn'
        )
    return dict(splits)


def _too_few(what: str, num: int, names: Sequence[str]) -> str:
    return f"got {num} {what} for {', '.join(names)}; expected at least {len(names)}"
