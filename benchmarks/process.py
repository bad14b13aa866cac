"""Work in a process of its own, where nothing was imported or allocated before, and peak memory.

Memory of a process is read from Linux's ``/proc``, of a GPU from torch's allocator; elsewhere it is NaN.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from multiseq.system.memory import give_back_memory

if TYPE_CHECKING:
    import torch

__all__ = ["MIB", "ask_for", "free_memory", "in_fresh_process", "peak_of", "resident"]

MIB = 2**20
BLOCK = 256
"""MiB asked for at once."""

P = ParamSpec("P")
T = TypeVar("T")


def in_fresh_process(function: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """What a module's function returns in a new interpreter; it raises what the function raised.

    Raises:
        MemoryError: The process was killed, as systems do that run out of memory.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call, args=(sender, function, args, options))  # may start others
    process.start()
    sender.close()
    try:
        result, error = receiver.recv()
    except EOFError:
        raise MemoryError(f"{function.__module__}: its process died, probably for want of memory") from None
    finally:
        process.kill()
        process.join()
    if error is not None:
        raise error
    return cast("T", result)


def _call(sender: Connection, function: Callable[..., Any], args: Any, options: Any) -> None:
    multiprocessing.set_start_method(None, force=True)  # what it starts is started as is usual here
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches both; the first process ends this one
    try:
        sender.send((function(*args, **options), None))
    except Exception as error:
        sender.send((None, error))


def peak_of(step: Callable[[], object], device: torch.device) -> float:
    """MiB at the highest point of one call, above what was in use before it."""
    if device.type == "cuda":
        import torch

        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    give_back_memory()
    highest = Path("/proc/self/clear_refs")
    if highest.exists():
        highest.write_text("5")  # forgets the highest point so far (proc(5))
    before_mib = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before_mib


def resident() -> float:
    """MiB of this process that are in memory now."""
    give_back_memory()
    return _resident("VmRSS")


def free_memory(device: torch.device) -> float:
    """MiB that could still be allocated."""
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0] / MIB
    return _mib(Path("/proc/meminfo"), "MemAvailable")


def ask_for(mib: float) -> None:
    """Use so much memory of the CPU once, or half of what is free: with `keep_memory` it stays here."""
    import torch

    mib = min(mib, free_memory(torch.device("cpu")) / 2)
    for block in [torch.empty(BLOCK * MIB, dtype=torch.uint8) for _ in range(int(mib / BLOCK))]:
        block.fill_(0)


def _resident(field: str) -> float:
    # Not `ru_maxrss`, which a new process inherits from the one that started it.
    return _mib(Path("/proc/self/status"), field)


def _mib(file: Path, field: str) -> float:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    kib = [int(line.split()[1]) for line in lines if line.startswith(f"{field}:")]
    return kib[0] / 2**10 if kib else math.nan
