"""Decoder head: sequence to sequence with an autoregressive Transformer decoder that attends to the set.

The output can have any length, and need not follow the order of the input.

Axes: vectors, sets, dim, size (of the target's vocabulary), tokens (of all targets, one after another; in
decoding one for each beam), beams (hypotheses that are not finished), heads, head_dim.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from multiseq.heads._shared import check_sets
from multiseq.heads.copying import Memory, Pointer
from multiseq.heads.key_value_cache import SetMemory, TokenCache
from multiseq.heads.search import Steps, beam_search
from multiseq.heads.text_target import TextTarget
from multiseq.nn.attention import AttentionPlan, attend, attention_weights
from multiseq.nn.encoder import FeedForward, SelfAttention, inner_width
from multiseq.nn.first_weights import repeatable
from multiseq.nn.inference import inference
from multiseq.nn.linear import Linear, padded_rows, recurring_rows, with_these_products
from multiseq.nn.rotation import Rotation, rotate, rotation_of
from multiseq.protocols import Level, Packed
from multiseq.results import NotFiniteError, Text
from multiseq.system.memory import check_fits
from multiseq.vectors import VectorSets, order_of, rows_of, to_device

__all__ = ["DecoderHead"]

BLOCK = 2**24
"""The most logits that the loss holds in memory at once.

