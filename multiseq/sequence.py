"""A head whose output is a text of any length: a Transformer decoder that attends to the set.

Axes: vectors, sets, dim, size (of the target's vocabulary), tokens (of all targets, one after
another), rows (living hypotheses), heads, head_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.attention import AttentionPlan, attend
from multiseq.decoding import beam_search
from multiseq.encoder import FeedForward, Rotation, SelfAttention, rotate, rotation_of
from multiseq.heads import check_sets, inference
from multiseq.protocols import Level, Packed
from multiseq.results import Text
from multiseq.text_target import TextTarget
from multiseq.vectors import VectorSets, order_of, rows_of

__all__ = ["DecoderHead"]


class DecoderHead(nn.Module):
    """A Transformer decoder: each token from the tokens before it and the encoded set.

        x <- x + causal self-attention;  x <- x + cross-attention to the set;  x <- x + feed-forward

    Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), with the encoder's blocks: pre-norm,
    rotary positions, gated feed-forward. Where a set has an order, the cross-attention is rotated
    too, so that a token finds its place in it; a set without order stays a set. Targets are packed
    as sets are: nothing is padded. Output weights are not the embeddings: with few data, tied ones
    learned more slowly (docs/LOG.md).

    Args:
        dim: Width of the encoded vectors and of the decoder.
        target: What a text is.
        depth: Number of blocks.
        heads: Attention heads; ``dim`` must be a multiple of twice their number.
        dropout: Of residual branches and embeddings, in training.
        label_smoothing: Of the training loss (not of the loss in evaluation).
        max_length: Tokens of a decoded text at most; where not given, half more than the longest
            training text has, and ten.

    Raises:
        ValueError: Sizes that do not divide.
    """

    level: Level = "sequence"

    def __init__(
        self,
        dim: int,
        target: TextTarget,
        *,
        depth: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        label_smoothing: float = 0.0,
        max_length: int | None = None,
    ) -> None:
        super().__init__()
        if dim % (2 * heads):
            raise ValueError(f"dim: got {dim} for {heads} heads, expected a multiple of {2 * heads}")
        self.dim, self.target, self.depth, self.heads = dim, target, depth, heads
        self.dropout, self.label_smoothing = dropout, label_smoothing
        self.max_length = target.longest * 3 // 2 + 10 if max_length is None else max_length
        self.embedding = nn.Embedding(target.size, dim)
        self.blocks = nn.ModuleList(_Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.RMSNorm(dim)
        self.out = nn.Linear(dim, target.size)
        self._initialise()

    def forward(self, sets: VectorSets, targets: Packed) -> Float[Tensor, "tokens_and_ends size"]:
        """Logits of every target's tokens and end, each given the true tokens before it."""
        check_sets(sets, self.dim, targets)
        lengths = [n + 1 for n in targets.lengths]
        order = order_of(lengths)
        tokens = _put(targets.values, order, 0, self.target.begin)
        plan = AttentionPlan(lengths, device=sets.device)
        crossing = AttentionPlan(lengths, sets.lengths, device=sets.device)

        def look_back(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, k, v, plan, causal=True)

        positions = order.to(sets.device)
        facing = _facing(positions, lengths, sets.ordered)
        memory = self._remember(sets)
        return self._logits(tokens, positions, facing, look_back, memory, crossing)

    def loss(self, sets: VectorSets, targets: Packed) -> tuple[Tensor, Tensor]:
        """Cross-entropy summed over all tokens and ends, and how many these are.

        Raises:
            ValueError: Another width, or not one target for each set.
        """
        check_sets(sets, self.dim, targets)
        if sets.device.type == "cpu":
            # Attention's own order, once instead of in every layer; a sum does not mind.
            keys = list(zip(targets.lengths, sets.lengths, strict=True))
            chosen = sorted(range(len(keys)), key=keys.__getitem__, reverse=True)
            values = targets.values[rows_of(targets.lengths, chosen)]
            sets, targets = sets.select(chosen), Packed(values, [keys[i][0] for i in chosen])
        wanted = _put(targets.values, order_of([n + 1 for n in targets.lengths]), -1, self.target.end)
        smoothing = self.label_smoothing if self.training else 0.0
        logits = self(sets, targets).float()
        total = F.cross_entropy(logits, wanted, label_smoothing=smoothing, reduction="sum")
        return total, torch.tensor(len(wanted)).to(sets.device)

    def decode(
        self, sets: VectorSets, *, beam: int = 1, alpha: float = 0.6, max_length: int | None = None
    ) -> list[Text]:
        """A text for each set and the log-probability of its tokens and its end.

        Args:
            sets: Encoded sets; of an empty one, the text is what the decoder says to nothing.
            beam: Hypotheses of each set; 1 is greedy.
            alpha: Of the length penalty, see `multiseq.decoding.beam_search`.
            max_length: Another limit than the head's; a text that reaches it is cut there.
        """
        check_sets(sets, self.dim)
        order = sorted(range(sets.num_sets), key=lambda i: sets.lengths[i], reverse=True)
        with inference(self):
            found = beam_search(
                _CachedSteps(self, sets.select(order)),
                sets.num_sets,
                begin=self.target.begin,
                end=self.target.end,
                max_length=self.max_length if max_length is None else max_length,
                beam=beam,
                alpha=alpha,
                device=sets.device,
            )
        texts = [Text(self.target.decode_tokens(h.tokens), h.score) for h in found]
        return [texts[place] for place in sorted(range(len(order)), key=order.__getitem__)]

    def config(self) -> dict[str, Any]:
        """Plain JSON values."""
        names = ("dim", "depth", "heads", "dropout", "label_smoothing", "max_length")
        options = {name: getattr(self, name) for name in names}
        return {"kind": "decoder", **options, "target": self.target.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DecoderHead:
        """The inverse of :meth:`config`."""
        options = {k: v for k, v in config.items() if k not in ("kind", "dim", "target")}
        return cls(config["dim"], TextTarget.from_config(config["target"]), **options)

    def _remember(self, sets: VectorSets) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the sets for every block."""
        rotation = rotation_of(sets.positions, self.dim // self.heads)
        return [block.remember(sets.values, rotation) for block in self._each_block()]

    def _logits(
        self,
        tokens: Int[Tensor, " rows"],
        positions: Int[Tensor, " rows"],
        facing: Int[Tensor, " rows"] | None,
        look_back: _LookBack,
        memory: Sequence[tuple[Tensor, Tensor]],
        crossing: AttentionPlan,
    ) -> Float[Tensor, "rows size"]:
        head_dim = self.dim // self.heads
        rotations = rotation_of(positions, head_dim), rotation_of(facing, head_dim)
        x = F.dropout(self.embedding(tokens) * self.dim**0.5, self.dropout, self.training)
        for layer, block in enumerate(self._each_block()):
            x = block(x, rotations, layer, look_back, memory[layer], crossing)
        logits: Tensor = self.out(self.norm(x))
        return logits

    def _each_block(self) -> Iterator[_Block]:
        for block in self.blocks:
            assert isinstance(block, _Block)
            yield block

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=self.dim**-0.5)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)
        for block in self._each_block():
            # Residual branches start small, as in the encoder; there are three in a block.
            for last in (block.attention.out, block.cross_out, block.feed_forward.out):
                nn.init.normal_(last.weight, std=0.02 / (3 * self.depth) ** 0.5)


_LookBack = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Causal self-attention of a layer: over packed targets in training, over a cache in decoding."""


class _Block(nn.Module):
    """Causal self-attention, cross-attention to the set, feed-forward."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.RMSNorm(dim)
        self.attention = SelfAttention(dim, heads)
        self.cross_norm = nn.RMSNorm(dim)
        self.cross_q = nn.Linear(dim, dim, bias=False)
        self.cross_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.cross_out = nn.Linear(dim, dim, bias=False)
        self.feed_forward_norm = nn.RMSNorm(dim)
        self.feed_forward = FeedForward(dim, -(-8 * dim // 24) * 8)

    def remember(self, vectors: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        """Keys and values of the sets, each ``(vectors, heads, head_dim)``."""
        k, v = self.cross_kv(vectors).unflatten(-1, (2 * self.heads, -1)).chunk(2, dim=1)
        return rotate(k, rotation), v

    def forward(
        self,
        x: Tensor,
        rotations: tuple[Rotation | None, Rotation | None],
        layer: int,
        look_back: _LookBack,
        memory: tuple[Tensor, Tensor],
        crossing: AttentionPlan,
    ) -> Tensor:
        q, k, v = self.attention.project(self.attention_norm(x), rotations[0])
        x = x + self._drop(self.attention.out(look_back(layer, q, k, v).flatten(1)))
        q = self.cross_q(self.cross_norm(x)).unflatten(-1, (self.heads, -1))
        q = rotate(q, rotations[1])
        x = x + self._drop(self.cross_out(attend(q, *memory, crossing).flatten(1)))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        return F.dropout(branch, self.dropout, self.training)


class _CachedSteps:
    """A decoder as a beam search sees it: keys and values of earlier tokens and of sets are kept.

    All living hypotheses have as many tokens, so the cache is dense. Those of one set are its
    queries in the cross-attention and share its keys.
    """

    grow_by = 16

    def __init__(self, head: DecoderHead, sets: VectorSets) -> None:
        self.head, self.device = head, sets.device
        self.memory, self.lengths = head._remember(sets), list(sets.lengths)
        self.ordered = list(sets.ordered)
        self.crossing = AttentionPlan([1] * sets.num_sets, self.lengths, device=self.device)
        self.past: Tensor | None = None  # (layers, 2, rows, heads, room, head_dim)
        self.length = 0

    def __call__(self, tokens: Tensor) -> Tensor:
        positions = torch.full_like(tokens, self.length)
        facing = _facing(positions, self.crossing.q_lengths, self.ordered)
        logits = self.head._logits(tokens, positions, facing, self._look_back, self.memory, self.crossing)
        self.length += 1
        log_probs = logits.float().log_softmax(-1)
        target = self.head.target
        log_probs[:, [target.blank, target.begin, target.unknown]] = -math.inf
        return log_probs

    def keep(self, rows: Sequence[int], sets: Sequence[int], counts: Sequence[int]) -> None:
        assert self.past is not None
        if list(rows) != list(range(self.past.shape[2])):
            index = torch.tensor(rows, dtype=torch.long).to(self.device)
            self.past = self.past.index_select(2, index)
        if list(sets) != list(range(len(self.lengths))):
            index = rows_of(self.lengths, sets).to(self.device)
            self.memory = [(k[index], v[index]) for k, v in self.memory]
            self.lengths = [self.lengths[s] for s in sets]
            self.ordered = [self.ordered[s] for s in sets]
        if (tuple(counts), tuple(self.lengths)) != (
            self.crossing.q_lengths,
            self.crossing.k_lengths,
        ):
            self.crossing = AttentionPlan(counts, self.lengths, device=self.device)

    def _look_back(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        rows, heads, head_dim = q.shape
        if self.past is None:
            self.past = k.new_zeros(self.head.depth, 2, rows, heads, 0, head_dim)
        if self.length == self.past.shape[4]:
            self.past = F.pad(self.past, (0, 0, 0, self.grow_by))
        self.past[layer, 0, :, :, self.length] = k
        self.past[layer, 1, :, :, self.length] = v
        keys, values = self.past[layer, :, :, :, : self.length + 1]
        return F.scaled_dot_product_attention(q[:, :, None], keys, values)[:, :, 0]


def _facing(positions: Tensor, counts: Sequence[int], ordered: Sequence[bool]) -> Tensor | None:
    """Tokens' positions for the cross-attention: 0 (not rotated) where the set has no order."""
    if all(ordered) or not any(ordered):
        return positions if any(ordered) else None
    flags = torch.tensor(ordered).repeat_interleave(torch.tensor(counts))
    return positions * flags.to(positions.device)


def _put(tokens: Tensor, order: Tensor, step: int, special: int) -> Tensor:
    """Packed texts with a special token before each (``step`` 0) or after each (-1)."""
    rows = order.nonzero().flatten().to(tokens.device)
    return tokens.new_full((len(order),), special).index_copy_(0, rows + step, tokens)
