"""The encoders that ours is timed beside do the same work: the same sets, as many weights, all gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import varlen

pytest.importorskip("transformers", reason="the extra benchmarks is not installed")
pytest.importorskip("x_transformers", reason="the extra benchmarks is not installed")

from benchmarks import encoders
from benchmarks.peers import Peer, _bert, _modern_bert, gps, in_half, ours, peers, working
from benchmarks.setting import Setting
from benchmarks.workloads import sets_of, sorted_batches

SETTING = Setting(dim=32, depth=2, heads=4)
NAMES = ("multiseq", "torch", "BERT", "ModernBERT", "x-transformers", "GPSConv")


@pytest.fixture(params=NAMES)
def peer(request: pytest.FixtureRequest) -> Peer:
    found = {p.name: p for p in (ours(SETTING), *peers(SETTING), gps(SETTING))}
    assert tuple(found) == NAMES
    return found[request.param]


@pytest.mark.parametrize("lengths", [[3, 11, 1, 7], [5, 5, 5, 5]])
@pytest.mark.parametrize("training", [True, False])
def test_a_set_does_not_know_what_else_is_in_the_batch(
    peer: Peer, training: bool, lengths: list[int]
) -> None:
    sets = sets_of(lengths, SETTING)
    peer.model.train(training)
    with torch.set_grad_enabled(training):
        together = peer.prepare(sets)().split(sets.lengths)
        for i in range(sets.num_sets):
            torch.testing.assert_close(peer.prepare(sets.select([i]))(), together[i], atol=1e-5, rtol=1e-4)
        # And within a set they do see each other.
        changed = sets.values.clone()
        changed[5] = changed[5].flip(0)
        after = peer.prepare(sets.with_values(changed))().split(sets.lengths)
    assert [not torch.allclose(a[-1], b[-1]) for a, b in zip(together, after, strict=True)] == [0, 1, 0, 0]


def test_as_many_weights_as_ours() -> None:
    setting = Setting()
    own = sum(weight.numel() for weight in ours(setting).weights)
    for peer in (*peers(setting), gps(setting)):
        assert sum(weight.numel() for weight in peer.weights) == pytest.approx(own, rel=0.05), peer.name


def test_every_weight_and_the_input_get_a_gradient(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    leaves: list[Tensor] = []

    def leaf(rows: Tensor) -> Tensor:
        leaves.append(rows.detach().requires_grad_())
        return leaves[-1]

    monkeypatch.setattr("benchmarks.peers._leaf", leaf)
    # A sum of squares of normed rows would have no gradient but that of the norm.
    peer.prepare(sets_of([3, 5], SETTING))().pow(3).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in peer.weights)
    (given,) = leaves
    assert given.grad is not None
    assert given.grad.flatten(0, -2).any(-1).sum() == 8  # rows; none of the padding


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's variable-length attention, which is for GPUs, set by set."""

    def attend(
        q: Tensor,
        k: Tensor,
        v: Tensor,
        q_starts: Tensor,
        k_starts: Tensor,
        q_longest: int,
        k_longest: int,
        window_size: tuple[int, int],
    ) -> Tensor:
        assert min(window_size) >= q_longest
        assert q_starts.dtype == torch.int32
        assert q_longest == k_longest == q_starts.diff().max()
        parts = (x.tensor_split(q_starts[1:-1].long().cpu()) for x in (q, k, v))
        outs = [
            F.scaled_dot_product_attention(*(x.transpose(0, 1) for x in one))
            for one in zip(*parts, strict=True)
        ]
        return torch.cat(outs, dim=1).transpose(0, 1)

    monkeypatch.setattr(varlen, "varlen_attn", attend)


@pytest.mark.parametrize("build", [_bert, _modern_bert])
@pytest.mark.usefixtures("kernel")
def test_packed_rows_are_the_padded_ones(build: Callable[..., Peer]) -> None:
    sets = sets_of([3, 11, 1, 7], SETTING)
    padded, packed = build(SETTING), build(SETTING, packed=True)
    packed.model.load_state_dict(padded.model.state_dict())
    torch.testing.assert_close(packed.prepare(sets)(), padded.prepare(sets)(), atol=1e-5, rtol=1e-4)


def test_a_row_for_every_workload_and_order() -> None:
    forward, both = encoders.measure(Setting(dim=16, depth=1, heads=2, sets=4, draws=1))
    assert [table.name for table in (forward, both)] == ["encoder_forward", "encoder_forward_and_backward"]
    for table in (forward, both):
        assert [(row["workload"], row["order"]) for row in table.rows] == [
            (workload, order)
            for workload in ("sentences", "molecules", "utterances", "mixed")
            for order in ("random", "sorted")
        ]
        for row in table.rows:
            times = [row[name] for name in NAMES[1:]]
            assert row["fastest"].median == min(time for time in times if not math.isnan(time))
            assert math.isnan(row["GPSConv"]) == (row["workload"] != "molecules")


def test_in_bf16_beside_peers_in_what_is_faster_for_them() -> None:
    setting = Setting(dim=16, depth=1, heads=2, sets=4, draws=1, only=("sentences",), half=True)
    tables = encoders.measure(setting)
    assert [t.name for t in tables[2:]] == ["half_forward", "half_forward_and_backward"]
    for table in tables[2:]:
        assert [row["order"] for row in table.rows] == ["random", "sorted"]
        for row in table.rows:
            assert row["fastest"].median == min(row[name] for name in NAMES[1:] if name != "GPSConv")
            assert row["fp32 ÷ bf16"].median > 0


def test_a_peer_in_bf16_multiplies_in_bf16() -> None:
    layer = torch.nn.Linear(8, 8)
    peer = Peer("a peer", layer, lambda sets: lambda: layer(sets.values))
    sets = sets_of([5], Setting(dim=8))
    assert in_half(peer).prepare(sets)().dtype == torch.bfloat16
    assert peer.prepare(sets)().dtype == torch.float32


def test_a_peer_that_fails_here_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    def fails(setting: Setting) -> Peer:
        raise TypeError("another version")

    assert working(fails, SETTING) == []
    said = capsys.readouterr().err
    assert "left out, for it fails here: fails" in said
    assert "TypeError: another version" in said


def test_sorted_batches_are_spread_over_the_pool() -> None:
    setting = Setting(sets=5, draws=3)
    draws = encoders._sorted("molecules", setting, 3)
    pool = sorted_batches("molecules", 5, encoders.POOL_SEED, None, batches=encoders.POOL)
    assert pool[0] in draws[0]
    assert not any(pool[-1] in batches for batches in draws)
    assert len(encoders._sorted("molecules", setting, 2)) == 2
    shortest = sorted(batch[0] for batches in draws for batch in batches)
    assert [sorted(batch) for batches in draws for batch in batches] == [b for bs in draws for b in bs]
    assert [batches[0][0] for batches in draws] == shortest[:3]
    assert [batches[1][0] for batches in draws] == shortest[:2:-1]


def test_a_peer_that_pads_takes_a_large_batch_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "AT_ONCE", 20)
    lengths = [3, 7, 1, 2, 4]
    torch_encoder = peers(SETTING)[0]
    parts = encoders._pieces(torch_encoder, lengths, SETTING)
    assert [encode().shape[0] for encode in parts] == [10, 3, 4]
    assert [encode().shape[0] for encode in encoders._pieces(ours(SETTING), lengths, SETTING)] == [17]
