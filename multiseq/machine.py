"""What a run says about where it ran: versions, processor, memory, command.

None of it asks for the name of a host or a person, but the command holds what was typed, and `run.json`
the full path of the data: look at them before you publish a run.
"""

from __future__ import annotations

import ctypes
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = [
    "check_fits",
    "command",
    "describe_machine",
    "deterministic_sums",
    "give_back_memory",
    "explain_full_memory",
    "is_first_process",
    "keep_memory",
    "memory",
    "peak_gpu_memory",
    "peak_memory",
    "tokenizers_on_one_thread",
    "versions",
]

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h

LIBRARIES = ("torch", "torchaudio", "torch-geometric", "lightning", "torchmetrics", "rdkit")


def versions() -> dict[str, str | None]:
    """Of Python, multiseq and the libraries that results depend on; None where one is missing."""
    from multiseq import __version__

    found: dict[str, str | None] = {"python": platform.python_version(), "multiseq": __version__}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def describe_machine() -> dict[str, Any]:
    """Processor, cores, threads, GiB of memory and GPU."""
    import torch

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gib": round((memory() or 0) / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def memory() -> int | None:
    """Bytes of this machine's memory; None where the system does not say."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def check_fits(weights: int, what: str) -> None:
    """Raises ValueError, before anything is allocated, where so many weights do not fit into memory."""
    limit = memory()
    if limit is not None and 4 * weights > limit:
        raise ValueError(
            f"{what}, whose weights take {4 * weights / 2**30:,.0f} GiB; this machine has "
            f"{limit / 2**30:,.0f} GiB of memory"
        )


@contextmanager
def explain_full_memory(advice: str) -> Iterator[None]:
    """Where memory ends within the block, say what to do about it.

    Raises:
        MemoryError: With the advice.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        line = str(error).strip().partition("\n")[0]
        # torch has a class for it on a GPU only.
        signs = ("can't allocate memory", "out of memory", "insufficient shared memory")
        if isinstance(error, MemoryError) or any(sign in line.lower() for sign in signs):
            raise MemoryError(f"memory is full; {advice} ({line or 'no more memory'})") from error
        raise


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def command() -> str:
    """The command line of this process, as one would type it."""
    program = Path(sys.argv[0]).name
    program = "python -m multiseq" if program == "__main__.py" else program
    return f"{program} {shlex.join(sys.argv[1:])}".strip()


def peak_memory() -> int | None:
    """MiB of this process at its highest, loader workers not counted; None on Windows, which does not say."""
    try:
        import resource
    except ImportError:
        return None
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit


def peak_gpu_memory() -> int | None:
    """MiB of the first GPU that this process held at its highest; None where there is no GPU."""
    import torch

    return torch.cuda.max_memory_allocated() // 2**20 if torch.cuda.is_available() else None


def keep_memory() -> None:
    """From now on memory that is freed stays with this process, where its C library is glibc.

    glibc gives the largest tensors of a step back to the system, which clears every page of them before the
    next step gets it again: on a CPU up to a fifth of the step.
    """
    if (mallopt := _of_c_library("mallopt")) is not None:
        mallopt(M_MMAP_THRESHOLD, 2**30)
        mallopt(M_TRIM_THRESHOLD, -1)


def give_back_memory() -> None:
    """Hand memory that was freed back to the system."""
    if (trim := _of_c_library("malloc_trim")) is not None:
        trim(0)


@contextmanager
def deterministic_sums(wanted: bool = True) -> Iterator[None]:
    """Within it what is computed on a GPU is the same to the last bit each time, if that is wanted.

    The products of cuBLAS are so only where it has not been used in this process before.
    """
    import torch

    if not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it starts
    checks: Any = torch.utils.deterministic
    before, filled = torch.are_deterministic_algorithms_enabled(), checks.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    checks.fill_uninitialized_memory = False  # which finds memory that is read before it is written
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        checks.fill_uninitialized_memory = filled


@contextmanager
def tokenizers_on_one_thread() -> Iterator[None]:
    """Where `tokenizers` would work in several: they make a later fork of loader workers warn."""
    before = os.environ.get("TOKENIZERS_PARALLELISM")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    try:
        yield
    finally:
        del os.environ["TOKENIZERS_PARALLELISM"]
        if before is not None:
            os.environ["TOKENIZERS_PARALLELISM"] = before


def _of_c_library(function: str) -> Any:
    """None where it is not glibc."""
    return getattr(ctypes.CDLL(None), function, None) if os.name == "posix" else None


def is_first_process() -> bool:
    """Whether this is the one that writes and speaks, of those that Lightning or torchrun start."""
    if "RANK" in os.environ:
        return int(os.environ["RANK"]) == 0
    names = ("LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    return not any(int(os.environ.get(name) or 0) for name in names)
