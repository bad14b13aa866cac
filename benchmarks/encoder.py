"""Packed sets in our encoder against the same sets padded in torch's own, side by side.

python benchmarks/encoder.py [--repeats 5]

Forward and backward in fp32 at width 256, depth 4, 64 sets a batch, in training mode without dropout (torch's
encoder takes a path of its own in evaluation). The two alternate, A B A B …; the ratio of their medians is
printed, with the padding factor (rows after padding to rows) of each workload.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from multiseq import Encoder, VectorSets
from multiseq.machine import describe_machine
from multiseq.vectors import order_of

DIM, DEPTH, HEADS, SETS = 256, 4, 8, 64
# Log-normal lengths after real data: (mean, deviation of the logarithm, shortest, longest).
SHAPES = {
    "sentences": (2.5, 0.7, 2, 160),
    "molecules": (2.7, 0.45, 2, 80),
    "utterances": (4.8, 0.6, 20, 1500),
}


def lengths_of(shape: str, num: int, generator: torch.Generator) -> list[int]:
    """Lengths of one draw; ``mixed`` is half sentences and a quarter each of the others, shuffled."""
    if shape == "mixed":
        parts = [("sentences", num // 2), ("molecules", num // 4), ("utterances", num // 4)]
        found = [n for name, count in parts for n in lengths_of(name, count, generator)]
        return [found[i] for i in torch.randperm(len(found), generator=generator).tolist()]
    mean, deviation, shortest, longest = SHAPES[shape]
    drawn = (torch.randn(num, generator=generator) * deviation + mean).exp().round()
    return [int(n) for n in drawn.clamp(shortest, longest).tolist()]


def packed(model: Encoder, sets: VectorSets) -> Callable[[], None]:
    """One forward and backward of ours."""

    def step() -> None:
        model(sets).values.square().mean().backward()

    return step


def padded(model: nn.TransformerEncoder, sets: VectorSets) -> Callable[[], None]:
    """One forward and backward of torch's encoder on the padded sets."""
    rows, mask = sets.to_padded()

    def step() -> None:
        model(rows, src_key_padding_mask=~mask)[mask].square().mean().backward()

    return step


def measure(steps: dict[str, Callable[[], None]], repeats: int) -> dict[str, float]:
    """Median seconds of each, taken in turn after one warm-up."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {describe_machine()}")
    # A plain feed-forward of four times the width: the peer has no gate.
    ours = Encoder(DIM, DEPTH, HEADS, gated=False, dropout=0.0)
    layer = nn.TransformerEncoderLayer(DIM, HEADS, 4 * DIM, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs = nn.TransformerEncoder(layer, DEPTH, enable_nested_tensor=False)
    weights = [sum(p.numel() for p in m.parameters()) for m in (ours, theirs)]
    print(f"weights: {weights[0]:,} ours, {weights[1]:,} torch.nn.TransformerEncoder\n")
    print(f"{'workload':12}{'vectors':>9}{'padding':>9}{'ours s':>9}{'torch s':>9}{'ratio':>8}")
    for shape in (*SHAPES, "mixed"):
        generator = torch.Generator().manual_seed(0)
        ratios, own, other, vectors, factors = [], [], [], 0, []
        for _ in range(3):  # several draws: one long set decides much
            lengths = lengths_of(shape, SETS, generator)
            sets = VectorSets(torch.randn(sum(lengths), DIM), lengths, order_of(lengths))
            found = measure({"ours": packed(ours, sets), "torch": padded(theirs, sets)}, repeats)
            ratios.append(found["torch"] / found["ours"])
            own.append(found["ours"])
            other.append(found["torch"])
            vectors += sum(lengths)
            factors.append(SETS * max(lengths) / sum(lengths))
        print(
            f"{shape:12}{vectors // 3:9}{statistics.mean(factors):9.2f}{statistics.mean(own):9.3f}"
            f"{statistics.mean(other):9.3f}{statistics.mean(ratios):8.2f}"
        )


if __name__ == "__main__":
    main()
