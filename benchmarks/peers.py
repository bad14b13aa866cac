"""Encoders that others have, each in its fastest setting at our width, depth, heads, weights and dtype.

They take vectors instead of token numbers, have no dropout, and attend to all of a set in every layer, as
ours does. What they need to be told of padding is worked out beforehand and is not timed. What was chosen,
because it was the fastest or is what the encoder is known for:

- ``torch.nn.TransformerEncoder``: ReLU; norm after the branch, which in evaluation opens its path that leaves
  padding out (nested tensors), taken where it is faster; no positions.
- BERT of Hugging Face: GELU, learned positions, torch's ``scaled_dot_product_attention``, and a mask that is
  ready to be added, one row a set.
- ModernBERT of Hugging Face: gated GELU, rotated positions, the same attention and mask; all of a set is seen
  in every layer, where the published models look through a window in two of three.
- ``x-transformers``: ReLU, LayerNorm and no positions, each faster there than RMSNorm, gates or rotation; the
  mask as a bias, which saves it passes over all pairs.
- ``GPSConv`` of torch-geometric, without its convolution: attention and feed-forward. It pads in its call.

On a GPU in half precision BERT and ModernBERT also run on packed vectors, through torch's variable-length
flash attention, the kernel that ours runs on too.
"""

from __future__ import annotations

import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.setting import Setting
from benchmarks.workloads import SHAPES, sets_of
from multiseq import Encoder, VectorSets
from multiseq.nn.attention import flash
from multiseq.nn.linear import half_products
from multiseq.requires import MissingLibraryError, need

__all__ = ["Encode", "Peer", "gps", "in_half", "ours", "peers", "working"]

OURS = "multiseq"

Encode = Callable[[], Tensor]
"""Encodes one batch: its real vectors, ``(vectors, dim)``. If gradients are taken, the input gets one too."""


@dataclass(frozen=True)
class Peer:
    """An encoder that takes part.

    Args:
        name: In the table.
        model: Its weights.
        prepare: From sets to a call that encodes them; what it does itself is not timed.
        pads: Whether it takes the padded form (sets, longest).
    """

    name: str
    model: nn.Module
    prepare: Callable[[VectorSets], Encode]
    pads: bool = True

    @property
    def weights(self) -> list[nn.Parameter]:
        """All of them but tables that are looked up: ours gets its vectors from an adapter."""
        by_module = [
            m.parameters(recurse=False) for m in self.model.modules() if not isinstance(m, nn.Embedding)
        ]
        return [weight for weights in by_module for weight in weights]


@dataclass(frozen=True)
class Padded:
    """A padded batch.

    Args:
        values: ``(sets, longest, dim)``.
        gaps: ``(sets, longest)``, True on padding; None where there is none.
        bias: ``(sets, 1, 1, longest)``, added to what a query makes of a key; None where there is no padding.
        real: ``(vectors,)``: which of the (sets * longest) vectors are real.
    """

    values: Tensor
    gaps: Tensor | None
    bias: Tensor | None
    real: Tensor


def peers(setting: Setting) -> list[Peer]:
    """All that take every workload.

    Raises:
        MissingLibraryError: The extra ``benchmarks`` is not installed.
    """
    builders: list[Callable[[Setting], Peer]] = [_torch, _bert, _modern_bert, _x_transformers]
    if setting.device.type == "cuda" and setting.dtype in (torch.bfloat16, torch.float16):
        builders += [partial(_bert, packed=True), partial(_modern_bert, packed=True)]
    return [peer for build in builders for peer in working(build, setting)]


def working(build: Callable[[Setting], Peer], setting: Setting) -> list[Peer]:
    """The peer, after a first call; none where it fails with the versions that are here."""
    try:
        peer = build(setting)
        peer.prepare(sets_of([5, 3, 2], setting))().square().mean().backward()
    except MissingLibraryError:
        raise
    except Exception:
        print(f"left out, for it fails here: {getattr(build, '__name__', build)}", file=sys.stderr)
        traceback.print_exc()
        return []
    return [peer]


def ours(setting: Setting) -> Peer:
    """Our encoder, as a user builds it."""
    model = _placed(Encoder(setting.dim, setting.depth, setting.heads, dropout=0.0), setting)

    def prepare(sets: VectorSets) -> Encode:
        return lambda: model(sets.with_values(_leaf(sets.values))).values

    return Peer(OURS, model, prepare, pads=False)


