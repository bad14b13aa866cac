"""`attend` agrees with the slow reference, forward and backward, on every path a CPU has."""

import math

import pytest
import torch

from multiseq.nn.attention import AttentionPlan, attend, attend_self, attention_weights
from multiseq.nn.rotation import rotate, rotation_of
from multiseq.vectors import order_of
from tests.reference import attention as reference

SELF = [7, 0, 1, 5, 6, 5, 13, 12]
KEYS = [3, 2, 0, 5, 7, 1, 11, 0]


def rows(lengths: list[int], seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(sum(lengths), 3, 8, generator=generator, dtype=torch.float64, requires_grad=True)


def pairs(q: list[int], k: list[int]) -> int:
    return sum(a * b for a, b in zip(q, k, strict=True))


@pytest.mark.parametrize("lengths", [SELF, sorted(SELF, reverse=True), [4], [1], [0], [5, 5, 5]])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 0, 2])
@pytest.mark.parametrize("biased", [False, True])
def test_self_attention_matches_reference(
    lengths: list[int], causal: bool, window: int | None, biased: bool
) -> None:
    q, k, v = (rows(lengths, seed) for seed in range(3))
    bias = (
        torch.randn(pairs(lengths, lengths), 3, dtype=torch.float64, requires_grad=True) if biased else None
    )
    leaves = [x for x in (q, k, v, bias) if x is not None]
    ours = attend(q, k, v, AttentionPlan(lengths), causal=causal, bias=bias, window=window)
    slow = reference.attend(q, k, v, lengths, lengths, causal=causal, bias=bias, window=window)
    torch.testing.assert_close(ours, slow)
    weight = torch.randn_like(slow)
    if slow.requires_grad and slow.numel():
        wanted = torch.autograd.grad((slow * weight).sum(), leaves)
        got = torch.autograd.grad((ours * weight).sum(), leaves)
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("biased", [False, True])
def test_cross_attention_matches_reference(biased: bool) -> None:
    q, k, v = rows(SELF, 0), rows(KEYS, 1), rows(KEYS, 2)
    bias = torch.randn(pairs(SELF, KEYS), 3, dtype=torch.float64, requires_grad=True) if biased else None
    leaves = [x for x in (q, k, v, bias) if x is not None]
    ours = attend(q, k, v, AttentionPlan(SELF, KEYS), bias=bias)
    slow = reference.attend(q, k, v, SELF, KEYS, bias=bias)
    torch.testing.assert_close(ours, slow)
    weight = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weight).sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), leaves), wanted)


@pytest.mark.parametrize("lengths", [SELF, sorted(SELF, reverse=True), [4], [1], [0, 0], [5, 5, 5], []])
@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("ordered", [False, True])
def test_rows_that_hold_all_three_match_reference(
    lengths: list[int], window: int | None, ordered: bool
) -> None:
    """Sets in the groups' order go through one function, others and those under a window do not."""
    heads = torch.cat([rows(lengths, seed) for seed in range(3)], dim=1).detach().requires_grad_()
    rotation = rotation_of(order_of(lengths), 8) if ordered else None
    plan = AttentionPlan(lengths)
    overwritten = heads.flatten(1).clone()
    ours = attend_self(overwritten, 3, rotation, plan, window=window)
    q, k, v = heads.chunk(3, dim=1)
    slow = reference.attend(rotate(q, rotation), rotate(k, rotation), v, lengths, lengths, window=window)
    torch.testing.assert_close(ours, slow)
    weight = torch.randn_like(slow)
    if slow.numel():
        wanted = torch.autograd.grad((slow * weight).sum(), heads)
        torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), heads), wanted)


@pytest.mark.parametrize("bins", [[[3, 5], [2, 1, 4], [6], [0]], [[5, 4, 3]], [[2, 2], [2, 2]]])
def test_sets_that_share_a_bin_do_not_see_each_other(bins: list[list[int]]) -> None:
    lengths = [size for own in bins for size in own]
    heads = torch.cat([rows(lengths, seed) for seed in range(3)], dim=1).detach().requires_grad_()
    plan = AttentionPlan([sum(own) for own in bins], bins=bins)
    ours = attend_self(heads.flatten(1).clone(), 3, None, plan)
    slow = reference.attend(*heads.chunk(3, dim=1), lengths, lengths)
    torch.testing.assert_close(ours, slow)
    weight = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weight).sum(), heads)
    torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), heads), wanted)


