"""Facts about data: how many items and labels each split has, and what is odd about them.

`multiseq init` and `multiseq check` print them, and a report shows them. Nothing is prepared or decoded here:
a recording is its path.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from multiseq.data.splits import first_equal, is_empty
from multiseq.labels import MISSING_WORDS, class_name, decimal_mark, number, plain

if TYPE_CHECKING:
    from multiseq.tasks import Source

__all__ = ["DataFacts", "LabelFacts", "facts_of", "odd_marks"]

SHOWN = 6
"""Classes or examples that a line names."""
TINY = 100
"""With fewer labels in train, scores say little."""
LONG = 20
"""Items this many times as long as the median are named …"""
LONGEST = 2000
"""… if they have more characters or words than this."""
FEW_WORDS = 0.1
"""Classes are numbers if at most this share of them are words, such as ``n/a``."""
SKEWED = 0.9
"""A class with a larger share of the labels makes accuracy misleading."""


@dataclass(frozen=True)
class LabelFacts:
    """The labels of one task in one split.

    Args:
        num: Number of labels; of labels for each vector, all of them.
        missing: Number of items without a label.
        classes: Class -> how often it occurs, for classes and several classes at once.
        numbers: (least, mean, largest), for numbers.
    """

    num: int
    missing: int
    classes: Mapping[str, int] = field(default_factory=dict)
    numbers: tuple[float, float, float] | None = None

    def __str__(self) -> str:
        if self.numbers is not None:
            least, mean, largest = self.numbers
            text = f"{self.num:,} numbers from {least:g} to {largest:g}, mean {mean:.4g}"
        elif self.classes:
            often = sorted(self.classes, key=lambda name: (-self.classes[name], name))
            shown = ", ".join(f"{name} {self.classes[name]:,}" for name in often[:SHOWN])
            text = f"{len(self.classes):,} classes: {shown}{', …' if often[SHOWN:] else ''}"
        else:
            text = f"{self.num:,} labels"
        return text + (f"; {self.missing:,} missing" if self.missing else "")


@dataclass(frozen=True)
class DataFacts:
    """What is in the data of a recipe.

    Args:
        items: Tasks of the data, joined -> split -> number of items.
        labels: Task -> split -> its labels.
        odd: What is odd, a sentence each.
    """

    items: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, LabelFacts]]
    odd: Sequence[str]

    def lines(self) -> list[str]:
        """The facts for people."""
        lines = []
        for tasks, splits in self.items.items():
            lines.append(
                f"{tasks}: " + ", ".join(f"{num:,} items in {split}" for split, num in splits.items())
            )
            for task in tasks.split(", "):
                lines += [f"  {task}, {split}: {label}" for split, label in self.labels[task].items()]
        return lines


def facts_of(
    splits: Mapping[str, Sequence[Source]], targets: Mapping[str, str], metrics: Mapping[str, str]
) -> DataFacts:
    """Count items and labels, and find what is odd.

    Args:
        splits: Split -> its sources.
        targets: Task -> its target: class, multilabel, number or text.
        metrics: Task -> its metric.
    """
    items: dict[str, dict[str, int]] = {}
    labels: dict[str, dict[str, LabelFacts]] = {}
    odd: list[str] = []
    by_data: dict[str, dict[str, Source]] = {}
    for split, sources in splits.items():
        for source in sources:
            name = ", ".join(source.targets)
            items.setdefault(name, {})[split] = len(source.items)
            by_data.setdefault(name, {})[split] = source
            for task, values in source.targets.items():
                labels.setdefault(task, {})[split] = _label_facts(values, targets[task])
    for name, of_data in by_data.items():
        odd += [f"{name}: {line}" for line in _odd_items(of_data)]
        num = max(
            (labels[task]["train"].num for task in name.split(", ") if "train" in labels[task]), default=0
        )
        if "train" in of_data and num < TINY:
            odd.append(f"{name}: only {num:,} labels in train: with other data the score may be another")
        for task in name.split(", "):
            odd += [f"{task}: {source.odd[task]}" for source in of_data.values() if task in source.odd][:1]
            odd += [f"{task}: {line}" for line in _odd_labels(labels[task], targets[task], metrics[task])]
    return DataFacts(items, labels, odd)


# --- labels ---------------------------------------------------------------------------------------


def _label_facts(values: Sequence[Any], target: str) -> LabelFacts:
    missing = sum(value is None for value in values)
    flat = [label for value in values if value is not None for label in _single(value, target)]
    known = [label for label in flat if label is not None]
    if target == "number":
        numbers = [n for label in known if (n := number(label)) is not None and math.isfinite(n)]
        span = (min(numbers), sum(numbers) / len(numbers), max(numbers)) if numbers else None
        return LabelFacts(len(numbers), missing, numbers=span)
    if target == "text":
        empty = sum(label == "" for label in known)
        return LabelFacts(len(known) - empty, missing + empty)
    classes = Counter(name for label in known if (name := class_name(label)) is not None)
    return LabelFacts(classes.total(), missing, dict(classes))


def _single(value: Any, target: str) -> Iterable[Any]:
    """The single labels in an item's label: of each vector, each flag that is set, or itself."""
    if isinstance(value, dict):
        if target == "multilabel":
            return [name for name, flag in value.items() if flag]
        return value.values()
    if not isinstance(value, list | tuple):
        return [value]
    if target == "text":
        return value[:1]
    single: list[Any] = []
    for entry in value:
        if isinstance(entry, tuple) and len(entry) == 3:  # a segment
            single.append(entry[2])
        elif isinstance(entry, dict | list):
            single += _single(entry, target)
        else:
            single.append(plain(entry))
    return single


