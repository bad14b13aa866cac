"""Bias tables and windows agree with the slow reference, gradients included, on every path a CPU has."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor

from multiseq.nn import _flex, _masked
from multiseq.nn.attention import AttentionPlan, Chunks, Window, attend
from multiseq.nn.bias import PairBias, bucket_of
from multiseq.nn.encoder import Encoder
from multiseq.pairs import Pairs
from multiseq.vectors import VectorSets, order_of
from tests.reference import attention as reference
from tests.reference import bias as slow_bias

LENGTHS = [7, 0, 29, 1, 13, 17, 12]
SEQUENCES = [True, True, True, False, False, True, True]  # the others are sets of nodes
HEADS, CODES = 2, 5
WINDOWS: tuple[Window | None, ...] = (None, 1, 3, Chunks(2, 1), Chunks(3, 4))
COMBINATIONS = list(product((False, True), (0, CODES), WINDOWS, (False, True)))
FLEX = [
    *((True, CODES, None, False), (True, 0, 3, False), (False, CODES, 3, True), (False, 0, 3, False)),
    (False, 0, Chunks(3, 4), False),
]


def matrices(lengths: list[int] = LENGTHS) -> list[Tensor | None]:
    """Codes for every other set, 0 among them."""
    generator = torch.Generator().manual_seed(3)
    every = [torch.randint(0, CODES + 1, (n, n), generator=generator, dtype=torch.int16) for n in lengths]
    return [codes if i % 2 == 0 else None for i, codes in enumerate(every)]


def sets(dim: int = 4, *, coded: bool = True, lengths: list[int] = LENGTHS) -> VectorSets:
    values = torch.randn(sum(lengths), dim, generator=torch.Generator().manual_seed(1))
    positions = order_of(lengths)
    flags = [s for s, _ in zip(SEQUENCES, lengths, strict=False)]
    positions[[not flag for flag, n in zip(flags, lengths, strict=True) for _ in range(n)]] = 0
    pairs = Pairs.from_list(matrices(lengths), CODES) if coded else None
    return VectorSets(values, lengths, positions, ordered=flags, pairs=pairs)


def tables(*, relative: bool, codes: int) -> PairBias:
    bias = PairBias(HEADS, relative=relative, num_codes=codes).double()
    for parameter in bias.parameters():
        torch.nn.init.normal_(parameter)
    return bias


def rows(head_dim: int = 8, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shape = (sum(LENGTHS), HEADS, head_dim)
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3)]


def expected(bias: PairBias, q: Tensor, k: Tensor, v: Tensor, window: Window | None, causal: bool) -> Tensor:
    batch = sets()
    packed = slow_bias.packed(LENGTHS, HEADS, batch.positions.tolist(), bias.relative, matrices(), bias.codes)
    return reference.attend(
        q, k, v, LENGTHS, LENGTHS, causal=causal, bias=packed, window=window, sequences=SEQUENCES
    )


def assert_same_gradients(ours: Tensor, slow: Tensor, leaves: list[Tensor]) -> None:
    torch.testing.assert_close(ours, slow)
    weight = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weight).sum(), leaves)
    torch.testing.assert_close(torch.autograd.grad((ours * weight).sum(), leaves), wanted)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows cut sequences from 8 vectors on, not from hundreds."""
    monkeypatch.setattr(_masked, "QUERIES", 4)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("relative", "codes", "window", "causal"), COMBINATIONS)
def test_attention_matches_reference(relative: bool, codes: int, window: Window | None, causal: bool) -> None:
    bias, (q, k, v) = tables(relative=relative, codes=codes), rows()
    plan = AttentionPlan(LENGTHS, sequences=SEQUENCES)
    given = bias(sets(coded=codes > 0))
    assert (given is None) == (not relative and not codes)
    assert any(group.cut for group in plan.groups(window)) == (window is not None)
    ours = attend(q, k, v, plan, causal=causal, bias=given, window=window)
    slow = expected(bias, q, k, v, window, causal)
    assert_same_gradients(ours, slow, [q, k, v, *bias.parameters()])


def test_buckets_are_those_of_t5() -> None:
    distances = torch.arange(-300, 301)
    assert bucket_of(distances).tolist() == [slow_bias.bucket(d) for d in distances.tolist()]