def test_rows_that_someone_keeps_are_not_overwritten_in_silence() -> None:
    heads = torch.randn(5, 18, requires_grad=True)
    kept = heads.exp()  # keeps its result for its gradient
    out = attend_self(kept, 3, rotation_of(order_of([5]), 2), AttentionPlan([5]))
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype: torch.dtype) -> None:
    lengths = sorted(SELF, reverse=True)
    exact = torch.cat([rows(lengths, seed) for seed in range(3)], dim=1).flatten(1).detach()
    rotation, plan = rotation_of(order_of(lengths), 8), AttentionPlan(lengths)
    half = attend_self(exact.to(dtype), 3, rotation, plan)
    assert half.dtype == dtype
    torch.testing.assert_close(half.double(), attend_self(exact, 3, rotation, plan), rtol=0.05, atol=0.05)


def test_by_hand() -> None:
    """Two keys of equal product share a query evenly; the other set's large value never shows."""
    q = torch.zeros(2, 1, 2)
    v = torch.tensor([[1.0, 0.0], [3.0, 0.0], [1000.0, 0.0]]).view(3, 1, 2)
    out = attend(q, torch.zeros(3, 1, 2), v, AttentionPlan([1, 1], [2, 1]))
    assert out[:, 0, 0].tolist() == [2.0, 1000.0]


def test_a_set_gets_the_same_alone_and_in_any_company() -> None:
    q, k, v = (rows(SELF, seed).detach() for seed in range(3))
    together = attend(q, k, v, AttentionPlan(SELF)).split(SELF)
    for i, length in enumerate(SELF):
        alone = attend(*(x.split(SELF)[i] for x in (q, k, v)), AttentionPlan([length]))
        torch.testing.assert_close(alone, together[i])


def test_weights_sum_to_one_and_give_the_output() -> None:
    q, k, v = (rows(SELF, seed).detach() for seed in range(3))
    weights = attention_weights(q, k, AttentionPlan(SELF))
    out = attend(q, k, v, AttentionPlan(SELF)).split(SELF)
    for w, own, result in zip(weights, v.split(SELF), out, strict=True):
        torch.testing.assert_close(w.sum(-1), torch.ones_like(w.sum(-1)))
        torch.testing.assert_close(torch.einsum("hqk,khd->qhd", w, own), result)


def test_groups_waste_little() -> None:
    lengths = torch.randint(2, 160, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    plan = AttentionPlan(lengths)
    padded = sum(math.prod(g.queries.shape) for g in plan.groups())
    assert sum(len(g.sets) for g in plan.groups()) == 200
    assert padded <= 1.15 * sum(lengths)


def test_wrong_input_says_what_to_do() -> None:
    q = torch.zeros(3, 1, 2)
    with pytest.raises(ValueError, match="got 3 rows, expected 4"):
        attend(q, q, q, AttentionPlan([4]))
    with pytest.raises(ValueError, match="2 sets of queries and 1 sets of keys"):
        AttentionPlan([1, 2], [3])
    with pytest.raises(ValueError, match="different lengths"):
        attend(q, torch.zeros(2, 1, 2), torch.zeros(2, 1, 2), AttentionPlan([3], [2]), causal=True)
    with pytest.raises(ValueError, match="got 4 rows, expected 9"):
        attend(q, q, q, AttentionPlan([3]), bias=torch.zeros(4, 1))
    with pytest.raises(ValueError, match=r"add up to \[3\], expected \[4\]"):
        AttentionPlan([4], bins=[[1, 2]])
    with pytest.raises(ValueError, match="queries and keys of different lengths"):
        AttentionPlan([3], [4], bins=[[1, 2]])
    with pytest.raises(ValueError, match="got a plan with bins, expected one without"):
        attention_weights(torch.zeros(5, 1, 2), torch.zeros(5, 1, 2), AttentionPlan([5], bins=[[2, 3]]))
    for plan, changes in (
        (AttentionPlan([4, 5], bins=[[4], [3, 2]]), {}),
        (AttentionPlan([4], bins=[[2, 2]]), {"window": 1}),
    ):
        with pytest.raises(ValueError, match="got a plan with bins, expected one without"):
            attend_self(torch.zeros(sum(plan.q_lengths), 6), 1, None, plan, **changes)