def odd_marks(cells: Iterable[Any], decimal: str | None) -> str | None:
    """What is odd about numbers with a comma or point that may group digits or be the decimal mark.

    >>> print(odd_marks(["51,494", "12"], "."), odd_marks(["51,494", "3,506,033"], "."))
    '51,494' is read as 51494; if it is 51.494, set decimal = "," None
    """
    if decimal is None:
        return None
    group = "." if decimal == "," else ","
    texts = [cell.strip() for cell in cells if isinstance(cell, str)]
    examples = {decimal_mark(text): text for text in reversed(texts)}
    sure = any(group in text and decimal_mark(text) == decimal for text in texts)
    if (unclear := examples.get("?" + group)) and not sure:
        grouped, other = unclear.replace(group, ""), unclear.replace(group, ".")
        return f'{unclear!r} is read as {grouped}; if it is {other}, set decimal = "{group}"'
    if decimal == "," not in examples and (unclear := examples.get("?,")):
        grouped, other = unclear.replace(",", ""), unclear.replace(",", ".")
        return f'{unclear!r} is read as {other}; if it is {grouped}, set decimal = "."'
    return None


def _odd_labels(splits: Mapping[str, LabelFacts], target: str, metric: str) -> list[str]:
    train, odd = splits.get("train"), []
    if train is None or not train.num:
        return ["no label in train"] if train is not None else []
    if target in ("class", "multilabel"):
        odd += _odd_classes(splits, train, target, metric)
    if train.numbers is not None and train.numbers[0] == train.numbers[2]:
        odd.append(f"all numbers in train are {train.numbers[0]:g}; there is nothing to learn")
    for split, facts in splits.items():
        share = facts.missing / max(facts.missing + facts.num, 1)
        if share > 0.5:
            odd.append(f"{share:.0%} of the labels in {split} are missing")
    return odd


