"""Model cards, and models on the Hub. The Hub is a folder here: nothing of this needs a network."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from typer.testing import CliRunner

import multiseq
from multiseq.cli import app
from multiseq.runs.publish import model_card
from multiseq.system.hub import is_hub_name

RECIPE = """
[encoder]
dim = 8
depth = 1
heads = 2

[training]
steps = 2

[data.reviews]
adapter = "text"
format = "table"
train = "train.tsv"
test = "{test}"

[tasks.mood]
data = "reviews"
output = "set"
target = "class"
column = "label"

[tasks.stars]
data = "reviews"
output = "set"
target = "number"
column = "stars"
"""
ROWS = "text\tlabel\tstars\nvery good\tup|`up`\t5\nso bad\tdown\t1\nnot good\tdown\t2\nall good\tup|`up`\t4\n"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two tasks, whose recipe has an absolute path."""
    folder = tmp_path_factory.mktemp("secret")
    for name in ("train.tsv", "test.tsv"):
        (folder / name).write_text(ROWS)
    (folder / "mine.toml").write_text(RECIPE.format(test=folder / "test.tsv"))
    done = CliRunner().invoke(app, ["train", str(folder / "mine.toml"), "--out", str(folder / "run")])
    assert done.exit_code == 0, done.output
    return folder / "run"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the Hub: uploads go into it, and a download finds it as the cache has it."""
    commit = "0" * 40

    def upload_folder(self: Any, *, repo_id: str, folder_path: Path, **_: Any) -> str:
        place = tmp_path / f"models--{repo_id.replace('/', '--')}"
        shutil.copytree(folder_path, place / "snapshots" / commit)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text(commit)
        return f"hub/{repo_id}"

    def from_cache(function: Any) -> Any:
        return lambda *args, **named: function(*args, **named, cache_dir=tmp_path, local_files_only=True)

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", lambda *args, **named: None)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    for name in ("hf_hub_download", "snapshot_download"):
        monkeypatch.setattr(huggingface_hub, name, from_cache(getattr(huggingface_hub, name)))
    return tmp_path


def test_what_was_pushed_is_loaded_and_predicts_the_same(run: Path, hub: Path) -> None:
    assert multiseq.push_to_hub(run, "ada/mood") == "hub/ada/mood"
    pushed = {p.name for p in hub.glob("models--ada--mood/snapshots/*/*")}
    assert {"README.md", "config.json", "model.safetensors"} <= pushed
    here, there = multiseq.load(run), multiseq.load("ada/mood")
    texts = ["very good", "so bad"]
    assert [r.probabilities for r in there.predict("mood", texts)] == [
        r.probabilities for r in here.predict("mood", texts)
    ]


def test_a_model_without_a_run_is_pushed_without_a_card(run: Path, hub: Path) -> None:
    multiseq.push_to_hub(multiseq.load(run), "ada/mood")
    assert not list(hub.glob("models--ada--mood/snapshots/*/README.md"))
    assert multiseq.load("ada/mood").cell("stars") == "text/set"


def test_an_ensemble_is_pushed_with_its_members(
    run: Path, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a foreign repository, only what the config lists is fetched."""
    model = multiseq.load(run)
    assert isinstance(model, multiseq.Model)
    other = multiseq.load(run)
    assert isinstance(other, multiseq.Model)
    multiseq.push_to_hub(multiseq.Ensemble([model, other]), "ada/two")
    patterns: list[str] = []
    fetch = huggingface_hub.snapshot_download

    def noted(*args: Any, allow_patterns: list[str], **named: Any) -> Any:
        patterns.extend(allow_patterns)
        return fetch(*args, **named)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", noted)
    there = multiseq.load("ada/two")
    assert isinstance(there, multiseq.Ensemble)
    assert there.predict("stars", ["so bad"])[0].value == pytest.approx(
        model.predict("stars", ["so bad"])[0].value
    )
    assert patterns == ["config.json", "member-0/*", "member-1/*"]


def test_what_is_not_there_says_so(hub: Path) -> None:
    with pytest.raises(ValueError, match="ada/nothing: neither a folder here nor a multiseq model on the"):
        multiseq.load("ada/nothing")


def test_a_refused_upload_says_so(run: Path, hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **named: Any) -> None:
        raise OSError("401 Client Error: you are not\nlogged in")

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", refuse)
    with pytest.raises(ValueError, match=r"ada/mood: not uploaded: 401 Client Error: you are not logged in"):
        multiseq.push_to_hub(run, "ada/mood")


def test_a_mistyped_path_is_not_looked_up_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_hub_name("runs/starter")
    (tmp_path / "runs").mkdir()
    assert not is_hub_name("runs/starter")
    for local in ("starter", "./starter/x", "/a/b", "a/b/c", "../b", Path("ada/mood")):
        assert not is_hub_name(local)


def test_the_card_has_the_scores_and_no_path_of_this_machine(run: Path) -> None:
    done = CliRunner().invoke(app, ["card", str(run), "--name", "ada/mood"])
    assert done.exit_code == 0, done.output
    assert "secret" not in done.output
    assert 'test = "test.tsv"' in done.output
    card = ModelCard(done.output)
    scores = {result.task_name: result for result in card.data.eval_results}
    assert {name: result.metric_type for name, result in scores.items()} == {
        "mood": "accuracy",
        "stars": "r2",
    }
    assert not re.search(r"\d\.\d{5,}", done.output)  # figures are rounded as in the table
    assert "- confidence of mood: not calibrated, with 0 dev labels" in card.text
    assert card.data.tags == ["multiseq", "text"]
    assert "Classes of mood: `down`, `up|'up'`." in card.text
    assert "| mood | text | a class per item | accuracy |" in card.text
    assert 'multiseq.load("ada/mood")' in card.text


def test_names_of_people_and_customers_stay_out_of_a_card(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    recipe = (run / "recipe.toml").read_text().replace('"train.tsv"', '"../acme/train.tsv"')
    (tmp_path / "run" / "recipe.toml").write_text(recipe)
    card = model_card(tmp_path / "run", "ada/mood")
    assert "acme" not in card
    assert 'train = "train.tsv"' in card


def test_a_run_that_is_not_finished_has_no_card(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    (tmp_path / "run" / "test.json").unlink()
    with pytest.raises(ValueError, match="its training is not finished"):
        multiseq.push_to_hub(tmp_path / "run", "ada/mood")
