"""The learned stems of graphs: rounds of messages along the edges, or one projection for node sets.

Axes: nodes, edges, pair (source and target), columns, dim, rows (of a table of nodes or edges).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.nn.dropout import dropout
from multiseq.nn.linear import Linear, padded_rows
from multiseq.requires import need

__all__ = ["HopStem", "MessageStem", "RowEmbedding"]


class RowEmbedding(nn.Module):
    """One vector a row: the sum of its categories' embeddings and a projection of its numbers.

    Args:
        sizes: Rows of the embedding table that each category column owns; the first one, for
            unknown values, begins at zero, because training may never reach it.
        width: How many numbers a row has.
        dim: Width of the vectors.
    """

    def __init__(self, sizes: Sequence[int], width: int, dim: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(dim) * 0.1)  # all that a row without columns has
        self.categories = nn.EmbeddingBag(sum(sizes), dim, mode="sum") if sizes else None
        self.numbers = nn.Linear(width, dim, bias=False) if width else None
        if self.categories is not None:
            starts = [sum(sizes[:i]) for i in range(len(sizes))]
            nn.init.normal_(self.categories.weight, std=len(sizes) ** -0.5)
            with torch.no_grad():
                self.categories.weight[starts] = 0.0

    def forward(
        self, codes: Int[Tensor, "rows columns"], numbers: Float[Tensor, "rows numbers"]
    ) -> Float[Tensor, "rows dim"]:
        """Embed the rows of nodes or edges."""
        x = self.base.expand(len(codes), -1)
        if self.categories is not None:
            x = x + self.categories(codes)
        if self.numbers is not None:
            x = x + self.numbers(numbers.to(x.dtype))
        return x


class MessageStem(nn.Module):
    """Rounds of message passing with edge features, each added to what was there before.

        x_i <- x_i + dropout(mlp(norm(x_i) + sum_j relu(norm(x_j) + e_ji)))

    The message is that of GINE (https://arxiv.org/abs/1905.12265), computed by torch-geometric.
    Norms are over a node's own vector, so that what a graph gets does not depend on the batch.
    """

    def __init__(self, dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        conv = need("torch_geometric.nn").GINEConv
        self.enter = nn.LayerNorm(dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_layers))
        self.layers = nn.ModuleList(conv(_mlp(dim), train_eps=True) for _ in range(num_layers))
        self.dropout = dropout
        self.leave = nn.LayerNorm(dim)

    def forward(
        self,
        nodes: Float[Tensor, "nodes dim"],
        edges: Float[Tensor, "edges dim"],
        edge_index: Int[Tensor, "pair edges"],
    ) -> Float[Tensor, "nodes dim"]:
        """One vector a node that knows its surroundings."""
        count = len(nodes)
        if nodes.device.type == "cpu":  # products are ready for few numbers of rows
            nodes = F.pad(nodes, (0, 0, 0, padded_rows(count) - count))
        x: Tensor = dropout(self.enter(nodes), self.dropout, self.training)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            branch = layer(norm(x), edge_index, edges)
            x = x + dropout(branch, self.dropout, self.training)
        x = self.leave(x[:count])
        return x


class HopStem(nn.Module):
    """Vectors of a node set: the features of each place projected, and which place it is."""

    def __init__(self, width: int, places: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.shape = (places, width)
        self.project = nn.Linear(width, dim)
        self.places = nn.Parameter(torch.randn(places, dim) * 0.1)
        self.norm = nn.LayerNorm(dim)
        self.dropout = dropout

    def forward(self, features: Float[Tensor, "sets places columns"]) -> Float[Tensor, "sets places dim"]:
        """Project all places with one matrix, so that a feature means the same at every hop."""
        features = features.to(self.project.weight.dtype)
        x: Tensor = self.norm(self.project(features)) + self.places
        return dropout(x, self.dropout, self.training)


def _mlp(dim: int) -> nn.Module:
    # The sum over many neighbours can be large: normed inside, a hub does not drown the others.
    return nn.Sequential(
        Linear(dim, dim, bias=True), nn.LayerNorm(dim), nn.GELU(), Linear(dim, dim, bias=True)
    )
