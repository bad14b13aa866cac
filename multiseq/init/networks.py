"""Plans for networks in files of their publishers: npz benchmarks, planetoid, and folders of TU Dortmund."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multiseq.data.graphs.planetoid import name_of
from multiseq.data.readers import READERS
from multiseq.data.records import DataError
from multiseq.data.text_files import suffix_of
from multiseq.init.plan import Plan, TaskPlan
from multiseq.init.tables import add_shares

__all__ = ["LARGE", "large_network", "plan_published"]

LARGE = 4096
"""From this number of nodes on, a network is read as one short set for each node."""


def plan_published(paths: Sequence[Path], name: str) -> Plan | None:
    """A plan for such files, or None if there are none.

    Raises:
        DataError: There are several networks; a recipe reads one.
    """
    files = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    arrays = [file for file in files if suffix_of(file) == ".npz"]
    papers = sorted({file.with_name(name_of(file)) for file in files if file.name.startswith("ind.")})
    graphs = [file for file in files if file.name.endswith("_A.txt")]
    networks = [*arrays, *papers, *graphs]
    if not networks:
        return None
    if len(networks) > 1:
        some = ", ".join(file.name for file in networks[:5]) + (", …" if len(networks) > 5 else "")
        first = f"{papers[0]}.graph" if networks[0] in papers else networks[0]
        raise DataError(
            f"{networks[0].parent}: got {len(networks)} networks ({some}), expected one; give one of them, "
            f"as in multiseq init {first}"
        )
    kind = "npz" if arrays else "planetoid" if papers else "tu"
    file = paths[0] if kind == "tu" and paths[0].is_dir() else networks[0]
    records = READERS[kind](file)
    columns = records.columns
    plan = Plan(name, "graph", {"format": kind, "train" if kind == "tu" else "file": file})
    if kind == "planetoid":
        plan.data["split_column"] = "split"
    elif kind == "npz" and _has_masks(file):
        plan.data |= {"split_file": file, "fold": 0}
        plan.notes["fold"] = "the first of its splits"
    else:
        add_shares(plan, "graphs" if kind == "tu" else "nodes")
    column = next(iter(columns), "")
    if column:
        numbers = [v for v in columns[column] if v is not None] if kind == "tu" else columns[column][0]
        target = "number" if any(isinstance(v, float) for v in numbers) else "class"
        output = "set" if kind == "tu" else "vector"
        what = "graph" if kind == "tu" else "node"
        spec = {"output": output, "target": target, "column": column}
        plan.tasks.append(TaskPlan(column, spec, f"of each {what}"))
    else:
        plan.question = "what should be learned of the graphs? There are no labels."
    for key, values in records.items[0]["nodes"].items():
        plan.seen.append((key, f"of {len(values):,} nodes -> seen by the model"))
    if kind != "tu":
        large_network(plan, len(columns["label"][0]))
    return plan


def large_network(plan: Plan, num_nodes: int) -> None:
    """Let the plan read a large network node by node."""
    if num_nodes > LARGE:
        plan.adapter_options = {"num_hops": 3}


def _has_masks(file: Path) -> bool:
    import numpy as np

    with np.load(file, allow_pickle=False) as arrays:
        return "train_masks" in arrays.files
