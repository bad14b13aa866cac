"""What is computed once for each graph, from its edges: reverses, random walks, distances, neighbourhoods.

Axes: nodes, edges, pair (source and target), columns, steps (of a walk), places.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from multiseq.requires import need

__all__ = ["SELF", "UNREACHABLE", "gather_hops", "missing_reverses", "pair_codes", "return_probabilities"]

DENSE_NODES = 256
"""Up to this many nodes a dense matrix is faster than a sparse one."""
BLOCK = 512
"""Columns of the walk matrix at a time, so that memory grows with nodes, not their square."""

BLOCK_VALUES = 1 << 22
"""Of a block of rows of a sparse matrix, at most."""
FEW_PRODUCTS = 4_000_000_000
"""Products of numbers that are not worth a second thought: a second or two."""
MOST_PRODUCTS = 40_000_000_000
"""About half a minute."""
SPARSE_COST = 30
"""A product of two sparse matrices takes so many times as long for each number."""
SAMPLED_NODES = 16
"""From which the cost of sparse products is estimated."""

SELF, UNREACHABLE = 1, 2
"""Codes of a node and itself, and of two nodes that no path joins; 3 is one step."""


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
    from inside a few rounds of messages, such as atoms of rings of different sizes. They cost
    nodes x edges x steps, or, on large graphs whose nodes have few others around them,
    what a breadth-first search of half the steps from every node costs.

    Raises:
        ValueError: More than `MOST_PRODUCTS`, either way.
    """
    dense = num_nodes * edge_index.shape[1] * steps
    if dense <= FEW_PRODUCTS:
        return _dense_returns(edge_index, num_nodes, steps)
    walk = _walk_of(edge_index, num_nodes)
    against = walk.T.tocsr()
    sample = np.linspace(0, num_nodes - 1, min(SAMPLED_NODES, num_nodes)).astype(int)
    sparse = _sparse_returns(walk, against, sample, steps)[1] * num_nodes // len(sample) * SPARSE_COST
    if min(dense, sparse) > MOST_PRODUCTS:
        raise ValueError(
            f"walk_length: got {steps} steps on {num_nodes} nodes and {edge_index.shape[1]} edges, "
            f"about {min(dense, sparse):.0e} products, expected at most {MOST_PRODUCTS:.0e}; use fewer "
            "steps, none (walk_length=0), or NeighborhoodAdapter"
        )
    if dense <= sparse:
        return _dense_returns(edge_index, num_nodes, steps)
    step = max(BLOCK_VALUES // num_nodes, 1)
    blocks = [np.arange(a, min(a + step, num_nodes)) for a in range(0, num_nodes, step)]
    return torch.cat([_sparse_returns(walk, against, nodes, steps)[0] for nodes in blocks])


def _dense_returns(edge_index: Tensor, num_nodes: int, steps: int) -> Tensor:
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


def _walk_of(edge_index: Tensor, num_nodes: int) -> Any:
    """``D^-1 A`` in scipy's form, which multiplies sparse matrices."""
    source, target = edge_index.numpy()
    weight = 1.0 / np.bincount(source, minlength=num_nodes)[source]
    walk = need("scipy.sparse").csr_matrix((weight, (source, target)), shape=(num_nodes, num_nodes))
    walk.sum_duplicates()
    return walk


def _sparse_returns(walk: Any, against: Any, nodes: NDArray[np.int64], steps: int) -> tuple[Tensor, int]:
    """Return probabilities of some nodes, and how many products that took.

    A walk that is back after ``a + b`` steps is somewhere after *a*, and is as likely to come back from
    there as a walk against the edges is to get there: (P^(a+b))_ii = sum_j (P^a)_ij (P^b)_ji.
    """
    shape = (len(nodes), walk.shape[0])
    start = need("scipy.sparse").csr_matrix(
        (np.ones(len(nodes)), (np.arange(len(nodes)), nodes)), shape=shape
    )
    forth, back, products = start, start, 0
    found = torch.zeros(len(nodes), steps)
    for step in range(steps):
        if step % 2:
            products += int(np.diff(against.indptr)[back.indices].sum())
            back = back @ against
        else:
            products += int(np.diff(walk.indptr)[forth.indices].sum())
            forth = forth @ walk
        found[:, step] = torch.from_numpy(np.asarray(forth.multiply(back).sum(1)).ravel())
    return found, products


def pair_codes(
    edge_index: Int[Tensor, "pair edges"],
    kinds: Int[Tensor, " edges"] | None,
    num_nodes: int,
    furthest: int,
) -> Int[Tensor, "nodes nodes"]:
    """What any two nodes are to each other: how far apart, or by which kind of edge they are joined.

    `SELF`, `UNREACHABLE`, then a code for each number of steps from 1 to ``furthest`` (or more), then,
    where edges have kinds, a code for each kind: neighbours have that of their edge, the largest of
    several. Distances are those of Graphormer (https://arxiv.org/abs/2106.05234), whose sums over the
    edges of a path we leave to message passing.

    Args:
        edge_index: Source and target of every edge, both ways.
        kinds: The kind of each edge, from 0, or None where they have none.
        num_nodes: How many nodes there are.
        furthest: Steps from which on distances share a code. The cost is nodes x edges x ``furthest``.

    >>> chain = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> pair_codes(chain, torch.tensor([0, 0, 1, 1]), 4, furthest=2).tolist()
    [[1, 5, 4, 2], [5, 1, 6, 2], [4, 6, 1, 2], [2, 2, 2, 1]]
    """
    part = _components(edge_index, num_nodes)
    codes = torch.where(part[:, None] == part, UNREACHABLE + furthest, UNREACHABLE).short()
    walk = _average(edge_index, num_nodes)  # only where it is not zero counts
    for start in range(0, num_nodes, BLOCK):
        rows = torch.arange(start, min(start + BLOCK, num_nodes))
        columns = torch.arange(len(rows))
        new = torch.zeros(num_nodes, len(rows), dtype=torch.bool)
        new[rows, columns] = True
        old = new
        for step in range(1, furthest):
            new = (walk @ new.float() > 0) & ~old
            if not new.any():
                break
            old = old | new
            codes[rows] = codes[rows].masked_fill(new.t(), UNREACHABLE + step)
    codes.fill_diagonal_(SELF)
    if kinds is not None:
        no_loop = edge_index[0] != edge_index[1]
        source, target = edge_index[:, no_loop]
        own = (UNREACHABLE + furthest + 1 + kinds[no_loop]).short()
        codes.view(-1).scatter_reduce_(0, source * num_nodes + target, own, "amax")
    return codes


def _components(edge_index: Tensor, num_nodes: int) -> Tensor:
    """For each node the same number as for all nodes that it can reach; edges go both ways."""
    source, target = edge_index
    part = torch.arange(num_nodes)
    while True:
        nearer = part.scatter_reduce(0, target, part[source], "amin")
        nearer = nearer[nearer]  # two steps at a time, then four …
        if nearer.equal(part):
            return part
        part = nearer


def gather_hops(
    features: Float[Tensor, "nodes columns"],
    edge_index: Int[Tensor, "pair edges"],
    num_hops: int,
    *,
    reverses: bool,
) -> Float[Tensor, "nodes places columns"]:
    """Each node's own features, then those averaged over 1, 2, … ``num_hops`` steps along its edges.

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
    gathered = features.new_empty(len(features), 1 + num_hops * len(ways), features.shape[1])
    gathered[:, 0] = features
    place = 1
    for way in ways:
        average, x = _average(way, len(features)), features
        for _ in range(num_hops):
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
    with warnings.catch_warnings():
        # Some versions of torch say the second even where it was told not to check.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
        pairs = torch.sparse_coo_tensor(edge_index, weight, (num_nodes, num_nodes), check_invariants=False)
        return pairs.coalesce().to_sparse_csr()
