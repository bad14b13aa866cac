"""A pretrained encoder on a GPU: the CPU's losses, gradients and predictions, in both precisions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from multiseq import train
from tests.cells import assert_a_step_is_the_cpus, assert_alike
from tests.pretrained.tiny import FAMILIES, three_modalities

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients(device: str, family: str, half: bool, folders: dict[str, Path]) -> None:
    model, sources = three_modalities(folders[family])
    # The random weights are ten times larger than those of a model that was trained.
    assert_a_step_is_the_cpus(model.eval(), sources, device, half=half, noise=4.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_predictions(device: str, family: str, folders: dict[str, Path]) -> None:
    model, _ = three_modalities(folders[family])
    texts = ["the cat sat on a mat . " * 15, "", "cats"]  # the first one takes several windows
    wanted = model.predict("text", texts)
    assert_alike(model.to(device).predict("text", texts), wanted)


@pytest.mark.parametrize(("lora_rank", "frozen_layers"), [(0, 0), (4, 0), (0, 2)])
def test_training(device: str, lora_rank: int, frozen_layers: int, folders: dict[str, Path]) -> None:
    model, sources = three_modalities(folders["bert"], lora_rank=lora_rank)
    options = {"accelerator": device, "devices": 1, "progress": False}
    train(model, sources, steps=3, frozen_layers=frozen_layers, **options)
    assert all(weight.isfinite().all() for weight in model.state_dict().values())
    assert model.device == torch.device(device, 0 if device == "cuda" else None)
