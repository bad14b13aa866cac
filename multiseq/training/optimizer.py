"""The optimiser, the learning rate of each weight and of each step, and which weights are trained at all.

A pretrained encoder or stem is fine-tuned with a lower learning rate than the new parts of the model, and
its lower layers with a lower one than its upper layers: Howard and Ruder 2018
(https://arxiv.org/abs/1801.06146).
Low-rank terms are new, but their rate falls from layer to layer, too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from multiseq.adapters.pretrained_text import PretrainedTextAdapter
from multiseq.model import Model
from multiseq.pretrained.encoder import PretrainedEncoder
from multiseq.pretrained.lora import low_rank_terms
from multiseq.pretrained.stem import PretrainedStem
from multiseq.training.budget import Fitted
from multiseq.training.settings import Settings

__all__ = ["check_frozen", "fix_stems", "frozen", "make_optimizer", "rate_at"]


def make_optimizer(model: Model, settings: Settings) -> torch.optim.AdamW:
    """AdamW with weight decay for matrices; biases, norms and single vectors have none."""
    towers = [(settings.pretrained_lr, layers) for layers in _pretrained_layers(model)]
    towers.append((settings.lr, _terms(model)))
    in_layers = {id(weight) for _, layers in towers for layer in layers for weight in layer}
    parts = [(settings.lr, [p for p in model.parameters() if id(p) not in in_layers])]
    for lr, of_layers in towers:
        for below, layer in enumerate(reversed(of_layers)):
            parts.append((lr * settings.layer_lr_decay**below, layer))
    groups = []
    for lr, weights in parts:
        trained = [p for p in weights if p.requires_grad]
        groups += [
            {"params": [p for p in trained if p.dim() >= 2], "weight_decay": settings.weight_decay, "lr": lr},
            {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0, "lr": lr},
        ]
    groups = [group for number, group in enumerate(groups) if number < 2 or group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)
    optimizer.register_load_state_dict_post_hook(_lay_out_moments)
    return optimizer


@contextmanager
def frozen(model: Model, num_layers: int) -> Iterator[None]:
    """Inside this context, the first layers of pretrained parts, and what is before them, are not trained.

    The parts are the encoder and stems of speech; before their layers are embeddings or convolutions. A part
    with fewer layers is not trained at all. With low-rank terms (``lora_rank``), no layer of the encoder is,
    but the terms of the other layers are. Word shapes are trained nevertheless: they are new. ``num_layers``
    freezes them, too, because the gradient ends above the first layers.

    Raises:
        ValueError: No part is pretrained, or all have fewer layers.
    """
    towers = _pretrained_layers(model)
    check_frozen(num_layers, max(map(len, towers)) - 1 if towers else None)
    num_frozen = num_layers + 1 if num_layers else 0
    pretrained = [layer for layers in towers for layer in layers[:num_frozen]]
    if isinstance(model.encoder, PretrainedEncoder) and model.encoder.lora_rank:
        pretrained += towers[0]
    texts = [module for module in model.modules() if isinstance(module, PretrainedTextAdapter)]
    new = [] if num_layers else [id(text.shapes.weight) for text in texts if text.shapes is not None]
    still = [*pretrained, *_terms(model)[:num_layers]]
    weights = [w for layer in still for w in layer if w.requires_grad and id(w) not in new]
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)


def fix_stems(
    model: Model, num_layers: int, device: str, state: Callable[[], Mapping[str, Any]] | None = None
) -> list[str]:
    """Tell adapters of speech whether all layers of their stem are frozen, before they prepare items.

    On a CPU the outputs of a frozen stem are computed once for each recording. On a GPU they are computed in
    each step: this is faster than computing them once on the CPU, where items are prepared.

    Args:
        model: The model.
        num_layers: The number of frozen layers.
        device: The kind of device that trains the model.
        state: Gives the content of a resume file. Its weights are loaded, because the model may have none
            yet. It is not called if there is no stem: such a file can be large.

    Returns:
        A line for the user for each frozen stem.
    """
    adapters: list[Any] = [
        module for module in model.modules() if isinstance(getattr(module, "stem", None), PretrainedStem)
    ]
    if adapters and state is not None:
        sizes = {f"model.{name}": weight.shape for name, weight in model.state_dict().items()}
        weights = {name: w for name, w in state()["state_dict"].items() if w.shape == sizes.get(name)}
        model.load_state_dict({name.removeprefix("model."): w for name, w in weights.items()}, strict=False)
    lines = [
        adapter.fix_stem(num_layers >= adapter.pretrained.encoder.depth, once=device == "cpu")
        for adapter in adapters
    ]
    return [line for line in lines if line]


def check_frozen(num_layers: int, depth: int | None) -> None:
    """Raise ValueError if more layers are frozen than the deepest pretrained part has, ``depth``.

    ``depth`` is None if nothing is pretrained.
    """
    if num_layers > (depth or 0):
        most = f"at most {depth}, its layers" if depth else "0, as nothing is pretrained"
        raise ValueError(f"frozen_layers: got {num_layers}, expected {most}")


def _pretrained_layers(model: Model) -> list[list[list[nn.Parameter]]]:
    """For each pretrained part its weights: those before the first layer, then each layer's.

    The encoder comes first, if it is one.
    """
    stems = [module.layers() for module in model.modules() if isinstance(module, PretrainedStem)]
    if not isinstance(model.encoder, PretrainedEncoder):
        return stems
    entry, *layers = model.encoder.layers()
    # One may be a part of a fused adapter. Its word shapes learn as slowly as what they are added to.
    texts = [module for module in model.modules() if isinstance(module, PretrainedTextAdapter)]
    return [[[*entry, *(weight for text in texts for weight in text.parameters())], *layers], *stems]


def _terms(model: Model) -> list[list[nn.Parameter]]:
    """The low-rank terms of each layer of a pretrained encoder. None if the encoder has none."""
    encoder = model.encoder
    if not isinstance(encoder, PretrainedEncoder) or not encoder.lora_rank:
        return []
    return [low_rank_terms(block) for block in encoder.blocks]


def _lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give each moment the memory layout of its weight. `Linear` chooses that layout for the processor.

    The fused kernel reads weights and moments in the order of memory and ignores strides. If a moment had
    another layout than its weight, it would be applied to the wrong entries.
    """
    for weight, state in optimizer.state.items():
        for name, value in state.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def rate_at(step: int, settings: Fitted) -> float:
    """Factor of the learning rate: linear warm-up, then cosine decay to 0 (https://arxiv.org/abs/1608.03983)."""
    warm = max(1, round(settings.warmup * settings.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, settings.steps - warm))))
