"""Words that were renamed: recipes, settings, saved models and resume files name the one of today."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multiseq import ClassTarget, Encoder, Model, SetHead, Settings, Task, TextAdapter, load, save
from multiseq.checkpoint import CheckpointError
from multiseq.checks import RENAMED, nearest
from multiseq.runs.build import check_options, settings
from multiseq.runs.recipe import Recipe, read
from multiseq.runs.recipe_check import RecipeError
from multiseq.training.resume import ResumeError, check_identity

RECIPES = {
    "training": ("training.budget=3", "[training]: no key 'budget' (it is called 'max_vectors' now)"),
    "encoder": ("encoder.relative=true", "[encoder]: no key 'relative' (it is called 'relative_bias' now)"),
    "speech": ("adapters.speech.rate=8000", "no key 'rate' (it is called 'sample_rate' now)"),
    "graph": ("adapters.networks.rounds=2", "no key 'rounds' (it is called 'num_layers' now)"),
    "decode": ("tasks.facts.decode={ beam = 5 }", "no key 'beam' (it is called 'num_beams' now)"),
    "data": ("data.clips.part_column='a'", "no key 'part_column' (it is called 'split_column' now)"),
    "target": ("tasks.pos.target='labels'", "target: got 'labels' (it is called 'multilabel' now)"),
}


def check_all(recipe: Recipe) -> None:
    settings(recipe)
    check_options(recipe)


@pytest.mark.parametrize("case", RECIPES)
def test_recipes(case: str) -> None:
    change, message = RECIPES[case]
    with pytest.raises(RecipeError, match=re.escape(message)):
        check_all(read("starter", [change]))


def test_settings() -> None:
    with pytest.raises(ValueError, match=r"settings: got 'clip' \(it is called 'max_grad_norm' now\)"):
        Settings(clip=1.0)  # type: ignore[arg-type]
    assert copy.deepcopy(Settings(steps=7)) == replace(Settings(), steps=7)


@pytest.mark.parametrize("place", ["adapter", "encoder", "target"])
def test_saved_models(tmp_path: Path, place: str) -> None:
    head = SetHead(16, ClassTarget(["no", "yes"]))
    adapters = {"text": TextAdapter.fit(["a lamp"], dim=16)}
    folder = save(Model(adapters, Encoder(16, 1, 2), {"lamp": Task("text", head)}), tmp_path / "model")
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    if place == "adapter":
        config["adapters"]["text"]["config"]["drop"] = 0.1
    elif place == "encoder":
        config["encoder"]["config"]["relative"] = True
    else:
        config["tasks"]["lamp"]["head"]["target"]["kind"] = "labels"
    (folder / "config.json").write_text(json.dumps(config))
    messages = {
        "adapter": r"config: got \['drop'\] \(did you mean 'dropout'\?\)",  # a text has no edges to leave out
        "encoder": r"config: got \['relative'\] \(it is called 'relative_bias' now\)",
        "target": r"target: kind: got 'labels' \(it is called 'multilabel' now\)",
    }
    with pytest.raises(CheckpointError, match=messages[place]):
        load(folder)


def test_resume_files() -> None:
    old, new = {"settings": {"steps": 8, "clip": 1.0}}, {"settings": {"steps": 8, "max_grad_norm": 1.0}}
    message = r"an older multiseq wrote this run \(settings: clip is called max_grad_norm now\); train into"
    with pytest.raises(ResumeError, match=message):
        check_identity(new, old)


def test_an_old_word_is_told_only_where_the_new_one_is_known() -> None:
    assert nearest("rate", ["sample_rate"]) == " (it is called 'sample_rate' now)"
    assert nearest("rate", ["dim"]) == ""
    assert not set(RENAMED) & set(RENAMED.values())
