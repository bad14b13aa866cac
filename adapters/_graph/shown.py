"""A graph for people: the structure of a molecule, facts, or a node of a network with its neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multiseq import plots
from multiseq.adapters._graph.features import features_of
from multiseq.adapters._graph.items import Graph
from multiseq.adapters._graph.training import read
from multiseq.data.graphs.molecules import smiles_of
from multiseq.protocols import Mark, Part, Picture
from multiseq.results import digits

__all__ = ["show"]

MOST_DRAWN = 24
"""Nodes of a network in a drawing. More would hide one another."""

MOST_READ = 200_000
"""Nodes of a network that is read again for a drawing, which takes a second."""

MOST_FACTS = 30


def show(
    item: Any, kind: str, marks: Sequence[Mark], focus: int | None, count: int, labels_of: str = "nodes"
) -> list[Part]:
    """The texts and drawings of a graph.

    Args:
        item: The graph.
        kind: "molecule", "data", "table" or "triples".
        marks: The label and the prediction of each node, or its contribution.
        focus: The node to show, in a large network.
        count: The number of nodes.
        labels_of: "edges" if the labels of a molecule belong to its bonds.
    """
    if kind == "molecule":
        smiles, given = smiles_of(item), features_of(item)
        numbers = [", ".join(f"{name} {digits(value)}" for name, value in given.items())] if given else []
        return [smiles, *numbers, _molecule(smiles, marks, labels_of)]
    if kind == "triples" and not any(mark.text for mark in marks):
        more = [f"… and {len(item) - MOST_FACTS} more facts"] if len(item) > MOST_FACTS else []
        return [*(" — ".join(map(str, triple)) for triple in item[:MOST_FACTS]), *more]
    if count > MOST_READ:
        return []
    return _network(read(item, kind), marks, focus)


def _molecule(smiles: str, marks: Sequence[Mark], labels_of: str) -> Picture:
    values = [mark.contribution for mark in marks if mark.contribution is not None]
    drawing = plots.molecule(
        smiles,
        values,
        notes=[mark.text for mark in marks],
        ringed=[number for number, mark in enumerate(marks) if mark.wrong],
        bonds=labels_of == "edges",
    )
    coloured = ", coloured by what each atom contributes: orange raises, blue lowers" if values else ""
    return Picture(drawing, f"Structure of the molecule {smiles}{coloured}")


def _network(graph: Graph, marks: Sequence[Mark], focus: int | None) -> list[Part]:
    """The nodes nearest to one node, and the features of that node."""
    centre = focus if focus is not None else next((i for i, mark in enumerate(marks) if mark.wrong), 0)
    if not graph.nodes.count:
        return []
    pairs = list(zip(*graph.edge_index.tolist(), strict=True))
    chosen = _nearest(centre, pairs, graph.nodes.count)
    place = {node: number for number, node in enumerate(chosen)}
    edges = [(place[a], place[b]) for a, b in pairs if a in place and b in place]
    names = [graph.names[node] if graph.names else str(node) for node in chosen]
    labels = [marks[node].text for node in chosen] if marks else None
    wrong = [marks[node].wrong for node in chosen] if marks else None
    figure = plots.network(names, edges, labels=labels, wrong=wrong, focus=0)
    near = f"{len(chosen)} of {graph.nodes.count:,} nodes: those nearest to node {names[0]}"
    words = f"{near}. Connections: {'; '.join(f'{names[a]}–{names[b]}' for a, b in edges[:20]) or 'none'}"
    return [*_features(graph, centre, names[0]), Picture(plots.svg(figure), words), near]


def _nearest(centre: int, pairs: Sequence[tuple[int, int]], count: int) -> list[int]:
    """At most `MOST_DRAWN` nodes in order of their steps from ``centre``. All, if it has no neighbour."""
    beside: dict[int, list[int]] = {}
    for a, b in pairs:
        beside.setdefault(a, []).append(b)
        beside.setdefault(b, []).append(a)
    reached, waiting = {centre: None}, [centre]
    for node in waiting:  # grows in the loop: breadth-first search
        for other in beside.get(node, []):
            if other not in reached and len(reached) < MOST_DRAWN:
                reached[other] = None
                waiting.append(other)
    if len(reached) == 1 and count <= MOST_DRAWN:
        reached |= dict.fromkeys(range(count))
    return list(reached)


def _features(graph: Graph, node: int, named: str) -> list[Part]:
    """The categories and numbers of a node. A block of several numbers has no names, so it is left out."""
    values = {name: str(column[node]) for name, column in graph.nodes.categories.items()}
    for name, column in graph.nodes.numbers.items():
        if column.shape[1] == 1:
            values[name] = digits(float(column[node, 0]))
    for name, column in graph.nodes.bags.items():
        ids = column[node].indices
        values[name] = " ".join(map(str, ids[:12])) + (" …" if len(ids) > 12 else "")
    shown = ", ".join(f"{name} {value}" for name, value in list(values.items())[:12])
    return [f"node {named}: {shown}"] if values else []
