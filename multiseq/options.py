"""The options that a recipe may give to adapters, encoder, heads and training; and the names of metrics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

__all__ = [
    "LOWER_IS_BETTER",
    "METRICS_OF",
    "MONITOR",
    "NUMBER",
    "OPTIONS",
    "PERCENT",
    "PRECISIONS",
    "RESERVED",
    "TAKES",
    "TOTAL",
    "Option",
    "check_range",
]


@dataclass(frozen=True)
class Range:
    """The numbers from ``least`` to ``most``. ``open`` says which of the two ends are not included."""

    least: int | float
    most: int | float = math.inf
    open: tuple[bool, bool] = (False, False)

    def __contains__(self, value: int | float) -> bool:
        above = value > self.least if self.open[0] else value >= self.least
        return above and (value < self.most if self.open[1] else value <= self.most)

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"a number above {self.least}" if self.open[0] else f"{self.least} or more"
        return f"{self.least} up to {'below ' if self.open[1] else ''}{self.most}"


SHARE = Range(0, 1, (False, True))
"""A fraction below 1, for example of entries to drop: dropping all of them is not allowed."""
POSITIVE = Range(0, open=(True, False))
COUNT = Range(0)
AT_LEAST_ONE = Range(1)

NUMBER = (int, float)


@dataclass(frozen=True)
class Option:
    """The type and the allowed values of one option.

    Args:
        type: Type of the value. A list contains numbers.
        range: Range of the value, or of each number in a list. None: no limits.
        choices: The allowed values, if there are only a few.
    """

    type: Any
    range: Range | None = None
    choices: tuple[Any, ...] = ()


PRECISIONS = ("auto", "fp32", "bf16")
"""See `multiseq.nn.precision`."""

OPTIONS: dict[str, Option] = {
    # sizes
    "dim": Option(int, AT_LEAST_ONE),
    "ff_dim": Option(int, AT_LEAST_ONE),
    "heads": Option(int, AT_LEAST_ONE),
    "depth": Option(int, Range(0, 1000)),
    "window": Option(int, AT_LEAST_ONE),
    "chunk": Option(int, AT_LEAST_ONE),
    "pair_codes": Option(int, COUNT),
    "lora_rank": Option(int, COUNT),
    "vocab_size": Option(int, AT_LEAST_ONE),
    "min_count": Option(int, AT_LEAST_ONE),
    "max_length": Option(int, AT_LEAST_ONE),
    # variants
    "gated": Option(bool),
    "relative_bias": Option(bool),
    "word_shape": Option(bool),
    "start": Option(str),
    "unit": Option(str),
    "piece_pooling": Option(str, choices=("first", "mean")),
    "pool": Option(str, choices=("mean", "sum", "attention")),
    # training
    "weight": Option(NUMBER, POSITIVE),
    "dropout": Option(NUMBER, SHARE),
    "word_dropout": Option(NUMBER, SHARE),
    "edge_dropout": Option(NUMBER, SHARE),
    "label_smoothing": Option(NUMBER, SHARE),
    "margin": Option(NUMBER, SHARE),
    "scale": Option(NUMBER, POSITIVE),
    "lr": Option(NUMBER, COUNT),
    "pretrained_lr": Option(NUMBER, COUNT),
    "layer_lr_decay": Option(NUMBER, Range(0, 1, (True, False))),
    "frozen_layers": Option(int, COUNT),
    "weight_decay": Option(NUMBER, COUNT),
    "steps": Option(int, AT_LEAST_ONE),
    "max_vectors": Option(int, AT_LEAST_ONE),
    "save_every": Option(int, AT_LEAST_ONE),
    "evaluate_every": Option(int, COUNT),
    "patience": Option(int, COUNT),
    "monitor": Option(str),
    "num_workers": Option(int, COUNT),
    "warmup": Option(NUMBER, Range(0, 1)),
    "ema_decay": Option(NUMBER, SHARE),
    "temperature": Option(NUMBER, POSITIVE),
    "max_grad_norm": Option(NUMBER, POSITIVE),
    "seed": Option(int, Range(-(2**63), 2**64, (False, True))),
    "deterministic": Option(bool),
    "precision": Option(str, choices=PRECISIONS),
    "ensemble": Option(int, AT_LEAST_ONE),
    # speech and graphs
    "sample_rate": Option(int, Range(1000)),
    "n_mels": Option(int, AT_LEAST_ONE),
    "subsample": Option(int, choices=(1, 2, 4)),
    "chunk_seconds": Option(NUMBER, POSITIVE),
    "max_seconds": Option(NUMBER, COUNT),
    "specaugment": Option(bool),
    "time_mask": Option(NUMBER, COUNT),
    "speeds": Option(list, POSITIVE),
    "gain": Option(NUMBER, COUNT),
    "noise": Option(str),
    "rooms": Option(str),
    "channel": Option(int, COUNT),
    "num_hops": Option(int, COUNT),
    "num_neighbors": Option(int, COUNT),
    "bins": Option(int, COUNT),
    "num_layers": Option(int, COUNT),
    "walk_length": Option(int, COUNT),
    "max_distance": Option(int, COUNT),
    "directed": Option(bool),
    "descriptors": Option(bool),
    "labels_of": Option(str, choices=("nodes", "edges")),
    "messages": Option(str, choices=("gine", "dmpnn")),
    # decoding texts
    "num_beams": Option(int, AT_LEAST_ONE),
    "length_penalty": Option(NUMBER, COUNT),
    "ctc_weight": Option(NUMBER, Range(0, 1)),
    "n_best": Option(int, AT_LEAST_ONE),
    "times": Option(bool),
    "language_model": Option(str),
    "lm_weight": Option(NUMBER, COUNT),
    "word_bonus": Option(NUMBER),
    # files
    "unpack_limit": Option(int, COUNT),
    "phones": Option(int, choices=(61, 48, 39)),
    "fold": Option(int, COUNT),
}
"""Name -> allowed values. An option has the same meaning in every class that takes it."""

TAKES: dict[str, tuple[str, ...]] = {
    "Encoder": (
        *("dim", "depth", "heads", "ff_dim", "gated", "dropout"),
        *("window", "chunk", "relative_bias", "pair_codes"),
    ),
    "PretrainedEncoder": ("dropout", "pair_codes", "lora_rank"),
    "PretrainedTextAdapter": ("unit", "piece_pooling", "window", "dropout", "word_shape"),
    "TextAdapter": ("unit", "vocab_size", "min_count", "window", "dropout", "word_dropout"),
    "SpeechAdapter": (
        *("sample_rate", "n_mels", "subsample", "chunk_seconds", "max_seconds"),
        *("specaugment", "time_mask", "speeds", "gain", "noise", "rooms", "channel", "dropout"),
    ),
    "GraphAdapter": (
        *("num_layers", "walk_length", "max_distance", "directed", "dropout", "edge_dropout", "descriptors"),
        *("labels_of", "messages"),
    ),
    "NeighborhoodAdapter": ("num_hops", "num_neighbors", "directed", "dropout", "bins"),
    "VectorHead": ("dropout",),
    "SetHead": ("pool", "dropout"),
    "CTCHead": ("dropout",),
    "DecoderHead": ("depth", "heads", "dropout", "label_smoothing", "max_length"),
    "JointHead": ("ctc_weight", "depth", "heads", "dropout", "label_smoothing", "max_length"),
    "VectorHead.decode": (),
    "SetHead.decode": (),
    "CTCHead.decode": ("num_beams", "n_best", "times", "language_model", "lm_weight", "word_bonus"),
    "DecoderHead.decode": ("num_beams", "n_best", "length_penalty", "max_length"),
    "JointHead.decode": (
        *("num_beams", "n_best", "ctc_weight", "length_penalty", "max_length", "times"),
        *("language_model", "lm_weight", "word_bonus"),
    ),
    "Settings": (
        *(
            "steps",
            "max_vectors",
            "lr",
            "pretrained_lr",
            "layer_lr_decay",
            "frozen_layers",
            "warmup",
            "weight_decay",
            "max_grad_norm",
            "temperature",
            "ema_decay",
        ),
        *("evaluate_every", "patience", "monitor", "save_every", "num_workers", "seed", "deterministic"),
        "precision",
    ),
}
"""Class or method ``decode`` -> the options that a recipe may give it. A test compares the signatures."""


METRICS_OF = {
    "class": ("accuracy", "frame_accuracy", "f1", "span_f1", "roc_auc"),
    "multilabel": ("f1", "roc_auc"),
    "number": ("r2", "rmse", "mae", "spearman"),
    "text": ("exact_match", "word_error_rate", "character_error_rate", "bleu", "bleu_lowercase", "chrf"),
}
"""Kind of target -> its possible metrics; the first one is the default."""

LOWER_IS_BETTER = frozenset({"word_error_rate", "character_error_rate", "rmse", "mae"})

PERCENT = frozenset({"bleu", "bleu_lowercase", "chrf"})
"""Metrics from 0 to 100."""

MONITOR, TOTAL = "monitor", "total"
"""In ``metrics.csv``, the task of the lines with the monitored score, and with the loss of all tasks."""

RESERVED = ("config", "model", MONITOR, TOTAL)
"""No task or adapter has these names: a checkpoint's files and lines of ``metrics.csv`` have them."""


def check_range(key: str, value: Any) -> None:
    """Raise ValueError if a value, or an entry of a list, is not allowed for its key.

    >>> check_range("num_beams", 5)
    >>> check_range("num_beams", 0)
    Traceback (most recent call last):
    ValueError: got 0, expected 1 or more
    """
    option = OPTIONS.get(key, Option(object))
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, float) and not math.isfinite(one):
            raise ValueError(f"got {one}, expected a finite number")
        if isinstance(one, int | float) and option.range and one not in option.range:
            raise ValueError(f"got {one}, expected {option.range}")
        if option.choices and one not in option.choices:
            raise ValueError(f"got {one!r}, expected one of {', '.join(map(str, option.choices))}")