def test_by_hand() -> None:
    """Equal products and a bias of ln 3 for one of two keys: it gets three quarters, in one head of two."""
    bias = PairBias(2, relative=False, num_codes=1)
    with torch.no_grad():
        bias.codes[0, 1] = torch.tensor(3.0).log()
    pairs = Pairs.from_list([torch.tensor([[0, 1], [0, 0]])], 1)
    given = bias(VectorSets(torch.zeros(2, 4), [2], pairs=pairs))
    zeros, v = torch.zeros(2, 2, 2), torch.tensor([0.0, 4.0])[:, None, None].expand(2, 2, 2)
    out = attend(zeros, zeros, v, AttentionPlan([2]), bias=given)
    torch.testing.assert_close(out[:, :, 0], torch.tensor([[2.0, 3.0], [2.0, 2.0]]))


def test_no_table_sees_a_long_window_whole() -> None:
    """A sequence of 1,000 vectors under a window of 2 makes no matrix of 1,000 x 1,000."""
    groups = AttentionPlan([1000, 3]).groups(2)
    assert [group.cut for group in groups] == [True, False]
    [band, _] = AttentionPlan([1000, 3]).pieces(False, 2)
    assert band.q_rows.shape == (8, 128)
    assert band.k_rows.shape == (8, 132)


# --- in the encoder ---------------------------------------------------------------------------------


def encoder(**changes: Any) -> Encoder:
    torch.manual_seed(0)
    options = {"dim": 24, "depth": 2, "heads": 3, "window": 2, "relative_bias": True, "pair_codes": CODES}
    model = Encoder(**{**options, **changes}).eval()
    for parameter in model.bias.parameters():
        torch.nn.init.normal_(parameter)
    return model


@pytest.mark.usefixtures("small_chunks")
def test_a_set_gets_the_same_alone_and_in_any_company() -> None:
    model, batch = encoder(), sets(24)
    for i, whole in enumerate(model(batch).unpack()):
        torch.testing.assert_close(model(batch.select([i])).values, whole)
    swapped = batch.select([6, 5, 4, 3, 2, 1, 0])
    torch.testing.assert_close(model(swapped).unpack()[::-1], model(batch).unpack())


def test_permuting_nodes_with_their_codes_permutes_the_outputs() -> None:
    model, [codes] = encoder(), matrices([11])
    values, order = torch.randn(11, 24), torch.randperm(11)
    nodes = VectorSets(values, [11], pairs=Pairs.from_list([codes], CODES))
    shuffled = VectorSets(values[order], [11], pairs=Pairs.from_list([codes[order][:, order]], CODES))
    torch.testing.assert_close(model(shuffled).values, model(nodes).values[order])
    assert not torch.allclose(model(VectorSets(values, [11])).values, model(nodes).values, atol=1e-3)


def test_sets_without_order_and_codes_get_no_bias_beside_others() -> None:
    model, plain = encoder(), encoder(window=None, relative_bias=False, pair_codes=0)
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if not k.startswith("bias")})
    nodes, words = VectorSets(torch.randn(9, 24), [9]), sets(24)
    both = model(VectorSets.cat([words, nodes])).split([7, 1])
    torch.testing.assert_close(both[1].values, plain(nodes).values)
    torch.testing.assert_close(both[0].values, model(words).values)


def test_a_window_reaches_so_far_and_leaves_joined_sets_whole() -> None:
    model = encoder(depth=1, window=2)
    words = VectorSets(torch.randn(9, 24), [9], order_of([9]))
    changed = words.with_values(words.values + torch.eye(9)[:, 8:] * torch.randn(24))
    moved = (model(words).values - model(changed).values).abs().amax(1) > 1e-6
    assert moved.tolist() == [False] * 6 + [True] * 3
    nodes = VectorSets(torch.randn(2, 24), [2])
    joined = [model(VectorSets.join([nodes, w])) for w in (words, changed)]
    assert ((joined[0].values - joined[1].values).abs().amax(1) > 1e-6).all()


def test_a_vector_sees_its_chunk_and_the_window_before_it() -> None:
    """In chunks of 3 vectors with 2 before: a change of vector 5 reaches its chunk, and the next one."""
    model = encoder(depth=1, window=2, chunk=3)
    words = VectorSets(torch.randn(14, 24), [3, 11], order_of([3, 11]))
    changed = words.with_values(words.values + torch.eye(14)[:, 8:9] * torch.randn(24))  # 5 in its set
    moved = (model(words).values - model(changed).values).abs().amax(1) > 1e-6
    assert moved.tolist() == [False] * 6 + [True] * 6 + [False] * 2
    assert not AttentionPlan([3, 3]).cuts(Chunks(3, 2))
    assert Encoder.from_config(model.config()).chunk == 3


