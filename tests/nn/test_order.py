"""The order in which the encoder takes a batch on a CPU: nothing lost, little added, and back again."""

from collections import Counter

import pytest
import torch

from multiseq.nn.linear import padded_rows
from multiseq.nn.order import Order
from multiseq.vectors import VectorSets, order_of


def drawn(seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(300).log_normal_(2.7, 1.0, generator=generator).long().tolist()


CASES = [drawn(0), drawn(1), [5] * 40, [65, 64, 63, 33, 32, 31, 1, 0], [1], [0, 0], [5000, 7], []]


@pytest.mark.parametrize("lengths", CASES)
@pytest.mark.parametrize("binned", [False, True])
def test_every_set_stands_in_one_bin_and_every_row_comes_back(lengths: list[int], binned: bool) -> None:
    order = Order.of(lengths, binned=binned)
    bins = [members for chunk in order.chunks for members in chunk]
    flat = [size for members in bins for size in members]
    assert len(flat) == len(order.sets)
    real = {i: size for i, size in zip(order.sets, flat, strict=True) if i < len(lengths)}
    assert Counter(order.sets) - Counter({len(lengths): len(flat)}) == Counter(range(len(lengths)))
    assert [real[i] for i in range(len(lengths))] == lengths
    for chunk in order.chunks:
        totals = [sum(members) for members in chunk]
        assert totals == sorted(totals, reverse=True)

    rows = torch.randn(sum(lengths), 3, requires_grad=True)
    inside = order.enter(VectorSets(rows, lengths, order_of(lengths)))
    assert list(inside.lengths) == flat
    back = order.leave(inside.values)
    assert torch.equal(back, rows)
    weight = torch.randn_like(back)
    assert torch.equal(torch.autograd.grad((back * weight).sum(), rows)[0], weight)


@pytest.mark.parametrize("lengths", [*CASES, [33] * 100, [31] * 65])
def test_few_rows_are_added_and_chunks_are_small(lengths: list[int]) -> None:
    order = Order.of(lengths, binned=True)
    chunks = [[sum(members) for members in chunk] for chunk in order.chunks]
    num, added = sum(lengths), sum(map(sum, chunks)) - sum(lengths)
    assert order.filling.numel() == added
    assert added <= num / 64 + num / 32 + 15 * len(chunks)
    for chunk in chunks:
        assert sum(chunk) <= padded_rows(4096) or len(chunk) <= 2  # a set longer than that, and what fills up


def test_bins_that_lack_little_are_filled() -> None:
    bins = Counter(tuple(members) for chunk in Order.of([31] * 65, binned=True).chunks for members in chunk)
    assert bins[31, 1] > 30
    assert bins[31,] > 0


@pytest.mark.parametrize("lengths", CASES[:2])
def test_bins_hold_what_fits_and_are_all_but_full(lengths: list[int]) -> None:
    order = Order.of(lengths, binned=True)
    bins = [members for chunk in order.chunks for members in chunk]
    shared = [members for members in bins if len(members) > 1]
    assert all(sum(members) <= 64 for members in shared)
    widths = Counter(sum(members) for members in shared)
    assert widths[32] + widths[64] > 0.9 * len(shared)
