"""The kernels for NVIDIA GPUs beside torch's operations; without a GPU Triton's interpreter runs them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from multiseq.nn.rotation import rotate, rotation_of

pytest.importorskip("triton", reason="torch for this system comes without Triton")
kernels: Any = pytest.importorskip("multiseq.nn._triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = [torch.float32, torch.bfloat16]
pytestmark = pytest.mark.gpu if DEVICE == "cuda" else []


def drawn(*shape: int, dtype: torch.dtype = torch.float32, grad: bool = True) -> Tensor:
    return (
        torch.randn(shape, generator=torch.Generator().manual_seed(7)).to(DEVICE, dtype).requires_grad_(grad)
    )


def close(got: Any, expected: Any, dtype: torch.dtype) -> None:
    tolerance = {torch.float32: 2e-5, torch.bfloat16: 4e-2}[dtype]
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.float(), b.float(), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(37, 48), (5, 301), (1, 8), (3, 2500), (0, 8)])
def test_sum_and_norm_and_their_gradients(shape: tuple[int, int], dtype: torch.dtype) -> None:
    """A stream of single precision or of half, a branch of the other or the same."""
    x, branch = drawn(*shape, dtype=dtype), drawn(*shape, dtype=torch.bfloat16) * 0.5
    weight = drawn(shape[1]) + 1
    total, normed = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.0, dtype=torch.bfloat16)
    expected = x + branch.to(dtype)
    norm = F.layer_norm(expected.float(), shape[1:], weight, None, 1e-5)
    assert (total.dtype, normed.dtype) == (dtype, torch.bfloat16)
    close([total], [expected], dtype)
    close([normed], [norm], torch.bfloat16)
    ups = drawn(*shape, dtype=dtype, grad=False), drawn(*shape, dtype=torch.bfloat16, grad=False).flip(-1)
    leaves = x, branch, weight
    got = torch.autograd.grad((total, normed), leaves, ups)
    reference = torch.autograd.grad((expected, norm), leaves, (ups[0], ups[1].float()))
    assert [g.dtype for g in got] == [leaf.dtype for leaf in leaves]
    close(got[:2], reference[:2], torch.bfloat16)
    torch.testing.assert_close(got[2], reference[2], atol=0.1, rtol=2e-2)


def test_single_precision_is_exact() -> None:
    x, branch, weight = drawn(29, 96), drawn(29, 96) * 0.5, drawn(96) + 1
    both = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.0, dtype=torch.float32)
    expected = x + branch, F.layer_norm(x + branch, (96,), weight, None, 1e-5)
    close(both, expected, torch.float32)
    ups = drawn(29, 96, grad=False), drawn(29, 96, grad=False).flip(0)
    leaves = x, branch, weight
    close(torch.autograd.grad(both, leaves, ups), torch.autograd.grad(expected, leaves, ups), torch.float32)


def test_a_norm_without_a_branch_and_a_sum_that_nobody_uses() -> None:
    x, weight = drawn(11, 40), drawn(40) + 1
    same, normed = kernels.add_norm(x, None, weight, eps=1e-5, dropout=0.0, dtype=torch.float32)
    assert same is x
    expected = F.layer_norm(x, (40,), weight, None, 1e-5)
    close([normed], [expected], torch.float32)
    up = drawn(11, 40, grad=False).flip(0)
    close(
        torch.autograd.grad(normed, (x, weight), up),
        torch.autograd.grad(expected, (x, weight), up),
        torch.float32,
    )
    branch = drawn(11, 40) * 0.5
    total, _ = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.0, dtype=torch.float32)
    assert [g.unique().tolist() for g in torch.autograd.grad(total.sum(), (x, branch))] == [[1.0], [1.0]]


def test_dropout_and_its_gradient_drop_the_same() -> None:
    x, branch, weight = drawn(300, 64).detach() * 0, torch.ones_like(drawn(300, 64)), drawn(64)
    branch.requires_grad_()
    torch.manual_seed(0)
    total, _ = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.25, dtype=torch.float32)
    again, _ = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.25, dtype=torch.float32)
    torch.manual_seed(0)
    same, _ = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.25, dtype=torch.float32)
    assert torch.equal(total, same)
    assert not torch.equal(total, again)
    torch.testing.assert_close(total.unique(), torch.tensor([0.0, 4 / 3], device=DEVICE))
    assert abs(float((total == 0).float().mean()) - 0.25) < 0.02
    (to_branch,) = torch.autograd.grad(total.sum(), branch)
    torch.testing.assert_close(to_branch, total)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("heads", "head_dim"), [(2, 8), (3, 24), (12, 64)])
def test_rotation_and_its_gradient(heads: int, head_dim: int, dtype: torch.dtype) -> None:
    rows = drawn(21, 3 * heads, head_dim, dtype=dtype)
    rotation = rotation_of(torch.arange(21, device=DEVICE) * 3, head_dim)
    got = kernels.rotated_parts(rows, rotation)
    q, k, v = rows.chunk(3, dim=1)
    expected = rotate(q, rotation), rotate(k, rotation), v
    close(got, expected, dtype)
    ups = [drawn(21, heads, head_dim, dtype=dtype, grad=False).flip(0) * n for n in (1, 2, 3)]
    close(torch.autograd.grad(got, rows, ups), torch.autograd.grad(expected, rows, ups), dtype)


def test_one_row_of_angles_is_for_all_rows() -> None:
    """As in the steps of a decoder, whose beams all stand at the same position."""
    rows, rotation = drawn(5, 6, 8, grad=False), rotation_of(torch.tensor([3], device=DEVICE), 8)
    q, k, v = rows.chunk(3, dim=1)
    close(kernels.rotated_parts(rows, rotation), (rotate(q, rotation), rotate(k, rotation), v), torch.float32)


def test_wide_heads_and_gradients_that_are_missing() -> None:
    rows, rotation = drawn(3, 3, 2048), rotation_of(torch.arange(3, device=DEVICE), 2048)
    q, k, v = rows.chunk(3, dim=1)
    expected = rotate(q, rotation), rotate(k, rotation), v
    got = kernels.rotated_parts(rows, rotation)
    close(got, expected, torch.float32)
    up = drawn(3, 2048, 1, grad=False).transpose(1, 2)  # not contiguous
    (gradient,) = torch.autograd.grad(got[1], rows, up)
    close([gradient], torch.autograd.grad(expected[1], rows, up), torch.float32)


def test_a_gradient_that_is_not_contiguous() -> None:
    x, branch, weight = drawn(6, 20), drawn(6, 20) * 0.5, drawn(20) + 1
    both = kernels.add_norm(x, branch, weight, eps=1e-5, dropout=0.0, dtype=torch.float32)
    expected = x + branch, F.layer_norm(x + branch, (20,), weight, None, 1e-5)
    ups, leaves = [drawn(20, 6, grad=False).T, drawn(20, 6, grad=False).T * 2], (x, branch, weight)
    close(torch.autograd.grad(both, leaves, ups), torch.autograd.grad(expected, leaves, ups), torch.float32)


@pytest.mark.parametrize("dtype", DTYPES)
def test_swiglu_and_its_gradient(dtype: torch.dtype) -> None:
    inner = drawn(7, 2 * 1300, dtype=dtype)
    gate, value = inner.float().chunk(2, dim=-1)
    got, expected = kernels.swiglu(inner), F.silu(gate) * value
    close([got], [expected], dtype)
    up = drawn(7, 1300, dtype=dtype, grad=False).flip(0)
    close(torch.autograd.grad(got, inner, up), torch.autograd.grad(expected, inner, up.float()), dtype)