def test_attention_weights_are_those_that_were_used() -> None:
    model, batch = encoder(depth=1), sets(24)
    weights, seen = model.attention(batch), {}
    attention = model.blocks[0].attention
    attention.register_forward_hook(lambda module, inputs, output: seen.update(inputs=inputs, output=output))
    model(batch.select([2]))
    x, _, rotation, bias = seen["inputs"]
    mixed = torch.einsum("hqk,khd->qhd", weights[2], attention.project(x, rotation)[2][:29])
    torch.testing.assert_close(attention.out(mixed.flatten(1)), seen["output"][:29])
    far = (torch.arange(29)[:, None] - torch.arange(29)).abs() > 2
    assert bias is not None
    assert not weights[2][:, far].any()
    assert weights[3].all()  # nodes: no window


def test_tables_learn_and_config_rebuilds() -> None:
    model = Encoder(dim=24, depth=2, heads=3, window=2, relative_bias=True, pair_codes=CODES)
    out = model(sets(24)).values
    out.square().mul(torch.randn_like(out)).sum().backward()
    assert all(parameter.grad.any() for parameter in model.bias.parameters())
    assert Encoder(**model.config()).load_state_dict(model.state_dict())
    before = {k: v for k, v in model.config().items() if k not in ("window", "relative_bias", "pair_codes")}
    assert not list(Encoder(**before).bias.parameters())  # checkpoints from before there were tables


@pytest.mark.parametrize("lengths", [[], [0, 0]])
def test_nothing_in_nothing_out(lengths: list[int]) -> None:
    batch = VectorSets(torch.zeros(0, 24), lengths, torch.zeros(0, dtype=torch.long))
    batch.pairs = Pairs.from_list([torch.zeros(0, 0, dtype=torch.int16) for _ in lengths], CODES)
    assert encoder()(batch).lengths == tuple(lengths)


def test_wrong_input_says_what_to_do() -> None:
    with pytest.raises(ValueError, match=r"codes up to 5, but the encoder has a table for 0; .*pair_codes=5"):
        encoder(pair_codes=0)(sets(24))
    with pytest.raises(ValueError, match="window: got 0"):
        encoder(window=0)
    with pytest.raises(ValueError, match=r"chunk: got 4 without a window, .* set window to the number"):
        encoder(window=None, chunk=4)
    q = torch.zeros(3, HEADS, 8)
    given = tables(relative=True, codes=0)(sets(coded=False))
    with pytest.raises(ValueError, match="different lengths"):
        attend(q, q[:2], q[:2], AttentionPlan([3], [2]), bias=given)


# --- FlexAttention ----------------------------------------------------------------------------------


@pytest.fixture
def flex_on_cpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """FlexAttention as torch writes it out for the CPU: no kernel, but its mask, scores and gradients."""
    from torch.nn.attention import flex_attention as module

    # Its gradient is there; only a check of the device keeps it from the CPU.
    monkeypatch.setattr(module, "_validate_device", lambda *tensors: None)
    compiled = torch.compile(module.flex_attention, backend="eager")
    monkeypatch.setattr(_flex, "_compiled", lambda: compiled)
    monkeypatch.setattr(_flex, "FEWEST_ROWS", 256)
    monkeypatch.setattr(_flex, "FEWEST_CODES", 1024)
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.usefixtures("flex_on_cpu")
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("relative", "codes", "window", "causal"), FLEX)
def test_flex_matches_reference(relative: bool, codes: int, window: Window | None, causal: bool) -> None:
    bias, (q, k, v) = tables(relative=relative, codes=codes).float(), rows(16, torch.float32)
    mask = AttentionPlan(LENGTHS, sequences=SEQUENCES).block_mask(causal, window)
    ours = _flex.attend_flex(q, k, v, mask, bias(sets(coded=codes > 0)))
    slow = expected(bias, q, k, v, window, causal).float()
    assert_same_gradients(ours, slow, [q, k, v, *bias.parameters()])


