"""Learned layers of graphs: message passing along edges, a projection for node sets, vectors of bonds.

Axes: nodes, edges, pair (source and target), columns, dim, rows (nodes or edges), vectors, places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from multiseq.adapters._graph.bags import IdEmbedding
from multiseq.nn.dropout import dropout
from multiseq.nn.linear import Linear, padded_rows

__all__ = ["GINE", "BondMessages", "BondReading", "HopStem", "MessageStem", "RowEmbedding"]


class RowEmbedding(nn.Module):
    """One vector per row: the sum of the embeddings of its categories and a projection of its numbers.

    Args:
        sizes: Number of rows of the embedding table for each category column. The first of them stands for
            unknown values; it begins at zero, because training may never reach it.
        width: Number of number columns.
        dim: Width of the vectors.
    """

    def __init__(self, sizes: Sequence[int], width: int, dim: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.randn(dim) * 0.1)  # a row without columns has only this
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
        """The vectors of nodes or edges."""
        x = self.base.expand(len(codes), -1)
        if self.categories is not None:
            x = x + self.categories(codes)
        if self.numbers is not None:
            x = x + self.numbers(numbers.to(x.dtype))
        return x


class GINE(nn.Module):
    """Graph isomorphism layer with edge features (Hu and others 2020, https://arxiv.org/abs/1905.12265).

        x_i <- mlp((1 + eps) x_i + sum_j relu(x_j + e_ji))

    It computes what torch-geometric's `GINEConv` with ``train_eps`` computes. Importing that takes longer
    than reading a model and predicting a molecule.

    Args:
        mlp: The network of each node.
    """

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.nn = mlp
        self.eps = nn.Parameter(torch.zeros(1))

    def forward(
        self,
        nodes: Float[Tensor, "nodes dim"],
        edge_index: Int[Tensor, "pair edges"],
        edges: Float[Tensor, "edges dim"],
    ) -> Float[Tensor, "nodes dim"]:
        """One vector per node, from its own and those that its neighbours send."""
        source, target = edge_index
        sent = (nodes.index_select(0, source) + edges).relu()
        total = sent.new_zeros(nodes.shape).scatter_add_(0, target[:, None].expand_as(sent), sent)
        x: Tensor = self.nn(total + (1 + self.eps) * nodes)
        return x


class MessageStem(nn.Module):
    """Message passing layers with edge features and residual connections.

        x <- x + dropout(gine(norm(x)))

    We use LayerNorm over the vector of each node, so the result for a graph does not depend on the rest of
    the batch.
    """

    def __init__(self, dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.enter = nn.LayerNorm(dim)
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(num_layers))
        self.layers = nn.ModuleList(GINE(_mlp(dim)) for _ in range(num_layers))
        self.dropout = dropout
        self.leave = nn.LayerNorm(dim)

    def forward(
        self,
        nodes: Float[Tensor, "nodes dim"],
        edges: Float[Tensor, "edges dim"],
        edge_index: Int[Tensor, "pair edges"],
    ) -> Float[Tensor, "nodes dim"]:
        """One vector per node, which depends on its neighbourhood."""
        count, nodes = len(nodes), _padded(nodes)
        x: Tensor = dropout(self.enter(nodes), self.dropout, self.training)
        for norm, layer in zip(self.norms, self.layers, strict=True):
            branch = layer(norm(x), edge_index, edges)
            x = x + dropout(branch, self.dropout, self.training)
        x = self.leave(x[:count])
        return x


class BondMessages(nn.Module):
    """Messages along bonds that do not turn back (D-MPNN, https://arxiv.org/abs/1904.01561).

        h_ij <- relu(W_in [x_i; e_ij] + W sum_k h_ki)     over the neighbours k of i except j
        x_j  <- relu(W_out [x_j; sum_i h_ij] + b)         the first h_ij has no sum

    Each round has the same matrices. There is no norm: sums over neighbours keep their sizes.
    """

    def __init__(self, dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.num_layers, self.dropout = num_layers, dropout
        self.enter = Linear(2 * dim, dim)
        self.hidden = Linear(dim, dim)
        self.leave = Linear(2 * dim, dim, bias=True)

    def forward(
        self,
        nodes: Float[Tensor, "nodes dim"],
        edges: Float[Tensor, "edges dim"],
        edge_index: Int[Tensor, "pair edges"],
        reverse: Int[Tensor, " edges"],
    ) -> Float[Tensor, "nodes dim"]:
        """One vector per node, which depends on its neighbourhood.

        Args:
            nodes: The vectors of the atoms.
            edges: The vectors of the bonds, in both directions.
            edge_index: The two atoms of each edge.
            reverse: For each edge the number of the one in the other direction.
        """
        source, target = edge_index
        total = nodes.new_zeros(nodes.shape)
        if self.num_layers:
            first = self.enter(_padded(torch.cat([nodes.index_select(0, source), edges], dim=1)))
            h = first.relu()
            for _ in range(self.num_layers - 1):
                h = dropout(h, self.dropout, self.training)
                arriving = _arriving(h, target, len(nodes)).index_select(0, source)
                h = (first + self.hidden(_padded(arriving - h.index_select(0, reverse)))).relu()
            total = _arriving(h, target, len(nodes))
        x: Tensor = self.leave(_padded(torch.cat([nodes, total.to(nodes.dtype)], dim=1)))[: len(nodes)].relu()
        return dropout(x, self.dropout, self.training)


class BondReading(nn.Module):
    """One vector per bond from the encoded vectors of its two atoms, the same from either end.

    b_ij = gelu(norm(W [x_i + x_j; |x_i - x_j|; e_ij]))
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3 * dim, dim), nn.LayerNorm(dim), nn.GELU())

    def forward(
        self,
        nodes: Float[Tensor, "nodes dim"],
        edge_index: Int[Tensor, "pair edges"],
        edges: Float[Tensor, "edges dim"],
    ) -> Float[Tensor, "edges dim"]:
        """The vectors of the bonds, which are edges given once."""
        one, other = nodes[edge_index[0]], nodes[edge_index[1]]
        x: Tensor = self.layers(torch.cat([one + other, (one - other).abs(), edges.to(nodes.dtype)], dim=1))
        return x


