"""The encoder beside its peers: forward, and forward and backward, in random order and sorted by length.

Batches in random order are what a loader gives that knows nothing of lengths. Sorted ones are the best case
of an encoder that pads: the sets of a pool of several batches, cut into batches by length. What is told of a
peer is how many times as long as ours it took on the same batches, all of them timed in turn.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from benchmarks.peers import Encode, Peer, gps, in_half, ours, peers, working
from benchmarks.process import MIB, ask_for
from benchmarks.reports.report import Cell, Table
from benchmarks.setting import Setting
from benchmarks.timing import alternate, median, ratio
from benchmarks.workloads import draw, sets_of, sorted_batches, workloads

__all__ = ["measure"]

Step = Callable[[], None]
Batch = list[int]  # the lengths of its sets
Draw = list[Batch]  # what is timed together

POOL = 8
"""Batches whose sets are sorted together."""

FIRST_SEED, POOL_SEED = 1, 100
"""Not 0: that has a set so long that padded encoders would be all that the minutes go to."""

AT_ONCE = 131_072
"""Padded vectors that a peer takes at once at most; a larger batch in pieces, for all of it would not fit."""

ROUNDS = {"cpu": 2, "cuda": 5}
"""How often a batch is timed."""

LONG = {"cpu": 10_000, "cuda": AT_ONCE}
"""Padded vectors from which on it takes so long that it is timed once."""

LONG_DRAWS = 2
"""Draws, at most, of a workload that has such batches."""

BYTES = 32 * 4
"""Of a padded row, for each dimension of each block, at most: what forward and backward of a peer keep."""

NOTE = (
    "A peer's figure: its time as a multiple of ours, median of the draws. fastest: the lowest of them, with "
    "its lowest–highest draw. –: takes no part, or does not fit into memory. padding: rows after padding to "
    "rows. ms: ours, a batch. What peers need to be told of padding is prepared untimed. "
)
HALF_NOTE = (
    "As above, with ours in bf16, after a first call of each shape, and each peer under autocast in bf16 "
    "where that is faster for it (the last column). fp32 ÷ bf16: ours."
)
NOTES = {
    "cpu": "The process keeps what it frees, so that nobody waits for pages of memory. Where a processor "
    "with 512-bit instructions is not Intel's, ours multiplies matrices by oneDNN, and the peers by MKL, "
    "which is what torch does. ",
    "cuda": "flash: packed rows through torch's own variable-length flash attention. A peer that pads takes "
    f"{AT_ONCE:,} padded rows at once at most. ",
}


def measure(setting: Setting) -> list[Table]:
    """A table of forward, and one of forward and backward; and where bf16 is measured, two more."""
    everyone, graphs = [ours(setting), *peers(setting)], working(gps, setting)
    _forward_backward(everyone[0], _pieces(everyone[0], [5, 3, 2], setting))()  # what a first call sets up
    rows: dict[str, list[dict[str, Cell]]] = {kind: [] for kind in STEPS}
    halves: dict[str, list[dict[str, Cell]]] = {kind: [] for kind in STEPS}
    todo = [(w, order, _draws(w, order, setting)) for w in workloads(setting) for order in ORDERS]
    if setting.device.type == "cpu":
        most = max(len(batch) * max(batch) for *_, draws in todo for each in draws for batch in each)
        ask_for(BYTES * most * setting.dim * setting.depth / MIB)
    for workload, order, draws in todo:
        taking_part = [*everyone, *graphs] if workload == "molecules" else everyone
        seconds = _seconds(taking_part, draws, setting)
        for kind, rows_of_kind in rows.items():
            row = _row(draws, seconds[kind], [p.name for p in (*everyone[1:], *graphs)])
            rows_of_kind.append({"workload": workload, "order": order} | row)
        if setting.half:
            for kind, row in _half_rows(taking_part, draws, setting).items():
                halves[kind].append({"workload": workload, "order": order} | row)
    weights = ", ".join(f"{p.name} {_thousands(p):,}" for p in (*everyone, *graphs))
    note = f"{NOTE}{NOTES[setting.device.type]}Weights in thousands: {weights}."
    tables = [
        Table(f"encoder_{kind.replace(' ', '_')}", f"Encoder, {kind}", rows[kind], note) for kind in STEPS
    ]
    return tables + [
        Table(f"half_{kind.replace(' ', '_')}", f"Encoder in bf16, {kind}", halves[kind], HALF_NOTE)
        for kind in STEPS
        if halves[kind]
    ]


# --- batches --------------------------------------------------------------------------------------------


def _draws(workload: str, order: str, setting: Setting) -> list[Draw]:
    draws = ORDERS[order](workload, setting, setting.draws)
    is_long = any(_is_long(batch, setting) for each in draws for batch in each)
    return ORDERS[order](workload, setting, min(LONG_DRAWS, setting.draws)) if is_long else draws


def _random(workload: str, setting: Setting, number: int) -> list[Draw]:
    """One batch a draw."""
    seeds = range(FIRST_SEED, FIRST_SEED + number)
    return [[draw(workload, setting.sets, seed, setting.lengths)] for seed in seeds]


def _sorted(workload: str, setting: Setting, number: int) -> list[Draw]:
    """Two batches of a pool a draw: the shortest with a long one, then pairs nearer to the middle.

    The last batch takes no part: it ends with the longest set of all, which costs padded encoders most.
    """
    pool = sorted_batches(workload, setting.sets, POOL_SEED, setting.lengths, batches=POOL)
    last = 2 * number - 1
    spread = [pool[round(i * (POOL - 2) / last)] for i in range(last + 1)]
    return [[spread[i], spread[last - i]] for i in range(number)]


ORDERS: dict[str, Callable[[str, Setting, int], list[Draw]]] = {"random": _random, "sorted": _sorted}


# --- seconds --------------------------------------------------------------------------------------------


def _seconds(
    contenders: Sequence[Peer], draws: Sequence[Draw], setting: Setting, kinds: Sequence[str] = ()
) -> dict[str, dict[str, list[float]]]:
    """Kind to contender to seconds of every draw; nan where a batch did not fit into memory."""
    kinds = kinds or list(STEPS)
    seconds: dict[str, dict[str, list[float]]] = {kind: defaultdict(list) for kind in kinds}
    for batches in draws:
        by_batch = [_seconds_of_batch(contenders, lengths, setting, kinds) for lengths in batches]
        for kind in kinds:
            for peer in contenders:
                seconds[kind][peer.name].append(sum(of_batch[kind][peer.name] for of_batch in by_batch))
    return seconds


def _seconds_of_batch(
    contenders: Sequence[Peer], lengths: Batch, setting: Setting, kinds: Sequence[str]
) -> dict[str, dict[str, float]]:
    device = setting.device.type
    rounds = 1 if _is_long(lengths, setting) else ROUNDS[device]
    encodes = {p.name: _pieces(p, lengths, setting) for p in contenders}
    seconds = {}
    for kind in kinds:
        step_of = STEPS[kind]
        for peer in contenders:
            peer.model.train(kind != "forward")
        steps = {p.name: step_of(p, encodes[p.name]) for p in contenders}
        if device == "cuda":
            steps = {p.name: steps[p.name] for p in contenders if _fits(step_of(p, encodes[p.name][:1]))}
        taken = alternate(steps, rounds, setting.device, warm_up=0)
        seconds[kind] = {p.name: median(taken.get(p.name, [math.nan])) for p in contenders}
    return seconds


def _is_long(lengths: Batch, setting: Setting) -> bool:
    return len(lengths) * max(lengths) > LONG[setting.device.type]


def _pieces(peer: Peer, lengths: Batch, setting: Setting) -> list[Encode]:
    """The batch, in as many pieces as the peer needs."""
    size = max(1, AT_ONCE // max(lengths)) if peer.pads else len(lengths)
    pieces = [lengths[start : start + size] for start in range(0, len(lengths), size)]
    return [peer.prepare(sets_of(piece, setting)) for piece in pieces]


def _forward(peer: Peer, encodes: Sequence[Encode]) -> Step:
    def step() -> None:
        with torch.inference_mode():
            for encode in encodes:
                encode()

    return step


def _forward_backward(peer: Peer, encodes: Sequence[Encode]) -> Step:
    def step() -> None:
        peer.model.zero_grad()
        for encode in encodes:
            encode().square().mean().backward()

    return step


STEPS: dict[str, Callable[[Peer, Sequence[Encode]], Step]] = {
    "forward": _forward,
    "forward and backward": _forward_backward,
}


def _fits(step: Step) -> bool:
    """Whether there is memory for it; a first call of this size as well."""
    try:
        step()
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True


def _half_rows(
    contenders: Sequence[Peer], draws: Sequence[Draw], setting: Setting
) -> dict[str, dict[str, Cell]]:
    """For each kind a row about ours in bf16, and peers in the precision that is faster for them.

    Which that is, the first draw says. GPSConv takes part on molecules only, so it has no column here.
    """
    single, others = contenders[0], [peer for peer in contenders[1:] if peer.name != "GPSConv"]
    first = list(draws[:1])
    in_fp32, in_bf16 = (_seconds(own, first, setting) for own in (others, [*map(in_half, others)]))
    own = [in_half(single), replace(single, name="ours in fp32")]
    _seconds(own[:1], draws, setting)  # compiles kernels
    rows: dict[str, dict[str, Cell]] = {}
    for kind in STEPS:
        halved = {p.name for p in others if in_bf16[kind][p.name][0] < in_fp32[kind][p.name][0]}
        best = [in_half(peer) if peer.name in halved else peer for peer in others]
        seconds = _seconds([*own, *best], draws, setting, [kind])[kind]
        gain = ratio(seconds[single.name], seconds.pop(own[1].name))
        row = _row(draws, seconds, [peer.name for peer in best])
        rows[kind] = row | {"fp32 ÷ bf16": gain, "peers in bf16": " ".join(sorted(halved)) or "–"}
    return rows


# --- rows -----------------------------------------------------------------------------------------------


def _row(draws: Sequence[Draw], seconds: dict[str, list[float]], names: Sequence[str]) -> dict[str, Cell]:
    """What is told of one workload in one order; the first in ``seconds`` is ours."""
    batches = [batch for each in draws for batch in each]
    vectors = sum(map(sum, batches))
    first, *others = seconds
    ratios = {
        name: ratio(seconds[first], seconds[name])
        for name in others
        if not any(map(math.isnan, seconds[name]))
    }
    row: dict[str, Cell] = {
        "vectors": round(vectors / len(batches)),
        "padding": sum(len(batch) * max(batch) for batch in batches) / vectors,
        "ms": 1000 * median(seconds[first]) * len(draws) / len(batches),
        "fastest": min(ratios.values(), key=lambda spread: spread.median),
    }
    return row | {name: ratios[name].median if name in ratios else math.nan for name in names}


def _thousands(peer: Peer) -> int:
    return round(sum(weight.numel() for weight in peer.weights) / 1000)
