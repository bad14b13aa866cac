"""Rotary positions (RoPE): queries and keys are rotated by their position.

    <R_m q, R_n k> = <q, R_(n - m) k>

So the product of a query and a key depends on the distance of their positions. Su et al. 2021
(https://arxiv.org/abs/2104.09864). Two neighbouring entries form a pair, which is treated as one complex
number.

Axes: vectors (rows of the batch), heads, head_dim.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from multiseq.nn._kernels import kernels_for

__all__ = ["Rotation", "rotate", "rotate_", "rotate_parts", "rotation_of"]

Rotation = Tensor
"""The angles of each row as complex numbers of absolute value 1, ``(vectors, 1, head_dim / 2)``."""


def rotation_of(
    positions: Int[Tensor, " vectors"] | None, head_dim: int, base: float = 10_000.0
) -> Rotation | None:
    """The angles (position times frequency) for each pair of a head; None means no rotation."""
    if positions is None:
        return None
    frequencies = base ** -(torch.arange(0, head_dim, 2, device=positions.device) / head_dim)
    angles = positions[:, None] * frequencies  # (vectors, head_dim / 2)
    return torch.polar(torch.ones_like(angles), angles)[:, None]


def rotate(
    x: Float[Tensor, "vectors heads head_dim"], rotation: Rotation | None
) -> Float[Tensor, "vectors heads head_dim"]:
    """Rotate the pairs (2i, 2i + 1) of each head by the row's angles, as a product of complex numbers."""
    if rotation is None:
        return x
    exact = x.to(torch.promote_types(x.dtype, rotation.dtype.to_real()))  # half precision is too coarse
    return torch.view_as_real(_pairs(exact) * rotation).flatten(-2).to(x.dtype)


def rotate_(x: Float[Tensor, "vectors heads head_dim"], rotation: Rotation | None) -> None:
    """Like :func:`rotate`, in place."""
    if rotation is None:
        return
    if x.dtype == torch.promote_types(x.dtype, rotation.dtype.to_real()):
        _pairs(x).mul_(rotation)
    else:  # half precision is too coarse
        exact = x.to(torch.promote_types(x.dtype, rotation.dtype.to_real()))
        _pairs(exact).mul_(rotation)
        x.copy_(exact)


def _pairs(x: Tensor) -> Tensor:
    return torch.view_as_complex(x.unflatten(-1, (-1, 2)))


def rotate_parts(
    rows: Float[Tensor, "vectors three_heads head_dim"], rotation: Rotation | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Split rows into queries, keys and values, each ``(vectors, heads, head_dim)``; rotate the first two."""
    if rotation is not None:
        kernels = kernels_for(rows)
        if kernels is not None:
            qkv: tuple[Tensor, Tensor, Tensor] = kernels.rotated_parts(rows, rotation)
            return qkv
        rotated = _rotated_parts_by_real_numbers if torch.compiler.is_compiling() else _RotateParts.apply
        rows = rotated(rows, rotation)
    q, k, v = rows.chunk(3, dim=1)
    return q, k, v


class _RotateParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, rotation: Rotation) -> Tensor:
        ctx.rotation = rotation
        return _rotated_parts(qkv, rotation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return _rotated_parts(grad, ctx.rotation.conj()), None


def _rotated_parts_by_real_numbers(qkv: Tensor, rotation: Rotation) -> Tensor:
    """`_rotated_parts` without complex numbers, for which torch's compiler has no kernels."""
    values = qkv.shape[1] // 3
    cosines, sines = torch.view_as_real(rotation).unbind(-1)
    x, y = qkv[:, :-values].to(cosines.dtype).unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack([x * cosines - y * sines, x * sines + y * cosines], dim=-1)
    return torch.cat([turned.flatten(-2).to(qkv.dtype), qkv[:, -values:]], dim=1)


def _rotated_parts(qkv: Tensor, rotation: Rotation) -> Tensor:
    values = qkv.shape[1] // 3
    return torch.cat([rotate(qkv[:, :-values], rotation), qkv[:, -values:]], dim=1)
