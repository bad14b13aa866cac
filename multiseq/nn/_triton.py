"""Triton kernels for NVIDIA GPUs: the operations between the matrix products of a Transformer block.

    add_norm       x + dropout(branch), and the layer norm of this sum
    rotated_parts  queries, keys and values; queries and keys get rotary positions
    swiglu         silu(gate) * value

Each kernel makes one pass over memory; torch's operations take two to six passes and as many launches. All
kernels compute in single precision, whatever the dtype of the tensors. Callers ask
`multiseq.nn._kernels.kernels_for` and use torch's operations if it returns None.

Sources: layer norm, Ba et al. 2016 (https://arxiv.org/abs/1607.06450); its backward pass sums the gradient of
the weight program by program, as in Triton's tutorial 05. Rotation and SwiGLU: see `multiseq.nn.rotation` and
`multiseq.nn.encoder`.
"""

# mypy: disable-error-code="no-untyped-def,no-untyped-call,untyped-decorator"
# Kernel arguments have no type annotations, because Triton would interpret them.
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["add_norm", "rotated_parts", "swiglu"]

TILE = 2048
"""Numbers that one Triton program holds at a time."""
ROTATED_ROWS = 16


def add_norm(
    x: Float[Tensor, "vectors dim"],
    branch: Float[Tensor, "vectors dim"] | None,
    weight: Float[Tensor, " dim"],
    *,
    eps: float,
    dropout: float,
    dtype: torch.dtype,
) -> tuple[Float[Tensor, "vectors dim"], Float[Tensor, "vectors dim"]]:
    """The sum ``x + dropout(branch)`` in the dtype of ``x``, and its layer norm in ``dtype``."""
    if branch is None:
        return x, _Norm.apply(x.contiguous(), weight, eps, dtype)
    # Draw the seed on the host: `torch.manual_seed` controls it, and the host need not wait for the GPU.
    seed = int(torch.randint(2**31 - 1, (), device="cpu")) if dropout else 0
    out: tuple[Tensor, Tensor] = _TritonAddNorm.apply(
        x.contiguous(), branch.contiguous(), weight, eps, dropout, seed, dtype
    )
    return out


