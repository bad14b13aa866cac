"""Graph networks of torch-geometric beside ours: the class of a node of one network, on the same split.

    python -m benchmarks.accuracy.networks --data FOLDER_OF_CORA --recipe cora --set training.seed=0
    python -m benchmarks.accuracy.networks --data FOLDER_OF_FACEBOOK --recipe facebook --only GCN GAT

GCN (Kipf and Welling 2017), GAT (Veličković and others 2018) and GPS (Rampášek and others 2022; attention
over all nodes by Performer) get the features that our adapter gives to the node alone, and the whole network
at each of 200 steps of Adam. The score on test is that of the step that is best on dev.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.accuracy.beside import Items, Plan, compare
from multiseq import NeighborhoodAdapter
from multiseq.adapters._graph.training import read as read_graph
from multiseq.results import Label
from multiseq.runs.recipe import read
from multiseq.training.metrics import compute

__all__ = ["GPS", "Network", "gat", "gcn", "gps", "network_of"]

STEPS, RATE, DECAY, DROPOUT = 200, 0.01, 5e-4, 0.5
DIM, LAYERS, HEADS = 64, 2, 8


@dataclass(frozen=True)
class Network:
    """A network: features of its nodes, and both directions of each edge."""

    features: Tensor
    edge_index: Tensor


def network_of(item: Any) -> Network:
    """The features of each node, with ids as columns of a dense matrix."""
    adapter = NeighborhoodAdapter.fit([item], dim=1, num_hops=0, directed=False)
    [inputs] = [adapter.collate(adapter.prepare(item))]
    features = inputs.tensors["features"]
    if adapter.nodes.num_ids:
        starts, ids = inputs.tensors["id_starts"], inputs.tensors["ids"]
        counts = torch.diff(starts, append=torch.tensor([len(ids)]))
        row = torch.arange(len(starts)).repeat_interleave(counts)
        dense = torch.zeros(len(starts), adapter.nodes.num_ids)
        dense[row, ids] = inputs.tensors["id_weights"]
        features = dense if features.shape[1] == 1 else torch.cat([features, dense], dim=1)
    edge_index = read_graph(item, adapter.kind).edge_index
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1)
    return Network(features, both)


class GPS(nn.Module):
    """Layers of message passing by GIN beside attention over all nodes."""

    def __init__(self, width: int, classes: int) -> None:
        from torch_geometric.nn import GINConv, GPSConv

        super().__init__()
        self.enter = nn.Linear(width, DIM)
        self.layers = nn.ModuleList(
            GPSConv(DIM, GINConv(nn.Linear(DIM, DIM)), HEADS, DROPOUT, attn_type="performer")
            for _ in range(LAYERS)
        )
        self.leave = nn.Linear(DIM, classes)

    def forward(self, features: Tensor, edge_index: Tensor) -> Tensor:
        """Features (nodes, columns) and edges (2, edges); logits (nodes, classes)."""
        x = self.enter(nn.functional.dropout(features, DROPOUT, self.training))
        for layer in self.layers:
            x = layer(x, edge_index)
        logits: Tensor = self.leave(x)
        return logits


def _gcn(width: int, classes: int) -> nn.Module:
    from torch_geometric.nn import GCN

    model: nn.Module = GCN(width, DIM, LAYERS, classes, dropout=DROPOUT)
    return model


def _gat(width: int, classes: int) -> nn.Module:
    from torch_geometric.nn import GAT

    model: nn.Module = GAT(width, DIM, LAYERS, classes, dropout=DROPOUT, heads=HEADS)
    return model


def gcn(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train a GCN; its score on test."""
    return _trained(plan, splits, _gcn)


def gat(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train a GAT; its score on test."""
    return _trained(plan, splits, _gat)


def gps(plan: Plan, splits: Mapping[str, Items]) -> float:
    """Train a GPS; its score on test."""
    return _trained(plan, splits, GPS)


def _trained(plan: Plan, splits: Mapping[str, Items], build: Callable[[int, int], nn.Module]) -> float:
    torch.manual_seed(plan.settings().seed)
    recipe = read(plan.recipe, plan.all_changes())
    metric = recipe.metric(next(iter(recipe.tasks)))
    [item], [train_labels] = splits["train"]
    network = network_of(item)
    names = sorted({label for label in train_labels if label is not None}, key=str)
    wanted = torch.tensor([-100 if label is None else names.index(label) for label in train_labels])
    model = build(network.features.shape[1], len(names))
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE, weight_decay=DECAY)

    def score(split: str) -> float:
        model.eval()
        with torch.no_grad():
            shares = model(network.features, network.edge_index).softmax(dim=-1)
        rows = [dict(zip(names, row, strict=True)) for row in shares.tolist()]
        results = [Label(max(row, key=lambda name: row[name]), max(row.values()), row) for row in rows]
        return compute(metric, results, splits[split][1][0])

    best, of_test = -1.0, 0.0
    for _ in range(2 if plan.quick else STEPS):
        model.train()
        optimizer.zero_grad()
        logits = model(network.features, network.edge_index)
        nn.functional.cross_entropy(logits, wanted).backward()
        optimizer.step()
        if (of_dev := score("dev")) > best:
            best, of_test = of_dev, score("test")
    return of_test


if __name__ == "__main__":
    compare(__doc__, "cora", {"GCN": gcn, "GAT": gat, "GPS": gps})
