"""What the graph adapter computes once for each graph, node by node in plain Python."""

from __future__ import annotations

Edges = list[tuple[int, int]]


def return_probabilities(edges: Edges, num_nodes: int, steps: int) -> list[list[float]]:
    """Follow the distribution of a walker who starts at each node in turn."""
    result = []
    for start in range(num_nodes):
        at = [float(node == start) for node in range(num_nodes)]
        row = []
        for _ in range(steps):
            then = [0.0] * num_nodes
            for source, target in edges:
                then[target] += at[source] / sum(s == source for s, _ in edges)
            at = then
            row.append(at[start])
        result.append(row)
    return result


def pair_codes(edges: Edges, kinds: list[int], num_nodes: int, furthest: int) -> list[list[int]]:
    """A search from each node in turn: 1 itself, 2 unreachable, 2 + steps, then the kinds of edges."""
    result = []
    for start in range(num_nodes):
        steps, level = {start: 0}, [start]
        while level:
            found = {target for source, target in edges if source in level and target not in steps}
            steps.update(dict.fromkeys(found, steps[level[0]] + 1))
            level = list(found)
        row = [2 + min(steps[node], furthest) if node in steps else 2 for node in range(num_nodes)]
        row[start] = 1
        for (source, target), kind in zip(edges, kinds, strict=True):
            if source == start != target:
                row[target] = max(row[target], 3 + furthest + kind)
        result.append(row)
    return result


def gather_hops(features: list[list[float]], edges: Edges, hops: int) -> list[list[list[float]]]:
    """For each hop, each node's mean over its neighbours' values at the hop before."""
    width = len(features[0])
    layers = [features]
    for _ in range(hops):
        before, layer = layers[-1], []
        for node in range(len(features)):
            near = [before[target] for source, target in edges if source == node]
            layer.append([sum(v[c] for v in near) / max(len(near), 1) for c in range(width)])
        layers.append(layer)
    return layers