@pytest.mark.usefixtures("flex_on_cpu")
@pytest.mark.filterwarnings("ignore")
def test_flex_is_compiled_for_the_first_sizes_and_for_open_ones_only() -> None:
    bias = tables(relative=True, codes=CODES).float()

    def run(lengths: list[int], window: Window | None) -> None:
        q, k, v = (torch.randn(sum(lengths), HEADS, 16) for _ in range(3))
        pairs = Pairs.from_list(matrices(lengths), CODES)
        batch = VectorSets(torch.zeros(sum(lengths), 4), lengths, order_of(lengths), pairs=pairs)
        mask = AttentionPlan(lengths).block_mask(False, window)
        _flex.attend_flex(q, k, v, mask, bias(batch))

    run([100, 3, 40], None)
    run([300, 9], 4)
    with torch.compiler.set_stance("fail_on_recompile"):
        for lengths in ([7], [50, 60, 1, 1, 1], [400, 2, 2], [256], [129, 128, 127, 126]):
            run(lengths, None)
            run(lengths, 5)


@pytest.mark.parametrize("lengths", [[1], [128], [129], [5, 0, 300, 20, 1], [128, 128], [40] * 20])
@pytest.mark.parametrize("window", [None, 3, 150, Chunks(5, 3), Chunks(40, 150)])
@pytest.mark.parametrize("causal", [False, True])
def test_blocks_that_meet_are_those_of_the_mask(
    lengths: list[int], window: Window | None, causal: bool
) -> None:
    from torch.nn.attention.flex_attention import create_block_mask

    ours = AttentionPlan(lengths).block_mask(causal, window)
    slow = create_block_mask(ours.mask_mod, 1, 1, *ours.seq_lengths, device="cpu")
    assert ours.to_dense().equal(slow.to_dense())
    for name in ("kv", "q"):
        count, index = getattr(ours, f"{name}_num_blocks")[0, 0], getattr(ours, f"{name}_indices")[0, 0]
        dense = slow.to_dense()[0, 0] if name == "kv" else slow.to_dense()[0, 0].t()
        for own, which, wanted in zip(count.tolist(), index.tolist(), dense, strict=True):
            assert which[:own] == wanted.nonzero().flatten().tolist()


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("relative", "codes", "window", "causal", "dtype"),
    [*((*case, torch.bfloat16) for case in FLEX), (*FLEX[0], torch.float32)],  # each compiles for seconds
)
def test_gpu_matches_reference(
    relative: bool, codes: int, window: Window | None, causal: bool, dtype: torch.dtype
) -> None:
    bias, (q, k, v) = tables(relative=relative, codes=codes).float(), rows(32)
    slow = expected(bias, q, k, v, window, causal)
    weight = torch.randn_like(slow)
    wanted = torch.autograd.grad((slow * weight).sum(), [q, k, v, *bias.parameters()])
    bias = bias.cuda()
    halves = [x.detach().to("cuda", dtype).requires_grad_() for x in (q, k, v)]
    plan = AttentionPlan(LENGTHS, device="cuda", sequences=SEQUENCES)
    given = bias(sets(coded=codes > 0).to("cuda"))
    ours = attend(*halves, plan, causal=causal, bias=given, window=window)
    got = torch.autograd.grad((ours.double() * weight.cuda()).sum(), [*halves, *bias.parameters()])
    # Products of fp32 may run as tf32.
    close = {"atol": 5e-2, "rtol": 5e-2} if dtype is torch.bfloat16 else {"atol": 1e-2, "rtol": 1e-2}
    torch.testing.assert_close(ours.double().cpu(), slow, **close)
    for ours_too, theirs in zip(got, wanted, strict=True):
        scale = float(theirs.abs().max()) or 1.0
        torch.testing.assert_close(ours_too.double().cpu() / scale, theirs.double() / scale, **close)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_gpu_compiles_once_and_waits_for_nothing() -> None:
    from torch._dynamo.utils import counters

    model = encoder(dim=96).train().cuda()

    def step(lengths: list[int]) -> None:
        batch = sets(96, lengths=lengths)
        moved = batch.pin_memory().to("cuda", non_blocking=True)
        torch.cuda.synchronize()
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.autocast("cuda", torch.bfloat16):
                out = model(moved).values
            out.float().square().sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")

    torch.compiler.reset()
    for lengths in ([300, 40, 7], [900, 700, 3]):  # compiling may wait
        with torch.autocast("cuda", torch.bfloat16):
            model(sets(96, lengths=lengths).to("cuda")).values.float().square().sum().backward()
    compiled = counters["stats"]["unique_graphs"]
    with torch.compiler.set_stance("fail_on_recompile"):
        for lengths in ([20, 5], [1000, 2, 600], [128] * 7, [33, 0, 1]):
            step(lengths)
    assert compiled > 0
    assert counters["stats"]["unique_graphs"] == compiled