def _odd_classes(splits: Mapping[str, LabelFacts], train: LabelFacts, target: str, metric: str) -> list[str]:
    odd, classes = [], train.classes
    if len(classes) == 1 and target == "class":
        odd.append(f"only one class in train, {next(iter(classes))!r}; there is nothing to learn")
    elif metric == "accuracy" and max(classes.values()) > SKEWED * train.num:
        most = max(classes, key=lambda name: classes[name])
        odd.append(
            f'{classes[most] / train.num:.0%} of train are {most!r}: metric = "f1" says more than accuracy'
        )
    rare = sorted(name for name, count in classes.items() if count < 3)
    if rare:
        have = "1 class has" if len(rare) == 1 else f"{len(rare):,} classes have"
        odd.append(f"{have} fewer than 3 labels in train: {_named(rare)}")
    words = sorted(name for name in classes if not _is_number(name))
    if target == "class" and len(classes) > 20 and len(words) <= FEW_WORDS * len(classes):
        but = f" but for {_named(words)}, which should then be empty cells" if words else ""
        odd.append(
            f'the {len(classes):,} classes are numbers{but}; if their order matters, target = "number"'
        )
    if absent := sorted(name for name in classes if name.lower() in MISSING_WORDS):
        odd.append(f"classes that may mean a missing label: {_named(absent)}; if so, leave these cells empty")
    alike: dict[str, list[str]] = {}
    for name in sorted(name for name in classes if len(name) > 2):  # phonemes may be "e" and "E"
        alike.setdefault(name.casefold(), []).append(name)
    if several := [names for names in alike.values() if len(names) > 1]:
        groups = " and ".join(map(_named, several[:SHOWN])) + (" …" if several[SHOWN:] else "")
        odd.append(f"classes that differ in capitals only: {groups}; write them alike if they are one")
    for split in ("dev", "test"):
        unseen = sorted(set(splits[split].classes) - set(classes)) if split in splits else []
        if unseen:
            classes_of = "1 class" if len(unseen) == 1 else f"{len(unseen):,} classes"
            odd.append(f"{classes_of} of {split} that train lacks cannot be predicted: {_named(unseen)}")
    return odd


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True


def _named(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (" …" if names[SHOWN:] else "")


# --- items ----------------------------------------------------------------------------------------


def _odd_items(splits: Mapping[str, Source]) -> list[str]:
    odd, train = [], splits.get("train")
    for split, source in splits.items():
        empty = [i for i, item in enumerate(source.items) if is_empty(item)]
        if empty:
            odd.append(f"{split}: {_items(len(empty))} without content, see {_place(source, empty[0])}")
        odd += _long(split, source)
    if train is None:
        return odd
    twice = {i: first for i, first in first_equal(train.items, train.items).items() if first < i}
    differ = [i for i, first in twice.items() if any(_differ(v[i], v[first]) for v in train.targets.values())]
    if twice:
        earliest = _place(train, next(iter(twice)))
        more = f", {len(differ):,} of them with another label" if differ else ""
        if differ and _place(train, differ[0]) != earliest:
            more += f" ({_place(train, differ[0])})"
        odd.append(f"train: {_items(len(twice))} the same as an earlier one{more}, see {earliest}")
    for split, source in splits.items():
        if split == "train":
            continue
        known = [
            (i, first)
            for i, first in first_equal(source.items, train.items).items()
            if not _divided(source, i, train, first)
        ]
        if known:
            i, first = known[0]
            duplicate = f"{_place(source, i)} is {_place(train, first)}"
            odd.append(f"{split}: {_items(len(known))} also in train, so the score is too good: {duplicate}")
    return odd


def _differ(label: Any, other: Any) -> bool:
    """Whether an item has two labels. A missing one says nothing."""
    return label is not None and other is not None and label != other


def _divided(source: Source, i: int, train: Source, first: int) -> bool:
    """Whether two items are one network whose nodes are in both splits: no node has a label in both."""
    if not source.locations or _place(source, i) != _place(train, first):
        return False
    return all(_disjoint(labels[i], train.targets[task][first]) for task, labels in source.targets.items())


def _disjoint(labels: Any, others: Any) -> bool:
    if not isinstance(labels, list) or not isinstance(others, list) or not labels or not others:
        return False
    return not any(_labelled(one) and _labelled(other) for one, other in zip(labels, others, strict=False))


def _labelled(label: Any) -> bool:
    """Whether a vector has a label; of several by name, one of them."""
    return any(v is not None for v in label.values()) if isinstance(label, dict) else label is not None


def _long(split: str, source: Source) -> list[str]:
    sizes = [len(item) for item in source.items if isinstance(item, str | list)]
    if not sizes:
        return []
    usual = median(sizes)
    long = [
        i
        for i, item in enumerate(source.items)
        if isinstance(item, str | list) and len(item) > max(LONG * usual, LONGEST)
    ]
    if not long:
        return []
    unit = "characters" if isinstance(source.items[long[0]], str) else "entries"
    return [
        f"{split}: {_items(len(long))} very long ({max(sizes):,} {unit}; usual are {usual:,.0f}), "
        f"the first at {_place(source, long[0])}"
    ]


def _items(num: int) -> str:
    return "1 item" if num == 1 else f"{num:,} items"


def _place(source: Source, i: int) -> str:
    return source.locations[i] if i < len(source.locations) else f"item {i}"
