"""WebNLG by category: BLEU and chrF of all test texts, and of categories that training has and has not seen.

    multiseq train webnlg --data FOLDER_OF_WEBNLG --out RUN
    python -m benchmarks.accuracy.webnlg RUN --data FOLDER_OF_WEBNLG

The texts are searched for as the recipe says. Every text of an item is a reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import multiseq
from multiseq.data.readers import read_webnlg
from multiseq.results import Text
from multiseq.runs.recipe import read
from multiseq.training.metrics import compute

METRICS = ("bleu", "bleu_lowercase", "chrf")


def table(texts: Sequence[Text], references: Sequence[list[str]], seen: Sequence[bool]) -> str:
    """The scores in Markdown, of all items, of those that are ``seen``, and of the others."""
    lines = [f"| categories | items | {' | '.join(METRICS)} |", "|---" * (len(METRICS) + 2) + "|"]
    for name, wanted in (("all", (True, False)), ("seen in training", (True,)), ("unseen", (False,))):
        chosen = [i for i, flag in enumerate(seen) if flag in wanted]
        side = [texts[i] for i in chosen], [references[i] for i in chosen]
        scores = " | ".join(f"{compute(metric, *side):.1f}" for metric in METRICS)
        lines.append(f"| {name} | {len(chosen):,} | {scores} |")
    return "\n".join(lines)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    given = parser.parse_args()
    recipe = read(given.run / "recipe.toml")
    [spec], [(task, of_task)] = recipe.tables["data"].values(), recipe.tasks.items()
    records = read_webnlg(given.data / spec["file"])
    parts = list(zip(*(records.column(c) for c in ("split", "category", "text")), strict=True))
    trained = {category for split, category, _ in parts if split == "train"}
    chosen = [i for i, (split, _, texts) in enumerate(parts) if split == "test" and texts]
    model = multiseq.load(given.run)
    found = model.predict(task, [records.items[i] for i in chosen], **of_task.get("decode", {}))
    print(table(found, [parts[i][2] for i in chosen], [parts[i][1] in trained for i in chosen]))


if __name__ == "__main__":
    main()
