"""What an import loads, seen in a new process: this one has loaded everything."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

import multiseq
import multiseq.adapters

ROOT = Path(__file__).parents[2]
MODALITIES = {
    "text": {"tokenizers"},
    "speech": {"torchaudio", "soundfile"},
    "graph": {"torch_geometric", "rdkit"},
}
TABLES = {"openpyxl", "pandas", "pyarrow"}
OPTIONAL = set.union(*MODALITIES.values(), TABLES, {"lightning"})
CORE = [
    "multiseq.heads.decoder",
    "multiseq.heads.per_set",
    "multiseq.heads.per_vector",
    "multiseq.heads.targets",
    "multiseq.model",
    "multiseq.nn.attention",
    "multiseq.nn.encoder",
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
    ["multiseq", "multiseq.adapters", "multiseq.requires", "multiseq.data.readers", "multiseq.runs.items"],
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


def test_a_molecule_is_predicted_without_what_takes_seconds_to_import(tmp_path: Path) -> None:
    code = f"""
import multiseq, torch
from multiseq import ClassTarget, Encoder, GraphAdapter, Model, SetHead, Task
torch.manual_seed(0)
adapter, task = GraphAdapter.fit(["CO", "CC"], dim=8), Task("graph", SetHead(8, ClassTarget(["no", "yes"])))
multiseq.save(Model({{"graph": adapter}}, Encoder(8, 1, 2), {{"t": task}}), {str(tmp_path / "model")!r})
multiseq.load({str(tmp_path / "model")!r}).predict("t", ["CCO"])
assert "torch._dynamo" not in __import__("sys").modules
"""
    assert not loaded_by(code) & {"torch_geometric", "transformers", "sympy", "pandas", "lightning"}


UNIX = ("fcntl", "grp", "pwd", "resource", "termios", "tty")
"""Modules that Python has not got on Windows."""


def test_every_module_imports_without_what_only_unix_has() -> None:
    """Libraries first: they know the system they are on, and it is ours that is asked."""
    names = sorted(set(OURS) - {"multiseq.__main__"})
    code = f"""
import importlib, sys
import lightning, rdkit, sklearn, soundfile, tokenizers, torch_geometric, torchaudio
for name in {UNIX}:
    sys.modules[name] = None
for name in {names}:
    importlib.import_module(name)
from multiseq.system.machine import describe_machine
from multiseq.system.memory import peak_memory
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


# --- imports point one way ------------------------------------------------------------------------

LAYERS = (
    "cli __main__",
    "commands",
    "init",
    "runs",
    "training",
    "checkpoint",
    "ensemble streaming",
    "model",
    "batch tasks starts",
    "adapters",
    "heads",
    "pretrained",
    "nn",
    "plots",
    "data",
    "protocols tokenizer",
    "vectors pairs",
    "results labels checks options",
    "system",
    "requires",
    "_version _lazy",
)
"""Files and folders of the library: what stands above may import what stands below, or beside it."""
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names.split()}


def modules(root: Path, package: str) -> dict[str, tuple[bool, str]]:
    """Full name -> (whether it is an ``__init__``, its code) of every module of a package."""
    found = {}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            if name.endswith(".py"):
                path = Path(folder, name)
                parts = [package, *path.relative_to(root).with_suffix("").parts]
                is_init = parts[-1] == "__init__"
                full = ".".join(parts[:-1] if is_init else parts)
                found[full] = is_init, path.read_text(encoding="utf-8")
    return found


def imports(modules: dict[str, tuple[bool, str]]) -> dict[str, set[str]]:
    """Module -> those of the others that it imports, within functions and for types too."""
    found: dict[str, set[str]] = {}
    for module, (_, code) in modules.items():
        names = set()
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= {name if name in modules else node.module for name in inner}
        found[module] = (names & set(modules)) - {module}
    return found


OURS = modules(Path(multiseq.__file__).parent, "multiseq")
IMPORTS = imports(OURS)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A circle of imports, empty where there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_imports_run_in_a_circle() -> None:
    assert len(IMPORTS) > 80
    assert not circle(IMPORTS)


def test_imports_run_downward() -> None:
    def level(module: str) -> int:
        return LEVEL[module.split(".")[1]]

    graph = {module: names for module, names in IMPORTS.items() if module != "multiseq"}
    upward = {
        (module, name) for module, names in graph.items() for name in names if level(name) < level(module)
    }
    assert not upward


def test_every_file_and_folder_has_a_layer() -> None:
    assert {module.split(".")[1] for module in OURS if module != "multiseq"} == set(LEVEL)


def test_no_folder_has_many_files() -> None:
    folders = ("multiseq", "adapters", "tests", "benchmarks", "tools", "examples")
    files = [file.parent for folder in folders for file in (ROOT / folder).rglob("*.py")]
    assert max(map(files.count, set(files))) <= 20


def test_a_circle_is_found() -> None:
    code = {
        "p.a": (False, "def f():\n    from p import b"),
        "p.b": (False, "if TYPE_CHECKING:\n    import p.c"),
        "p.c": (False, "from p.a import f"),
    }
    assert imports(code) == {"p.a": {"p.b"}, "p.b": {"p.c"}, "p.c": {"p.a"}}
    assert set(circle(imports(code))) == set(code)
