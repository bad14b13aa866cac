"""The results of `predict`: plain Python values that are easy to print and to convert to JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = [
    "NOT_FINITE",
    "Contributions",
    "Label",
    "LabelSet",
    "NotFiniteError",
    "Number",
    "Result",
    "Shares",
    "Similarity",
    "Spoken",
    "Text",
    "at_distance",
    "check_finite",
    "joined_texts",
    "mean_distance",
    "rounded",
    "segments",
    "timed",
]


class NotFiniteError(ValueError):
    """A prediction is NaN or infinite. It is an error, so that such a value is never returned as a result.

    Args:
        number: The number of the set in the batch.
        message: Another message than the usual one.
    """

    def __init__(self, number: int, message: str = "") -> None:
        self.number = number
        super().__init__(message or f"set {number}: got {NOT_FINITE}")


NOT_FINITE = (
    "a prediction that is NaN or infinite, expected finite numbers; look for huge numbers in the item, and "
    "for NaN among the weights"
)


def check_finite(rows: Tensor, lengths: Sequence[int]) -> None:
    """Raise `NotFiniteError` for the first set that has NaN or infinity in one of its ``lengths`` rows."""
    bad = ~rows.isfinite().all(-1)
    if bad.any():
        row = int(bad.nonzero()[0])
        ends = accumulate(lengths)
        raise NotFiniteError(next(number for number, end in enumerate(ends) if row < end))


class Shares(Mapping[str, float]):
    """The probability of each class, as a read-only mapping. It is one row of a table for the whole batch.

    A dictionary for each vector would need many times the memory. Pickling or copying makes a plain
    dictionary of it.

    >>> import numpy
    >>> [row] = Shares.of_rows(["no", "yes"], numpy.array([[0.25, 0.75]]))
    >>> row["yes"], dict(row)
    (0.75, {'no': 0.25, 'yes': 0.75})
    """

    __slots__ = ("_index", "_row", "_table")

    def __init__(self, index: dict[str, int], table: NDArray[Any], row: int) -> None:
        self._index, self._table, self._row = index, table, row

    @classmethod
    def of_rows(cls, names: Sequence[str], table: NDArray[Any]) -> list[Shares]:
        """One mapping for each row of a table ``(rows, classes)``."""
        index = {name: i for i, name in enumerate(names)}
        return [cls(index, table, row) for row in range(len(table))]

    def __getitem__(self, name: str) -> float:
        return float(self._table[self._row, self._index[name]])

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)

    def items(self) -> Any:
        """Like ``dict.items``; it reads all numbers at once."""
        return self._dict().items()

    def values(self) -> Any:
        """Like ``dict.values``; it reads all numbers at once."""
        return self._dict().values()

    def _dict(self) -> dict[str, float]:
        return dict(zip(self._index, self._table[self._row].tolist(), strict=True))

    def __repr__(self) -> str:
        return repr(self._dict())

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._dict(),)


@dataclass(frozen=True, slots=True)
class Result:
    """What every result has: how far its item is from the training data.

    Args:
        distance: The distance from the training data, in units of the distance that 99 % of the dev items do
            not exceed. None if the model does not know it (`multiseq.calibrate`).
    """

    distance: float | None = field(default=None, kw_only=True, repr=False, compare=False)

    @property
    def unlike_training(self) -> bool | None:
        """Whether the item is unlike the training data, so that the result should not be relied on."""
        return None if self.distance is None else self.distance > 1


def at_distance(result: Any, distance: float | None) -> Any:
    """A result, or the results of all vectors of a set, with the distance of its set."""
    if isinstance(result, list):
        return [at_distance(one, distance) for one in result]
    return replace(result, distance=distance)


def mean_distance(results: Iterable[Any]) -> float | None:
    """The mean distance of the results of one item; None if none of them has a distance."""
    known = [result.distance for result in results if result.distance is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class Label(Result):
    """The predicted class, its probability, and the probabilities of all classes."""

    label: str
    probability: float
    probabilities: Mapping[str, float] = field(repr=False, compare=False, default_factory=dict)

    def __str__(self) -> str:
        return f"{self.label} ({self.probability:.0%})"


@dataclass(frozen=True, slots=True)
class Similarity:
    """How similar two items are for a task (`Model.compare`).

    Args:
        cosine: The cosine of the angle between their embeddings, from -1 to 1.
        probability: The probability that both are of one class, where half of all pairs are. None if the
            model does not know it (`multiseq.calibrate`).
        same: Whether they count as one class. On the dev split, the threshold rejects as large a share of the
            same pairs as it accepts of the different ones. None if the model has no threshold.
    """

    cosine: float
    probability: float | None = None
    same: bool | None = None

    def __str__(self) -> str:
        if self.probability is None:
            return f"cosine {self.cosine:.2f}"
        return f"{'same' if self.same else 'different'} (P(same) = {self.probability:.0%})"


@dataclass(frozen=True, slots=True)
class LabelSet(Result):
    """Several classes at once: those with a probability of at least ``threshold``, and all probabilities."""

    labels: tuple[str, ...]
    probabilities: Mapping[str, float] = field(repr=False, compare=False, default_factory=dict)
    threshold: float = field(repr=False, compare=False, default=0.5)

    def __str__(self) -> str:
        return ", ".join(self.labels) or "(none)"


@dataclass(frozen=True)
class Number(Result):
    """One or several predicted numbers (regression), in the user's unit.

    Args:
        values: Name -> number.
        unit: The unit of all numbers.
        scales: Name -> standard deviation in the training data. It determines how many digits are printed.
        intervals: Name -> (low, high): an interval that holds the true number in 90 % of the cases. Empty if
            the model was not calibrated (`multiseq.calibrate`).
        spreads: Name -> standard deviation of what the members of an ensemble predict. Empty for one model.
    """

    values: dict[str, float]
    unit: str = ""
    scales: dict[str, float] = field(repr=False, compare=False, default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(repr=False, compare=False, default_factory=dict)
    spreads: dict[str, float] = field(repr=False, compare=False, default_factory=dict)

    @property
    def value(self) -> float:
        """The number, if there is only one. Raises ValueError if there are several."""
        if len(self.values) != 1:
            raise ValueError(
                f"value: got several numbers, {list(self.values)}, expected one; use .values[name]"
            )
        return next(iter(self.values.values()))

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        shown = {name: f"{self._shown(name)}{unit}" for name in self.values}
        if len(shown) == 1:
            return next(iter(shown.values()))
        return ", ".join(f"{name} {value}" for name, value in shown.items())

    def _shown(self, name: str) -> str:
        value, scale = self.values[name], self.scales.get(name)
        if name not in self.intervals:
            return digits(value, scale)
        low, high = (digits(end, scale) for end in self.intervals[name])
        return f"{digits(value, scale)} ({low} to {high})"


def digits(value: float, scale: float | None = None) -> str:
    """Format a number with four significant digits, or with enough digits to show 1/1000 of ``scale``.

    So relevant differences are visible in any unit, and if a large constant is added to all numbers.

    >>> digits(3.14159), digits(1700000012.345, 20.0), digits(2.5e-9, 1e-9), digits(0.00004, 1.0)
    ('3.142', '1700000012.35', '2.5e-09', '0')
    """
    if not scale or not value or not math.isfinite(value):
        return f"{value:.4g}"
    wanted = min(17, 4 + _exponent(value) - _exponent(scale))
    return f"{value:.{wanted}g}" if wanted > 0 else "0"


def rounded(value: float, scale: float | None = None) -> float:
    """A number without the digits that mean nothing: models compute ``value / scale`` with 24 bits.

    >>> rounded(3.1415927410125732, 2.0), rounded(3.1415927410125732)
    (3.1415927, 3.14159274)
    """
    if not value or not math.isfinite(value):
        return value
    return round(value, 7 - _exponent(scale)) if scale else float(f"{value:.9g}")


def _exponent(value: float) -> int:
    return math.floor(math.log10(abs(value)) + 1e-9)  # log10(1000) may be 2.9999999999999996


@dataclass(frozen=True, slots=True)
class Spoken:
    """A word, a token of a text or a sound, when it was said, and how sure that is.

    Args:
        text: The word, the token, or the label of the sound.
        start: Seconds from the beginning of the recording. If the item is no recording, the number of its
            first vector.
        end: The end, likewise.
        confidence: The mean probability of its tokens over the vectors from ``start`` to ``end`` that stand
            for them.
    """

    text: str
    start: float
    end: float
    confidence: float


def segments(labels: Sequence[Label], vector_seconds: float, seconds: float = math.inf) -> list[Spoken]:
    """Runs of vectors with the same label, with times in seconds and the mean probability of each run.

    Args:
        labels: The predicted label of each vector of a recording.
        vector_seconds: Seconds from one vector to the next (`SpeechAdapter.vector_seconds`).
        seconds: The duration of the recording. The last vector may stand for less time than the others: the
            last segment ends with the recording.

    Example:
        >>> segments([Label("s", 0.5), Label("s", 1.0), Label("t", 1.0)], 0.02, seconds=0.05)
        ... # doctest: +NORMALIZE_WHITESPACE
        [Spoken(text='s', start=0.0, end=0.04, confidence=0.75),
         Spoken(text='t', start=0.04, end=0.05, confidence=1.0)]
    """
    found, first = [], 0
    for label, of_run in groupby(labels, key=lambda one: one.label):
        shares = [one.probability for one in of_run]
        last = first + len(shares)
        start, end = (round(place * vector_seconds, 3) for place in (first, last))
        found.append(Spoken(label, start, min(end, round(seconds, 6)), sum(shares) / len(shares)))
        first = last
    return found


@dataclass(frozen=True)
class Text(Result):
    """A predicted text and its score: the log-probability of its tokens (natural logarithm).

    Args:
        text: The text.
        score: The log-probability. With a `JointHead` the weighted sum of two.
        words: Its words with their times, if they were asked for (`CTCHead.decode`, `JointHead.decode`).
        tokens: Its tokens (characters or pieces) with their times, likewise.
        n_best: The most probable texts, best first, if several were asked for. The first is this text.
        cut: Whether it has as many tokens as a decoder may write, so that it may be cut off; None where there
            is no such limit.
    """

    text: str
    score: float
    words: tuple[Spoken, ...] = field(default=(), repr=False, compare=False)
    tokens: tuple[Spoken, ...] = field(default=(), repr=False, compare=False)
    n_best: tuple[Text, ...] = field(default=(), repr=False, compare=False)
    cut: bool | None = field(default=None, repr=False, compare=False)

    def __str__(self) -> str:
        return self.text


def timed(text: Text, edges: Sequence[float]) -> Text:
    """A text whose words and tokens have numbers of vectors as times, with seconds instead.

    Args:
        text: The text.
        edges: Where each vector begins, and where the last one ends, in seconds.
    """

    def in_seconds(spoken: Sequence[Spoken]) -> tuple[Spoken, ...]:
        return tuple(replace(s, start=edges[int(s.start)], end=edges[int(s.end)]) for s in spoken)

    return replace(text, words=in_seconds(text.words), tokens=in_seconds(text.tokens))


def joined_texts(texts: Sequence[Text]) -> Text:
    """The texts of the chunks of one item as one text: joined by spaces, and their scores added.

    >>> joined_texts([Text("a b", -1.0), Text("", 0.0), Text("c", -2.0)])
    Text(text='a b c', score=-3.0)
    """
    most = max(len(text.n_best) for text in texts)
    best: list[Text] = [Text("", 0.0)]
    for text in texts if most else ():
        pairs = [_after(a, b) for a in best for b in text.n_best or (text,)]
        best = sorted(pairs, key=lambda pair: pair.score, reverse=True)[:most]
    words = tuple(word for text in texts for word in text.words)
    tokens = tuple(token for text in texts for token in text.tokens)
    whole = Text(" ".join(t.text for t in texts if t.text), sum(t.score for t in texts))
    known = [text.cut for text in texts if text.cut is not None]
    cut = any(known) if known else None
    return replace(whole, words=words, tokens=tokens, n_best=tuple(best) if most else (), cut=cut)


def _after(a: Text, b: Text) -> Text:
    return Text(" ".join(t.text for t in (a, b) if t.text), a.score + b.score)


@dataclass(frozen=True)
class Contributions:
    """How much each vector of an item, an atom or a node, contributes to the prediction for the item.

    Args:
        names: What each vector stands for: `C0`, `O5` … for atoms.
        values: For each of them the prediction less the prediction without it.
        of: The number or the class that is explained.
        unit: The unit of the values: that of the number, or "log-odds" of a class (natural logarithm).
        result: The prediction for the whole item.
    """

    names: list[str]
    values: list[float]
    of: str
    unit: str
    result: Any

    def strongest(self, most: int = 5) -> list[tuple[str, float]]:
        """The vectors that contribute most, up or down, with their values."""
        order = sorted(range(len(self.values)), key=lambda i: -abs(self.values[i]))
        return [(self.names[i], self.values[i]) for i in order[:most]]

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        return ", ".join(f"{name} {value:+.2g}" for name, value in self.strongest()) + unit
