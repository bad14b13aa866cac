"""Ids of nodes in packed form: those of all rows one after another, and where each row begins.

Axes: rows (nodes, or the places of node sets), entries (ids of all rows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from multiseq.adapters._graph.items import Bags
from multiseq.nn.dropout import dropout

__all__ = ["FOLDED", "IdEmbedding", "Ids", "ids_of", "pack_ids", "some_ids"]

FOLDED = 512
"""Most columns for the ids of a node in a baseline."""


@dataclass(frozen=True, eq=False)
class Ids:
    """The ids of some rows.

    Args:
        ids: The ids of the rows, numbered from 0 in the vocabulary.
        weights: How much each of them counts.
        counts: The number of ids of each row.
    """

    ids: Int[Tensor, " entries"]
    weights: Float[Tensor, " entries"]
    counts: Int[Tensor, " rows"]

    def folded(self, num_ids: int) -> NDArray[np.float32]:
        """For baselines: a dense row for each row, with an id in the column that it has modulo `FOLDED`."""
        width = min(num_ids, FOLDED)
        row = torch.arange(len(self.counts)).repeat_interleave(self.counts)
        dense = torch.zeros(len(self.counts) * width)
        dense.index_add_(0, row * width + self.ids % width, self.weights)
        return dense.view(-1, width).numpy()

    def rows(self, numbers: Int[Tensor, " chosen"]) -> Ids:
        """The chosen rows."""
        starts = (self.counts.long().cumsum(0) - self.counts)[numbers]
        counts = self.counts[numbers].long()
        shift = starts - (counts.cumsum(0) - counts)
        entries = torch.arange(int(counts.sum())) + shift.repeat_interleave(counts)
        return Ids(self.ids[entries], self.weights[entries], self.counts[numbers])


def ids_of(matrix: Bags) -> Ids:
    """A sparse matrix ``(rows, ids)`` in packed form."""
    counts = torch.from_numpy(matrix.indptr).diff().int()
    return Ids(torch.from_numpy(matrix.indices).int(), torch.from_numpy(matrix.data).float(), counts)


def some_ids(ids: Ids, dropped: float, generator: torch.Generator) -> Ids:
    """The ids without some, chosen at random: those left out count nothing."""
    kept = torch.rand(len(ids.ids), generator=generator) >= dropped
    return replace(ids, weights=ids.weights * kept)


def pack_ids(parts: Sequence[Ids]) -> dict[str, Tensor]:
    """The tensors of a batch. Without ids there are none."""
    if not parts:
        return {}
    counts = torch.cat([part.counts for part in parts]).long()
    return {
        "ids": torch.cat([part.ids for part in parts]).long(),
        "id_weights": torch.cat([part.weights for part in parts]),
        "id_starts": counts.cumsum(0) - counts,
    }


class IdEmbedding(nn.EmbeddingBag):
    """One vector per row: the weighted sum of a learned vector for each of its ids.

    This is a linear map of the sparse row, without its zeros. The vectors begin at zero: those of rare ids,
    which training hardly reaches, would otherwise stay noise.
    """

    def __init__(self, num_ids: int, dim: int) -> None:
        super().__init__(num_ids, dim, mode="sum", _weight=torch.zeros(num_ids, dim))

    def of_batch(self, tensors: Mapping[str, Tensor], dropped: float = 0.0) -> Float[Tensor, "rows dim"]:
        """The vectors of the rows of a batch of `pack_ids`. ``dropped`` is a dropout of ids."""
        weights = dropout(tensors["id_weights"].to(self.weight.dtype), dropped, self.training)
        vectors: Tensor = self(tensors["ids"], tensors["id_starts"], per_sample_weights=weights)
        return vectors
