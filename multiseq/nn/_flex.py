"""Attention with a bias on CUDA: FlexAttention over the packed vectors of all sets.

One mask covers all cases: a query row sees the key rows from ``first`` to ``last``, whatever sets the limits
(its set, the causal order or a window). The host computes from the lengths which blocks of queries and keys
have visible pairs, so the host never waits for the device. The kernel looks up the bias tables itself and
computes their gradients, so the matrix of scores is never stored (https://arxiv.org/abs/2412.05496; gradients
of captured tensors: https://github.com/pytorch/pytorch/pull/137452).

Torch compiles the kernel at its first use. Rows and codes are padded to a power of two, so that batches with
other lengths reuse the compiled kernel and only few sizes occur.

Axes: vectors (rows of the batch), rows (with padding), blocks (of rows), heads, head_dim.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, no_type_check

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.nn._kernels import has_triton
from multiseq.nn._masked import Visible
from multiseq.nn.bias import FURTHEST, Bias
from multiseq.vectors import to_device

__all__ = ["attend_flex", "block_mask", "flex_serves"]

BLOCK = 128
"""Rows in a block. It is FlexAttention's default and a multiple of the tile sizes of its kernels."""
FEWEST_ROWS = 1024
FEWEST_CODES = 65_536
COPIES = 128
"""Copies of each bias table. The kernel sums the gradient of a table with atomic additions, and additions to
the same address wait for each other. With copies, each query of a block adds to another copy. Without them,
nearly all pairs (masked ones, and those without a code) add their zeros to the same number."""

MaskMod = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
ScoreMod = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def flex_serves(q: Tensor) -> bool:
    """Whether FlexAttention can process ``q``: it needs a GPU, Triton, and a head_dim from 16 to 256.

    False if torch's deterministic algorithms are on: the kernel sums the gradient of a bias table in an
    order that changes from run to run.
    """
    dtypes = (torch.float32, torch.bfloat16, torch.float16)
    fits = q.is_cuda and q.dtype in dtypes and 16 <= q.shape[-1] <= 256
    return fits and has_triton() and not torch.are_deterministic_algorithms_enabled()


def attend_flex(
    q: Float[Tensor, "vectors heads head_dim"],
    k: Float[Tensor, "vectors heads head_dim"],
    v: Float[Tensor, "vectors heads head_dim"],
    mask: Any,
    bias: Bias | None,
) -> Float[Tensor, "vectors heads head_dim"]:
    """Attention of each query to the keys that the mask lets it see.

    Args:
        q: Queries, the packed vectors of all sets.
        k: Keys, likewise.
        v: Values, likewise.
        mask: A ``BlockMask`` from :func:`block_mask`. All layers can share it.
        bias: Added to the scaled products, or None.
    """
    num, padded_num = len(q), int(mask.seq_lengths[0])
    filled = (F.pad(x, (0, 0, 0, 0, 0, padded_num - num)).transpose(0, 1)[None] for x in (q, k, v))
    score = None if bias is None else _score(bias, padded_num)
    out: Tensor = _compiled()(*filled, score_mod=score, block_mask=mask)
    return out[0].transpose(0, 1)[:num]


