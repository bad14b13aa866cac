"""The encoder as it is, deterministic, compiled by torch, and recorded as a CUDA graph: forward and backward.

What is compiled are the blocks, with open sizes, around attention, which is a kernel of its own. A recorded
graph is of one batch; with other lengths it would be another one. So it tells how much time passes between
kernels, which in a small batch is most of it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from unittest import mock

import torch

from benchmarks.limits import encoder_step, flops, rate_note, square_rate
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import alternate, median, ratio, synchronise
from benchmarks.workloads import draw, sets_of, workloads
from multiseq import Encoder
from multiseq.nn.attention import AttentionPlan, attend, attend_self
from multiseq.system.deterministic import deterministic_sums

__all__ = ["measure"]

FEW = 32
"""Sets of the small batch."""
ROUNDS = 5

# The compiler of a CPU takes minutes, so there it is only asked to trace.
BACKEND = {"cpu": "aot_eager", "cuda": "inductor"}

LEFT_OUT: dict[str, tuple[str, Callable[..., object]]] = {
    "cpu": ("multiseq.nn.encoder.attend_self", attend_self),
    "cuda": ("multiseq.nn.attention.attend", attend),
}
"""Attention, where it is called."""

Step = Callable[[], object]


def measure(setting: Setting) -> list[Table]:
    """A row for each way to run a large batch and a small one."""
    torch.manual_seed(0)
    model = Encoder(setting.dim, setting.depth, setting.heads, dropout=0.0)
    model.to(setting.device, setting.dtype)
    rate, workload = square_rate(setting), workloads(setting)[-1]
    rows: list[dict[str, Cell]] = []
    for num_sets in (setting.sets, FEW):
        lengths = draw(workload, num_sets, 1, setting.lengths)
        rows += _rows(model, lengths, setting, rate)
    note = (
        f"{rate_note(rate, setting)} 'of that rate': the encoder's own products by its time. to begin: "
        "seconds of the first call, which compiles or records. compiled: each block by torch.compile "
        f"({BACKEND[setting.device.type]}), attention aside. deterministic: as training with that setting."
    )
    return [Table("variants", f"The encoder in other ways, forward and backward: {workload}", rows, note)]


def _rows(model: Encoder, lengths: Sequence[int], setting: Setting, rate: float) -> list[dict[str, Cell]]:
    steps: dict[str, Step] = {}
    begun: dict[str, float] = {}
    for name, make in WAYS[setting.device.type].items():
        start = time.perf_counter()
        steps[name] = make(model, lengths, setting)
        steps[name]()
        synchronise(setting.device)
        begun[name] = time.perf_counter() - start
    seconds = alternate(steps, ROUNDS, setting.device)
    plain = next(iter(seconds.values()))
    return [
        {
            "run": name,
            "vectors": sum(lengths),
            "ms": 1e3 * median(taken),
            "as it is ÷ it": ratio(taken, plain),
            "of that rate": flops(lengths, setting) / median(taken) / rate,
            "to begin": begun[name],
        }
        for name, taken in seconds.items()
    ]


def _as_it_is(model: Encoder, lengths: Sequence[int], setting: Setting) -> Step:
    return encoder_step(model, lengths, setting)


def _deterministic(model: Encoder, lengths: Sequence[int], setting: Setting) -> Step:
    step = encoder_step(model, lengths, setting)

    def run() -> None:
        with deterministic_sums():
            step()

    return run


def _compiled(model: Encoder, lengths: Sequence[int], setting: Setting) -> Step:
    """On a GPU the rotation is compiled too; on a CPU it is done within attention."""
    compiled = copy.deepcopy(model)
    for block in compiled.blocks:
        block.compile(backend=BACKEND[setting.device.type], dynamic=True)
    step = encoder_step(compiled, lengths, setting)
    name, function = LEFT_OUT[setting.device.type]

    def run() -> None:
        with mock.patch(name, torch.compiler.disable(function)):
            step()

    return run


def _recorded(model: Encoder, lengths: Sequence[int], setting: Setting) -> Step:
    sets, plan = sets_of(lengths, setting), AttentionPlan(lengths, device=setting.device)
    values = sets.values.requires_grad_()
    grad = torch.full_like(values, 1e-3)

    def step() -> None:
        model.zero_grad()
        values.grad = None
        model._encode(sets, plan).backward(grad)

    # Kernels are made and memory is asked for before anything is recorded.
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


Way = Callable[[Encoder, Sequence[int], Setting], Step]
CPU: dict[str, Way] = {"as it is": _as_it_is, "deterministic": _deterministic, "compiled": _compiled}
WAYS: dict[str, dict[str, Way]] = {"cpu": CPU, "cuda": {**CPU, "CUDA graph": _recorded}}
