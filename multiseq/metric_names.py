"""The names of metrics: which fit a target, and which are better when they are lower."""

from __future__ import annotations

__all__ = ["LOWER_IS_BETTER", "METRICS_OF"]

METRICS_OF = {
    "class": ("accuracy", "frame_accuracy", "f1", "roc_auc"),
    "labels": ("f1", "roc_auc"),
    "number": ("r2", "rmse", "mae"),
    "text": ("exact_match", "word_error_rate", "character_error_rate", "bleu"),
}
"""Target -> the metrics that fit it, the default one first."""

LOWER_IS_BETTER = frozenset({"word_error_rate", "character_error_rate", "rmse", "mae"})