def block_mask(seen: Visible, device: torch.device) -> Any:
    """The ``BlockMask`` for the range of keys that each query sees; the host computes it alone.

    ``first`` and ``last`` never decrease from one row to the next. Therefore the blocks of keys that a block
    of queries sees are neighbours, and so are the blocks of queries that see a block of keys.
    """
    from torch.nn.attention.flex_attention import BlockMask

    num = len(seen.first)
    padded_num = _filled(num, FEWEST_ROWS)
    # Padding rows see no row, and no row sees them.
    first = F.pad(seen.first, (0, padded_num - num), value=1).int()
    last = F.pad(seen.last, (0, padded_num - num), value=0).int()
    real, blocks = -(-num // BLOCK), padded_num // BLOCK
    starts = torch.arange(real) * BLOCK
    lowest = first[starts] // BLOCK
    highest = last[(starts + BLOCK).clamp(max=num) - 1] // BLOCK
    numbers = torch.arange(real, dtype=torch.int32)
    # The first and the last block of queries that see a block of keys.
    from_query = torch.searchsorted(highest, numbers).int()
    to_query = torch.searchsorted(lowest, numbers, right=True).int() - 1
    kv_count, kv_index = _run(lowest, highest, blocks)
    q_count, q_index = _run(from_query, to_query, blocks)
    first, last, kv_count, kv_index, q_count, q_index = (
        to_device(x, device) for x in (first, last, kv_count, kv_index, q_count, q_index)
    )
    return BlockMask(
        seq_lengths=(padded_num, padded_num),
        kv_num_blocks=kv_count,
        kv_indices=kv_index,
        full_kv_num_blocks=None,
        full_kv_indices=None,
        q_num_blocks=q_count,
        q_indices=q_index,
        full_q_num_blocks=None,
        full_q_indices=None,
        BLOCK_SIZE=(BLOCK, BLOCK),
        mask_mod=_sees(first, last),
    )


def _run(low: Tensor, high: Tensor, blocks: int) -> tuple[Tensor, Tensor]:
    """For each block, the number and the indices of the blocks it needs: all from ``low`` to ``high``."""
    more = blocks - len(low)
    count = F.pad((high - low + 1).clamp(min=0), (0, more))
    index = F.pad(low, (0, more))[:, None] + torch.arange(blocks, dtype=torch.int32)
    return count.int()[None, None], index.clamp_(max=blocks - 1).int()[None, None].contiguous()


def _score(bias: Bias, padded_num: int) -> ScoreMod:
    """The ``score_mod`` that adds the bias to a product; built once and shared by all layers."""
    if padded_num not in bias.filled:
        bias.filled[padded_num] = _make_score(bias, padded_num)
    score: ScoreMod = bias.filled[padded_num]
    return score


def _make_score(bias: Bias, padded_num: int) -> ScoreMod:
    # FlexAttention has gradients only for a captured tensor that is indexed once, so index each table once.
    mods: list[ScoreMod] = []
    if bias.by_distance is not None and bias.positions is not None:
        mods.append(_by_distance(_copies(bias.by_distance), _padded_to(bias.positions, padded_num)))
    if bias.by_code is not None and bias.codes is not None:
        index = bias.codes
        codes = _padded_to(index.codes, _filled(len(index.codes), FEWEST_CODES))
        places = (_padded_to(x, padded_num) for x in (index.base, index.first, index.end))
        mods.append(_by_code(_copies(bias.by_code), codes, *places))
    return mods[0] if len(mods) == 1 else _both(*mods)


# Torch traces the functions below into the kernel. A decorator that wraps them (a type checker, say) would
# break the tracing.


@no_type_check
def _sees(first: Tensor, last: Tensor) -> MaskMod:
    def mask_mod(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key >= first[query]) & (key <= last[query])

    return mask_mod


@no_type_check
def _by_distance(table: Tensor, positions: Tensor) -> ScoreMod:
    def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        apart = (positions[key] - positions[query]).clamp(-FURTHEST, FURTHEST)
        return score + table[query % COPIES, head, apart + FURTHEST]

    return score_mod


@no_type_check
def _by_code(table: Tensor, codes: Tensor, base: Tensor, first: Tensor, end: Tensor) -> ScoreMod:
    def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        inside = (key >= first[query]) & (key < end[query])
        code = codes[torch.where(inside, base[query] + key, 0)].int()
        return score + table[query % COPIES, head, torch.where(inside, code, 0)]

    return score_mod


@no_type_check
def _both(one: ScoreMod, other: ScoreMod) -> ScoreMod:
    def score_mod(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return other(one(score, batch, head, query, key), batch, head, query, key)

    return score_mod


def _copies(table: Tensor) -> Tensor:
    return table.expand(COPIES, -1, -1).contiguous()


def _padded_to(x: Tensor, number: int) -> Tensor:
    return F.pad(x, (0, number - len(x)))


def _filled(number: int, fewest: int) -> int:
    """The next power of two, at least ``fewest``."""
    return max(fewest, 1 << max(number - 1, 0).bit_length())


@cache
def _compiled() -> Any:
    import torch._dynamo
    from torch.nn.attention.flex_attention import flex_attention

    # Torch recompiles the kernel for other tables, for training and inference, and once more with dynamic
    # shapes when a size changes for the first time. Beyond the limit it would fall back to unfused attention,
    # which stores all scores.
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)
    return torch.compile(flex_attention)
