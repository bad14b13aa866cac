"""Baselines: simple methods, fitted to the same training items as the model, for comparison.

    text    per vector   the most frequent label of each word
            per set      logistic or ridge regression on a bag of words (tf-idf)
            sequence     copy the target of the nearest training text (tf-idf, cosine)
    speech  per vector   logistic or ridge regression on log-mel frames
            per set      logistic or ridge regression on the clip's average frame
            sequence     copy the transcript of the nearest clip (average frame, Euclidean)
    graph   per vector   logistic or ridge regression on the node's own features, without its neighbours; if
                         nodes have descriptions, the most frequent label of each description
            per set      logistic or ridge regression on the number of nodes in each category (for atoms:
                         element, degree, hydrogens …); if nodes have descriptions, a bag of words
            sequence     copy the text of the nearest training graph (tf-idf of its words, or of the
                         characters of a SMILES)

An adapter defines the features that a baseline gets from its items (`baseline_vectors` and `baseline_item` of
`multiseq.protocols.Extras`). If it defines none, the baseline predicts the most frequent label, the mean
number, or the most frequent text. Each label of a multilabel task and each named number is predicted
separately.
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
    from multiseq.model import Predictor

__all__ = ["baseline", "baseline_results"]

MOST_ROWS = 20_000
"""Most training rows of a regression. From more rows we take every n-th; all rows would change little."""


def baseline(model: Predictor, task: str, train: Source, test: Source) -> float:
    """The baseline's score: fit the simple method to ``train``, and compute the task's metric on ``test``.

    Args:
        model: The model whose adapters, targets and metrics are used; its weights are not used.
        task: The task's name.
        train: Training items with labels for that task.
        test: The items that the model is scored on.
    """
    return compute(model.task(task).metric, *baseline_results(model, task, train, test))


def baseline_results(
    model: Predictor, task: str, train: Source, test: Source, cache: ItemCache | None = None
) -> tuple[list[Any], list[Any]]:
    """The baseline's (predictions, labels) for everything in ``test`` that has a label.

    The predictions have the same types as those of the model.

    Args:
        model: As for `baseline`, like the next three.
        task: The task's name.
        train: Training items.
        test: Items to predict.
        cache: Cache of prepared items.
    """
    cache = cache or ItemCache()
    x, y = _features_and_labels(model, task, train, cache)
    test_x, test_y = _features_and_labels(model, task, test, cache)
    if not x:
        raise ValueError(f"task {task!r}: got no label in the training data, expected some")
    target = model.task(task).head.target
    method = METHODS[target.kind]
    return method(target, x, y, test_x) if test_x else [], test_y


# --- features: a word (str), a bag of words (list) or numbers (array) -----------------------------


def _features_and_labels(
    model: Predictor, task: str, source: Source, cache: ItemCache
) -> tuple[list[Any], list[Any]]:
    """(features, labels) of every vector or item that has a label."""
    adapter, head = model.adapter(source.adapter_name), model.task(task).head
    x: list[Any] = []
    y: list[Any] = []
    prepared = cache.examples(adapter, source.items, source.locations)
    known = zip(source.items, source.targets[task], prepared, strict=True)
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
"""The feature of every item if the adapter defines none: the same word for all."""


def _seen_of_vectors(adapter: Any, example: Any, count: int) -> Sequence[Any]:
    seen: Sequence[Any] = [NOTHING] * count
    return adapter.baseline_vectors(example) if hasattr(adapter, "baseline_vectors") else seen


def _seen_of_item(adapter: Any, item: Any, examples: Sequence[Any], level: Level) -> Any:
    return adapter.baseline_item(item, examples, level) if hasattr(adapter, "baseline_item") else NOTHING


# --- methods: (target, training rows, labels, test rows) -> results -------------------------------


def _class_results(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    classes, table = _shares(x, [str(class_name(v)) for v in y], test_x)
    best = table.argmax(1).tolist()
    shares = Shares.of_rows(classes, table)
    return [Label(classes[i], of_item[classes[i]], of_item) for i, of_item in zip(best, shares, strict=True)]


def _flag_results(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    flags, table = [flags_of(v, target.labels) for v in y], np.zeros((len(test_x), target.size))
    for column in range(target.size):
        known = [i for i, of_item in enumerate(flags) if of_item[column] is not None]
        classes, shares = _shares([x[i] for i in known], [str(flags[i][column]) for i in known], test_x)
        if "True" in classes:
            table[:, column] = shares[:, classes.index("True")]
    predicted = Shares.of_rows(target.labels, table)
    return [
        LabelSet(tuple(name for name, p in of_item.items() if p >= 0.5), of_item) for of_item in predicted
    ]


def _number_results(target: Any, x: list[Any], y: list[Any], test_x: list[Any]) -> list[Any]:
    results: list[dict[str, float]] = [{} for _ in test_x]
    for name in target.names:
        values = [number_of(v, name) for v in y]
        known = [i for i, value in enumerate(values) if not math.isnan(value)]
        predicted = _regress([x[i] for i in known], [values[i] for i in known], test_x)
        for result, value in zip(results, predicted, strict=True):
            result[name] = value
    scales = dict(zip(target.names, target.std, strict=True))
    return [Number(values, target.unit, scales) for values in results]


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
    """The text of a label; the first one if several are correct."""
    return normalise(label if isinstance(label, str) else label[0])


METHODS: dict[str, Callable[..., list[Any]]] = {
    "class": _class_results,
    "multilabel": _flag_results,
    "number": _number_results,
    "text": _texts,
}
"""Kind of target -> the method that predicts it."""


def _shares(x: list[Any], y: list[str], test_x: list[Any]) -> tuple[list[str], NDArray[np.float64]]:
    """The classes, and their probabilities for each test row. Without any label there are no classes."""
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
        warnings.simplefilter("ignore")  # a fit that has not fully converged is good enough
        model = need("sklearn.linear_model").LogisticRegression(max_iter=300).fit(a, y)
    return [str(name) for name in model.classes_], model.predict_proba(b).astype(np.float64)


def _shares_of_words(
    x: list[str], y: list[str], classes: list[str], test_x: list[str]
) -> NDArray[np.float64]:
    """How often each word has each label in training. An unknown word gets the frequencies of all words."""
    overall, of_word = Counter(y), defaultdict[str, Counter[str]](Counter)
    for word, label in zip(x, y, strict=True):
        of_word[word][label] += 1
    counts = [of_word.get(word, overall) for word in test_x]
    return np.array([[count[c] / count.total() for c in classes] for count in counts])


def _regress(x: list[Any], y: list[float], test_x: list[Any]) -> list[float]:
    """Ridge regression. For words: the mean value of each word; an unknown word gets the mean of all."""
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
    """Tf-idf of bags of words, or standardised numbers. Both are fitted to the training rows."""
    if isinstance(x[0], list):
        text = need("sklearn.feature_extraction.text")
        scale = text.TfidfVectorizer(analyzer=list, sublinear_tf=True)
    else:
        scale = need("sklearn.preprocessing").StandardScaler()
    return scale.fit_transform(x), scale.transform(test_x)


def _thinned(examples: list[Any]) -> list[Any]:
    return examples[:: max(1, -(-len(examples) // MOST_ROWS))]
