"""Where the time of the encoder goes: operations of one forward and backward, by torch's profiler."""

from __future__ import annotations

from typing import Any

import torch
from torch._C._autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.limits import encoder_step
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import synchronise
from benchmarks.workloads import draw, workloads
from multiseq import Encoder

__all__ = ["measure"]

SHOWN = 16
"""Rows of a table: what takes longest."""
WIDEST = 70
"""Characters of a name; those of kernels go on for lines."""
REPEATS = 3


def measure(setting: Setting) -> list[Table]:
    """Operations of torch; on a GPU its kernels too."""
    torch.manual_seed(0)
    model = Encoder(setting.dim, setting.depth, setting.heads, dropout=0.0)
    model.to(setting.device, setting.dtype)
    workload = workloads(setting)[-1]
    lengths = draw(workload, setting.sets, 1, setting.lengths)
    step = encoder_step(model, lengths, setting)
    step()
    synchronise(setting.device)
    on_gpu = setting.device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        for _ in range(REPEATS):
            step()
        synchronise(setting.device)
    events = list(profiler.key_averages())
    title = f"forward and backward, {workload}, {sum(lengths):,} vectors"
    operations = [e for e in events if e.device_type == DeviceType.CPU]
    tables = [_table("operations", f"Operations: {title}", operations, on_gpu)]
    if on_gpu:
        kernels = [e for e in events if e.device_type == DeviceType.CUDA]
        tables.append(_table("kernels", f"Kernels: {title}", kernels, on_gpu))
    return tables


def _table(name: str, title: str, events: list[Any], on_gpu: bool) -> Table:
    """By their own time, without that of what they call."""
    taken = {e.key: (e.self_device_time_total if on_gpu else e.self_cpu_time_total) / 1e3 for e in events}
    calls = {e.key: e.count for e in events}
    whole = sum(taken.values())
    rows: list[dict[str, Cell]] = [
        {
            name.removesuffix("s"): key[:WIDEST],
            "calls": calls[key] / REPEATS,
            "ms": ms / REPEATS,
            "%": 100 * ms / whole,
        }
        for key, ms in sorted(taken.items(), key=lambda pair: pair[1], reverse=True)[:SHOWN]
        if ms > 0
    ]
    processor = "GPU" if on_gpu else "CPU"
    note = f"Of one step: calls, and milliseconds of the {processor}; {whole / REPEATS:,.1f} in all."
    return Table(name, title, rows, note)
