"""The last layer of a head, and the angular margin between classes. Axes: rows, dim, classes.

With a margin, a logit is ``scale * cos(angle)``, where the angle is that between the head's vector (the
embedding) and the weights of a class. In the loss, the angle to the true class counts as ``angle + margin``:
so training turns embeddings of one class towards each other further than it needs to tell the classes apart,
and embeddings of classes that it has never seen can be compared.

Source: ArcFace, Deng et al. 2019, https://arxiv.org/abs/1801.07698; of speakers it is called additive angular
margin softmax.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["CosineLinear", "class_layer", "with_margin"]


class CosineLinear(nn.Linear):
    """``scale * cos(angle)`` between each row and the weights of each class; without a bias.

    A row of zeros has the logit 0 for each class.

    Example:
        >>> layer = CosineLinear(2, 2, scale=10.0)
        >>> _ = layer.weight.data.copy_(torch.tensor([[2.0, 0.0], [0.0, -3.0]]))
        >>> layer(torch.tensor([[3.0, 4.0]])).tolist()
        [[6.0, -8.0]]
    """

    def __init__(self, dim: int, classes: int, *, scale: float) -> None:
        super().__init__(dim, classes, bias=False)
        self.scale = scale

    def forward(self, x: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows classes"]:
        """The logits of each row."""
        return self.scale * F.linear(F.normalize(x, dim=-1), F.normalize(self.weight, dim=-1))


def class_layer(dim: int, target: Any) -> nn.Linear:
    """The last layer of a head: linear, or of cosines if the target has a margin."""
    if getattr(target, "margin", 0.0):
        return CosineLinear(dim, target.size, scale=target.scale)
    return nn.Linear(dim, target.size)


def with_margin(
    logits: Float[Tensor, "rows classes"], targets: Int[Tensor, " rows"], *, margin: float, scale: float
) -> Float[Tensor, "rows classes"]:
    """The logits for the loss: that of the true class is ``scale * cos(angle + margin)``.

    Beyond ``pi - margin`` this would rise again. There it is ``scale * (cos(angle) - margin * sin(margin))``,
    as in the authors' code, so that a larger angle is never better.

    Args:
        logits: ``scale * cos(angle)``.
        targets: Class numbers. A negative one is a missing label; the loss must ignore its row.
        margin: In radians.
        scale: As in ``logits``.
    """
    chosen = targets.clamp(min=0)[:, None]
    cosine = logits.float().gather(1, chosen) / scale
    # At the angles 0 and pi the slope of the root is infinite. Rounding may even make its number negative.
    sine = (1 - cosine.square()).clamp(min=1e-6).sqrt()
    further = cosine * math.cos(margin) - sine * math.sin(margin)
    turned = cosine > -math.cos(margin)
    moved = torch.where(turned, further, cosine - margin * math.sin(margin))
    return logits.float().scatter(1, chosen, scale * moved)
