"""The names of all metrics, by kind of target, and which of them are better if lower."""

from __future__ import annotations

__all__ = ["LOWER_IS_BETTER", "METRICS_OF", "MONITOR"]

METRICS_OF = {
    "class": ("accuracy", "frame_accuracy", "f1", "roc_auc"),
    "multilabel": ("f1", "roc_auc"),
    "number": ("r2", "rmse", "mae"),
    "text": ("exact_match", "word_error_rate", "character_error_rate", "bleu"),
}
"""Kind of target -> its possible metrics; the first one is the default."""

LOWER_IS_BETTER = frozenset({"word_error_rate", "character_error_rate", "rmse", "mae"})

MONITOR = "monitor"
"""In ``metrics.csv``, the task of the lines with the monitored score."""
