"""Low-rank adaptation (LoRA): train few weights beside pretrained ones, which stay as they are.

    y = W x + b + up (down x)

Hu et al. 2021 (https://arxiv.org/abs/2106.09685). They scale the last term by a constant; here it is 1,
because the learning rate does the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from multiseq.nn.linear import Linear

__all__ = ["LoraLinear", "add_lora", "low_rank_terms", "pretrained_weights"]


TERMS = ("down", "up")
"""The names of a term's weights in a `LoraLinear`."""


class LoraLinear(Linear):
    """A linear layer with a low-rank term beside its weight. At first the term is 0.

    Args:
        linear: The layer that it takes the place of. Its weight and bias are used, not copied.
        rank: The rank of the term.
    """

    def __init__(self, linear: Linear, rank: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self.down = nn.Parameter(torch.empty(rank, self.in_features))
        self.up = nn.Parameter(torch.zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.down, a=5**0.5)  # as torch's Linear

    def forward(self, x: Tensor) -> Tensor:
        """From ``(rows, in_features)`` to ``(rows, out_features)``."""
        down, up = self.down.to(x.dtype), self.up.to(x.dtype)  # x can be in half precision
        return super().forward(x) + F.linear(F.linear(x, down), up)


def add_lora(module: nn.Module, rank: int) -> None:
    """Replace every linear layer inside a module by a `LoraLinear`."""
    for inner in list(module.modules()):
        for name, child in list(inner.named_children()):
            if isinstance(child, Linear):
                setattr(inner, name, LoraLinear(child, rank))


def pretrained_weights(module: nn.Module) -> list[nn.Parameter]:
    """The weights of a module without those of low-rank terms."""
    return [w for name, w in module.named_parameters() if name.rpartition(".")[2] not in TERMS]


def low_rank_terms(module: nn.Module) -> list[nn.Parameter]:
    """The weights of the low-rank terms inside a module."""
    return [w for name, w in module.named_parameters() if name.rpartition(".")[2] in TERMS]
