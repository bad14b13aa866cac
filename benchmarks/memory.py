"""Peak memory of forward and backward: the encoder and its peers, on one batch, in a process of its own."""

from __future__ import annotations

import math

import torch

from benchmarks.peers import Peer, ours, peers
from benchmarks.process import in_fresh_process, peak_of
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.workloads import draw, padding_factor, sets_of, workloads

__all__ = ["measure"]


SETS = 64
"""At most: with more, filled up to the longest, no peer that pads would fit on a GPU."""


def measure(setting: Setting) -> list[Table]:
    """A row for each encoder, on the draw whose padding is the middle one."""
    workload = workloads(setting)[-1]
    draws = [draw(workload, min(SETS, setting.sets), seed, setting.lengths) for seed in range(setting.draws)]
    lengths = sorted(draws, key=padding_factor)[len(draws) // 2]
    peaks = in_fresh_process(_peaks, lengths, setting)
    ours = next(iter(peaks.values()))
    rows: list[dict[str, Cell]] = [
        {"encoder": name, "MiB": mib, "KiB a vector": 2**10 * mib / sum(lengths), "× ours": mib / ours}
        for name, mib in peaks.items()
    ]
    title = f"Peak memory of forward and backward: {workload}, {sum(lengths):,} vectors"
    note = (
        f"Weights, their gradients and the batch aside. Padding: {padding_factor(lengths):.2f} rows a vector."
    )
    return [Table("memory", title, rows, note + " –: does not fit.")]


def _peaks(lengths: list[int], setting: Setting) -> dict[str, float]:
    """MiB by name, ours first."""
    return {peer.name: _peak(peer, lengths, setting) for peer in (ours(setting), *peers(setting))}


def _peak(peer: Peer, lengths: list[int], setting: Setting) -> float:
    peer.model.train()
    peer.prepare(sets_of([2, 1], setting))().sum().backward()  # makes the gradients of the weights
    encode = peer.prepare(sets_of(lengths, setting))
    try:
        return peak_of(lambda: encode().sum().backward(), setting.device)
    except torch.OutOfMemoryError:
        return math.nan
