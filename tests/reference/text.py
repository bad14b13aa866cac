"""The text stem written slowly: a loop over words and over the rows of each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from multiseq.adapters.text import TextAdapter, TextExample


def word_vectors(adapter: TextAdapter, example: TextExample) -> Tensor:
    """(vectors, dim) of one example, without dropout."""
    table, vectors, next_row = adapter.embedding.weight, [], 0
    for count in example.counts.tolist():
        total = torch.zeros(adapter.dim)
        for _ in range(count):
            total = total + example.weights[next_row] * table[int(example.rows[next_row])]
            next_row += 1
        vectors.append(layer_norm(total, (adapter.dim,), adapter.norm.weight, adapter.norm.bias))
    return torch.stack(_mixed(adapter, vectors)) if vectors else torch.zeros(0, adapter.dim)


def _mixed(adapter: TextAdapter, vectors: list[Tensor]) -> list[Tensor]:
    beyond, linear = torch.zeros(adapter.dim), adapter.mixing.linear
    mixed = []
    for i, x in enumerate(vectors):
        before = vectors[i - 1] if i > 0 else beyond
        after = vectors[i + 1] if i + 1 < len(vectors) else beyond
        value, gate = (linear.weight @ torch.cat([before, x, after]) + linear.bias).chunk(2)
        mixed.append(x + value * gate.sigmoid())
    return mixed
