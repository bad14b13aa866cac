"""Decides which tensors the Triton kernels in `multiseq.nn._triton` can process."""

from __future__ import annotations

import warnings
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

__all__ = ["has_triton", "kernels_for"]

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def kernels_for(x: Tensor) -> ModuleType | None:
    """The module `multiseq.nn._triton` if it can process ``x``, else None.

    It needs an NVIDIA GPU (Ampere or newer) and Triton, which torch for Windows does not bring. Inside
    ``torch.compile`` the result is None, because the compiler generates kernels itself.
    """
    if not x.is_cuda or x.dtype not in DTYPES or torch.compiler.is_compiling() or not _fits(x.device):
        return None
    if x.device.index != torch.cuda.current_device():  # Triton launches on the current device
        return None
    return import_module("multiseq.nn._triton")


@cache
def has_triton() -> bool:
    """Whether Triton is installed and works. It needs a C compiler, because it compiles its driver."""
    if find_spec("triton") is None:
        return False
    try:
        import_module("triton.runtime").driver.active.get_current_device()
    except Exception as error:
        warnings.warn(
            f"Triton does not work here ({error}), so a GPU is slower; install a C compiler (gcc) and "
            "Python's header files",
            stacklevel=2,
        )
        return False
    return True


@cache
def _fits(device: torch.device) -> bool:
    return torch.version.hip is None and torch.cuda.get_device_capability(device) >= (8, 0) and has_triton()
