"""Baselines: what a fair simple method reaches without the model, from the same training items.

    text    per vector   the most frequent label of each word
            per set      bag of words (tf-idf) and logistic or ridge regression
            sequence     copying the target of the nearest training text (tf-idf, cosine)
    speech  per vector   logistic or ridge regression on log-mel frames
            per set      logistic or ridge regression on the clip's average frame
            sequence     copying the transcript of the nearest clip (average frame, Euclidean)
    graph   per vector   logistic or ridge regression on the node's own features, which do not know
                         its neighbours; of described nodes the most frequent label of a description
            per set      logistic or ridge regression on counts of nodes in each category (of atoms:
                         element, degree, hydrogens …); of described nodes bag of words
            sequence     copying the text of the nearest training graph (tf-idf of its words, or of
                         the characters of a SMILES)

An adapter says what a simple method sees of its items (`baseline_vectors` and `baseline_item` of
`multiseq.protocols.Extras`). Where it says nothing, the baseline is the most frequent label, the mean number,
or the most frequent text. Several labels or numbers at once are predicted one by one.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from multiseq.heads.targets import flags_of, is_missing, number_of
from multiseq.heads.text_target import normalise
from multiseq.labels import class_name
from multiseq.protocols import Level
from multiseq.requires import need
from multiseq.results import Label, LabelSet, Number, Shares, Text
from multiseq.tasks import Source
from multiseq.training.item_cache import ItemCache
from multiseq.training.metrics import compute

if TYPE_CHECKING:
    from multiseq.model import Model

__all__ = ["baseline", "baseline_results"]

MOST_ROWS = 20_000
"""Training rows of a regression, at most: more, evenly thinned out, change it no further."""


def baseline(model: Model, task: str, train: Source, test: Source) -> float:
    """The task's metric on ``test``, reached by the simple method fitted to ``train``.

    Args:
        model: For its adapters, targets and metrics; its weights are not used.
        task: The task's name.
        train: Training items with labels for that task.
        test: The items that the model is scored on.
    """
    return compute(model.task(task).metric, *baseline_results(model, task, train, test))


def baseline_results(
    model: Model, task: str, train: Source, test: Source, cache: ItemCache | None = None
) -> tuple[list[Any], list[Any]]:
    """(results, labels) of everything in ``test`` that has a label, as the model gives them.

    Args:
        model: As for `baseline`, like the next three.
        task: The task's name.
        train: Training items.
        test: Items to predict.
        cache: What prepared items are looked up in.
    """
    cache = cache or ItemCache()
    x, y = _rows(model, task, train, cache)
    test_x, test_y = _rows(model, task, test, cache)
    if not x:
        raise ValueError(f"task {task!r}: got no label in the training data, expected some")
    target = model.task(task).head.target
    method = METHODS[target.kind]
    return method(target, x, y, test_x) if test_x else [], test_y


# --- what there is to see: a word (str), a bag of words (list) or numbers (array) -----------------


def _rows(model: Model, task: str, source: Source, cache: ItemCache) -> tuple[list[Any], list[Any]]:
    """What there is to see of every vector or item that has a label, and the label."""
    adapter, head = model.adapter(source.adapter_name), model.task(task).head
    x: list[Any] = []
    y: list[Any] = []
    found = cache.examples(adapter, source.items, source.locations)
    known = zip(source.items, source.targets[task], found, strict=True)
    for item, labels, examples in known:
        if labels is None:
            continue
        if head.level != "vector":
            if not is_missing(head.target, labels):
                x.append(_seen_of_item(adapter, item, examples, head.level))
                y.append(labels)
            continue
        for example in examples:
            aligned = adapter.align(labels, example)
            for row, label in zip(_seen_of_vectors(adapter, example, len(aligned)), aligned, strict=True):
                if not is_missing(head.target, label):
                    x.append(row)
                    y.append(label)
    return x, y


NOTHING = ""
"""One word for all, where an adapter does not say what a simple method may see."""


def _seen_of_vectors(adapter: Any, example: Any, count: int) -> Sequence[Any]:
    seen: Sequence[Any] = [NOTHING] * count
    return adapter.baseline_vectors(example) if hasattr(adapter, "baseline_vectors") else seen


def _seen_of_item(adapter: Any, item: Any, examples: Sequence[Any], level: Level) -> Any:
    return adapter.baseline_item(item, examples, level) if hasattr(adapter, "baseline_item") else NOTHING


# --- methods: (target, training rows, labels, test rows) -> results -----------------------------------


def _labels(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    classes, table = _shares(x, [str(class_name(v)) for v in y], test_x)
    best = table.argmax(1).tolist()
    rows = Shares.of_rows(classes, table)
    return [Label(classes[i], row[classes[i]], row) for i, row in zip(best, rows, strict=True)]


def _label_sets(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    flags, table = [flags_of(v, target.labels) for v in y], np.zeros((len(test_x), target.size))
    for column in range(target.size):
        known = [i for i, of_item in enumerate(flags) if of_item[column] is not None]
        classes, shares = _shares([x[i] for i in known], [str(flags[i][column]) for i in known], test_x)
        if "True" in classes:
            table[:, column] = shares[:, classes.index("True")]
    rows = Shares.of_rows(target.labels, table)
    return [LabelSet(tuple(name for name, p in row.items() if p >= 0.5), row) for row in rows]


def _numbers(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    found: list[dict[str, float]] = [{} for _ in test_x]
    for name in target.names:
        values = [number_of(v, name) for v in y]
        known = [i for i, value in enumerate(values) if not math.isnan(value)]
        predicted = _regress([x[i] for i in known], [values[i] for i in known], test_x)
        for result, value in zip(found, predicted, strict=True):
            result[name] = value
    scales = dict(zip(target.names, target.std, strict=True))
    return [Number(values, target.unit, scales) for values in found]


def _texts(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    if isinstance(x[0], str):
        [(most, _)] = Counter(_text_of(v) for v in y).most_common(1)
        return [Text(most, 0.0) for _ in test_x]
    a, b = _matrices(x, test_x)
    metric = "euclidean" if isinstance(a, np.ndarray) else "cosine"
    nearest = need("sklearn.neighbors").NearestNeighbors(n_neighbors=1, metric=metric).fit(a)
    copied = [y[i] for i in nearest.kneighbors(b, return_distance=False)[:, 0]]
    return [Text(_text_of(v), 0.0) for v in copied]


def _text_of(label: Any) -> str:
    """The text of a label, of several right ones the first."""
    return normalise(label if isinstance(label, str) else label[0])


METHODS: dict[str, Callable[..., list[Any]]] = {
    "class": _labels,
    "multilabel": _label_sets,
    "number": _numbers,
    "text": _texts,
}
"""Kind of target -> the method's results."""