class HopStem(nn.Module):
    """The vectors of node sets: a projection of features and ids, plus a vector for the place."""

    def __init__(self, width: int, places: int, dim: int, dropout: float, num_ids: int = 0) -> None:
        super().__init__()
        self.width = width
        self.project = nn.Linear(width, dim)
        self.ids = IdEmbedding(num_ids, dim) if num_ids else None
        self.places = nn.Parameter(torch.randn(places, dim) * 0.1)
        self.norm = nn.LayerNorm(dim)
        self.dropout = dropout

    def forward(self, tensors: Mapping[str, Tensor]) -> Float[Tensor, "vectors dim"]:
        """Project all places with the same matrix, so that a feature means the same at every hop."""
        projected = self.project(tensors["features"].to(self.project.weight.dtype))
        if self.ids is not None:
            projected = projected + self.ids.of_batch(tensors, self.dropout)
        x: Tensor = self.norm(projected) + F.embedding(tensors["places"], self.places)
        return dropout(x, self.dropout, self.training)


def _padded(rows: Float[Tensor, "rows columns"]) -> Float[Tensor, "padded columns"]:
    """On a CPU with rows of zeros behind, so that few different numbers of rows occur."""
    if rows.device.type != "cpu":
        return rows
    return F.pad(rows, (0, 0, 0, padded_rows(len(rows)) - len(rows)))


def _arriving(
    h: Float[Tensor, "padded dim"], target: Int[Tensor, " edges"], num_nodes: int
) -> Float[Tensor, "nodes dim"]:
    """For each node the sum of what its edges bring."""
    return h.new_zeros(num_nodes, h.shape[1]).index_add_(0, target, h[: len(target)])


def _mlp(dim: int) -> nn.Module:
    # The sum over many neighbours can be large. The inner norm keeps hubs from dominating.
    return nn.Sequential(
        Linear(dim, dim, bias=True), nn.LayerNorm(dim), nn.GELU(), Linear(dim, dim, bias=True)
    )