def rotated_parts(
    rows: Float[Tensor, "vectors three_heads head_dim"], rotation: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Split rows into queries, keys and values, each ``(vectors, heads, head_dim)``; rotate the first two.

    ``rotation`` has one row of angles for each row, or a single row for all.
    """
    angles = torch.view_as_real(rotation).expand(len(rows), -1, -1, -1)
    out: tuple[Tensor, Tensor, Tensor] = _RotatedParts.apply(rows, angles.contiguous())
    return out


def swiglu(inner: Float[Tensor, "vectors two_dim"]) -> Float[Tensor, "vectors dim"]:
    """``silu(gate) * value``; each row of ``inner`` holds first the gate, then the value."""
    out: Tensor = _TritonSwiGLU.apply(inner.contiguous())
    return out


# --- layer norm -----------------------------------------------------------------------------------------


class _TritonAddNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        branch: Tensor,
        weight: Tensor,
        eps: float,
        dropout: float,
        seed: int,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        total = torch.empty_like(x)
        normed, mean, scale = _norm(x, branch, weight, total, eps, dropout, seed, dtype)
        ctx.save_for_backward(total, weight, mean, scale)
        ctx.dropout, ctx.seed, ctx.dtype = dropout, seed, branch.dtype
        return total, normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_total: Tensor | None, to_normed: Tensor | None) -> tuple[Any, ...]:
        total, weight, mean, scale = ctx.saved_tensors
        alike = not ctx.dropout and ctx.dtype == total.dtype
        to_branch = None if alike else torch.empty_like(total, dtype=ctx.dtype)
        to_x, to_weight = _norm_backward(
            total, weight, mean, scale, to_total, to_normed, to_branch, ctx.dropout, ctx.seed
        )
        return to_x, to_x if to_branch is None else to_branch, to_weight, None, None, None, None


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        normed, mean, scale = _norm(x, None, weight, None, eps, 0.0, 0, dtype)
        ctx.save_for_backward(x, weight, mean, scale)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, to_normed: Tensor) -> tuple[Any, ...]:
        x, weight, mean, scale = ctx.saved_tensors
        to_x, to_weight = _norm_backward(x, weight, mean, scale, None, to_normed, None, 0.0, 0)
        return to_x, to_weight, None, None


def _norm(
    x: Tensor,
    branch: Tensor | None,
    weight: Tensor,
    total: Tensor | None,
    eps: float,
    dropout: float,
    seed: int,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    num, dim = x.shape
    normed = torch.empty_like(x, dtype=dtype)
    mean, scale = x.new_empty((2, num), dtype=torch.float32)
    if num:
        height, width, warps = _tile(dim)
        _norm_kernel[(triton.cdiv(num, height),)](
            x, branch, weight, total, normed, mean, scale, num, dim, eps, dropout, seed,
            has_branch=branch is not None, drops=dropout > 0, height=height, width=width, num_warps=warps,
        )  # fmt: skip
    return normed, mean, scale


def _norm_backward(
    total: Tensor,
    weight: Tensor,
    mean: Tensor,
    scale: Tensor,
    to_total: Tensor | None,
    to_normed: Tensor | None,
    to_branch: Tensor | None,
    dropout: float,
    seed: int,
) -> tuple[Tensor, Tensor]:
    num, dim = total.shape
    to_normed = torch.zeros_like(total) if to_normed is None else to_normed.contiguous()
    to_total = None if to_total is None else to_total.contiguous()
    height, width, warps = _tile(dim)
    # Each program sums the weight's gradient over its rows. Torch then sums over programs in a fixed order.
    programs = max(1, min(triton.cdiv(num, height), 4 * _processors(total.device)))
    to_x, shares = torch.empty_like(total), total.new_zeros((programs, dim), dtype=torch.float32)
    if num:
        _norm_backward_kernel[(programs,)](
            total, weight, mean, scale, to_total, to_normed, to_x, to_branch, shares, num, dim,
            dropout, seed,
            has_total=to_total is not None, has_branch=to_branch is not None, drops=dropout > 0,
            height=height, width=width, num_warps=warps,
        )  # fmt: skip
    return to_x, shares.sum(0).to(weight.dtype)


def _tile(dim: int) -> tuple[int, int, int]:
    """Number of rows, columns and warps for one program."""
    width = triton.next_power_of_2(dim)
    height = max(1, TILE // width)
    return height, width, 4 if height * width <= TILE else 8


def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@triton.jit(do_not_specialize=["num", "seed"])
def _norm_kernel(
    x, branch, weight, total, normed, means, scales, num, dim, eps, dropout, seed,
    has_branch: tl.constexpr, drops: tl.constexpr, height: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    rows = tl.program_id(0) * height + tl.arange(0, height)
    columns = tl.arange(0, width)
    inside = (rows < num)[:, None] & (columns < dim)[None, :]
    at = rows.to(tl.int64)[:, None] * dim + columns[None, :]
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    if has_branch:
        added = tl.load(branch + at, mask=inside, other=0.0).to(tl.float32)
        if drops:
            added = tl.where(tl.rand(seed, at) >= dropout, added / (1 - dropout), 0.0)
        rounded = (values + added).to(total.dtype.element_ty)
        tl.store(total + at, rounded, mask=inside)
        values = rounded.to(tl.float32)
    mean = tl.sum(values, 1) / dim
    centred = tl.where(inside, values - mean[:, None], 0.0)
    scale = 1 / tl.sqrt(tl.sum(centred * centred, 1) / dim + eps)
    tl.store(means + rows, mean, mask=rows < num)
    tl.store(scales + rows, scale, mask=rows < num)
    gain = tl.load(weight + columns, mask=columns < dim, other=0.0).to(tl.float32)
    tl.store(normed + at, (centred * scale[:, None] * gain[None, :]).to(normed.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["num", "seed"])
def _norm_backward_kernel(
    total, weight, means, scales, to_total, to_normed, to_x, to_branch, shares, num, dim, dropout, seed,
    has_total: tl.constexpr, has_branch: tl.constexpr, drops: tl.constexpr, height: tl.constexpr,
    width: tl.constexpr,
):  # fmt: skip
    columns = tl.arange(0, width)
    gain = tl.load(weight + columns, mask=columns < dim, other=0.0).to(tl.float32)[None, :]
    to_gain = tl.zeros((width,), dtype=tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(num, height), tl.num_programs(0)):
        rows = tile * height + tl.arange(0, height)
        inside = (rows < num)[:, None] & (columns < dim)[None, :]
        at = rows.to(tl.int64)[:, None] * dim + columns[None, :]
        mean = tl.load(means + rows, mask=rows < num, other=0.0)[:, None]
        scale = tl.load(scales + rows, mask=rows < num, other=0.0)[:, None]
        values = tl.load(total + at, mask=inside, other=0.0).to(tl.float32)
        standard = tl.where(inside, (values - mean) * scale, 0.0)
        grad = tl.load(to_normed + at, mask=inside, other=0.0).to(tl.float32)
        to_gain += tl.sum(grad * standard, 0)
        grad = grad * gain
        along = tl.sum(grad * standard, 1)[:, None] / dim
        grad = (grad - tl.sum(grad, 1)[:, None] / dim - standard * along) * scale
        if has_total:
            grad += tl.load(to_total + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(to_x + at, grad.to(to_x.dtype.element_ty), mask=inside)
        if has_branch:
            if drops:
                grad = tl.where(tl.rand(seed, at) >= dropout, grad / (1 - dropout), 0.0)
            tl.store(to_branch + at, grad.to(to_branch.dtype.element_ty), mask=inside)
    tl.store(shares + tl.program_id(0) * dim + columns, to_gain, mask=columns < dim)


# --- rotation -------------------------------------------------------------------------------------------


class _RotatedParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, angles: Tensor) -> tuple[Tensor, ...]:
        ctx.save_for_backward(angles)
        ctx.set_materialize_grads(False)
        q, k, v = _rotate(qkv.chunk(3, dim=1), angles, 1.0).chunk(3, dim=1)
        return q, k, v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, None]:
        (angles,) = ctx.saved_tensors
        like = next((grad for grad in grads if grad is not None), None)
        if like is None:
            return None, None
        filled = [torch.zeros_like(like) if grad is None else grad for grad in grads]
        return _rotate(filled, angles, -1.0), None


def _rotate(qkv: Any, angles: Tensor, sign: float) -> Tensor:
    """Concatenated rows of queries, keys and values; the first two are rotated (``sign`` -1 rotates back).

    ``angles``: cosines and sines, ``(vectors, 1, head_dim / 2, 2)``.
    """
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in qkv)
    num, heads, head_dim = q.shape
    out: Tensor = q.new_empty((num, 3 * heads, head_dim))
    width = triton.next_power_of_2(head_dim // 2)
    height = max(1, min(ROTATED_ROWS, TILE // (2 * width)))
    if num:
        _rotate_kernel[(triton.cdiv(num, height),)](
            q, k, v, angles, out, num, heads, head_dim // 2, q.stride(0), q.stride(1), k.stride(0),
            k.stride(1), v.stride(0), v.stride(1), sign,
            height=height, width=width, num_warps=4,
        )  # fmt: skip
    return out


@triton.jit(do_not_specialize=["num"])
def _rotate_kernel(
    q, k, v, angles, out, num, heads, pairs, q_row, q_head, k_row, k_head, v_row, v_head, sign,
    height: tl.constexpr, width: tl.constexpr,
):  # fmt: skip
    rows = (tl.program_id(0) * height + tl.arange(0, height)).to(tl.int64)
    entries = tl.arange(0, 2 * width)
    inside = (rows < num)[:, None] & (entries < 2 * pairs)[None, :]
    turn = tl.load(angles + rows[:, None] * 2 * pairs + entries[None, :], mask=inside, other=0.0)
    cosine, sine = tl.split(tl.reshape(turn, (height, width, 2)))
    sine = sine * sign
    to = out + rows[:, None] * 6 * heads * pairs + entries[None, :]
    for head in range(heads):
        a = tl.load(q + rows[:, None] * q_row + head * q_head + entries[None, :], mask=inside, other=0.0)
        tl.store(to + head * 2 * pairs, _turned(a, cosine, sine, height, width), mask=inside)
        a = tl.load(k + rows[:, None] * k_row + head * k_head + entries[None, :], mask=inside, other=0.0)
        tl.store(to + (heads + head) * 2 * pairs, _turned(a, cosine, sine, height, width), mask=inside)
        a = tl.load(v + rows[:, None] * v_row + head * v_head + entries[None, :], mask=inside, other=0.0)
        tl.store(to + (2 * heads + head) * 2 * pairs, a, mask=inside)


@triton.jit
def _turned(entries, cosine, sine, height: tl.constexpr, width: tl.constexpr):
    x, y = tl.split(tl.reshape(entries.to(tl.float32), (height, width, 2)))
    turned = tl.join(x * cosine - y * sine, x * sine + y * cosine)
    return tl.reshape(turned, (height, 2 * width)).to(entries.dtype)


# --- SwiGLU ---------------------------------------------------------------------------------------------


class _TritonSwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inner: Tensor) -> Tensor:
        ctx.save_for_backward(inner)
        num, dim = inner.shape[0], inner.shape[1] // 2
        out = inner.new_empty((num, dim))
        if num:
            columns = min(1024, triton.next_power_of_2(dim))
            _swiglu_kernel[(num, triton.cdiv(dim, columns))](inner, out, dim, width=columns, num_warps=4)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (inner,) = ctx.saved_tensors
        num, dim = inner.shape[0], inner.shape[1] // 2
        grads = torch.empty_like(inner)
        if num:
            columns = min(1024, triton.next_power_of_2(dim))
            _swiglu_backward_kernel[(num, triton.cdiv(dim, columns))](
                inner, grad.contiguous(), grads, dim, width=columns, num_warps=4
            )
        return grads


@triton.jit
def _swiglu_kernel(inner, out, dim, width: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * width + tl.arange(0, width)
    at = inner + row * 2 * dim + columns
    gate = tl.load(at, mask=columns < dim, other=0.0).to(tl.float32)
    value = tl.load(at + dim, mask=columns < dim, other=0.0).to(tl.float32)
    tl.store(
        out + row * dim + columns,
        (gate * tl.sigmoid(gate) * value).to(out.dtype.element_ty),
        mask=columns < dim,
    )


@triton.jit
def _swiglu_backward_kernel(inner, grad, grads, dim, width: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    columns = tl.program_id(1) * width + tl.arange(0, width)
    inside = columns < dim
    at = row * 2 * dim + columns
    gate = tl.load(inner + at, mask=inside, other=0.0).to(tl.float32)
    value = tl.load(inner + at + dim, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(grad + row * dim + columns, mask=inside, other=0.0).to(tl.float32)
    open_ = tl.sigmoid(gate)
    to_gate = up * value * open_ * (1 + gate * (1 - open_))
    tl.store(grads + at, to_gate.to(grads.dtype.element_ty), mask=inside)
    tl.store(grads + at + dim, (up * gate * open_).to(grads.dtype.element_ty), mask=inside)