def in_half(peer: Peer) -> Peer:
    """The same weights, multiplied in bf16: by our own products, or under torch's autocast."""
    prepare = peer.prepare

    def prepared(sets: VectorSets) -> Encode:
        encode = prepare(sets)

        def half() -> Tensor:
            with half_products() if peer.name == OURS else torch.autocast("cpu", torch.bfloat16):
                return encode()

        return half

    return replace(peer, prepare=prepared)


def gps(setting: Setting) -> Peer:
    """Attention of torch-geometric's graph transformer, for graphs."""
    pyg = need("torch_geometric.nn")

    def layer() -> nn.Module:
        norm = {"norm": "layer_norm", "norm_kwargs": {"mode": "node"}}
        conv: Any = pyg.GPSConv(setting.dim, None, setting.heads, **norm)
        conv.norm1 = None  # the convolution's
        # Its own inner width is half of what the others have.
        conv.mlp = nn.Sequential(
            nn.Linear(setting.dim, setting.ff_dim), nn.ReLU(), nn.Linear(setting.ff_dim, setting.dim)
        )
        return cast(nn.Module, conv)

    layers = nn.ModuleList(layer() for _ in range(setting.depth))
    _placed(layers, setting)

    def prepare(sets: VectorSets) -> Encode:
        lengths = torch.tensor(sets.lengths)
        batch = torch.arange(sets.num_sets).repeat_interleave(lengths).to(setting.device)
        no_edges = torch.empty(2, 0, dtype=torch.long, device=setting.device)

        def encode() -> Tensor:
            x = _leaf(sets.values)
            with _path_of_evaluation(False):
                for conv in layers:
                    x = conv(x, no_edges, batch)
            return x

        return encode

    return Peer("GPSConv", layers, prepare)


def _torch(setting: Setting) -> Peer:
    with warnings.catch_warnings():
        # Said at the first nested tensor of a process: that this kind of them is a prototype.
        warnings.simplefilter("ignore")
        torch.nested.nested_tensor([torch.zeros(1)])
    layer = nn.TransformerEncoderLayer(setting.dim, setting.heads, setting.ff_dim, 0.0, batch_first=True)
    model = _placed(nn.TransformerEncoder(layer, setting.depth), setting)

    def call(values: Tensor, batch: Padded) -> Tensor:
        with _path_of_evaluation(_nested_pays(batch)):
            encoded: Tensor = model(values, src_key_padding_mask=batch.gaps)
        return encoded

    return Peer("torch", model, _padded(call))


