"""Settings for every test: checked shapes, few threads, fixed seeds."""

from __future__ import annotations

import os
import random
import sys
import types
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch

from tests.processor import force

# Denormal numbers make training slow. Before torch's first parallel operation, else it reaches one
# thread only.
torch.set_flush_denormal(True)
# The tensors of the tests are small: more threads only wait for each other.
torch.set_num_threads(1)
if find_spec("triton") is not None:
    # Without a GPU its interpreter runs the kernels, which are compiled from their source: so they are
    # imported before the hook, which would change it.
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"
    import_module("multiseq.nn._triton")
if "PYTEST_XDIST_WORKER" in os.environ:  # of several at once, and what they start has one thread too
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# Before multiseq is imported: here, and only here, the types and shapes in its signatures are
# checked.
jaxtyping.install_import_hook("multiseq", "beartype.beartype")
# After the hook: it imports multiseq.
force()


# Where there is no GPU, MULTISEQ_GPU_TESTS=cpu runs its tests on the CPU, those that take `device`: so that
# on a GPU nothing fails but what needs one.
GPU_TESTS = os.environ.get("MULTISEQ_GPU_TESTS", "cuda" if torch.cuda.is_available() else "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        takes_device = "device" in getattr(item, "fixturenames", ())
        if item.get_closest_marker("gpu") and GPU_TESTS != "cuda" and not (GPU_TESTS and takes_device):
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def device() -> str:
    """Where the tests of a GPU run."""
    return GPU_TESTS


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signatures are not checked, as for a user: for tests of errors that we raise ourselves."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the data sets, for tests that read real files."""
    folder = os.environ.get("MULTISEQ_DATA")
    if not folder:
        pytest.skip("set MULTISEQ_DATA to the folder with the data sets")
    if not Path(folder).is_dir():
        pytest.fail(f"MULTISEQ_DATA={folder} is not a folder")
    return Path(folder)


@pytest.fixture(scope="session")
def point_adapter() -> Any:
    """The worked example of docs/adapters.md, from the page itself: a small adapter for tests of the rest."""
    page = (Path(__file__).parents[1] / "docs" / "adapters.md").read_text(encoding="utf-8")
    module = types.ModuleType("points")
    sys.modules["points"] = module
    exec(page.split("```python\n")[1].split("```")[0], module.__dict__)
    return module.__dict__["PointAdapter"]
