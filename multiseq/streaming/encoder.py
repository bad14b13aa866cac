"""An encoder that gets a sequence chunk by chunk, with the numbers that it has for the whole sequence.

Each layer keeps the keys and values of the last ``window`` vectors, so nothing is computed twice. Keys are
kept before their rotation, and positions are counted from the oldest key: only distances matter to a
rotation, and positions that grow for hours would lose digits.

Noroozi et al. 2023 (https://arxiv.org/abs/2312.17279) keep keys and values of layers in the same way.

Axes: vectors (of one chunk), keys (those kept and those of the chunk), heads, head_dim, dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from multiseq.nn.encoder import Block, Encoder, SelfAttention
from multiseq.nn.rotation import rotate, rotation_of
from multiseq.vectors import VectorSets

__all__ = ["EncoderStream"]


class EncoderStream:
    """Encodes one sequence, of which every call gets the next chunk.

    Args:
        encoder: An encoder with chunks.

    Raises:
        ValueError: The encoder has no chunks.

    Example:
        >>> encoder = Encoder(dim=8, depth=2, heads=2, window=4, chunk=3).eval()
        >>> values, stream = torch.randn(5, 8), EncoderStream(encoder)
        >>> whole = encoder(VectorSets(values, [5], torch.arange(5))).values
        >>> torch.allclose(torch.cat([stream(values[:3]), stream(values[3:])]), whole, atol=1e-5)
        True
    """

    def __init__(self, encoder: Encoder) -> None:
        if encoder.chunk is None or encoder.window is None:
            raise ValueError(
                "encoder: got one that attends to whole sequences, expected one with chunks; train it with "
                "window and chunk, for example window = 32 and chunk = 16 in [encoder] of the recipe"
            )
        self.chunk, self._window, self._encoder = encoder.chunk, encoder.window, encoder
        shape = (0, encoder.heads, encoder.dim // encoder.heads)
        weight = next(encoder.parameters())
        self._dtype, none = weight.dtype, torch.zeros(shape, dtype=weight.dtype, device=weight.device)
        self._kept = [(none, none)] * encoder.depth

    def __call__(self, vectors: Float[Tensor, "vectors dim"]) -> Float[Tensor, "vectors dim"]:
        """The encoded vectors of the next chunk. Only the last chunk may have fewer than ``chunk``."""
        encoder = self._encoder
        before = len(self._kept[0][0]) if self._kept else 0
        numbers = torch.arange(before + len(vectors), device=vectors.device)
        rotation = rotation_of(numbers, encoder.dim // encoder.heads)
        assert rotation is not None
        mask = self._bias(numbers, before)
        x, branch = vectors.to(self._dtype), None
        for layer, block in enumerate(encoder.blocks):
            assert isinstance(block, Block)
            attention = block.attention
            assert isinstance(attention, SelfAttention)
            x, normed = block.attention_norm(x, branch)
            q, k, v = attention.project(normed, None)
            k, v = (torch.cat(pair) for pair in zip(self._kept[layer], (k, v), strict=True))
            self._kept[layer] = k[-self._window :], v[-self._window :]
            q, k = rotate(q, rotation[before:]), rotate(k, rotation)
            q, k, v = (y.transpose(0, 1)[None] for y in (q, k, v))
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            branch = attention.out(attended[0].transpose(0, 1).flatten(1))
            x, normed = block.feed_forward_norm(x, branch)
            branch = block.feed_forward(normed)
        encoded: Tensor = encoder.norm(x, branch, dtype=self._dtype)[1]
        return encoded

    def _bias(self, numbers: Tensor, before: int) -> Float[Tensor, "1 heads vectors keys"] | None:
        """What the encoder adds to the products of the queries of the chunk and all keys, if anything."""
        none = torch.zeros(len(numbers), self._encoder.dim, device=numbers.device)
        bias = self._encoder.bias(VectorSets(none, [len(numbers)], numbers))
        return None if bias is None else bias.between(numbers[None, before:], numbers[None])
