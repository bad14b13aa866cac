"""How cost grows: with the vectors of a batch, with the length of one set, with the nodes of a graph.

Forward and backward of the encoder, seconds and peak memory, in a process of its own. Memory first, going up
the sizes; then seconds, going down, so that a size and its half are timed one after the other. For these the
process keeps what it frees: else glibc gives some of it back after each step of a large batch, and the system
clears it for the next, a few per cent of the step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from benchmarks.process import free_memory, in_fresh_process, peak_of
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import median, ratio, seconds_of
from benchmarks.workloads import draw, sets_of, workloads
from multiseq import ClassTarget, Encoder, Model, NeighborhoodAdapter, Source, Task, VectorHead
from multiseq.requires import need
from multiseq.system.memory import keep_memory
from multiseq.training.batching import BatchPlan
from multiseq.training.prepared_source import PreparedSource

__all__ = ["lengths_of", "measure"]

QUICK = bool(os.environ.get("MULTISEQ_QUICK"))
"""Tiny sizes, to see that it runs."""

VECTORS = [1000, 2000] if QUICK else [1000 * 2**i for i in range(7)]
LENGTHS = [128, 256] if QUICK else [128 * 2**i for i in range(6)]
NODES = [500, 1000] if QUICK else [10_000, 30_000, 100_000, 300_000, 1_000_000]

PASSES = {"cpu": 2, "cuda": 8}
"""How often every number of vectors and every length is timed; three times as often where that is quick."""
POOL = 4096
"""Sets drawn, of which every so many-th makes a batch: all batches have one shape of lengths."""
SHORT = 0.5
"""Seconds within which a size is timed more than once in a pass."""

DEGREE, FEATURES, HOPS, CLASSES = 10, 32, 2, 4
NODE_DIM, NODE_DEPTH, NODE_HEADS = 64, 2, 2
NODE_BUDGET = 8192


@dataclass(frozen=True)
class Cost:
    """Seconds of every pass, and peak MiB, of one size."""

    seconds: list[float]
    mib: float


def measure(setting: Setting) -> list[Table]:
    """Tables over vectors, over the length of one set, and over nodes."""
    workload = workloads(setting)[-1]
    batches = [lengths_of(total, workload, setting.lengths) for total in VECTORS]
    by_vectors, by_length = in_fresh_process(_encoder_costs, setting, [batches, [[n] for n in LENGTHS]])
    by_nodes = in_fresh_process(_node_costs, setting)
    return [
        Table(
            "growth_vectors",
            f"Growth with the vectors of a batch: forward and backward, {workload}",
            _rows("vectors", VECTORS, by_vectors),
            f"To the row before: 2.00 is linear.{_left_out(VECTORS, by_vectors)}",
        ),
        Table(
            "growth_length",
            "Growth with the length of one set: forward and backward",
            _rows("vectors", LENGTHS, by_length),
            "To the row before: 2.00 is linear, 4.00 what attention alone would take."
            + _left_out(LENGTHS, by_length),
        ),
        Table(
            "growth_nodes",
            f"Growth with the nodes of a graph as node sets: {DEGREE} edges a node, {FEATURES} features, "
            f"{HOPS} hops",
            _node_rows(by_nodes),
            "Columns and hop features, examples, batches of an epoch, one training step and the prediction "
            f"of {NODE_BUDGET // (HOPS + 1)} nodes. Of a node, to the row before: 1.00 is linear.",
        ),
    ]


# --- the encoder ----------------------------------------------------------------------------------------


def lengths_of(total: int, workload: str, own: Sequence[int] | None = None) -> list[int]:
    """Lengths that add up to ``total`` and are spread as the workload's are, whatever the total.

    The quantiles of one large draw; the longest takes what is then over or missing.
    """
    pool = sorted(draw(workload, POOL, seed=0, own=own))
    count = max(1, round(total * len(pool) / sum(pool)))
    lengths = [pool[int((i + 0.5) / count * len(pool))] for i in range(count)]
    lengths[-1] += total - sum(lengths)
    return lengths


def _encoder_costs(setting: Setting, ladders: Sequence[Sequence[list[int]]]) -> list[list[Cost]]:
    encoder = Encoder(setting.dim, setting.depth, setting.heads, dropout=0.0)
    encoder = encoder.to(setting.device, setting.dtype)
    steps = [[_step(encoder, lengths, setting) for lengths in batches] for batches in ladders]
    steps[0][0]()  # makes the gradients of the weights
    peaks = [_peaks(ladder, setting.device) for ladder in steps]
    fitting = [ladder[: len(mibs)] for ladder, mibs in zip(steps, peaks, strict=True)]
    keep_memory()
    fitting[0][-1]()  # asks for as much as any
    passes = PASSES[setting.device.type]
    return [
        [
            Cost(seconds, mib)
            for seconds, mib in zip(_times(ladder, passes, setting.device), mibs, strict=True)
        ]
        for ladder, mibs in zip(fitting, peaks, strict=True)
    ]


def _step(encoder: Encoder, lengths: list[int], setting: Setting) -> Callable[[], None]:
    """Forward and backward; the vectors learn too, as those of an adapter do."""
    sets = sets_of(lengths, setting)
    sets.values.requires_grad_()
    gradient = torch.ones_like(sets.values)
    return lambda: encoder(sets).values.backward(gradient)


def _peaks(steps: Sequence[Callable[[], None]], device: torch.device) -> list[float]:
    """MiB of the steps, each about twice the one before; of fewer where memory would run out."""
    peaks: list[float] = []
    for step in steps:
        if peaks and 2.5 * peaks[-1] > free_memory(device):
            break
        peaks.append(peak_of(step, device))
    return peaks


def _times(steps: Sequence[Callable[[], None]], passes: int, device: torch.device) -> list[list[float]]:
    """Seconds of every step in every pass, the last step first."""
    taken = [[_seconds(step, device) for step in reversed(steps)] for _ in range(passes)]
    return [list(seconds) for seconds in zip(*taken, strict=True)][::-1]


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    """The median of three calls, or of fewer where they are long enough to be sure of."""
    seconds = [seconds_of(step, device)]
    while sum(seconds) < SHORT and len(seconds) < 3:
        seconds.append(seconds_of(step, device))
    return median(seconds)


def _rows(size: str, sizes: Sequence[int], costs: Sequence[Cost]) -> list[dict[str, Cell]]:
    """Every size beside the one before, half of it."""
    rows: list[dict[str, Cell]] = []
    for i, (number, cost) in enumerate(zip(sizes, costs, strict=False)):
        before = costs[i - 1] if i else None
        rows.append(
            {
                size: number,
                "seconds": median(cost.seconds),
                "MiB": cost.mib,
                "× time": ratio(before.seconds, cost.seconds) if before else "",
                "× memory": cost.mib / before.mib if before else "",
            }
        )
    return rows


def _left_out(sizes: Sequence[int], costs: Sequence[Cost]) -> str:
    left = ", ".join(map(str, sizes[len(costs) :]))
    return f" Left out for want of memory: {left}." if left else ""


# --- node sets ------------------------------------------------------------------------------------------


def _node_costs(setting: Setting) -> list[Cost]:
    """From a graph to predictions, once for every size; the smallest first of all, to warm up."""
    _node_work(_graph(NODES[0]), setting.device)
    return [_node_cost(partial(_node_work, _graph(nodes), setting.device), setting) for nodes in NODES]


def _node_cost(work: Callable[[], None], setting: Setting) -> Cost:
    seconds: list[float] = []
    mib = peak_of(lambda: seconds.append(seconds_of(work, setting.device)), torch.device("cpu"))
    return Cost(seconds, mib)


def _node_rows(costs: Sequence[Cost]) -> list[dict[str, Cell]]:
    rows: list[dict[str, Cell]] = []
    each = [(c.seconds[0] / nodes, c.mib / nodes) for nodes, c in zip(NODES, costs, strict=True)]
    for i, (nodes, (seconds, mib)) in enumerate(zip(NODES, each, strict=True)):
        rows.append(
            {
                "nodes": nodes,
                "seconds": seconds * nodes,
                "MiB": mib * nodes,
                "µs a node": 1e6 * seconds,
                "KiB a node": 2**10 * mib,
                "× time": seconds / each[i - 1][0] if i else "",
                "× memory": mib / each[i - 1][1] if i else "",
            }
        )
    return rows


def _graph(nodes: int) -> Any:
    """Random features and edges that go both ways."""
    generator = torch.Generator().manual_seed(0)
    half = torch.randint(nodes, (2, nodes * DEGREE // 2), generator=generator)
    x = torch.randn(nodes, FEATURES, generator=generator)
    return need("torch_geometric.data").Data(x=x, edge_index=torch.cat([half, half.flip(0)], dim=1))


def _node_work(graph: Any, device: torch.device) -> None:
    """Fit and prepare, one training step, and the prediction of the nodes of a batch."""
    adapter = NeighborhoodAdapter.fit([graph], dim=NODE_DIM, num_hops=HOPS)
    head: Any = VectorHead(NODE_DIM, ClassTarget([str(i) for i in range(CLASSES)]))
    encoder = Encoder(NODE_DIM, NODE_DEPTH, NODE_HEADS)
    model = Model({"graph": adapter}, encoder, {"label": Task("graph", head)}).to(device)
    labels = [i % CLASSES for i in range(graph.num_nodes)]
    source = PreparedSource(Source("graph", [graph], {"label": [labels]}), adapter, model.tasks)
    plan = BatchPlan([source], max_vectors=NODE_BUDGET)
    batch = plan.collate(*next(plan.steps())).to(device)
    total, count = model.loss(batch)["label"]
    (total / count).backward()
    [encoded] = model.encode([(part.adapter_name, part.inputs) for part in batch.parts])
    head.decode(encoded)
