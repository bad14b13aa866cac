"""The encoder: isolation, order through positions alone, permutation of sets, presets, errors."""

import pytest
import torch

from multiseq.nn.attention import AttentionPlan
from multiseq.nn.encoder import PRESETS, Block, Encoder
from multiseq.nn.rotation import rotate, rotation_of
from multiseq.vectors import VectorSets, order_of

LENGTHS = [7, 0, 1, 5, 5, 11]


def encoder(**changes: object) -> Encoder:
    torch.manual_seed(0)
    return Encoder(**{"dim": 24, "depth": 2, "heads": 3, **changes}).eval()  # type: ignore[arg-type]


def sets(*, ordered: bool, lengths: list[int] = LENGTHS) -> VectorSets:
    values = torch.randn(sum(lengths), 24, generator=torch.Generator().manual_seed(1))
    return VectorSets(values, lengths, order_of(lengths) if ordered else None)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("gated", [False, True])
def test_a_set_gets_the_same_alone_and_in_any_company(ordered: bool, gated: bool) -> None:
    model, batch = encoder(gated=gated), sets(ordered=ordered)
    together = model(batch)
    assert together.lengths == batch.lengths
    for i, whole in enumerate(together.unpack()):
        torch.testing.assert_close(model(batch.select([i])).values, whole)


@pytest.mark.parametrize("ordered", [False, True])
def test_short_sets_in_bins_and_long_ones_beside_them(ordered: bool) -> None:
    """Outputs and gradients, against each set alone: several bins of two widths, and groups."""
    lengths = torch.randint(0, 100, (40,), generator=torch.Generator().manual_seed(3)).tolist()
    model, batch = encoder(), sets(ordered=ordered, lengths=[*lengths, 64, 65])
    weight = torch.randn_like(batch.values)

    def gradients(batch: VectorSets, weight: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        values = batch.values.requires_grad_()
        out = model(batch.with_values(values)).values
        found = torch.autograd.grad((out * weight).sum(), [values, *model.parameters()])
        return out, [*found]

    out, (to_rows, *to_weights) = gradients(batch, weight)
    totals = [torch.zeros_like(g) for g in to_weights]
    for i, own in enumerate(batch.with_values(weight).unpack()):
        alone, (to_alone, *parts) = gradients(batch.select([i]), own)
        torch.testing.assert_close(batch.with_values(out).unpack()[i], alone)
        torch.testing.assert_close(batch.with_values(to_rows).unpack()[i], to_alone, atol=1e-4, rtol=1e-4)
        totals = [total + part for total, part in zip(totals, parts, strict=True)]
    torch.testing.assert_close(to_weights, totals, atol=1e-3, rtol=1e-3)


def test_padding_and_dense_attention_give_the_same() -> None:
    """torch's own dense attention with a mask, fed with this encoder's projections."""
    model, batch = encoder(depth=1), sets(ordered=True)
    block = model.blocks[0]
    rotation = rotation_of(batch.positions, 8)
    q, k, v = block.attention.project(block.attention_norm(batch.values)[1], rotation)
    padded = [batch.with_values(x.flatten(1)).to_padded() for x in (q, k, v)]
    mask = padded[0][1]
    heads = [x.unflatten(-1, (3, 8)).transpose(1, 2) for x, _ in padded]
    dense = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask[:, None, None])
    rows = dense.transpose(1, 2).flatten(2)[mask]
    x, normed = block.feed_forward_norm(batch.values, block.attention.out(rows))
    torch.testing.assert_close(model(batch).values, model.norm(x, block.feed_forward(normed))[1])


def test_another_block_stands_in() -> None:
    """With parts of another kind, beside a block of ours."""

    class Norm(torch.nn.RMSNorm):
        def forward(self, x, branch=None):  # type: ignore[no-untyped-def]
            total = x if branch is None else x + branch
            return total, super().forward(total)

    class Mean(torch.nn.Module):
        def forward(self, x, plan, rotation, bias):  # type: ignore[no-untyped-def]
            return torch.cat([part.mean(0).expand_as(part) for part in x.split(plan.q_lengths)])

    model, values = encoder(depth=2), torch.randn(5, 24)
    model.blocks[1] = Block(Mean(), torch.nn.Identity(), Norm(24), Norm(24))
    first = encoder(depth=1)
    first.blocks[0], first.norm = model.blocks[0], torch.nn.Identity()  # type: ignore[assignment]
    first.norm.forward = lambda x, branch, dtype: (None, x + branch)  # type: ignore[method-assign]
    x = first(VectorSets(values, [5])).values
    x = x + torch.nn.functional.rms_norm(x, (24,)).mean(0)
    x = x + torch.nn.functional.rms_norm(x, (24,))
    torch.testing.assert_close(model(VectorSets(values, [5])).values, model.norm(x)[1])
    with pytest.raises(ValueError, match="layer: got 1, whose attention is a Mean, expected a SelfAttention"):
        model.attention(VectorSets(values, [5]))


def test_permuting_nodes_permutes_the_outputs() -> None:
    model, batch = encoder(), sets(ordered=False, lengths=[11])
    order = torch.randperm(11, generator=torch.Generator().manual_seed(2))
    shuffled = model(batch.with_values(batch.values[order]))
    torch.testing.assert_close(shuffled.values, model(batch).values[order])


