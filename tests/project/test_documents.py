"""What the documents show is run: Python on the pages, commands of the README, examples, links."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from importlib.util import module_from_spec, spec_from_file_location
from io import StringIO
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any
from urllib.parse import unquote

import pytest
import typer

from multiseq.runs import build, recipe, recipe_check

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/**/*.md", "notebooks/*.ipynb")
    for page in sorted(ROOT.glob(pattern))
]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SECONDS = 240
"""Of one page or one example, when the machine is busy with other things."""

FENCE = re.compile(
    r"^(?P<indent>[ ]*)(?P<ticks>`{3,})(?P<language>\w*)[^\n]*\n(?P<code>.*?)^[ ]*(?P=ticks)[ ]*$",
    re.MULTILINE | re.DOTALL,
)


def text_of(page: Path) -> str:
    """The Markdown of a page; of a notebook, that between its code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix != ".ipynb":
        return text
    cells = [c for c in json.loads(text)["cells"] if c["cell_type"] == "markdown"]
    return "\n\n".join("".join(cell["source"]) for cell in cells)


def blocks(page: Path, *languages: str) -> Iterator[tuple[int, str]]:
    """(line of its first line, code) of every fenced block in one of these languages."""
    text = text_of(page)
    for found in FENCE.finditer(text):
        if found["language"] in languages:
            yield text.count("\n", 0, found.start("code")) + 1, dedent(found["code"])


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def environment() -> dict[str, str]:
    """One thread, no window, few steps; and the multiseq that is tested, wherever it is started."""
    path = os.pathsep.join(p for p in sys.path if p)
    quick = {"MULTISEQ_QUICK": "1", "MPLBACKEND": "agg", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **quick, "PYTHONPATH": path}


