"""Plans for graphs in files of their publishers: npz benchmarks, planetoid, TU Dortmund, WebNLG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from multiseq.data.graphs.planetoid import name_of
from multiseq.data.graphs.webnlg import entries_of
from multiseq.data.readers import READERS
from multiseq.data.records import DataError
from multiseq.data.text_files import suffix_of
from multiseq.init.plan import Plan, TaskPlan
from multiseq.init.tables import add_shares

__all__ = ["LARGE", "large_network", "plan_published", "plan_webnlg"]

LARGE = 4096
"""From this number of nodes on, a network is read as one short set for each node."""

XML = ("*.xml", "*/*.xml", "*/*/*.xml")
"""Where WebNLG has its files: in folders for splits, and in these for the number of facts."""


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


def plan_webnlg(paths: Sequence[Path], name: str) -> Plan | None:
    """A plan for facts with texts about them in files of XML, or in an archive; None if there are none."""
    place = paths[0]
    if len(paths) == 1 and place.is_dir() and not any(any(place.glob(p)) for p in XML):
        files = [file for file in place.iterdir() if ".tar" in file.suffixes]
        place = files[0] if len(files) == 1 else place
    if len(paths) > 1 or not (place.is_dir() or ".tar" in place.suffixes or place.suffix.lower() == ".xml"):
        return None
    try:
        splits = {entry.split for entry in entries_of(place)}
    except DataError:
        return None
    if not splits:
        return None
    plan = Plan(name, "graph", {"format": "webnlg", "file": place})
    if "train" in splits:
        plan.data["split_column"] = "split"
        plan.notes["split_column"] = "by the folders: " + ", ".join(sorted(splits))
    else:
        add_shares(plan, "sets of facts")
    spec = {"output": "sequence", "target": "text", "column": "text", "copy": True, "metric": "bleu"}
    plan.tasks.append(TaskPlan("text", spec, "the texts about the facts; names can be copied into them"))
    plan.seen.append(("facts", "subject, relation and object: seen by the model"))
    return plan


def large_network(plan: Plan, num_nodes: int) -> None:
    """Let the plan read a large network node by node."""
    if num_nodes > LARGE:
        plan.adapter_options = {"num_hops": 3}


def _has_masks(file: Path) -> bool:
    import numpy as np

    with np.load(file, allow_pickle=False) as arrays:
        return "train_masks" in arrays.files
