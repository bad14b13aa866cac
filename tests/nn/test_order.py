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
    bins = [own for part in order.parts for own in part]
    flat = [size for own in bins for size in own]
    assert len(flat) == len(order.sets)
    real = {i: size for i, size in zip(order.sets, flat, strict=True) if i < len(lengths)}
    assert Counter(order.sets) - Counter({len(lengths): len(flat)}) == Counter(range(len(lengths)))
    assert [real[i] for i in range(len(lengths))] == lengths
    for part in order.parts:
        totals = [sum(own) for own in part]
        assert totals == sorted(totals, reverse=True)

    rows = torch.randn(sum(lengths), 3, requires_grad=True)
    inside = order.enter(VectorSets(rows, lengths, order_of(lengths)))
    assert list(inside.lengths) == flat
    back = order.leave(inside.values)
    assert torch.equal(back, rows)
    weight = torch.randn_like(back)
    assert torch.equal(torch.autograd.grad((back * weight).sum(), rows)[0], weight)


@pytest.mark.parametrize("lengths", [*CASES, [33] * 100, [31] * 65])
def test_few_rows_are_added_and_parts_are_small(lengths: list[int]) -> None:
    order = Order.of(lengths, binned=True)
    parts = [[sum(own) for own in part] for part in order.parts]
    num, added = sum(lengths), sum(map(sum, parts)) - sum(lengths)
    assert order.filling.numel() == added
    assert added <= num / 64 + num / 32 + 15 * len(parts)
    for part in parts:
        assert sum(part) <= padded_rows(4096) or len(part) <= 2  # a set longer than that, and what fills up


def test_bins_that_lack_little_are_filled() -> None:
    bins = Counter(tuple(own) for part in Order.of([31] * 65, binned=True).parts for own in part)
    assert bins[31, 1] > 30
    assert bins[31,] > 0


@pytest.mark.parametrize("lengths", CASES[:2])
def test_bins_hold_what_fits_and_are_all_but_full(lengths: list[int]) -> None:
    order = Order.of(lengths, binned=True)
    bins = [own for part in order.parts for own in part]
    shared = [own for own in bins if len(own) > 1]
    assert all(sum(own) <= 64 for own in shared)
    widths = Counter(sum(own) for own in shared)
    assert widths[32] + widths[64] > 0.9 * len(shared)