def test_permuting_words_changes_the_outputs() -> None:
    model, batch = encoder(), sets(ordered=True, lengths=[11])
    order = torch.arange(10, -1, -1)
    shuffled = model(batch.with_values(batch.values[order]))
    assert not torch.allclose(shuffled.values, model(batch).values[order], atol=1e-3)


def test_only_distance_counts() -> None:
    """Shifting all positions of a set changes nothing: rotation is relative."""
    model, batch = encoder(), sets(ordered=True, lengths=[5])
    assert batch.positions is not None
    shifted = VectorSets(batch.values, [5], batch.positions + 13)
    torch.testing.assert_close(model(shifted).values, model(batch).values)


def test_unordered_sets_are_not_rotated_beside_ordered_ones() -> None:
    model = encoder()
    nodes, words = sets(ordered=False, lengths=[4]), sets(ordered=True, lengths=[6])
    both = model(VectorSets.cat([nodes, words])).split([1, 1])
    torch.testing.assert_close(both[0].values, model(nodes).values)
    torch.testing.assert_close(both[1].values, model(words).values)


def test_rotation_by_hand() -> None:
    """Head width 2 has one frequency, 1: position p turns (1, 0) by p radians."""
    turned = rotate(torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]), rotation_of(torch.tensor([0, 1]), 2))
    torch.testing.assert_close(turned[0, 0], torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(turned[1, 0], torch.tensor([0.5403023, 0.8414710]))


def test_gradient_stays_inside_the_set() -> None:
    model, batch = encoder(), sets(ordered=True)
    values = batch.values.requires_grad_()
    out = model(batch.with_values(values)).unpack()[3]
    (out * torch.randn_like(out)).sum().backward()
    grads = batch.with_values(values.grad).unpack()
    assert [bool(g.any()) for g in grads] == [False, False, False, True, False, False]


@pytest.mark.parametrize("broken", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_in_its_set(broken: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sets share a bin, where a weight of zero times nan would be nan, so they are encoded without."""
    plans: list[AttentionPlan] = []
    made = AttentionPlan.__init__
    monkeypatch.setattr(
        AttentionPlan, "__init__", lambda self, *a, **k: plans.append(self) or made(self, *a, **k)
    )
    model, batch = encoder(), sets(ordered=True)
    values = batch.values.clone()
    values[LENGTHS[0] : LENGTHS[0] + LENGTHS[2]] = broken
    found, whole = model(batch.with_values(values)).unpack(), model(batch).unpack()
    assert [plan.bins is not None for plan in plans] == [True, False, True]
    assert found[2].isnan().all()
    for i in (0, 3, 4, 5):
        torch.testing.assert_close(found[i], whole[i])


def test_dropout_acts_in_training_only() -> None:
    model, batch = encoder(dropout=0.5), sets(ordered=True)
    assert torch.equal(model(batch).values, model(batch).values)
    model.train()
    assert not torch.equal(model(batch).values, model(batch).values)


def test_attention_weights_of_a_layer() -> None:
    model, batch = encoder(), sets(ordered=True)
    weights = model.attention(batch, layer=1)
    assert [tuple(w.shape) for w in weights] == [(3, n, n) for n in LENGTHS]
    for w in weights:
        torch.testing.assert_close(w.sum(-1), torch.ones(w.shape[:2]))
    with pytest.raises(ValueError, match="expected -2 to 1"):
        model.attention(batch, layer=2)


def test_presets_and_config_round_trip() -> None:
    assert set(PRESETS) == {"tiny", "small", "base", "large"}
    model = Encoder.preset("tiny", depth=1, dropout=0.0)
    assert Encoder(**model.config()).load_state_dict(model.state_dict())
    assert (model.dim, model.depth, model.heads) == (128, 1, 4)


@pytest.mark.parametrize(
    "batch", [VectorSets(torch.zeros(0, 24), []), VectorSets(torch.zeros(0, 24), [0, 0])]
)
def test_nothing_in_nothing_out(batch: VectorSets) -> None:
    assert encoder()(batch).lengths == batch.lengths


def test_wrong_input_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="multiple of 6"):
        Encoder(dim=20, depth=1, heads=3)
    with pytest.raises(ValueError, match="got vectors of width 5, expected 24"):
        encoder()(VectorSets(torch.zeros(2, 5), [2]))
    with pytest.raises(ValueError, match="expected one of tiny, small"):
        Encoder.preset("huge")


@pytest.mark.gpu
def test_gpu_agrees_with_the_cpu() -> None:
    model, batch = encoder(dim=48), sets(ordered=True)
    batch = batch.with_values(torch.randn(sum(LENGTHS), 48))
    expected = model(batch).values
    model.cuda()
    torch.testing.assert_close(model(batch.to("cuda")).values.cpu(), expected, atol=1e-4, rtol=1e-4)
    with torch.autocast("cuda", torch.bfloat16):
        half = model(batch.to("cuda")).values.float().cpu()
    torch.testing.assert_close(half, expected, atol=0.1, rtol=0.1)
