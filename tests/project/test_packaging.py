"""What is installed: a wheel without a package passes every other test in the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from jaxtyping import TypeCheckError

import multiseq
from multiseq.requires import _LIBRARIES, need

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def files_on_disk() -> set[str]:
    """Every file below multiseq/, adapters included: what the wheel must have."""
    return {
        Path(folder, name).relative_to(ROOT).as_posix()
        for folder, _, names in os.walk(ROOT / "multiseq", followlinks=True)
        for name in names
        if "__pycache__" not in folder
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from an sdist, as `python -m build` does it, from a copy of the sources."""
    source = tmp_path_factory.mktemp("source")
    ignore = shutil.ignore_patterns("__pycache__")
    for folder in ("multiseq", "adapters"):
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    command = [sys.executable, "-m", "build", "--no-isolation", str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return next((source / "dist").glob("*.whl"))


def test_every_package_is_listed() -> None:
    on_disk = {
        name.removesuffix("/__init__.py").replace("/", ".")
        for name in files_on_disk()
        if name.endswith("/__init__.py")
    }
    assert set(PYPROJECT["tool"]["setuptools"]["packages"]) == on_disk


def test_the_link_to_the_adapters_is_relative() -> None:
    assert os.readlink(ROOT / "multiseq" / "adapters") == "../adapters"


def test_the_wheel_has_every_file(wheel: Path) -> None:
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if not name.split("/")[0].endswith("info")}
    assert packed == files_on_disk()
    for part in ("adapters/text.py", "recipes/", "starter/", "py.typed"):
        assert any(name.startswith(f"multiseq/{part}") for name in packed), part


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < 8_000_000


def test_the_wheel_has_the_version_of_the_package(wheel: Path) -> None:
    assert wheel.name.startswith(f"multiseq-{multiseq.__version__}-")


def test_adapters_refuse_another_name() -> None:
    command = [sys.executable, "-c", "import adapters"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: this package was imported as 'adapters'" in done.stderr
    assert "write `import multiseq.adapters`" in done.stderr


def test_the_advice_of_requires_is_what_pyproject_asks_for() -> None:
    advised = {requirement for _, *group in _LIBRARIES.values() for requirement in group}
    assert advised <= set(PYPROJECT["project"]["dependencies"])


def test_signatures_are_checked_while_testing() -> None:
    with pytest.raises(TypeCheckError, match="package"):
        need("json", package=3)  # type: ignore[arg-type]


def test_a_test_can_do_without_checked_signatures(unchecked: None) -> None:
    assert need("json", package=3).__name__ == "json"  # type: ignore[arg-type]
