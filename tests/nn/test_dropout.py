"""Dropout: as many zeros as asked for, the mean as before, and the same mask for the gradient."""

from __future__ import annotations

import pytest
import torch

from multiseq.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_zeros_and_mean(p: float) -> None:
    x = torch.ones(1001, 103)
    dropped = dropout(x, p)
    zeros = (dropped == 0).float().mean().item()
    assert zeros == pytest.approx(p, abs=0.01)  # three deviations of the mean are less
    assert dropped.mean().item() == pytest.approx(1, abs=0.05)
    assert dropped[dropped != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)


def test_neighbours_are_dropped_independently() -> None:
    gone = (dropout(torch.ones(4000, 8), 0.5) == 0).float()
    assert torch.corrcoef(gone.T).fill_diagonal_(0).abs().max() < 0.08


def test_the_gradient_has_the_same_mask() -> None:
    x = torch.randn(7, 5, requires_grad=True)
    dropped = dropout(x, 0.4)
    dropped.sum().backward()
    torch.testing.assert_close(x.grad * x, dropped)


def test_nothing_and_all_of_it() -> None:
    x = torch.randn(3, 2)
    assert torch.equal(dropout(x, 0.0), x)
    assert torch.equal(dropout(x, 0.3, training=False), x)
    assert not dropout(x, 1.0).any()
    assert dropout(torch.zeros(0, 4), 0.5).shape == (0, 4)
    assert torch.equal(Dropout(0.3).eval()(x), x)


def test_it_follows_the_seed_and_any_layout() -> None:
    x = torch.ones(5, 3)
    torch.manual_seed(1)
    first = dropout(x, 0.5)
    torch.manual_seed(1)
    assert torch.equal(dropout(x.t().contiguous().t(), 0.5), first)
