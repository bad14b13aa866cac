"""Structure of a graph, computed once from its edges: reverses, random walks, distances, neighbourhoods.

Axes: nodes, edges, pair (source and target), columns, steps (of a walk), places.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from multiseq.adapters._graph.items import Bags
from multiseq.requires import need

__all__ = [
    "SELF",
    "UNREACHABLE",
    "gather_bags",
    "gather_hops",
    "missing_reverses",
    "pair_codes",
    "return_probabilities",
]

DENSE_NODES = 256
"""Number of nodes up to which a dense matrix is faster than a sparse one."""
BLOCK = 512
"""Columns of the walk matrix per block, so that memory grows with the number of nodes and not its square."""

BLOCK_VALUES = 1 << 22
"""Most values in a block of rows of a sparse matrix."""
BLOCK_PRODUCTS = 10_000_000
"""About so many multiplications in a block of rows of a product of sparse matrices."""
FEW_PRODUCTS = 4_000_000_000
"""Multiplications (a second or two) up to which the dense method is used without comparing costs."""
MOST_PRODUCTS = 40_000_000_000
"""Most multiplications that are accepted: about half a minute."""
SPARSE_COST = 30
"""Cost of a multiplication in a product of two sparse matrices, relative to the dense method."""
SAMPLED_NODES = 16
"""Number of nodes from which the cost of sparse products is estimated."""

SELF, UNREACHABLE = 1, 2
"""Codes of a node paired with itself, and of two nodes that no path joins. Code 3 is one step."""


def missing_reverses(
    edge_index: Int[Tensor, "pair edges"],
    attributes: Float[Tensor, "edges columns"],
    num_nodes: int,
) -> Int[Tensor, " missing"]:
    """The numbers of all edges that lack a reverse with the same attributes.

    A self-loop is the reverse of itself.

    >>> pairs = torch.tensor([[0, 1, 2, 3], [1, 0, 1, 3]])
    >>> missing_reverses(pairs, torch.zeros(4, 0), 4).tolist()
    [2]
    """
    source, target = edge_index
    if attributes.shape[1]:
        kind = attributes.unique(dim=0, return_inverse=True)[1]
    else:
        kind = torch.zeros_like(source)
    keys = ((kind * num_nodes + source) * num_nodes + target).numpy()
    keys.sort()  # in place: `torch.isin` takes several times the memory of the edges
    reverses = ((kind * num_nodes + target) * num_nodes + source).numpy()
    order = reverses.argsort()
    reverses = reverses[order]
    places = np.searchsorted(keys, reverses).clip(max=max(len(keys) - 1, 0))
    return torch.from_numpy(np.sort(order[keys[places] != reverses]))


def return_probabilities(
    edge_index: Int[Tensor, "pair edges"], num_nodes: int, steps: int
) -> Float[Tensor, "nodes steps"]:
    """Random-walk positional encoding: the probability to be back at the start after 1 … ``steps`` steps.

        p_ik = ((D^-1 A)^k)_ii

    It (https://arxiv.org/abs/2110.07875) separates nodes that look alike after a few message passing layers,
    such as atoms in rings of different sizes. The dense method costs nodes x edges x steps. For large
    graphs with small neighbourhoods, the sparse method costs about as much as a breadth-first search of
    half the steps from every node. The cheaper method is used.

    Raises:
        ValueError: Both methods need more than `MOST_PRODUCTS` multiplications.
    """
    if steps == 0:
        return torch.zeros(num_nodes, 0)
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
    if num_nodes <= DENSE_NODES:
        return _few_returns(walk.numpy(), steps)
    returns = torch.zeros(num_nodes, steps)
    for start in range(0, num_nodes, BLOCK):
        rows = slice(start, min(start + BLOCK, num_nodes))
        x = torch.zeros(num_nodes, rows.stop - start)
        x[rows].fill_diagonal_(1.0)
        for step in range(steps):
            x = walk @ x
            returns[rows, step] = x[rows].diagonal()
    return returns


def _few_returns(walk: NDArray[np.float32], steps: int) -> Tensor:
    """The same for few nodes. With numpy: torch takes several times as long for small matrices."""
    returns, x = np.empty((len(walk), steps), dtype=np.float32), walk
    for step in range(steps):
        x = walk @ x if step else walk
        returns[:, step] = x.diagonal()
    return torch.from_numpy(returns)


def _walk_of(edge_index: Tensor, num_nodes: int) -> Any:
    """``D^-1 A`` as a sparse matrix of scipy, which can multiply two sparse matrices."""
    source, target = edge_index.numpy()
    weight = 1.0 / np.bincount(source, minlength=num_nodes)[source]
    walk = need("scipy.sparse").csr_matrix((weight, (source, target)), shape=(num_nodes, num_nodes))
    walk.sum_duplicates()
    return walk


def _sparse_returns(walk: Any, against: Any, nodes: NDArray[np.int64], steps: int) -> tuple[Tensor, int]:
    """Return probabilities of some nodes, and the number of multiplications.

    A closed walk of ``a + b`` steps is at some node *j* after *a* steps:

        (P^(a+b))_ii = sum_j (P^a)_ij (P^b)_ji

    ``forth`` holds the rows P^a of the nodes; ``back`` holds their columns of P^b, computed with the
    transposed matrix ``against``.
    """
    shape = (len(nodes), walk.shape[0])
    start = need("scipy.sparse").csr_matrix(
        (np.ones(len(nodes)), (np.arange(len(nodes)), nodes)), shape=shape
    )
    forth, back, products = start, start, 0
    returns = torch.zeros(len(nodes), steps)
    for step in range(steps):
        if step % 2:
            products += int(np.diff(against.indptr)[back.indices].sum())
            back = back @ against
        else:
            products += int(np.diff(walk.indptr)[forth.indices].sum())
            forth = forth @ walk
        returns[:, step] = torch.from_numpy(np.asarray(forth.multiply(back).sum(1)).ravel())
    return returns, products


def pair_codes(
    edge_index: Int[Tensor, "pair edges"],
    kinds: Int[Tensor, " edges"] | None,
    num_nodes: int,
    furthest: int,
) -> Int[Tensor, "nodes nodes"]:
    """A code for each pair of nodes: their distance in steps, or the kind of edge that joins them.

    The codes are `SELF`, `UNREACHABLE`, then one code per distance from 1 to ``furthest`` (or more), then one
    code per kind of edge if edges have kinds. Neighbours get the code of their edge; with several edges, the
    largest code. The distances are those of Graphormer (https://arxiv.org/abs/2106.05234). Unlike
    Graphormer, we do not sum over the edges of a path, because message passing sees the edges already.

    Args:
        edge_index: Source and target of every edge, in both directions.
        kinds: The kind of each edge, counted from 0, or None.
        num_nodes: Number of nodes.
        furthest: Distances of this many steps or more share a code. The cost is nodes x edges x ``furthest``.

    >>> chain = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
    >>> pair_codes(chain, torch.tensor([0, 0, 1, 1]), 4, furthest=2).tolist()
    [[1, 5, 4, 2], [5, 1, 6, 2], [4, 6, 1, 2], [2, 2, 2, 1]]
    """
    component = _components(edge_index, num_nodes)
    codes = torch.where(component[:, None] == component, UNREACHABLE + furthest, UNREACHABLE).short()
    walk = _average(edge_index, num_nodes)  # only used to see which entries are not zero
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
        by_edge = (UNREACHABLE + furthest + 1 + kinds[no_loop]).short()
        codes.view(-1).scatter_reduce_(0, source * num_nodes + target, by_edge, "amax")
    return codes


def _components(edge_index: Tensor, num_nodes: int) -> Tensor:
    """Connected components: nodes get the same number if a path joins them. Edges go both ways."""
    source, target = edge_index
    component = torch.arange(num_nodes)
    while True:
        nearer = component.scatter_reduce(0, target, component[source], "amin")
        nearer = nearer[nearer]  # reach grows: two steps, then four …
        if nearer.equal(component):
            return component
        component = nearer


def gather_hops(
    features: Float[Tensor, "nodes columns"],
    edge_index: Int[Tensor, "pair edges"],
    num_hops: int,
    *,
    reverses: bool,
) -> Float[Tensor, "nodes places columns"]:
    """The features of each node, then their averages after 1, 2, … ``num_hops`` steps along the edges.

        X_k = D^-1 A X_{k-1}

    A step goes from a node to the targets of its edges. With ``reverses``, the averages of steps against the
    edges follow. A node without edges gets zeros. SIGN (https://arxiv.org/abs/2004.11198) joins these
    features into one vector; NAGphormer (https://arxiv.org/abs/2206.04910) makes a set of them, as we do.
    Both normalise symmetrically; we take the mean over neighbours.

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


def gather_bags(
    bags: Bags, edge_index: Int[Tensor, "pair edges"], num_hops: int, *, reverses: bool, most: int
) -> list[Bags]:
    """The same averages as `gather_hops`, of sparse rows. There is a sparse matrix for each place.

    Rows fill up with each step. So each keeps only its ``most`` largest entries after each step, and the
    next step goes on from these. Memory is at most 8 bytes x nodes x places x ``most``.
    """
    nodes, gathered = bags.shape[0], [bags]
    for way in [edge_index, edge_index.flip(0)] if reverses else [edge_index]:
        walk, x = _walk_of(way, nodes).astype(np.float32), bags
        for _ in range(num_hops):
            products = np.cumsum(walk.astype(bool) @ np.diff(x.indptr))
            blocks = np.split(np.arange(nodes), np.flatnonzero(np.diff(products // BLOCK_PRODUCTS)) + 1)
            largest = [_largest(walk[block] @ x, most) for block in blocks]
            x = need("scipy.sparse").vstack(largest, format="csr")
            gathered.append(x)
    return gathered


def _largest(matrix: Bags, most: int) -> Bags:
    """The ``most`` largest entries of each row, by their absolute values; of equal ones, the first."""
    matrix.sort_indices()
    counts = np.diff(matrix.indptr)
    if counts.max(initial=0) <= most:
        return matrix
    row = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-np.abs(matrix.data), row))
    kept = np.sort(order[np.arange(len(order)) - np.repeat(matrix.indptr[:-1], counts) < most])
    starts = np.concatenate([[0], np.cumsum(np.minimum(counts, most))])
    return type(matrix)((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def _average(edge_index: Tensor, num_nodes: int) -> Tensor:
    """``D^-1 A``: row *i* averages over the targets of the edges of node *i*. Parallel edges all count."""
    source, target = edge_index
    degree = torch.bincount(source, minlength=num_nodes)
    if num_nodes <= DENSE_NODES:
        dense = torch.zeros(num_nodes, num_nodes)
        return dense.index_put_((source, target), 1.0 / degree[source], accumulate=True)
    rows = F.pad(degree.cumsum(0), (1, 0))
    weights = (1.0 / degree).repeat_interleave(degree)
    columns = target[source.argsort(stable=True)]
    with warnings.catch_warnings():
        # Some versions of torch give the second warning even with check_invariants=False.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta state")
        warnings.filterwarnings("ignore", "Sparse invariant checks are implicitly disabled")
        shape = (num_nodes, num_nodes)
        return torch.sparse_csr_tensor(rows, columns, weights, shape, check_invariants=False)
