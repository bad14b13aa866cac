"""Ensembles: several trained models of the same tasks that predict as one.

Deep ensembles: Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from statistics import stdev
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from multiseq.heads.targets import ClassTarget, MultiLabelTarget, NumberTarget
from multiseq.heads.text_target import edits
from multiseq.model import MAX_VECTORS, Embedding, Model, Predictor, combine
from multiseq.protocols import Adapter, Level
from multiseq.results import Label, LabelSet, Number, Text, at_distance, mean_distance
from multiseq.tasks import Task

__all__ = ["Ensemble"]

TINY = 1e-12
"""Probabilities below are raised to it, so that their logarithms are finite."""


class Ensemble(Predictor):
    """Several trained models of the same tasks, the members, that predict as one.

    - *Classes*, one or several at once: the mean of the members' probabilities. A class that a member does
      not know has the probability 0 there.
    - *Numbers*: the mean, the mean of the ends of intervals, and how far the members are apart (`spreads`).
    - *Texts*: the member's text with the smallest mean edit distance to those of the others, in characters
      (minimum Bayes risk, Kumar & Byrne 2004, https://aclanthology.org/N04-1022); of equal ones, the most
      probable.
    - *Distance from the training data*: the mean of the members' distances.

    `multiseq.calibrate` fits a temperature, a threshold and intervals to the combined predictions. The
    ensemble is not trained: train its members.

    Args:
        members: The models. They have the same names of adapters and tasks; vocabularies may differ.

    Raises:
        ValueError: There are fewer than two members, or a task differs between them.

    Example:
        >>> from multiseq import ClassTarget, Encoder, Model, SetHead, TextAdapter
        >>> members = [
        ...     Model(
        ...         {"text": TextAdapter.fit(["red lamp", "blue lamp"], dim=16)},
        ...         Encoder(dim=16, depth=1, heads=2),
        ...         {"colour": Task("text", SetHead(16, ClassTarget(["blue", "red"])))},
        ...     )
        ...     for _ in range(2)
        ... ]
        >>> [label] = Ensemble(members).predict("colour", ["a red lamp"])
        >>> round(sum(label.probabilities.values()), 3)
        1.0
    """

    def __init__(self, members: Sequence[Predictor]) -> None:
        super().__init__()
        if len(members) < 2 or not all(isinstance(member, Model) for member in members):
            got = ", ".join(type(member).__name__ for member in members) or "none"
            raise ValueError(f"members: got {got}, expected two models or more")
        first = members[0]
        for number, member in enumerate(members[1:], 1):
            for what in ("adapters", "tasks"):
                names, expected = list(getattr(member, what)), list(getattr(first, what))
                if sorted(names) != sorted(expected):
                    raise ValueError(f"members[{number}]: got the {what} {names}, expected {expected}")
        self.members = nn.ModuleList(members)
        self.adapters = {
            name: _joint_adapter([member.adapter(name) for member in members]) for name in first.adapters
        }
        self.tasks = {
            name: _joint_task(name, [member.task(name) for member in members]) for name in first.tasks
        }
        self.eval()

    @property
    def models(self) -> list[Model]:
        """The members."""
        return [cast(Model, member) for member in self.members]

    @property
    def precision(self) -> str:
        """The precision of the members' products, see `Predictor`."""
        return self.models[0].precision

    @precision.setter
    def precision(self, precision: str) -> None:
        for member in self.models:
            member.precision = precision

    def run_prepared(
        self,
        adapter_name: str,
        pieces: Sequence[Sequence[Any]],
        tasks: Mapping[str, Mapping[str, Any]],
        max_vectors: int = MAX_VECTORS,
        *,
        locations: Sequence[str] = (),
    ) -> dict[str, list[list[tuple[Any, Any]]]]:
        """As `Predictor` says: every member predicts, and the results are combined."""
        adapter, by_member = self.adapter(adapter_name), []
        for number, member in enumerate(self.models):
            joined = isinstance(adapter, _Joined)
            prepared = [[e[number] for e in examples] for examples in pieces] if joined else pieces
            by_member.append(
                member.run_prepared(adapter_name, prepared, tasks, max_vectors, locations=locations)
            )
        results = {}
        for task in tasks:
            flat = [[result for item in of_member[task] for _, result in item] for of_member in by_member]
            together = iter(self._together(task, flat))
            results[task] = [[(example, next(together)) for example in examples] for examples in pieces]
        return results

    def embed(self, adapter_name: str, items: Any, *, max_vectors: int = MAX_VECTORS) -> list[Embedding]:
        """The embeddings of the first member, see `Model.embed`: those of members are not comparable."""
        return self.models[0].embed(adapter_name, items, max_vectors=max_vectors)

    def attention(self, adapter_name: str, item: Any, *, layer: int = -1) -> tuple[list[str], list[Tensor]]:
        """The attention weights of the first member, see `Model.attention`."""
        return self.models[0].attention(adapter_name, item, layer=layer)

    def logits(self, task: str, results: Sequence[Any]) -> Float[Tensor, "rows size"]:
        """The numbers from which the target of a task makes these results, for calibration."""
        target = self.task(task).head.target
        if isinstance(target, NumberTarget):
            values = torch.tensor([[r.values[name] for name in target.names] for r in results]).double()
            mean, std = (torch.tensor(scale).double() for scale in (target.mean, target.std))
            return (values.view(-1, target.size) - mean) / std
        table = _probabilities(results, target.labels)
        return table.log() if isinstance(target, ClassTarget) else table.logit(TINY)

    def _together(self, task: str, by_member: Sequence[Sequence[Any]]) -> list[Any]:
        """One result for each example; for a task per vector a list of them."""
        head = self.task(task).head
        if head.level != "vector":
            return self._combined(head.target, by_member)
        lengths = [len(of_example) for of_example in by_member[0]]
        results = iter(self._combined(head.target, [list(chain.from_iterable(of)) for of in by_member]))
        return [[next(results) for _ in range(length)] for length in lengths]

    def _combined(self, target: Any, by_member: Sequence[Sequence[Any]]) -> list[Any]:
        """Combine the results of all members, row by row."""
        together = list(zip(*by_member, strict=True))
        if not together:
            return []
        if isinstance(together[0][0], Text):
            return [_consensus(results) for results in together]
        if isinstance(together[0][0], Number):
            return [_with_interval(_with_spread(results), target) for results in together]
        tables = [_probabilities(results, target.labels) for results in by_member]
        mean = torch.stack(tables).mean(0)
        decoded = target.decode(mean.log() if isinstance(target, ClassTarget) else mean.logit(TINY))
        if together[0][0].distance is None:
            return list(decoded)
        return [
            at_distance(result, mean_distance(results))
            for result, results in zip(decoded, together, strict=True)
        ]


# --- combining results ----------------------------------------------------------------------------


def _probabilities(
    results: Sequence[Label | LabelSet], labels: Sequence[str]
) -> Float[Tensor, "rows classes"]:
    """The probability of each class, 0 for one that the member does not know."""
    known = [dict(result.probabilities.items()) for result in results]
    shares = torch.tensor(
        [[of_result.get(label, 0.0) for label in labels] for of_result in known], dtype=torch.float64
    )
    return shares.view(-1, len(labels)).clamp(min=TINY)


def _with_spread(results: Sequence[Number]) -> Number:
    """The mean of the members' numbers, with their standard deviation."""
    joined: Number = combine(results)
    return replace(joined, spreads={name: stdev(r.values[name] for r in results) for name in joined.values})


def _with_interval(result: Number, target: NumberTarget) -> Number:
    """The interval of the calibrated ensemble, if there is one, in place of the members' mean."""
    if not target.half_widths:
        return result
    halves = zip(target.names, target.half_widths, target.std, strict=True)
    ends = {n: (result.values[n] - half * std, result.values[n] + half * std) for n, half, std in halves}
    return replace(result, intervals=ends)


def _consensus(texts: Sequence[Text]) -> Text:
    """The text that is nearest to all others; of equally near ones, the most probable."""
    distances = [
        sum(edits(one.text, other.text) for other in texts if other.text != one.text) for one in texts
    ]
    best = min(range(len(texts)), key=lambda i: (distances[i], -texts[i].score))
    return replace(texts[best], distance=mean_distance(texts))


# --- tasks and adapters ---------------------------------------------------------------------------


def _refuse(*_: Any, **__: Any) -> Any:
    raise ValueError("an ensemble has no adapters and heads of its own; use those of its members: .models[0]")


@dataclass(frozen=True)
class _JointHead:
    """The level and the target of an ensemble's task. There are no weights: the members have them."""

    level: Level
    target: Any
    loss = decode = config = _refuse


def _joint_task(name: str, tasks: Sequence[Task]) -> Task:
    """The task of an ensemble. Raises ValueError if its members predict different things."""
    first = tasks[0]
    said = [_description(task) for task in tasks]
    for number, one in enumerate(said):
        if one != said[0]:
            raise ValueError(f"members[{number}]: its task {name!r} has {one}, expected {said[0]}")
    head: Any = _JointHead(first.head.level, _joint_target([task.head.target for task in tasks]))
    return Task(first.adapter_name, head, first.metric, first.weight)


def _description(task: Task) -> str:
    names = f" {', '.join(task.head.target.names)}" if isinstance(task.head.target, NumberTarget) else ""
    kind = f"{task.head.target.kind}{names}"
    return f"adapter {task.adapter_name}, a {kind} per {task.head.level}, metric {task.metric}"


def _joint_target(targets: Sequence[Any]) -> Any:
    """The target of the combined predictions, not calibrated. It knows the classes of all members."""
    first = targets[0]
    if isinstance(first, NumberTarget):
        return NumberTarget(first.names, first.mean, first.std, unit=first.unit)
    if not isinstance(first, ClassTarget | MultiLabelTarget):
        return first
    labels = list(dict.fromkeys(chain.from_iterable(target.labels for target in targets)))
    if any(target.labels != first.labels for target in targets):
        labels.sort()
    if isinstance(first, ClassTarget):
        return ClassTarget(labels)
    return MultiLabelTarget(labels, threshold=sum(target.threshold for target in targets) / len(targets))


def _joint_adapter(adapters: Sequence[Adapter]) -> Adapter:
    """One adapter for all members: that of the first, if all of them prepare an item in the same way."""
    first = adapters[0]
    for adapter in adapters[1:]:
        same = type(adapter) is type(first) and adapter.config() == first.config()
        if not (same and adapter.assets() == first.assets()):
            joined: Any = _Joined(adapters)
            return cast(Adapter, joined)
    return first


class _Joined:
    """The adapters of members with different vocabularies: an example is a tuple of the members' examples."""

    augment = collate = forward = read = config = assets = from_config = __call__ = _refuse

    def __init__(self, adapters: Sequence[Adapter]) -> None:
        self.members = list(adapters)
        self.modality, self.dim = adapters[0].modality, adapters[0].dim

    def prepare(self, item: Any) -> list[Any]:
        examples = [adapter.prepare(item) for adapter in self.members]
        if len(set(map(len, examples))) > 1:
            got = ", ".join(str(len(of_member)) for of_member in examples)
            raise ValueError(f"got {got} sets from the members of the ensemble, expected the same of each")
        return list(zip(*examples, strict=True))

    def num_vectors(self, example: Any) -> int:
        return max(
            adapter.num_vectors(of_member) for adapter, of_member in zip(self.members, example, strict=True)
        )

    def names(self, example: Any) -> list[str]:
        return self.members[0].names(example[0])

    def encoded_names(self, example: Any) -> list[str]:
        first: Any = self.members[0]
        return list(getattr(first, "encoded_names", first.names)(example[0]))

    def align(self, label: Any, example: Any) -> Any:
        return self.members[0].align(label, example[0])

    @property
    def without(self) -> Any:
        """The function of the members, for the tuple of examples. AttributeError if a member has none."""
        functions = [cast(Any, adapter).without for adapter in self.members]
        return lambda example, number: tuple(f(e, number) for f, e in zip(functions, example, strict=True))

    def __getattr__(self, name: str) -> Any:
        """What is about raw items is that of the first member; what takes examples is not there."""
        if name not in ABOUT_ITEMS or "members" not in vars(self):
            raise AttributeError(name)
        return getattr(self.members[0], name)


ABOUT_ITEMS = (
    *("suffixes", "vector_seconds", "one_per_line", "json_form", "parse", "check_item", "is_item"),
    *("reader_options", "stand_in"),
)
