"""What is computed once for each graph, from its edges: reverses, random walks, neighbourhoods.

Axes: nodes, edges, pair (source and target), columns, steps (of a walk), places.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["gather_hops", "missing_reverses", "return_probabilities"]

DENSE_NODES = 256
"""Up to this many nodes a dense matrix is faster than a sparse one."""
BLOCK = 512
"""Columns of the walk matrix at a time, so that memory grows with nodes, not their square."""


def missing_reverses(
    edge_index: Int[Tensor, "pair edges"],
    attributes: Float[Tensor, "edges columns"],
    num_nodes: int,
) -> Int[Tensor, " missing"]:
    """Numbers of the edges whose reverse, with the same attributes, is not there.

    A loop is its own reverse.

    >>> pairs = torch.tensor([[0, 1, 2, 3], [1, 0, 1, 3]])
    >>> missing_reverses(pairs, torch.zeros(4, 0), 4).tolist()
    [2]
    """
    source, target = edge_index
    if attributes.shape[1]:
        kind = attributes.unique(dim=0, return_inverse=True)[1]
    else:
        kind = torch.zeros_like(source)
    keys = (kind * num_nodes + source) * num_nodes + target
    reverses = (kind * num_nodes + target) * num_nodes + source
    return (~torch.isin(reverses, keys)).nonzero().flatten()


def return_probabilities(
    edge_index: Int[Tensor, "pair edges"], num_nodes: int, steps: int
) -> Float[Tensor, "nodes steps"]:
    """How probable a random walk of 1 … ``steps`` steps is back where it began.

        p_ik = ((D^-1 A)^k)_ii

    These structural encodings (https://arxiv.org/abs/2110.07875) tell nodes apart that look alike
    from inside a few rounds of messages, such as atoms of rings of different sizes. Their cost is
    nodes x edges x steps: 0 steps for graphs far above ten thousand nodes.
    """
    walk = _average(edge_index, num_nodes)
    found = torch.zeros(num_nodes, steps)
    for start in range(0, num_nodes if steps else 0, BLOCK):
        rows = slice(start, min(start + BLOCK, num_nodes))
        x = torch.zeros(num_nodes, rows.stop - start)
        x[rows].fill_diagonal_(1.0)
        for step in range(steps):
            x = walk @ x
            found[rows, step] = x[rows].diagonal()
    return found


def gather_hops(
    features: Float[Tensor, "nodes columns"],
    edge_index: Int[Tensor, "pair edges"],
    hops: int,
    *,
    reverses: bool,
) -> Float[Tensor, "nodes places columns"]:
    """Each node's own features, then those averaged over 1, 2, … ``hops`` steps along its edges.

        X_k = D^-1 A X_{k-1}

    from the node to the targets of its edges; with ``reverses``, after those, against the edges. A
    node without edges gets zeros. After SIGN (https://arxiv.org/abs/2004.11198), which puts them in
    one vector, and NAGphormer (https://arxiv.org/abs/2206.04910), which makes a set as we do. We
    average over neighbours where they normalise symmetrically.

    >>> chain = torch.tensor([[0, 1], [1, 2]])
    >>> x = torch.tensor([[1.0], [2.0], [4.0]])
    >>> gather_hops(x, chain, 2, reverses=True)[0].flatten().tolist()
    [1.0, 2.0, 4.0, 0.0, 0.0]
    """
    ways = [edge_index, edge_index.flip(0)] if reverses else [edge_index]
    gathered = features.new_empty(len(features), 1 + hops * len(ways), features.shape[1])
    gathered[:, 0] = features
    place = 1
    for way in ways:
        average, x = _average(way, len(features)), features
        for _ in range(hops):
            x = average @ x
            gathered[:, place] = x
            place += 1
    return gathered


def _average(edge_index: Tensor, num_nodes: int) -> Tensor:
    """``D^-1 A``: row *i* averages over the targets of its edges; parallel edges count each."""
    source, target = edge_index
    degree = torch.bincount(source, minlength=num_nodes)
    weight = 1.0 / degree[source]
    if num_nodes <= DENSE_NODES:
        dense = torch.zeros(num_nodes, num_nodes)
        return dense.index_put_((source, target), weight, accumulate=True)
    pairs = torch.sparse_coo_tensor(edge_index, weight, (num_nodes, num_nodes), check_invariants=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        return pairs.coalesce().to_sparse_csr()
