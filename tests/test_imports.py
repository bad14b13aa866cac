"""What an import loads, seen in a new process: this one has loaded everything."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import multiseq
import multiseq.adapters

ROOT = Path(__file__).parents[1]
MODALITIES = {
    "text": {"tokenizers"},
    "speech": {"torchaudio", "soundfile"},
    "graph": {"torch_geometric", "rdkit"},
}
TABLES = {"openpyxl", "pandas", "pyarrow"}
OPTIONAL = set.union(*MODALITIES.values(), TABLES, {"lightning"})
CORE = [
    "multiseq.attention",
    "multiseq.encoder",
    "multiseq.heads",
    "multiseq.model",
    "multiseq.sequence",
    "multiseq.targets",
    "multiseq.tasks",
    "multiseq.vectors",
]


def loaded_by(code: str) -> set[str]:
    """The top-level modules in `sys.modules` after `code` has run."""
    report = "\nimport sys; print('\\n', *{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code + report], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "module",
    ["multiseq", "multiseq.adapters", "multiseq.requires", "multiseq.data.readers", "multiseq.items"],
)
def test_the_package_alone_loads_nothing_heavy(module: str) -> None:
    assert not loaded_by(f"import {module}") & {*OPTIONAL, "torch", "numpy"}


def test_the_help_of_the_command_line_does_not_load_torch() -> None:
    code = """
import runpy, sys
sys.argv = ["multiseq", "--help"]
try:
    runpy.run_module("multiseq", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
"""
    assert not loaded_by(code) & {*OPTIONAL, "torch"}


UNIX = ("fcntl", "grp", "pwd", "resource", "termios", "tty")
"""Modules that Python has not got on Windows."""


def test_every_module_imports_without_what_only_unix_has() -> None:
    """Libraries first: they know the system they are on, and it is ours that is asked."""
    names = [
        ".".join(("multiseq", *path.relative_to(ROOT / "multiseq").with_suffix("").parts))
        for path in sorted((ROOT / "multiseq").rglob("*.py"))
    ]
    names += [f"multiseq.adapters.{path.stem}" for path in sorted((ROOT / "adapters").glob("*.py"))]
    names = sorted({name.removesuffix(".__init__") for name in names} - {"multiseq.__main__"})
    code = f"""
import importlib, sys
import lightning, rdkit, sklearn, soundfile, tokenizers, torch_geometric, torchaudio
for name in {UNIX}:
    sys.modules[name] = None
for name in {names}:
    importlib.import_module(name)
from multiseq.machine import describe_machine, peak_memory
assert peak_memory() is None
print(len(describe_machine()))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(names) > 50


def test_the_core_loads_no_library_of_a_modality() -> None:
    assert not loaded_by(f"import {', '.join(CORE)}") & OPTIONAL


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_adapter_loads_no_library_of_another_modality(modality: str) -> None:
    others = set.union(*(names for key, names in MODALITIES.items() if key != modality))
    assert not loaded_by(f"import multiseq.adapters.{modality}") & others


@pytest.mark.parametrize(
    ("package", "name"),
    [(package, name) for package in (multiseq, multiseq.adapters) for name in package.__all__],
)
def test_every_public_name_is_there(package: ModuleType, name: str) -> None:
    assert getattr(package, name).__name__ == name
    assert name in dir(package)


@pytest.mark.parametrize("package", [multiseq, multiseq.adapters])
def test_lazy_names_are_what_type_checkers_see(package: ModuleType) -> None:
    tree = ast.parse(Path(package.__file__).read_text())
    checked = {
        alias.name: statement.module
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert checked == package._HOMES
    assert set(checked) == set(package.__all__)


@pytest.mark.parametrize("package", [multiseq, multiseq.adapters])
def test_an_unknown_name_is_an_ordinary_attribute_error(package: ModuleType) -> None:
    unknown = "Encode"
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute"):
        getattr(package, unknown)
