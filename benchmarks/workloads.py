"""Workloads: lengths of the sets of a batch, drawn with a fixed seed from the shapes of real data.

``exp(Normal(mean, deviation))``, rounded and cut; ``mixed`` is half sentences and a quarter each of molecules
and utterances, shuffled. A user's own lengths are shuffled, and taken again when all were.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.setting import Setting
from multiseq import VectorSets
from multiseq.vectors import order_of

__all__ = ["WORKLOADS", "draw", "padding_factor", "read_lengths", "sets_of", "sorted_batches", "workloads"]

# (mean, deviation of the logarithm, shortest, longest)
SHAPES = {
    "sentences": (2.5, 0.7, 2, 160),
    "molecules": (2.7, 0.45, 2, 80),
    "utterances": (4.8, 0.6, 20, 1500),
}
WORKLOADS = (*SHAPES, "mixed")


def workloads(setting: Setting) -> tuple[str, ...]:
    """The workloads of a run: the four or some of them, or the user's own one."""
    return (setting.only or WORKLOADS) if setting.lengths is None else ("own lengths",)


def draw(workload: str, sets: int, seed: int, own: Sequence[int] | None = None) -> list[int]:
    """Lengths of one batch; the same for the same seed on every machine.

    >>> draw("molecules", 4, seed=0)
    [30, 13, 6, 19]
    """
    generator = torch.Generator().manual_seed(seed)
    if workload == "mixed":
        quarter = sets // 4
        shares = [("sentences", sets - 2 * quarter), ("molecules", quarter), ("utterances", quarter)]
        lengths = [n for name, count in shares for n in _lengths(name, count, generator)]
        return [lengths[i] for i in torch.randperm(sets, generator=generator).tolist()]
    if workload in SHAPES:
        return _lengths(workload, sets, generator)
    if own is None:
        raise ValueError(f"workload: got {workload!r}, expected one of {', '.join(WORKLOADS)} or own lengths")
    rounds = -(-sets // len(own))
    shuffled = torch.cat([torch.randperm(len(own), generator=generator) for _ in range(rounds)])
    return [own[i] for i in shuffled[:sets].tolist()]


def sorted_batches(
    workload: str, sets: int, seed: int, own: Sequence[int] | None = None, *, batches: int = 8
) -> list[list[int]]:
    """A pool of several batches' sets, sorted by length, cut into batches: a padded encoder's best case."""
    pool = sorted(draw(workload, batches * sets, seed, own))
    return [pool[i * sets : (i + 1) * sets] for i in range(batches)]


def sets_of(lengths: Sequence[int], setting: Setting, *, seed: int = 0) -> VectorSets:
    """Random vectors in sets of these lengths, with positions."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(sum(lengths), setting.dim, generator=generator).to(setting.device, setting.dtype)
    return VectorSets(values, lengths, order_of(lengths, setting.device))


def padding_factor(lengths: Sequence[int]) -> float:
    """Vectors after padding to vectors.

    >>> padding_factor([1, 3])
    1.5
    """
    return len(lengths) * max(lengths) / sum(lengths)


def read_lengths(path: Path) -> tuple[int, ...]:
    """One length a line, as a user's file has them.

    Raises:
        ValueError: No such file, a line that is no positive integer, or none at all.
    """
    if not path.is_file():
        raise ValueError(f"--lengths: {path}: no such file")
    lengths = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        if not line.strip().isdecimal() or int(line) < 1:
            raise ValueError(f"{path}:{number}: got {line.strip()!r}, expected one length, 1 or more, a line")
        lengths.append(int(line))
    if not lengths:
        raise ValueError(f"{path}: got no lengths, expected one a line")
    return tuple(lengths)


def _lengths(shape: str, num: int, generator: torch.Generator) -> list[int]:
    mean, deviation, shortest, longest = SHAPES[shape]
    drawn = (torch.randn(num, generator=generator) * deviation + mean).exp().round()
    return [int(n) for n in drawn.clamp(shortest, longest).tolist()]
