"""The recipes of the package for texts, on the first lines of the files that they were written for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from multiseq.runs.recipe import read
from multiseq.runs.reports import page
from multiseq.runs.run import train_run
from multiseq.runs.sources import read_split
from tests.first_lines import first_lines

NUM_LINES = 120
SMALL = [
    *("training.steps=2", "training.evaluate_every=0", "training.max_vectors=300"),
    *("encoder.dim=8", "encoder.depth=1", "encoder.heads=2"),
]
SHORT = [
    *("tasks.translation.vocab_size=300", "adapters.text.vocab_size=300", "tasks.translation.decode={}"),
    "tasks.translation.head={ depth = 1, heads = 2, max_length = 4 }",
]
TO_ENGLISH = [
    f'data.captions.{split}=["{name}.de.gz", "{name}.en.gz"]'
    for split, name in (("train", "train"), ("dev", "val"), ("test", "test_2016_flickr"))
]
TRANSLATION = "text_mt/multi30k_task1_raw"

CASES: dict[str, tuple[str, list[str], str, int]] = {
    # recipe -> folder in the data, changes, metric, number of labels in test
    "english-pos": ("text_pos/UD_English-EWT", [], "accuracy", 95),
    "chinese-pos": ("text_pos/UD_Chinese-GSD-r1.3", [], "accuracy", 89),
    "sst2": ("text_class/SST", [], "accuracy", NUM_LINES),
    "sst5": ("text_class/SST", [], "spearman", NUM_LINES),
    "trec": ("text_class/qc", [], "accuracy", NUM_LINES),
    "mr": ("text_class/sentence_polarity", ["data.sentences.fold=3"], "accuracy", 2 * NUM_LINES // 10),
    "multi30k": (TRANSLATION, SHORT, "bleu_lowercase", NUM_LINES),
}


@pytest.mark.parametrize("name", CASES)
def test_a_recipe_runs_on_the_files_of_its_data(
    name: str, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "write_report", lambda *_: None)  # it takes as long as all else
    folder, changes, metric, num = CASES[name]
    data = first_lines(data_dir / folder, tmp_path / "data", NUM_LINES)
    recipe = read(name, [*SMALL, *changes])
    train_run(recipe, tmp_path / "run", data=data, progress=False, say=lambda _: None)
    [entry] = json.loads((tmp_path / "run" / "test.json").read_text())["tasks"].values()
    assert (entry["metric"], entry["split"], entry["num_items"]) == (metric, "test", num)
    check(name, entry)


def check(name: str, entry: dict[str, Any]) -> None:
    """The figures beside the metric of the recipe."""
    if name == "sst5":
        assert min(entry["value_rmse"], entry["baseline_rmse"]) > 0
    if name == "multi30k":
        assert entry["signature"].startswith("nrefs:1|case:lc|eff:no|tok:13a|")
        assert entry["baseline_bleu"] <= entry["baseline"]


def test_the_other_direction_of_a_translation(data_dir: Path) -> None:
    [test] = read_split(read("multi30k", TO_ENGLISH), "test", data_dir / TRANSLATION)
    assert test.items[0].startswith("Ein Mann")
    assert test.targets["translation"][0].startswith("A man")
