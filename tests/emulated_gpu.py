"""A GPU that is not there: tensors that say ``cuda`` and are computed on the CPU.

Within `emulated_gpu` our code and torch's Python see tensors on ``cuda``, choose what they choose on a GPU
and compute with real numbers. What it cannot show are the kernels and what torch does inside. What it shows:

- tensors of the host and of the GPU in one operation raise, as they do on a GPU;
- what makes the host wait for the GPU raises `WaitError`: values that are read, shapes that depend on values,
  copies to the GPU that are not queued from page-locked memory, torch's CTC loss (which copies lengths).

Torch's variable-length flash attention is computed set by set. FlexAttention and our kernels are not taken.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, TypeVar
from unittest import mock

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["WaitError", "emulated_gpu", "to_gpu", "values_of", "waiting_allowed"]

FIRST = torch.device("cuda:0")
WAITS = {
    *(getattr(Tensor, name) for name in ("item", "tolist", "numpy", "nonzero", "masked_select")),
    *(getattr(Tensor, name) for name in ("__bool__", "__int__", "__float__", "__index__", "unique")),
    *(torch.nonzero, torch.masked_select, torch.unique, torch.equal, torch.allclose, torch.ctc_loss),
}
PROPERTIES: dict[Any, Any] = {
    Tensor.device.__get__: FIRST,  # type: ignore[attr-defined]  # a descriptor in C
    Tensor.is_cuda.__get__: True,  # type: ignore[attr-defined]
    Tensor.is_cpu.__get__: False,  # type: ignore[attr-defined]
}
Module = TypeVar("Module", bound=nn.Module)
_waiting_allowed = False
_pinned = WeakIdKeyDictionary()
"""Tensors in page-locked memory. The `id` of a dead one would not do: a new tensor may get it."""


class WaitError(RuntimeError):
    """The host would wait for the GPU."""


class OnGPU(Tensor):
    """A tensor on the GPU."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Mode(TorchFunctionMode):
    """Takes what has no tensor of the GPU among its arguments: ``torch.zeros(…, device="cuda")``."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    flat = tree_flatten((args, kwargs))[0]
    tensors = [x for x in flat if isinstance(x, Tensor)]
    here = not any(isinstance(x, OnGPU) for x in tensors)
    if not here and func in PROPERTIES:
        return PROPERTIES[func]
    if func is torch.device:
        return func(*args, **kwargs)
    named = next((torch.device(x) for x in flat if _is_device(x)), None)
    if func is Tensor.to and named is not None:
        return _move(args[0], named.type == "cuda", kwargs.get("non_blocking", False))
    if func is Tensor.cpu:
        return _move(args[0], False, False)
    if func is Tensor.pin_memory:
        copy = args[0].clone()
        _pinned[copy] = True
        return copy
    if not here:
        _check(func, args, tensors)
    args, kwargs = tree_map_only(torch.device | str, lambda x: "cpu" if _is_device(x) else x, (args, kwargs))
    with torch._C.DisableTorchFunction():
        out = func(*args, **kwargs)
    if here and (named is None or named.type != "cuda"):
        return out
    return tree_map_only(Tensor, lambda x: x if isinstance(x, OnGPU) else x.as_subclass(OnGPU), out)


def _is_device(x: Any) -> bool:
    return isinstance(x, torch.device) or (isinstance(x, str) and x.partition(":")[0] in ("cuda", "cpu"))


def _move(tensor: Tensor, to_gpu: bool, non_blocking: bool) -> Tensor:
    if isinstance(tensor, OnGPU) == to_gpu:
        return tensor
    if not to_gpu:
        _wait(f"a copy of shape {tuple(tensor.shape)} to the host")
        return values_of(tensor)
    if not (non_blocking and tensor in _pinned):
        _wait(f"a copy of shape {tuple(tensor.shape)} to the GPU, not queued from page-locked memory")
    return tensor.clone().as_subclass(OnGPU)


def _check(func: Any, args: Any, tensors: Sequence[Tensor]) -> None:
    # A single number of the host may meet tensors on a GPU.
    strangers = [x for x in tensors if not isinstance(x, OnGPU) and x.dim()]
    if strangers:
        raise RuntimeError(f"{func}: tensors on cuda:0 and on cpu, of shape {tuple(strangers[0].shape)}")
    index = args[1] if func in (Tensor.__getitem__, Tensor.__setitem__) else None
    masks = [x for x in tree_flatten(index)[0] if isinstance(x, Tensor) and x.dtype == torch.bool]
    if func in WAITS or masks:
        _wait(f"{getattr(func, '__name__', func)} of a tensor on the GPU")


def _wait(what: str) -> None:
    if not _waiting_allowed:
        raise WaitError(what)


def _varlen_attn(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_q: Tensor,
    cu_k: Tensor,
    max_q: int,
    max_k: int,
    *,
    window_size: tuple[int, int] = (-1, -1),
) -> Tensor:
    """As ``torch.nn.attention.varlen`` says it."""
    assert q.dtype in (torch.float16, torch.bfloat16)
    assert cu_q.dtype == cu_k.dtype == torch.int32
    left, right = window_size
    ends = [values_of(x).tolist() for x in (cu_q, cu_k)]
    assert [max(b - a for a, b in pairwise(x)) for x in ends] == [max_q, max_k]
    parts = []
    for (a, b), (c, d) in zip(*map(pairwise, ends), strict=True):
        scores = torch.einsum("qhd,khd->hqk", q[a:b].float(), k[c:d].float()) * q.shape[-1] ** -0.5
        apart = torch.arange(d - c, device=FIRST) - torch.arange(b - a, device=FIRST)[:, None]
        seen = ((apart >= -left) if left >= 0 else apart == apart) & (
            (apart <= right) if right >= 0 else apart == apart
        )
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).nan_to_num()
        parts.append(torch.einsum("hqk,khd->qhd", weights, v[c:d].float()))
    return torch.cat(parts).to(q.dtype)


class _Autocast(torch.autocast):
    """Of the CPU, whose list of operations is nearly that of a GPU."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


@contextmanager
def emulated_gpu() -> Iterator[None]:
    """Within it there is a GPU, of capability 9.0; what makes the host wait for it raises `WaitError`."""
    with (
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.get_device_capability", return_value=(9, 0)),
        mock.patch("torch.nn.attention.varlen.varlen_attn", _varlen_attn),
        mock.patch("multiseq.nn.attention.flex_serves", return_value=False),
        mock.patch("multiseq.nn._kernels._fits", return_value=False),
        mock.patch("torch.autocast", _Autocast),
        _Mode(),
    ):
        yield


@contextmanager
def waiting_allowed() -> Iterator[None]:
    """Within it the host may wait: for what is not a step."""
    global _waiting_allowed
    before, _waiting_allowed = _waiting_allowed, True
    try:
        yield
    finally:
        _waiting_allowed = before


def to_gpu(module: Module) -> Module:
    """The module with copies of its weights and buffers on the GPU (``module.to`` keeps their class)."""
    for part in module.modules():
        for name, weight in part._parameters.items():
            if weight is not None:
                moved = weight.detach().clone().as_subclass(OnGPU)
                part._parameters[name] = nn.Parameter(moved, weight.requires_grad)
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else buffer.clone().as_subclass(OnGPU)
    return module


def values_of(tensor: Tensor) -> Tensor:
    """The values of a tensor on the GPU, on the CPU."""
    with torch._C.DisableTorchFunction():
        return tensor.as_subclass(Tensor)
