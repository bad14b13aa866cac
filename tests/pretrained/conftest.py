"""Tiny pretrained models for all tests of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pretrained.tiny import FAMILIES, write_folder


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Family -> folder."""
    return {family: write_folder(tmp_path_factory.mktemp(family), family) for family in FAMILIES}
