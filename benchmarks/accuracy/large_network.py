"""A network of a million nodes and ten million edges: `multiseq train` with time and memory.

    python -m benchmarks.accuracy.large_network --out FOLDER

Each node has 16 numbers and one of five classes. Half of the edges join nodes of one class, the others any
two. 500,000 nodes are for training, 10,000 dev and 90,000 test; a node is a set of its own numbers and the
means over its neighbours at one and two steps. FOLDER gets the network (235 MB) and the run.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.accuracy.chemprop import run

CLASSES, COLUMNS = 5, 16
RECIPE = """\
[encoder]
dim = 64
depth = 2
heads = 4

[training]
steps = 300
max_vectors = 4096
lr = 2e-3

[adapters.people]
modality = "graph"
num_hops = 2
bins = 0
directed = false

[data.people]
adapter = "people"
format = "npz"
file = "network.npz"
split_file = "network.npz"
fold = 0

[tasks.kind]
data = "people"
output = "vector"
target = "class"
column = "label"
"""


def write_network(path: Path, num_nodes: int, num_edges: int) -> None:
    """The network as an ``.npz`` with one split."""
    random = np.random.default_rng(0)
    kind = random.integers(CLASSES, size=num_nodes)
    of_kind = np.argsort(kind, kind="stable")
    starts = np.searchsorted(kind[of_kind], np.arange(CLASSES + 1))
    source = random.integers(num_nodes, size=num_edges)
    first, last = starts[kind[source]], starts[kind[source] + 1]
    alike = of_kind[first + (random.random(num_edges) * (last - first)).astype(int)]
    target = np.where(random.random(num_edges) < 0.5, alike, random.integers(num_nodes, size=num_edges))
    features = random.normal(size=(num_nodes, COLUMNS)) + 0.4 * np.eye(CLASSES, COLUMNS)[kind]
    order = random.permutation(num_nodes)
    masks: dict[str, Any] = {}
    for split, begin, end in (("train", 0.0, 0.5), ("val", 0.5, 0.51), ("test", 0.51, 0.6)):
        masks[f"{split}_masks"] = np.zeros((1, num_nodes), dtype=bool)
        masks[f"{split}_masks"][0, order[int(begin * num_nodes) : int(end * num_nodes)]] = True
    np.savez(
        path,
        node_features=features.astype(np.float32),
        node_labels=kind,
        edges=np.stack([source, target], axis=1),
        **masks,
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the network and the run")
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--edges", type=int, default=10_000_000)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    write_network(given.out / "network.npz", given.nodes, given.edges)
    (given.out / "network.toml").write_text(RECIPE, encoding="utf-8")
    command = (sys.executable, "-m", "multiseq", "train", given.out / "network.toml")
    taken = run(*command, "--out", given.out / "run")
    [score] = json.loads((given.out / "run" / "test.json").read_text(encoding="utf-8"))["tasks"].values()
    print(
        f"accuracy {score['value']:.3f} (baseline {score['baseline']:.3f}), {taken.seconds:.0f} s, "
        f"{taken.processor:.0f} of the processor, {taken.mib:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