def _shares(x: list[Any], y: list[str], test_x: list[Any]) -> tuple[list[str], NDArray[np.float64]]:
    """The classes, and for each test row how probable each is; no class where no label is known."""
    words = bool(x) and isinstance(x[0], str)
    if not words:
        x, y = _thinned(x), _thinned(y)
    classes = sorted(set(y))
    if len(classes) <= 1:
        return classes, np.ones((len(test_x), len(classes)))
    if words:
        return classes, _shares_of_words(x, y, classes, test_x)
    a, b = _matrices(x, test_x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not quite converged is good enough
        model = need("sklearn.linear_model").LogisticRegression(max_iter=300).fit(a, y)
    return [str(name) for name in model.classes_], model.predict_proba(b).astype(np.float64)


def _shares_of_words(
    x: list[str], y: list[str], classes: list[str], test_x: list[str]
) -> NDArray[np.float64]:
    """How often each word had each label; of an unknown word, how often all words had it."""
    overall, of_word = Counter(y), defaultdict[str, Counter[str]](Counter)
    for word, label in zip(x, y, strict=True):
        of_word[word][label] += 1
    counts = [of_word.get(word, overall) for word in test_x]
    return np.array([[count[c] / count.total() for c in classes] for count in counts])


def _regress(x: list[Any], y: list[float], test_x: list[Any]) -> list[float]:
    """Ridge regression; of words the mean of each, for an unknown one the mean of all."""
    if not x:
        return [0.0] * len(test_x)
    if isinstance(x[0], str):
        values = defaultdict(list)
        for word, value in zip(x, y, strict=True):
            values[word].append(float(value))
        return [float(np.mean(values.get(word, y))) for word in test_x]
    x, y = _thinned(x), _thinned(y)
    a, b = _matrices(x, test_x)
    model = need("sklearn.linear_model").Ridge().fit(a, np.array(y, dtype=float))
    return [float(v) for v in model.predict(b)]


def _matrices(x: list[Any], test_x: list[Any]) -> tuple[Any, Any]:
    """Tf-idf of bags of words, or standardised numbers, both scaled by the training rows."""
    if isinstance(x[0], list):
        text = need("sklearn.feature_extraction.text")
        scale = text.TfidfVectorizer(analyzer=list, sublinear_tf=True)
    else:
        scale = need("sklearn.preprocessing").StandardScaler()
    return scale.fit_transform(x), scale.transform(test_x)


def _thinned(rows: list[Any]) -> list[Any]:
    return rows[:: max(1, -(-len(rows) // MOST_ROWS))]
