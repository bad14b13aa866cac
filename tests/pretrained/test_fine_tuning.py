"""Fine-tuning a pretrained encoder: learning rates by layer, and layers that are not trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multiseq import (
    ClassTarget,
    Encoder,
    Model,
    SetHead,
    Settings,
    Source,
    Task,
    TextAdapter,
    load,
    pretrained_text,
    save,
    train,
)
from multiseq.training.optimizer import make_optimizer
from tests.pretrained.tiny import FAMILIES

ITEMS = ["the cat sat", "cats on a mat", "the mat", "unbelievable cats"]
SOURCE = Source("text", ITEMS, {"kind": ["x", "y", "x", "y"]})


def model_from(folder: Path) -> Model:
    torch.manual_seed(0)
    adapter, encoder = pretrained_text(folder)
    return Model({"text": adapter}, encoder, {"kind": Task("text", SetHead(24, ClassTarget(["x", "y"])))})


def rates(model: Model, settings: Settings) -> dict[str, float]:
    """The learning rate of each weight."""
    groups = make_optimizer(model, settings).param_groups
    by_weight = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    return {name: by_weight[id(weight)] for name, weight in model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_lower_layers_learn_more_slowly(family: str, folders: dict[str, Path]) -> None:
    model = model_from(folders[family])
    settings = Settings(lr=1.0, pretrained_lr=0.1, layer_lr_decay=0.5)
    found = {name.replace("heads.[kind]", "head"): lr for name, lr in rates(model, settings).items()}
    assert {lr for name, lr in found.items() if name.startswith("head")} == {1.0}
    assert found["stems.[text].embedding.weight"] == pytest.approx(0.1 / 8)
    assert found["encoder.blocks.0.attention_norm.weight"] == pytest.approx(0.1 / 8)
    for layer, lr in enumerate((0.1 / 4, 0.1 / 2, 0.1)):
        for part in ("attention.qkv", "attention.out", "feed_forward_norm", "feed_forward.out"):
            assert found[f"encoder.blocks.{layer}.{part}.weight"] == pytest.approx(lr)
    assert found["encoder.norm.weight"] == pytest.approx(0.1)
    assert set(rates(model, Settings(lr=1.0, pretrained_lr=0.1)).values()) == {1.0, 0.1}


def test_without_a_pretrained_encoder_all_weights_have_one_rate() -> None:
    adapter = TextAdapter.fit(ITEMS, dim=16)
    task = Task("text", SetHead(16, ClassTarget(["x", "y"])))
    model = Model({"text": adapter}, Encoder(dim=16, depth=1, heads=2), {"kind": task})
    groups = make_optimizer(model, Settings(lr=0.3, layer_lr_decay=0.5)).param_groups
    assert [group["lr"] for group in groups] == [0.3, 0.3]
    with pytest.raises(ValueError, match="frozen_layers: got 1, expected 0, as nothing is pretrained"):
        train(model, [SOURCE], steps=1, frozen_layers=1, progress=False)


def test_frozen_layers_stay_as_they_were(folders: dict[str, Path]) -> None:
    model = model_from(folders["bert"])
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train(model, [SOURCE], steps=2, frozen_layers=2, lr=0.01, pretrained_lr=0.01, progress=False)
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert {name.split(".")[0] for name in changed} == {"encoder", "heads"}
    inner = {name for name in changed if name.startswith("encoder")}
    assert all(name.startswith(("encoder.blocks.2", "encoder.norm")) for name in inner)
    assert "encoder.blocks.2.attention.qkv.weight" in inner
    assert "encoder.blocks.2.attention_norm.weight" not in inner  # it belongs to the second layer
    assert all(weight.requires_grad for weight in model.parameters())  # a later training can train all
    with pytest.raises(ValueError, match="got 4, expected at most 3, its layers"):
        train(model, [SOURCE], steps=1, frozen_layers=4, progress=False)


def test_low_rank_terms_are_trained_with_what_is_new(folders: dict[str, Path], tmp_path: Path) -> None:
    adapter, encoder = pretrained_text(folders["bert"], lora_rank=2)
    task = Task("text", SetHead(24, ClassTarget(["x", "y"])))
    model = Model({"text": adapter}, encoder, {"kind": task})
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    assert model.embed("text", ITEMS)[0].vectors.equal(
        model_from(folders["bert"]).embed("text", ITEMS)[0].vectors
    )
    train(model, [SOURCE], steps=3, lr=0.1, progress=False)
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    low_rank = {name for name in before if name.endswith((".down", ".up"))}
    assert len(low_rank) == 2 * 4 * 3  # of four linear layers in each of three blocks
    new = {name for name in before if name.startswith("heads") or name.endswith("shapes.weight")}
    assert changed == low_rank | new
    rates_of = rates(model, Settings(lr=0.1))
    assert {rates_of[name] for name in low_rank} == {0.1}
    loaded = load(save(model, tmp_path / "saved"))
    assert loaded.predict("kind", ITEMS) == model.predict("kind", ITEMS)


@pytest.mark.parametrize("num_frozen", [0, 1, 2, 3])
def test_low_rank_terms_go_with_their_layer(num_frozen: int, folders: dict[str, Path]) -> None:
    adapter, encoder = pretrained_text(folders["bert"], lora_rank=2)
    task = Task("text", SetHead(24, ClassTarget(["x", "y"])))
    model = Model({"text": adapter}, encoder, {"kind": task})
    found = rates(model, Settings(lr=1.0, layer_lr_decay=0.5))
    in_layer = [
        {n for n in found if n.startswith(f"encoder.blocks.{i}.") and n.endswith((".down", ".up"))}
        for i in range(3)
    ]
    assert [{found[name] for name in names} for names in in_layer] == [{0.25}, {0.5}, {1.0}]
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    train(model, [SOURCE], steps=3, lr=0.1, frozen_layers=num_frozen, progress=False)
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    new = {name for name in before if name.startswith("heads")}
    if not num_frozen:
        new |= {name for name in before if name.endswith("shapes.weight")}
    assert changed == new.union(*in_layer[num_frozen:])
    assert all(weight.requires_grad for weight in model.parameters())


def test_it_learns(folders: dict[str, Path]) -> None:
    model = model_from(folders["modernbert"])
    train(model, [SOURCE], steps=25, lr=0.03, pretrained_lr=0.01, progress=False)
    assert [label.label for label in model.predict("kind", ITEMS)] == SOURCE.targets["kind"]
