"""The large network, here a small one: the whole command, and what is in its file."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.accuracy import large_network


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(large_network, "RECIPE", large_network.RECIPE.replace("steps = 300", "steps = 2"))
    given = ["--out", str(tmp_path / "out"), "--nodes", "1000", "--edges", "5000"]
    monkeypatch.setattr(sys, "argv", ["large_network", *given])
    large_network.main()
    assert capsys.readouterr().out.startswith("accuracy 0.")
    with np.load(tmp_path / "out" / "network.npz") as arrays:
        edges, kind = arrays["edges"], arrays["node_labels"]
        assert [int(arrays[f"{split}_masks"].sum()) for split in ("train", "val", "test")] == [500, 10, 90]
    assert edges.shape == (5000, 2)
    alike = (kind[edges[:, 0]] == kind[edges[:, 1]]).mean()
    assert alike == pytest.approx(0.6, abs=0.05)  # a half, and a fifth of the others
