"""Denormal numbers: imports change nothing; training and prediction flush them, in all threads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

CODE = """
import torch

torch.set_num_threads(2)
import multiseq.model
import multiseq.training.loop

numbers = torch.full((1 << 20,), 713624, dtype=torch.int32).view(torch.float32)  # 1e-39


def left() -> list[int]:
    halves = (numbers * 0.5).view(torch.int32).chunk(2)  # as bits: to compare numbers would flush them
    return [int(half.count_nonzero()) for half in halves]


print(left())
{begin}
print(left())
"""
BEGIN = {
    "at once": "from multiseq.system.denormals import flush_denormals; flush_denormals()",
    "prediction": """
from multiseq import Encoder, Model, TextAdapter
Model({"text": TextAdapter.fit(["a"], dim=4)}, Encoder(4, 1, 1), {}).embed("text", ["a"])
""",
    "training": """
from multiseq import ClassTarget, Encoder, Model, SetHead, Source, Task, TextAdapter, train
head = SetHead(4, ClassTarget(["x", "y"]))
model = Model({"text": TextAdapter.fit(["a"], dim=4)}, Encoder(4, 1, 1), {"t": Task("text", head)})
train(model, [Source("text", ["a"], {"t": ["x"]})], steps=1, progress=False, accelerator="cpu")
""",
}


@pytest.mark.parametrize("begin", BEGIN)
def test_threads_that_run_already_flush_too(begin: str) -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("needs a processor that flushes denormal numbers")
    code = CODE.replace("{begin}", BEGIN[begin])
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert lines == [f"[{1 << 19}, {1 << 19}]", "[0, 0]"], done.stderr