def run(file: Path, folder: Path) -> None:
    """Run a file with ``folder`` as working directory; fail with the end of what it wrote."""
    done = subprocess.run(
        [sys.executable, str(file)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{file.name}\n{done.stdout[-1000:]}\n{done.stderr[-3000:]}"


# --- Python on the pages --------------------------------------------------------------------------


def as_script(page: Path) -> str:
    """All Python of a page, each block on the lines that it has there, so that errors point at them."""
    lines: list[str] = []
    for first, code in blocks(page, "python"):
        lines += [""] * (first - 1 - len(lines))
        lines += code.splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", [p for p in PAGES if any(blocks(p, "python"))], ids=name_of)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    # In a process of its own, as a reader would run it: without the shape checks of the tests.
    script = tmp_path / f"{page.stem}.md.py"
    script.write_text(as_script(page), encoding="utf-8")
    folder = tmp_path / "work"
    folder.mkdir()
    run(script, folder)


def test_blocks_keep_their_lines(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\n```python\na = 1\n```\n\n```sh\nls\n```\n- c\n  ```python\n  b = a\n  ```\n")
    assert list(blocks(page, "python")) == [(4, "a = 1\n"), (12, "b = a\n")]
    assert as_script(page).splitlines()[11] == "b = a"


# --- commands -------------------------------------------------------------------------------------


def commands(page: Path) -> Iterator[tuple[int, str]]:
    """(line, command) of what a page tells people to type into a shell; output lines are left out."""
    for language in ("console", "sh", "bash"):
        for first, code in blocks(page, language):
            lines = list(enumerate(code.splitlines(), first))
            while lines:
                number, line = lines.pop(0)
                while line.endswith("\\") and lines:
                    line = line[:-1] + lines.pop(0)[1]
                if language != "console":
                    yield number, line
                elif line.startswith("$ "):
                    yield number, line[2:]


def of_multiseq(command: str) -> Iterator[list[str]]:
    """The arguments of every call of `multiseq` in a shell line."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    call: list[str] | None = None
    redirected = False
    for token in [*lexer, ";"]:
        if set(token) <= set("();|&"):
            if call is not None:
                yield call
            call, redirected = None, False
        elif set(token) <= set("<>"):
            redirected = True
        elif redirected:
            redirected = False
        elif call is not None:
            call.append(token)
        elif token == "multiseq":
            call = []


def parse(arguments: list[str]) -> None:
    """Read a command line as `multiseq` would, without running it. Raises typer's usage errors."""
    from typer.main import get_command

    from multiseq.cli import app

    # Of whatever typer brings for click: a library of its own up to 0.2x, a part of typer after that.
    group: Any = get_command(app)
    with suppress(typer.Exit), redirect_stdout(StringIO()):  # what --help does
        context = group.make_context("multiseq", list(arguments))
        name, command, rest = group.resolve_command(context, list(arguments))
        command.make_context(name, rest, parent=context)


COMMANDS = [
    pytest.param(arguments, id=f"{name_of(page)}:{line}")
    for page in PAGES
    for line, command in commands(page)
    for arguments in of_multiseq(command)
]


@pytest.mark.parametrize("arguments", COMMANDS)
def test_commands_of_the_pages_exist(arguments: list[str]) -> None:
    parse(arguments)


def test_shell_lines_are_taken_apart() -> None:
    line = "cd x && multiseq predict runs/a 'I saw a saw' --json | head; multiseq recipe b > c.toml # d"
    assert list(of_multiseq(line)) == [["predict", "runs/a", "I saw a saw", "--json"], ["recipe", "b"]]


@pytest.mark.parametrize("wrong", [["tarin"], ["train", "--nosuch"], ["predict"]])
def test_a_wrong_command_is_found(wrong: list[str]) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(wrong)


@pytest.mark.parametrize("right", [["--help"], ["train", "--help"], ["train", "a.toml", "--set", "b=1"]])
def test_a_right_command_is_accepted(right: list[str]) -> None:
    parse(right)


# --- recipes --------------------------------------------------------------------------------------


RECIPES = [
    pytest.param(code, id=f"{name_of(page)}:{line}") for page in PAGES for line, code in blocks(page, "toml")
]


@pytest.mark.parametrize("code", RECIPES)
def test_recipes_of_the_pages_are_right(code: str, tmp_path: Path) -> None:
    tables = tomllib.loads(code)
    assert set(tables) <= set(recipe_check.SECTIONS)
    if "data" in tables and "tasks" in tables:  # else it is a part of one
        file = tmp_path / "page.toml"
        file.write_text(code, encoding="utf-8")
        build.check_options(recipe.read(file))


# --- examples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_runs(example: Path, tmp_path: Path) -> None:
    run(example, tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_an_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) <= 80


def test_there_are_examples_of_all_modalities() -> None:
    assert {"text.py", "speech.py", "graph.py"} <= {example.name for example in EXAMPLES}


# --- links and the file tree ----------------------------------------------------------------------


def links(page: Path) -> set[str]:
    """Targets of Markdown links and pictures that are files of the project, anchors removed."""
    prose = FENCE.sub("", text_of(page))
    found = re.findall(r"\]\(<?([^)\s>]+)", prose) + re.findall(r"^\[[^\]]+\]:\s*(\S+)", prose, re.M)
    found += re.findall(r"<(?:img|a)\s[^>]*?(?:src|href)=[\"']([^\"']+)", prose)
    paths = {unquote(target.partition("#")[0]) for target in found if "://" not in target}
    return {path for path in paths if path and not path.startswith("mailto:")}


@pytest.mark.parametrize("page", [p for p in PAGES if links(p)], ids=name_of)
def test_links_lead_to_files(page: Path) -> None:
    missing = {target for target in links(page) if not (page.parent / target).exists()}
    assert not missing


def test_links_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("[a](b.md#c) ![d](e/f.png) [g](https://h.i/j) [k](#l)\n```md\n[m](n)\n```\n[o]: p.md\n")
    assert links(page) == {"b.md", "e/f.png", "p.md"}


def top_level_folders() -> set[str]:
    """The folders that git knows, hidden ones aside."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    folders = {name.split("/")[0] for name in listed.stdout.split("\0") if "/" in name}
    return {name for name in folders if not name.startswith(".")}


def tool(name: str) -> ModuleType:
    """A script of tools/, imported."""
    spec = spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_of_the_layout_says_what_the_folders_hold() -> None:
    layout = tool("write_layout")
    assert layout.PAGE.read_text(encoding="utf-8") == layout.page(), "run python tools/write_layout.py"
    assert top_level_folders() == set(layout.FOLDERS), "FOLDERS of tools/write_layout.py"


def test_the_page_of_the_options_says_what_the_code_takes() -> None:
    options = tool("write_options")
    assert options.PAGE.read_text(encoding="utf-8") == options.page(), "run python tools/write_options.py"


def test_the_page_of_the_layout_has_every_file_once() -> None:
    layout = tool("write_layout")
    rows = re.findall(r"^\| `([^`]+\.py)` \|", layout.page(), re.M)
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [Path(name) for name in listed.stdout.splitlines() if (ROOT / name).is_file()]
    own = [file.name for file in files if file.parts[0] in layout.LIBRARY and file.name != "__init__.py"]
    assert sorted(rows) == sorted(own)


def test_the_picture_of_the_front_page_is_drawn_alike_each_time(tmp_path: Path) -> None:
    picture = tool("draw_overview")
    (tmp_path / "again").mkdir()
    picture.main(tmp_path)
    picture.main(tmp_path / "again")
    names = {file.name for file in (tmp_path / "again").iterdir()}
    assert names == {file.name for file in picture.FOLDER.iterdir() if file.name.startswith("overview")}
    for name in names:
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 200


# --- the glossary ---------------------------------------------------------------------------------


def test_the_names_in_the_glossary_are_in_the_library() -> None:
    # A name that was changed in the library and not there would be a lie.
    rows = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8").splitlines()
    names = {
        name
        for row in rows
        if row.startswith("| ")
        for code in re.findall(r"`([^`]+)`", row.split(" | ")[-1])
        for name in re.findall(r"[A-Za-z_]\w*", code)
        if not name.isupper()  # FILE, DIR
    }
    files = [file for folder in ("multiseq", "adapters") for file in (ROOT / folder).rglob("*.*")]
    library = "\n".join(file.read_text(encoding="utf-8") for file in files if file.suffix in (".py", ".toml"))
    assert len(names) > 80
    assert names - {"multiseq"} <= set(re.findall(r"\w+", library))


# --- the citation ---------------------------------------------------------------------------------


def test_the_citation_says_what_the_package_says() -> None:
    from multiseq import __version__

    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for key in ("cff-version: 1.2.0", "message:", "title:", "authors:"):
        assert re.search(f"^{key}", citation, re.M)
    assert f"\nversion: {__version__}\n" in citation
    assert f"\nlicense: {project['license']}\n" in citation
    assert f"\nrepository-code: {project['urls']['Homepage']}\n" in citation
    assert all(f"- name: {author['name']}\n" in citation for author in project["authors"])


# --- the site -------------------------------------------------------------------------------------


def test_examples_in_docstrings_become_blocks_of_code() -> None:
    pytest.importorskip("griffe", reason="the extra docs is not installed")
    changed = tool("docstrings").changed
    assert changed("One.\n\n>>> f(1)\n[2]\n\nTwo :meth:`g`.") == (
        "One.\n\n```pycon\n>>> f(1)\n[2]\n```\n\nTwo `g`."
    )
    assert changed("One.\n\nExample:\n    >>> f(1)\n    2") == "One.\n\nExamples:\n    >>> f(1)\n    2"
