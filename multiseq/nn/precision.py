"""The precision of matrix products: fp32, or bf16 where the processor multiplies bf16 faster.

Weights, optimiser, norms, losses and what is summed over sets stay in fp32. On a CPU only the products of
`multiseq.nn.linear.Linear` and the gates between them are in bf16; on a GPU torch's autocast decides.
docs/decisions/0023-bf16-on-a-cpu.md says why.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from multiseq.checks import one_of
from multiseq.nn.linear import Linear, half_products, halved
from multiseq.options import PRECISIONS

__all__ = ["Precision", "choose_precision", "computing_in", "device_for"]

FLAGS = {"amx_bf16": "AMX-BF16", "avx512_bf16": "AVX512-BF16"}
"""Torch's names of the instructions that multiply bf16, and theirs."""

ROWS, WIDEST, ROUNDS = 1024, 512, 10
"""The product that is timed: its rows, its width at most, and how often each precision is timed."""
NARROWEST = 128
"""The narrowest model for which ``auto`` takes bf16 on a CPU: at 64 it is slower, at 128 a fifth faster."""
GAIN = 1.5
"""``auto`` takes bf16 if the timed product is so many times as fast. With AMX it is 2 to 4 times: the margin
keeps the choice from following the noise of the clock."""


@dataclass(frozen=True)
class Precision:
    """What ``auto`` was found to mean, or what the user set.

    Args:
        name: ``fp32`` or ``bf16``.
        reason: Why, in a few words.
    """

    name: str
    reason: str

    def __str__(self) -> str:
        return f"precision {self.name}: {self.reason}"


def choose_precision(wanted: str | None, device: torch.device | str, dim: int) -> Precision:
    """Decide between fp32 and bf16.

    ``auto`` is bf16 on an NVIDIA or AMD GPU. On a CPU it is bf16 if the processor has
    instructions for bf16 and a product of the model's width, timed here for some milliseconds, is faster. So
    the choice depends on a clock: record it, and repeat it when a run is resumed.

    Args:
        wanted: One of `PRECISIONS`. None: bf16 on a GPU, fp32 elsewhere.
        device: Where the model computes.
        dim: The width of its encoder.

    Raises:
        ValueError: ``wanted`` is none of `PRECISIONS`.

    Example:
        >>> print(choose_precision("fp32", "cpu", 256))
        precision fp32: as set
    """
    kind = torch.device(device).type
    if wanted is None and kind != "cuda":
        return Precision("fp32", 'the default; precision = "auto" takes bf16 if this machine is faster in it')
    if wanted is not None:
        one_of(wanted, PRECISIONS, "precision")
        if wanted != "auto":
            return Precision(wanted, "as set")
    if kind == "cuda":
        return Precision("bf16", "on a GPU")  # asking the driver would start CUDA, maybe before a fork
    if kind != "cpu":
        return Precision("fp32", f"bf16 is not used on {kind}")
    found = _instructions()
    if not found:
        return Precision("fp32", f"the processor has no {' and no '.join(FLAGS.values())}")
    if dim < NARROWEST:
        return Precision("fp32", f"bf16 is no faster for a width below {NARROWEST}, and this is {dim}")
    single, half = _seconds(min(dim, WIDEST))
    times = f"{1e3 * half:.2g} ms in bf16 ({found}), {1e3 * single:.2g} in fp32"
    return Precision("bf16" if single > GAIN * half else "fp32", f"a product of width {dim} takes {times}")


def device_for(accelerator: str = "auto") -> str:
    """The kind of device that Lightning takes for an ``accelerator``: ``cuda``, ``mps`` or ``cpu``."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return "cuda"
    return "mps" if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available() else "cpu"


@contextmanager
def computing_in(precision: str, device: torch.device | str) -> Iterator[None]:
    """Inside this context, products are in bf16 if ``precision`` says so. ``fp32`` changes nothing."""
    kind = torch.device(device).type
    if precision == "bf16" and kind != "cpu":
        with torch.autocast(kind, torch.bfloat16):
            yield
        return
    with half_products(precision == "bf16"):
        yield


def _instructions() -> str:
    """The processor's instructions for products in bf16; empty if it has none."""
    capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return next((name for flag, name in FLAGS.items() if capabilities.get(flag)), "")


@cache
def _seconds(dim: int) -> tuple[float, float]:
    """Seconds of one layer's product in fp32 and in bf16, with what is converted: the lowest of some rounds.

    Seconds of the processor on one thread, so that other processes on the machine hardly count.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _seconds_on_one_thread(dim)
    finally:
        torch.set_num_threads(threads)


def _seconds_on_one_thread(dim: int) -> tuple[float, float]:
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        layer, x = Linear(dim, 4 * dim), torch.randn(ROWS, dim)
        lowest = {False: float("inf"), True: float("inf")}
        for turn in range(1 + ROUNDS):  # the first compiles kernels
            for half in lowest:
                with half_products(half):
                    start = time.thread_time()
                    layer(halved(x))
                    taken = time.thread_time() - start
                lowest[half] = min(lowest[half], taken) if turn else lowest[half]
    return lowest[False], lowest[True]
