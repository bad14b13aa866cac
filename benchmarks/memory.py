"""Peak memory of forward and backward, beside a padded ``torch.nn.TransformerEncoder`` of as many weights.

Each contender runs in a process of its own, on the same batches.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from benchmarks.process import in_fresh_process, peak_of
from benchmarks.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import median, ratio
from benchmarks.workloads import draw, padding_factor, sets_of, workloads
from multiseq import Encoder, VectorSets

__all__ = ["measure"]

Step = Callable[[VectorSets], None]


def measure(setting: Setting) -> list[Table]:
    """One row: MiB of both, and how many times as much the padded one takes."""
    workload = workloads(setting)[-1]
    batches = [draw(workload, setting.sets, seed, setting.lengths) for seed in range(setting.draws)]
    ours, theirs = (in_fresh_process(_peaks, name, batches, setting) for name in STEPS)
    row: dict[str, Cell] = {
        "workload": workload,
        "vectors": round(median([sum(b) for b in batches])),
        "padding factor": median([padding_factor(b) for b in batches]),
        "ours MiB": median(ours),
        "padded MiB": median(theirs),
        "padded ÷ ours": ratio(ours, theirs),
    }
    title = "Peak memory of forward and backward, weights and gradients aside"
    return [Table("memory", title, [row], "Median of the draws; above what was in use before the step.")]


def _peaks(name: str, batches: list[list[int]], setting: Setting) -> list[float]:
    """Peak MiB of a contender on each batch."""
    step = STEPS[name](setting)
    step(sets_of([2, 1], setting))  # makes the gradients of the weights
    peaks = []
    for lengths in batches:
        sets = sets_of(lengths, setting)
        peaks.append(peak_of(lambda sets=sets: step(sets), setting.device))  # type: ignore[misc]
    return peaks


def _ours(setting: Setting) -> Step:
    encoder = Encoder(setting.dim, setting.depth, setting.heads, dropout=0.0)
    encoder.to(setting.device, setting.dtype)
    return lambda sets: encoder(sets).values.sum().backward()


def _padded(setting: Setting) -> Step:
    layer = nn.TransformerEncoderLayer(
        setting.dim,
        setting.heads,
        setting.ff_dim,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
        device=setting.device,
        dtype=setting.dtype,
    )
    encoder = nn.TransformerEncoder(layer, setting.depth, enable_nested_tensor=False)

    def step(sets: VectorSets) -> None:
        padded, mask = sets.to_padded()
        encoder(padded, src_key_padding_mask=~mask)[mask].sum().backward()

    return step


STEPS: dict[str, Callable[[Setting], Step]] = {"ours": _ours, "padded": _padded}
