"""Metrics by name. They compare predictions with the user's labels.

Accuracies, error rates and R² are fractions, BLEU and chrF are from 0 to 100, RMSE and MAE are in the user's
unit. Metrics of numbers use double precision and no fixed threshold, so R² does not depend on the unit.
Labels are compared in their canonical form (`multiseq.labels`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch

from multiseq.heads.targets import flags_of, is_constant, named_flags, number_of
from multiseq.heads.text_target import edits, normalise
from multiseq.labels import class_name, plain
from multiseq.options import PERCENT
from multiseq.results import Label, LabelSet, Number, Text

__all__ = [
    "METRICS",
    "columns_of",
    "compute",
    "coverage",
    "mark_spans",
    "sacre_score",
]


def compute(
    metric: str, results: Sequence[Any], labels: Iterable[Any], lengths: Sequence[int] | None = None
) -> float:
    """The value of a metric for predictions and the user's labels. NaN if there is nothing to score.

    Args:
        metric: Its name.
        results: The predictions.
        labels: The label of each; None if it is missing.
        lengths: For a task per vector the number of vectors of each item, one after another. Only `span_f1`
            needs to know where an item ends. Default: all are of one item.

    Raises:
        ValueError: An unknown metric, or labels that it cannot score.

    >>> compute("exact_match", [Text("a b", 0.0), Text("c", 0.0)], ["a b", ["d", "c"]])
    1.0
    """
    if metric not in METRICS:
        raise ValueError(f"metric: got {metric!r}, expected one of {', '.join(METRICS)}")
    if metric == "span_f1":
        return _span_f1(results, list(labels), [len(results)] if lengths is None else lengths)
    pairs = zip(results, map(plain, labels), strict=True)
    known = [(r, v) for r, v in pairs if v is not None and (not isinstance(r, Text) or len(v) or v == "")]
    if not known:
        return math.nan
    results, labels = (list(column) for column in zip(*known, strict=True))
    if isinstance(results[0], Text):
        labels = [[*map(normalise, [label] if isinstance(label, str) else label)] for label in labels]
    return METRICS[metric](results, labels)


def _class_names(results: Sequence[Label], labels: Sequence[Any]) -> tuple[list[str], list[str]]:
    """Canonical names of the predicted and of the true classes, without missing labels."""
    pairs = [(str(class_name(r.label)), class_name(v)) for r, v in zip(results, labels, strict=True)]
    known = [(predicted, wanted) for predicted, wanted in pairs if wanted is not None]
    return [predicted for predicted, _ in known], [wanted for _, wanted in known]


def _accuracy(results: Sequence[Label], labels: Sequence[Any]) -> float:
    predicted, wanted = _class_names(results, labels)
    return sum(map(str.__eq__, predicted, wanted)) / len(wanted) if wanted else math.nan


def _f1(results: Sequence[Any], labels: Sequence[Any]) -> float:
    """Macro F1 for classes, micro F1 for multilabel tasks. A class that training lacks counts as an error."""
    if isinstance(results[0], LabelSet):
        flags = _label_flags(results, labels)
        hits = sum(predicted and wanted for predicted, wanted in flags)
        return 2 * hits / max(1, sum(predicted + wanted for predicted, wanted in flags))
    predicted, wanted = _class_names(results, labels)
    right = Counter(a for a, b in zip(predicted, wanted, strict=True) if a == b)
    num_predicted, num_wanted = Counter(predicted), Counter(wanted)
    names = sorted(num_predicted | num_wanted)  # a fixed order for the sum
    scores = [2 * right[name] / (num_predicted[name] + num_wanted[name]) for name in names]
    return sum(scores) / len(scores) if scores else math.nan


def _span_f1(results: Sequence[Label | None], labels: Sequence[Any], lengths: Sequence[int]) -> float:
    """Micro F1 of whole spans: a span counts if its first and last word and its class are right.

    Tjong Kim Sang and De Meulder 2003 (https://aclanthology.org/W03-0419), as their script conlleval.
    """
    num_right = num_spans = start = 0
    for length in lengths:
        item = slice(start, start + length)
        start += length
        wanted = [class_name(label) for label in labels[item]]
        # A word without a label is outside for both.
        pairs = zip(results[item], wanted, strict=True)
        predicted = [r.label if r is not None and w is not None else None for r, w in pairs]
        found, right = _spans(predicted), _spans(wanted)
        num_right += len(found & right)
        num_spans += len(found) + len(right)
    return 2 * num_right / num_spans if num_spans else math.nan


def mark_spans(classes: Collection[str]) -> bool:
    """Whether the names of classes are those of spans: ``O``, and others such as ``B-PER`` and ``I-PER``.

    >>> mark_spans(["B-PER", "I-PER", "O"]), mark_spans(["NOUN", "O"])
    (True, False)
    """
    kinds = [name.partition("-") for name in classes if name != "O"]
    return bool(kinds) and all(kind in _KINDS and kind != "O" and name for kind, _, name in kinds)


def _spans(tags: Sequence[str | None]) -> set[tuple[int, int, str]]:
    """(first, last, class) of the spans in tags such as ``B-PER``, ``I-PER`` and ``O``.

    The schemes IOB1, IOB2, BIOES and BILOU are read alike: a span begins at B, S or U, after an end, and
    where the class changes.
    """
    spans, first, before = set(), 0, ("O", "")
    for i, tag in enumerate([*tags, None]):
        kind, _, name = (tag or "O").partition("-")
        if kind not in _KINDS or (name == "") != (kind == "O"):
            raise ValueError(f"span_f1: got the label {tag!r}, expected labels such as B-PER, I-PER and O")
        begins = kind in "BSU" or before[0] in "OESLU" or name != before[1]
        if begins and before[0] != "O":
            spans.add((first, i - 1, before[1]))
        if begins:
            first = i
        before = kind, name
    return spans


_KINDS = ("B", "I", "O", "E", "S", "L", "U")
"""Begin, inside, outside; end and last; single and unit, which are spans of one word."""


def _label_flags(results: Sequence[LabelSet], labels: Sequence[Any]) -> list[tuple[bool, bool]]:
    """(predicted, true) for every class of every item, including classes that only the labels name."""
    flags = []
    for result, label in zip(results, labels, strict=True):
        predicted, named = {class_name(name) for name in result.labels}, named_flags(label)
        names = [*dict.fromkeys([*(str(class_name(name)) for name in result.probabilities), *named])]
        wanted = zip(names, flags_of(label, names), strict=True)
        flags += [(name in predicted, flag) for name, flag in wanted if flag is not None]
    return flags


def _roc_auc(results: Sequence[Any], labels: Sequence[Any]) -> float:
    """Area under the ROC curve for two classes; for multilabel tasks, the mean over the classes.

    A class counts only if some items have it and others do not. A class that training lacks gets probability
    0 for all items.
    """
    if isinstance(results[0], LabelSet):
        names = dict.fromkeys([*results[0].probabilities, *(name for v in labels for name in named_flags(v))])
        areas = [_area(*_probabilities(results, labels, name)) for name in names]
        known = [area for area in areas if not math.isnan(area)]
        return sum(known) / len(known) if known else math.nan
    names = {str(class_name(name)): name for name in results[0].probabilities}
    if len(names) != 2:
        raise ValueError(f"roc_auc: got {len(names)} classes, expected two; use accuracy or f1")
    pairs = [(r, class_name(v)) for r, v in zip(results, labels, strict=True)]
    other = [wanted for _, wanted in pairs if wanted is not None and wanted not in names]
    if other:
        raise ValueError(f"roc_auc: got the label {other[0]!r}, expected {' or '.join(names)}")
    second = [*names][1]
    shares = [r.probabilities[names[second]] for r, wanted in pairs if wanted is not None]
    return _area(shares, [wanted == second for _, wanted in pairs if wanted is not None])


def _probabilities(
    results: Sequence[LabelSet], labels: Sequence[Any], name: str
) -> tuple[list[float], list[bool]]:
    """Predicted probabilities and true flags of one class, for the items where the flag is known."""
    flags = [flags_of(v, [name])[0] for v in labels]
    known = [(r, flag) for r, flag in zip(results, flags, strict=True) if flag is not None]
    return [r.probabilities.get(name, 0.0) for r, _ in known], [flag for _, flag in known]


def _area(shares: Sequence[float], flags: Sequence[bool]) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(flags, shares)) if len(set(flags)) == 2 else math.nan


def columns_of(
    results: Sequence[Number], labels: Sequence[Any]
) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """(name, predictions, labels) for each named number, from the items with a label for it."""
    columns = []
    for name in results[0].values:
        pairs = [(r.values[name], number_of(v, name)) for r, v in zip(results, labels, strict=True)]
        known = [pair for pair in pairs if not math.isnan(pair[1])]
        if known:
            predicted, wanted = torch.tensor(known, dtype=torch.float64).T
            columns.append((name, predicted, wanted))
    return columns


def coverage(results: Sequence[Number], labels: Sequence[Any]) -> dict[str, float]:
    """Name -> the share of its labels that lie in the predicted intervals. NaN if there are none.

    Labels that are missing, and predictions without an interval, do not count.

    >>> predicted = [Number({"m": 1.0}, intervals={"m": (0.5, 1.5)}) for _ in range(4)]
    >>> coverage(predicted, [0.4, 0.5, 1.2, None])["m"] == 2 / 3
    True
    """
    shares = {}
    for name in dict.fromkeys(name for result in results for name in result.values):
        pairs = [
            (r.intervals[name], number_of(v, name))
            for r, v in zip(results, labels, strict=True)
            if name in r.intervals
        ]
        held = [low <= value <= high for (low, high), value in pairs if not math.isnan(value)]
        shares[name] = sum(held) / len(held) if held else math.nan
    return shares


def _per_column(function: Callable[[torch.Tensor, torch.Tensor], float]) -> Callable[..., float]:
    """A metric that is the mean over the named numbers, without those for which it is undefined."""

    def metric(results: Sequence[Number], labels: Sequence[Any]) -> float:
        values = [function(predicted, wanted) for _, predicted, wanted in columns_of(results, labels)]
        known = [value for value in values if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    return metric


def _r2(predicted: torch.Tensor, wanted: torch.Tensor) -> float:
    """1 - squared errors / squared deviations. Undefined (NaN) if labels differ only by rounding."""
    if is_constant(wanted):
        return math.nan
    return 1 - float((predicted - wanted).square().sum() / (wanted - wanted.mean()).square().sum())


def _rmse(predicted: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((predicted - wanted).square().mean().sqrt())


def _mae(predicted: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((predicted - wanted).abs().mean())


def _spearman(predicted: torch.Tensor, wanted: torch.Tensor) -> float:
    """Spearman's rank correlation. Equal numbers share the mean of their ranks. NaN if all are equal."""
    from scipy.stats import rankdata

    if is_constant(wanted) or len(set(predicted.tolist())) < 2:
        return math.nan
    ranks = torch.stack([torch.from_numpy(rankdata(values.numpy())) for values in (predicted, wanted)])
    return float(torch.corrcoef(ranks)[0, 1])


# --- texts: a label is a list of the correct texts, normalised ------------------------------------


def _exact_match(results: Sequence[Text], labels: Sequence[list[str]]) -> float:
    return sum(r.text in texts for r, texts in zip(results, labels, strict=True)) / len(labels)


def _error_rate(units: Callable[[str], Sequence[str]]) -> Callable[..., float]:
    """(Insertions + deletions + substitutions of all items) / (units of all references).

    If a label has several correct texts, the one with the fewest errors per unit counts.
    """

    def metric(results: Sequence[Text], labels: Sequence[list[str]]) -> float:
        errors = total = 0
        for result, texts in zip(results, labels, strict=True):
            predicted = units(result.text)
            counts = [(edits(predicted, units(text)), len(units(text))) for text in texts]
            best = min(counts, key=lambda c: c[0] / max(1, c[1]))
            errors, total = errors + best[0], total + best[1]
        return errors / total if total else math.nan

    return metric


def sacre_score(metric: str, results: Sequence[Text], labels: Sequence[list[str]]) -> tuple[float, str]:
    """BLEU or chrF of SacreBLEU, from 0 to 100.

    BLEU is with the tokenizer ``13a``, or ``zh`` (by character) if most references are Chinese. chrF compares
    pieces of up to six characters (Popović 2015, https://aclanthology.org/W15-3049).

    Args:
        metric: ``bleu``, ``bleu_lowercase`` (upper and lower case are the same) or ``chrf``.
        results: Predictions.
        labels: The correct texts of each item.

    Returns:
        The score, and the signature of SacreBLEU: what others need to compute the same.
    """
    import sacrebleu

    most = max(map(len, labels))
    columns = [[texts[i] if i < len(texts) else texts[0] for texts in labels] for i in range(most)]
    if metric == "chrf":
        scorer: Any = sacrebleu.CHRF()
    else:
        chinese = sum(_is_chinese(text) for text in columns[0])
        tokenizer = "zh" if 2 * chinese > len(labels) else "13a"
        scorer = sacrebleu.BLEU(tokenize=tokenizer, lowercase=metric == "bleu_lowercase")
    score = scorer.corpus_score([r.text for r in results], columns).score
    return float(score), str(scorer.get_signature())


def _sacre(metric: str) -> Callable[..., float]:
    return lambda results, labels: sacre_score(metric, results, labels)[0]


def _is_chinese(text: str) -> bool:
    """Whether most letters are Chinese characters."""
    letters = [c for c in text if c.isalpha()]
    return 2 * sum("\u4e00" <= c <= "\u9fff" for c in letters) > len(letters)


METRICS: dict[str, Callable[[Sequence[Any], Sequence[Any]], float]] = {
    "accuracy": _accuracy,
    "frame_accuracy": _accuracy,
    "f1": _f1,
    "span_f1": lambda results, labels: _span_f1(results, labels, [len(results)]),
    "roc_auc": _roc_auc,
    "r2": _per_column(_r2),
    "rmse": _per_column(_rmse),
    "mae": _per_column(_mae),
    "spearman": _per_column(_spearman),
    "exact_match": _exact_match,
    "word_error_rate": _error_rate(str.split),
    "character_error_rate": _error_rate(list),
    **{name: _sacre(name) for name in sorted(PERCENT)},
}
"""Name -> function of (predictions, the user's labels)."""
