"""The optimiser, and the learning rate of each step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from multiseq.model import Model
from multiseq.training.budget import Fitted
from multiseq.training.settings import Settings

__all__ = ["make_optimizer", "rate_at"]


def make_optimizer(model: Model, settings: Settings) -> torch.optim.AdamW:
    """AdamW with weight decay for matrices; biases, norms and single vectors have none."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=settings.lr, betas=(0.9, 0.98), fused=True)
    optimizer.register_load_state_dict_post_hook(_lay_out_moments)
    return optimizer


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
