"""All nine cells at once: one small model learns ten items of each starter task by heart.

Then, in every cell: predicting together is predicting one by one, and what was saved predicts the same to
the last bit.
"""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import multiseq
from multiseq.model import Model
from multiseq.runs import build
from multiseq.runs import recipe as recipes
from multiseq.runs.sources import read_split
from multiseq.tasks import Source
from multiseq.training.evaluation import evaluate
from multiseq.training.loop import train
from tests.cells import CELLS, CHANGES, assert_alike, ten


@pytest.fixture(scope="module")
def learned() -> tuple[Model, dict[str, Source]]:
    """The model and each task's source."""
    starter = recipes.read("starter", CHANGES)
    sources = [ten(source) for source in read_split(starter, "train")]
    model = build.build_model(starter, sources)
    train(
        model,
        sources,
        steps=200,
        max_vectors=700,
        lr=4e-3,
        weight_decay=0.0,
        progress=False,
        accelerator="cpu",
    )
    return model, {task: source for source in sources for task in source.targets}


@pytest.mark.parametrize("task", CELLS)
def test_ten_items_are_learned_by_heart(learned: tuple[Model, dict[str, Source]], task: str) -> None:
    model, sources = learned
    score = evaluate(model, [sources[task]], task=task)
    assert score.cell == CELLS[task]
    assert score.goodness >= 0.95, score


@pytest.mark.parametrize("task", CELLS)
def test_together_is_one_by_one(learned: tuple[Model, dict[str, Source]], task: str) -> None:
    model, sources = learned
    items = sources[task].items
    assert_alike(model.predict(task, items), [model.predict(task, [item])[0] for item in items])


@pytest.mark.parametrize("task", ["translation", "recognition", "facts"])
def test_beams_together_are_beams_one_by_one(learned: tuple[Model, dict[str, Source]], task: str) -> None:
    model, sources = learned
    items = sources[task].items[:4]
    assert_alike(
        model.predict(task, items, num_beams=3),
        [model.predict(task, [item], num_beams=3)[0] for item in items],
    )


def test_what_was_saved_predicts_the_same_to_the_last_bit(
    learned: tuple[Model, dict[str, Source]], tmp_path: Path
) -> None:
    model, sources = learned
    from multiseq.checkpoint import save

    again = multiseq.load(save(model, tmp_path / "model"))
    names = {p.name for p in (tmp_path / "model").iterdir()}
    assert {"model.safetensors", "config.json"} < names
    assert not any(name.endswith((".pt", ".pkl", ".ckpt", ".bin")) for name in names)
    for task in CELLS:
        assert again.predict(task, sources[task].items) == model.predict(task, sources[task].items), task


def test_a_step_over_three_modalities_is_one_call_of_the_encoder(
    learned: tuple[Model, dict[str, Source]],
) -> None:
    from multiseq.training.batching import BatchPlan
    from multiseq.training.prepared_source import PreparedSource

    model, sources = learned
    every = {id(s): s for s in sources.values()}.values()
    plan = BatchPlan(
        [PreparedSource(s, model.adapter(s.adapter_name), model.tasks) for s in every], max_vectors=100_000
    )
    batch = plan.collate(0, plan.epoch(0)[0])
    calls: list[int] = []
    handle = model.encoder.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[attr-defined]
    losses = model.loss(batch)
    handle.remove()
    assert len(calls) == 1
    assert set(losses) == set(CELLS)
    # A clip has three labels and is encoded once.
    speech = next(part for part in batch.parts if part.adapter_name == "speech")
    assert len(speech.inputs.lengths) == 10
    assert set(speech.targets) == {"phonemes", "speaker", "recognition"}


def test_order_of_the_items_changes_nothing(learned: tuple[Model, dict[str, Source]]) -> None:
    model, sources = learned
    for task in ("pos", "speaker", "hydrophilicity", "facts"):
        items = list(sources[task].items)
        assert_alike(model.predict(task, items[::-1])[::-1], model.predict(task, items))


def test_unlabelled_items_are_left_out_of_one_task_only() -> None:
    starter = recipes.read("starter", CHANGES)
    clips = next(s for s in map(ten, read_split(starter, "train")) if s.adapter_name == "speech")
    targets = dict(clips.targets)
    targets["speaker"] = [None, *targets["speaker"][1:]]
    targets["recognition"] = [None] * 10
    recipe = recipes.read("starter", CHANGES)
    recipe.tables["tasks"] = {k: v for k, v in recipe.tasks.items() if k in targets}
    model = build.build_model(recipe, [clips])
    from multiseq.training.batching import BatchPlan
    from multiseq.training.prepared_source import PreparedSource

    prepared = PreparedSource(replace(clips, targets=targets), model.adapter("speech"), model.tasks)
    losses = model.loss((plan := BatchPlan([prepared], max_vectors=100_000)).collate(0, plan.epoch(0)[0]))
    assert set(losses) == {"phonemes", "speaker"}
    assert losses["speaker"][1] == 9
    assert torch.isfinite(losses["phonemes"][0])