@contextmanager
def _path_of_evaluation(allowed: bool) -> Iterator[None]:
    """Whether torch's own attention may take another path in evaluation than in training."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(allowed)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _nested_pays(batch: Padded) -> bool:
    """Whether that path is the faster one, as measured at width 256 on a CPU.

    It leaves padding out but for attention, where it makes matrices of all pairs of padded vectors. On a GPU
    it has better kernels, though no nested tensors in bf16.
    """
    sets, longest, _ = batch.values.shape
    if torch.is_autocast_enabled("cpu"):  # it fails
        return False
    if batch.values.is_cuda:
        return batch.values.dtype != torch.bfloat16
    return batch.real.numel() / (sets * longest) < 1 - longest / 550


def _x_transformers(setting: Setting) -> Peer:
    model = need("x_transformers", package="x-transformers>=2.10").Encoder(
        dim=setting.dim,
        depth=setting.depth,
        heads=setting.heads,
        attn_dim_head=setting.dim // setting.heads,
        attn_flash=True,
        ff_no_bias=True,
        ff_custom_activation=nn.ReLU(),
    )
    _placed(model, setting)
    return Peer("x-transformers", model, _padded(lambda values, batch: model(values, attn_bias=batch.bias)))


def _bert(setting: Setting, *, packed: bool = False) -> Peer:
    hugging_face = need("transformers", package="transformers>=5.1")
    config = hugging_face.BertConfig(
        **_sizes(setting, packed),
        intermediate_size=setting.ff_dim,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    model = _placed(hugging_face.BertModel(config, add_pooling_layer=False), setting)
    if packed:
        return Peer("BERT flash", model, _packed(model, None), pads=False)

    def call(values: Tensor, batch: Padded) -> Tensor:
        encoded: Tensor = model(inputs_embeds=values, attention_mask=batch.bias).last_hidden_state
        return encoded

    return Peer("BERT", model, _padded(call))


def _modern_bert(setting: Setting, *, packed: bool = False) -> Peer:
    hugging_face = need("transformers", package="transformers>=5.1")
    config = hugging_face.ModernBertConfig(
        **_sizes(setting, packed),
        intermediate_size=Encoder(setting.dim, 0, setting.heads).ff_dim,  # gated, as ours is
        layer_types=["full_attention"] * setting.depth,
        **{f"{name}_token_id": None for name in ("bos", "eos", "cls", "sep")},
    )
    model = _placed(hugging_face.ModernBertModel(config), setting)
    if packed:
        return Peer("ModernBERT flash", model, _packed(model, {"full_attention": None}), pads=False)

    def call(values: Tensor, batch: Padded) -> Tensor:
        # As a mapping it is taken as it is; else it would be spread out over all pairs, twice.
        masks = {"full_attention": batch.bias}
        encoded: Tensor = model(inputs_embeds=values, attention_mask=masks).last_hidden_state
        return encoded

    return Peer("ModernBERT", model, _padded(call))


# --- padded batches -------------------------------------------------------------------------------------


def _padded(call: Callable[[Tensor, Padded], Tensor]) -> Callable[[VectorSets], Encode]:
    def prepare(sets: VectorSets) -> Encode:
        batch = _pad(sets)
        return lambda: call(_leaf(batch.values), batch).flatten(0, 1).index_select(0, batch.real)

    return prepare


def _pad(sets: VectorSets) -> Padded:
    values, keep = sets.to_padded()
    if sets.device.type == "cuda":  # its masked kernels want keys in eights
        more = -values.shape[1] % 8
        values, keep = nn.functional.pad(values, (0, 0, 0, more)), nn.functional.pad(keep, (0, more))
    real = keep.flatten().nonzero().flatten()
    if keep.all():
        return Padded(values, None, None, real)
    bias = torch.zeros(keep.shape, dtype=values.dtype, device=values.device).masked_fill(~keep, float("-inf"))
    return Padded(values, ~keep, bias[:, None, None], real)


# --- packed vectors, for encoders of Hugging Face -------------------------------------------------------


def _packed(model: nn.Module, mask: Any) -> Callable[[VectorSets], Encode]:
    def prepare(sets: VectorSets) -> Encode:
        assert sets.positions is not None
        positions, offsets = sets.positions[None], sets.offsets.to(sets.device, torch.int32)
        longest = max(sets.lengths)

        def encode() -> Tensor:
            encoded: Tensor = model(
                inputs_embeds=_leaf(sets.values)[None],
                attention_mask=mask,
                position_ids=positions,
                cu_seq_lens_q=offsets,
                max_length_q=longest,
            ).last_hidden_state
            return encoded[0]

        return encode

    return prepare


def _flash(
    module: nn.Module,
    query: Tensor,  # (1, heads, vectors, head_dim), like key and value
    key: Tensor,
    value: Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: Tensor,
    max_length_q: int,
    **others: object,
) -> tuple[Tensor, None]:
    """Attention as Hugging Face calls it, on packed vectors: the kernel that ours calls."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    longest = (max_length_q, max_length_q)
    return flash(q, k, v, (cu_seq_lens_q, cu_seq_lens_q), longest)[None], None


# --- shared ---------------------------------------------------------------------------------------------


def _sizes(setting: Setting, packed: bool) -> dict[str, Any]:
    """What all configurations of Hugging Face are told. A vocabulary of one, as no token is looked up."""
    if packed:
        need("transformers").AttentionInterface.register("multiseq-varlen", _flash)
    longest = max(setting.lengths or (shape[-1] for shape in SHAPES.values()))
    return {
        "vocab_size": 1,
        "pad_token_id": None,
        "hidden_size": setting.dim,
        "num_hidden_layers": setting.depth,
        "num_attention_heads": setting.heads,
        "max_position_embeddings": longest + -longest % 8,  # rows are padded to eights on a GPU
        "attn_implementation": "multiseq-varlen" if packed else "sdpa",
    }


def _placed(model: nn.Module, setting: Setting) -> nn.Module:
    return model.to(setting.device, setting.dtype)


def _leaf(values: Tensor) -> Tensor:
    """Where gradients are taken, a tensor that gets one, without that of an earlier call."""
    return values.detach().requires_grad_() if torch.is_grad_enabled() else values