The size of a batch is limited by the number of encoder vectors, but few vectors can have a long target text.
If there are more logits than this, the loss is computed in blocks of tokens, and the backward pass computes
the logits of each block again (activation checkpointing)."""


class DecoderHead(nn.Module):
    """A Transformer decoder: it predicts each token from the tokens before it and from the encoded set.

        x <- x + causal self-attention;  x <- x + cross-attention to the set;  x <- x + feed-forward

    Vaswani et al. 2017 (https://arxiv.org/abs/1706.03762), with blocks like the encoder's: pre-norm, rotary
    positions, gated feed-forward. If a set has an order, cross-attention uses rotary positions too, so that a
    token can relate its position to positions in the set. If it has none, the order of its vectors does not
    matter. Targets are packed like sets, without padding. The output weights are separate from the
    embeddings, because tied weights learned more slowly from little data (docs/LOG.md).

    If the target copies (`TextTarget.fit`), the vocabulary has one more token, "copy", and a pointer chooses
    the vector whose name is written: ``P(copy vector) = P(copy) P(vector | copy)``, see
    `multiseq.heads.copying`.

    Args:
        dim: Width of the encoded vectors and of the decoder.
        target: The vocabulary, and the conversion between texts and tokens.
        depth: Number of blocks.
        heads: Number of attention heads. ``dim`` must be a multiple of ``2 * heads``.
        dropout: Dropout probability on residual branches and embeddings, in training only.
        label_smoothing: Label smoothing in the training loss; the loss in evaluation has none.
        max_length: The most tokens in a decoded text. Default: 1.5 times the longest training text, plus 10.

    Raises:
        ValueError: ``dim`` is not a multiple of ``2 * heads``.

    Example:
        >>> from multiseq import TextTarget, VectorSets
        >>> head = DecoderHead(8, TextTarget.fit(["no", "yes"], unit="character"), depth=1, heads=2)
        >>> sets = VectorSets.from_list([torch.ones(6, 8)])
        >>> loss, tokens = head.loss(sets, head.target.batch(["yes"]))
        >>> int(tokens), len(head.decode(sets, num_beams=2))  # 3 characters and the end of the text
        (4, 1)
    """

    level: Level = "sequence"

    @property
    def needs_names(self) -> bool:
        """Whether targets and decoding need what each vector stands for, because the target copies it."""
        return self.pointer is not None

    @repeatable
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
        check_fits(depth * 8 * dim**2, f"depth: got {depth} with dim {dim}")  # the weights of attention alone
        self.dim, self.target, self.depth, self.heads = dim, target, depth, heads
        self.dropout, self.label_smoothing = dropout, label_smoothing
        self.max_length = target.longest * 3 // 2 + 10 if max_length is None else max_length
        num_tokens = target.size + (target.common is not None)
        self.embedding = nn.Embedding(num_tokens, dim)
        self.blocks = nn.ModuleList(_DecoderBlock(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, bias=False)
        self.out = Linear(dim, num_tokens, bias=True)
        self.pointer = None if target.common is None else Pointer(dim)
        self._initialise()

    def forward(self, sets: VectorSets, targets: Packed) -> Float[Tensor, "tokens_and_ends size"]:
        """Logits for the tokens and end of each target, given the true tokens before (teacher forcing).

        If the target copies, the last of a token's logits is that of "copy".
        """
        check_sets(sets, self.dim, targets)
        logits: Tensor = self.out(self._taught(sets, targets))
        return logits

    @torch.no_grad()
    def attention(
        self, sets: VectorSets, targets: Packed, layer: int = -1
    ) -> list[Float[Tensor, "heads tokens_and_end length"]]:
        """What the tokens of texts look at in their sets: the cross-attention of one layer, recomputed here.

        Args:
            sets: Encoded sets.
            targets: A text for each set, for example a predicted one.
            layer: The number of the layer; negative numbers count from the last layer.

        Returns:
            For each set the weights ``(heads, tokens + 1, vectors)``. Row *i* is what predicts token *i*, and
            the last row what predicts the end.

        Raises:
            ValueError: There is no such layer, or there is not one text for each set.
        """
        if not -self.depth <= layer < self.depth:
            raise ValueError(f"layer: got {layer}, expected {-self.depth} to {self.depth - 1}")
        check_sets(sets, self.dim, targets)
        weights: list[Tensor] = []

        def watch(number: int, q: Tensor, keys: Tensor, plan: AttentionPlan) -> None:
            if number == layer % self.depth:
                weights.extend(attention_weights(q, keys, plan))

        self._taught(sets, targets, watch)
        return weights

    def _taught(
        self,
        sets: VectorSets,
        targets: Packed,
        watch: _Watch | None = None,
        copies: Memory | None = None,
    ) -> Float[Tensor, "tokens_and_ends dim"]:
        """The last hidden states for the tokens and end of each target (teacher forcing)."""
        lengths = [n + 1 for n in targets.lengths]
        order = order_of(lengths)
        tokens = _put(targets.values, order, 0, self.target.begin)
        plan = AttentionPlan(lengths, device=sets.device)
        crossing = AttentionPlan(lengths, sets.lengths, device=sets.device)

        memory = self._remember(sets)

        def look_back(_: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return attend(q, k, v, plan, causal=True)

        def look_across(layer: int, q: Tensor) -> Tensor:
            if watch is not None:
                watch(layer, q, memory[layer][0], crossing)
            return attend(q, *memory[layer], crossing)

        positions = to_device(order, sets.device)
        facing = _facing(positions, lengths, sets.ordered)
        x = self._embedded(tokens)
        if self.pointer is not None:
            copies = self.pointer.remember(sets) if copies is None else copies
            x = x + self.pointer.embed(tokens, self.target.size, _owners(lengths, sets), copies)
        return self._states(x, positions, facing, look_back, look_across)

    def loss(self, sets: VectorSets, targets: Packed) -> tuple[Tensor, Tensor]:
        """Cross-entropy summed over all tokens and ends, and their number.

        Raises:
            ValueError: The vectors have another width, or there is not one target for each set.
        """
        check_sets(sets, self.dim, targets)
        count = torch.tensor(sum(targets.lengths) + sets.num_sets)
        filling = slice(0)
        if sets.device.type == "cpu":
            sets, targets, filling = _filled_and_sorted(sets, targets)
        wanted = _put(targets.values, order_of([n + 1 for n in targets.lengths]), -1, self.target.end)
        wanted[filling] = _IGNORED
        copies = None if self.pointer is None else self.pointer.remember(sets)
        states = self._taught(sets, targets, copies=copies)
        pointed = states.new_zeros(())
        if copies is not None:
            owners = _owners([n + 1 for n in targets.lengths], sets)
            pointed = self._pointer_loss(states, wanted, owners, copies)
            wanted = wanted.clamp(max=self.target.size)
        block_size = max(1, BLOCK // self.target.size)
        if len(states) <= block_size:
            total = self._cross_entropy(states, wanted)
        else:
            blocks = zip(states.split(block_size), wanted.split(block_size), strict=True)
            # The recomputation draws no random numbers, so their state need not be saved.
            options: dict[str, Any] = {"use_reentrant": False, "preserve_rng_state": False}
            of_block = with_these_products(self._cross_entropy)
            total = torch.stack([checkpoint(of_block, *b, **options) for b in blocks]).sum()
        return total + pointed, to_device(count, sets.device)

    def _pointer_loss(self, states: Tensor, wanted: Tensor, owners: Tensor, memory: Memory) -> Tensor:
        """-log P(vector | copy), summed over the copied tokens."""
        assert self.pointer is not None
        copied = (wanted >= self.target.size).nonzero().flatten()
        if not len(copied):
            return states.new_zeros(())
        owners = owners[copied]
        most = int(memory.lengths[owners].max())  # a padding set may be larger
        log_probs = self.pointer(states[copied], owners, memory._replace(most=most))
        of_vectors: Tensor = log_probs.gather(1, (wanted[copied] - self.target.size)[:, None])
        return -of_vectors.sum()

    def _cross_entropy(self, states: Float[Tensor, "tokens dim"], wanted: Int[Tensor, " tokens"]) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        logits = self.out(states).float()
        return F.cross_entropy(
            logits, wanted, ignore_index=_IGNORED, label_smoothing=smoothing, reduction="sum"
        )

    def decode(
        self,
        sets: VectorSets,
        *,
        num_beams: int = 1,
        n_best: int = 1,
        length_penalty: float = 0.6,
        max_length: int | None = None,
        names: Sequence[Sequence[str]] | None = None,
    ) -> list[Text]:
        """For each set a text, and the log-probability (natural logarithm) of its tokens and its end.

        Args:
            sets: Encoded sets. An empty set gets an empty text with score 0.
            num_beams: Beam width: the number of hypotheses for each set. 1 is greedy search. It is at least
                ``n_best``.
            n_best: The number of texts in `Text.n_best`, best first. 1: it is empty.
            length_penalty: Strength of the length penalty, see `multiseq.heads.search.beam_search`.
            max_length: The most tokens in a text, instead of the head's limit. Longer texts are cut off, and
                say so (`Text.cut`).
            names: For each set, what each vector stands for. Needed if the target copies them; `Model` gives
                those of the adapter.

        Raises:
            ValueError: The vectors have another width, ``num_beams``, ``n_best``, ``length_penalty`` or
                ``max_length`` is too small, or ``names`` do not fit.
            NotFiniteError: The probabilities of a set are NaN.
        """
        return self.search(
            sets,
            partial(CachedSteps, self),
            num_beams=num_beams,
            n_best=n_best,
            length_penalty=length_penalty,
            max_length=max_length,
            names=names,
        )

    def search(
        self,
        sets: VectorSets,
        begin: Callable[[VectorSets, Sequence[Sequence[str]]], Steps],
        *,
        num_beams: int,
        n_best: int,
        length_penalty: float,
        max_length: int | None,
        names: Sequence[Sequence[str]] | None = None,
    ) -> list[Text]:
        """As :meth:`decode`, by the log-probabilities of ``begin(sets, names)`` instead of this head's."""
        check_sets(sets, self.dim)
        known = self._checked_names(names, sets)
        limit = self.max_length if max_length is None else max_length
        filled = [i for i, length in enumerate(sets.lengths) if length]
        order = sorted(filled, key=lambda i: sets.lengths[i], reverse=True)
        texts = [Text("", 0.0)] * sets.num_sets
        if not order:
            return texts
        with inference(self):
            try:
                hypotheses = beam_search(
                    begin(sets.select(order), [known[i] for i in order]),
                    len(order),
                    begin=self.target.begin,
                    end=self.target.end,
                    max_length=limit,
                    num_beams=num_beams,
                    n_best=n_best,
                    length_penalty=length_penalty,
                    device=sets.device,
                )
            except NotFiniteError as error:  # its number counts the sorted sets
                raise NotFiniteError(order[error.number]) from error
        for i, of_set in zip(order, hypotheses, strict=True):
            different: dict[str, Text] = {}
            for one in of_set:  # pieces may spell a text in several ways
                text = self.target.decode_tokens(one.tokens, known[i])
                different.setdefault(text, Text(text, one.score, cut=len(one.tokens) >= limit))
            best = tuple(different.values())
            texts[i] = replace(best[0], n_best=best if n_best > 1 else ())
        return texts

    def _checked_names(
        self, names: Sequence[Sequence[str]] | None, sets: VectorSets
    ) -> Sequence[Sequence[str]]:
        """The names of each set's vectors, if they are needed."""
        if self.pointer is None:
            return [()] * sets.num_sets
        if names is None or [len(of_set) for of_set in names] != list(sets.lengths):
            got = "none" if names is None else f"{sum(map(len, names))} for {len(names)} sets"
            raise ValueError(
                f"names: got {got}, expected one for each of {sets.num_vectors} vectors of {sets.num_sets} "
                "sets, because this target copies the names of vectors"
            )
        return names

    def config(self) -> dict[str, Any]:
        """The head's settings as plain JSON values, for `from_config`."""
        names = ("dim", "depth", "heads", "dropout", "label_smoothing", "max_length")
        options = {name: getattr(self, name) for name in names}
        return {"kind": "decoder", **options, "target": self.target.config()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> DecoderHead:
        """Rebuild the head, without its weights, from :meth:`config`."""
        options = {k: v for k, v in config.items() if k not in ("kind", "dim", "target")}
        return cls(config["dim"], TextTarget.from_config(config["target"]), **options)

    def _remember(self, sets: VectorSets) -> list[tuple[Tensor, Tensor]]:
        """Keys and values for cross-attention to the sets, for each block."""
        rotation = rotation_of(sets.positions, self.dim // self.heads)
        return [block.remember(sets.values, rotation) for block in self._each_block()]

    def _embedded(self, tokens: Int[Tensor, " tokens"]) -> Float[Tensor, "tokens dim"]:
        """The embeddings of tokens. All that are copied have one, that of "copy"."""
        if self.pointer is not None:
            tokens = tokens.clamp(max=self.target.size)
        embedded: Tensor = self.embedding(tokens) * self.dim**0.5
        return embedded

    def _states(
        self,
        x: Float[Tensor, "tokens dim"],
        positions: Int[Tensor, " #tokens"],
        facing: Int[Tensor, " #tokens"] | None,
        look_back: _LookBack,
        look_across: _LookAcross,
    ) -> Float[Tensor, "tokens dim"]:
        head_dim = self.dim // self.heads
        back = rotation_of(positions, head_dim)
        rotations = back, back if facing is positions else rotation_of(facing, head_dim)
        x = F.dropout(x, self.dropout, self.training)
        for layer, block in enumerate(self._each_block()):
            x = block(x, rotations, partial(look_back, layer), partial(look_across, layer))
        states: Tensor = self.norm(x)
        return states

    def _each_block(self) -> Iterator[_DecoderBlock]:
        for block in self.blocks:
            assert isinstance(block, _DecoderBlock)
            yield block

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding.weight, std=self.dim**-0.5)
        nn.init.normal_(self.out.weight, std=0.02)
        nn.init.zeros_(self.out.bias)
        for block in self._each_block():
            # Residual branches start small, as in the encoder. A block has three of them.
            for last in (block.attention.out, block.cross_out, block.feed_forward.out):
                nn.init.normal_(last.weight, std=0.02 / (3 * self.depth) ** 0.5)


_LookBack = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""Causal self-attention of one layer: over packed targets in training, with a KV cache in decoding."""

_Watch = Callable[[int, Tensor, Tensor, AttentionPlan], None]
"""Is shown the queries and keys of each layer's cross-attention."""

_LookAcross = Callable[[int, Tensor], Tensor]
"""Cross-attention of one layer to the sets: over packed keys in training, over cached ones in decoding."""


class _DecoderBlock(nn.Module):
    """One decoder block: causal self-attention, cross-attention to the set, feed-forward."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm = nn.LayerNorm(dim, bias=False)
        self.attention = SelfAttention(dim, heads)
        self.cross_norm = nn.LayerNorm(dim, bias=False)
        self.cross_q = Linear(dim, dim)
        self.cross_kv = Linear(dim, 2 * dim)
        self.cross_out = Linear(dim, dim)
        self.feed_forward_norm = nn.LayerNorm(dim, bias=False)
        self.feed_forward = FeedForward(dim, inner_width(dim))

    def remember(self, vectors: Tensor, rotation: Rotation | None) -> tuple[Tensor, Tensor]:
        """Keys and values for cross-attention to the sets, each ``(vectors, heads, head_dim)``."""
        k, v = self.cross_kv(vectors).unflatten(-1, (2 * self.heads, -1)).chunk(2, dim=1)
        return rotate(k, rotation), v

    def forward(
        self,
        x: Tensor,
        rotations: tuple[Rotation | None, Rotation | None],
        look_back: Callable[[Tensor, Tensor, Tensor], Tensor],
        look_across: Callable[[Tensor], Tensor],
    ) -> Tensor:
        q, k, v = self.attention.project(self.attention_norm(x), rotations[0])
        x = x + self._drop(self.attention.out(look_back(q, k, v).flatten(1)))
        q = self.cross_q(self.cross_norm(x)).unflatten(-1, (self.heads, -1))
        x = x + self._drop(self.cross_out(look_across(rotate(q, rotations[1])).flatten(1)))
        return x + self._drop(self.feed_forward(self.feed_forward_norm(x)))

    def _drop(self, branch: Tensor) -> Tensor:
        return F.dropout(branch, self.dropout) if self.training else branch


class CachedSteps:
    """A decoder with a KV cache, in the form that beam search calls it (`multiseq.heads.search.Steps`).

    Keys and values of earlier tokens and of the sets are computed once and stored. Hypotheses of the same set
    share the keys they have in common. `multiseq.heads.key_value_cache` describes the shapes.
    """

    def __init__(self, head: DecoderHead, sets: VectorSets, names: Sequence[Sequence[str]] = ()) -> None:
        self.head, self.length = head, 0
        self.memory = SetMemory(head._remember(sets), sets.lengths)
        layers, two, _, heads, head_dim = self.memory.packed.shape
        self.past = TokenCache(self.memory.packed.new_empty(layers, two, sets.num_sets, heads, 16, head_dim))
        self.ordered = list(sets.ordered)
        target = head.target
        self.never = torch.tensor([target.blank, target.begin, target.unknown]).to(sets.device)
        self.copies: Memory | None = None
        if head.pointer is not None:
            self.copies = head.pointer.remember(sets)
            flags = [target.can_copy(name) for of_set in names for name in of_set]
            self.possible = torch.tensor(flags).to(sets.device)

    def __call__(self, tokens: Int[Tensor, "sets beams"]) -> Float[Tensor, "sets beams size"]:
        num_beams = tokens.shape[1]
        position = torch.full((1,), self.length, device=tokens.device)
        facing = _facing(position, [num_beams] * len(self.ordered), self.ordered)
        owners = torch.arange(len(tokens), device=tokens.device).repeat_interleave(num_beams)
        tokens = tokens.flatten()
        self.past.grow(num_beams)
        with recurring_rows():
            x = self.head._embedded(tokens)
            if self.head.pointer is not None and self.copies is not None:
                x = x + self.head.pointer.embed(tokens, self.head.target.size, owners, self.copies)
            states = self.head._states(x, position, facing, self.past.look, self.memory.look)
            logits: Tensor = self.head.out(states)
        self.length += 1
        log_probs = logits.float().log_softmax(-1).index_fill_(1, self.never, -math.inf)
        if self.head.pointer is not None and self.copies is not None:
            pointed = self.head.pointer(states, owners, self.copies) + log_probs[:, -1:]
            pointed = pointed.masked_fill(~self.possible[self.copies.rows(owners)], -math.inf)
            log_probs = torch.cat([log_probs[:, :-1], pointed], dim=1)
        return log_probs.view(-1, num_beams, log_probs.shape[1])

    def keep(self, rows: Int[Tensor, "sets_kept beams_kept"], sets: Sequence[int] | None) -> None:
        self.past.keep(rows, sets)
        if sets is not None:
            self.memory.keep(sets)
            self.copies = None if self.copies is None else self.copies.select(sets)
            self.ordered = [self.ordered[i] for i in sets]


def _facing(positions: Tensor, counts: Sequence[int], ordered: Sequence[bool]) -> Tensor | None:
    """Positions of tokens for cross-attention; 0 (no rotation) for tokens whose set has no order."""
    if all(ordered) or not any(ordered):
        return positions if any(ordered) else None
    flags = torch.tensor(ordered).repeat_interleave(torch.tensor(counts))
    return positions * to_device(flags, positions.device)


def _owners(counts: Sequence[int], sets: VectorSets) -> Int[Tensor, " tokens"]:
    """The number of the set of each token, if the sets have so many tokens."""
    return to_device(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), sets.device)


def _filled_and_sorted(sets: VectorSets, targets: Packed) -> tuple[VectorSets, Packed, slice]:
    """Sets and targets sorted as attention needs them, plus one padding set; and the slice of padding tokens.

    Sorting here avoids sorting in every layer. The padding set and its text round the numbers of vectors and
    tokens up (`padded_rows`).
    """
    num_tokens = sum(targets.lengths) + sets.num_sets + 1  # every text has an end, and so has the padding set
    vectors, tokens = padded_rows(sets.num_vectors) - sets.num_vectors, padded_rows(num_tokens) - num_tokens
    lengths = [*zip(targets.lengths, sets.lengths, strict=True), (tokens, vectors)]
    order = sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True)
    sets = VectorSets.cat([sets, VectorSets(sets.values.new_zeros(vectors, sets.dim), [vectors])])
    values = F.pad(targets.values, (0, tokens))[rows_of([n for n, _ in lengths], order)]
    start = sum(lengths[i][0] + 1 for i in order[: order.index(len(lengths) - 1)])
    packed = Packed(values, [lengths[i][0] for i in order])
    return sets.select(order), packed, slice(start, start + tokens + 1)


_IGNORED = -100


def _put(tokens: Tensor, order: Tensor, step: int, special: int) -> Tensor:
    """Packed texts with a special token before each text (``step`` 0) or after each text (``step`` -1)."""
    places = to_device(order.nonzero().flatten(), tokens.device)
    return tokens.new_full((len(order),), special).index_copy_(0, places + step, tokens)
