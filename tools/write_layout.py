"""Write docs/layout.md: the folders of the project, and what each Python file of the library does.

python tools/write_layout.py

The sentences are the first of each file's docstring, so the page cannot say anything else than the files.
A test compares the page with the folders: run this script after a file was added, moved or renamed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "layout.md"
LIBRARY = ("multiseq", "adapters")
"""Folders whose files are listed, and those below them."""

FOLDERS = {
    "multiseq": "the library",
    "adapters": "imported as `multiseq.adapters` ([why](decisions/0002-adapters-at-top-level.md))",
    "docs": "the pages of the documentation, the decisions and the log",
    "examples": "one script each for text, speech and graphs, of three tasks, in under 80 lines",
    "notebooks": "first steps; words, texts and translation; phonemes, speakers and recognition; molecules, "
    "networks and facts",
    "tests": "the tests, in folders like the library's; `tests/reference/`: slow versions of fast code",
    "benchmarks": "`python -m benchmarks`: time and memory beside other encoders",
    "tools": "scripts that make files of the project: the starter data, the first picture, pages",
}
"""What the top-level folders are for."""

HEAD = """\
# Which file does what

`python tools/write_layout.py` writes this page: it takes the first sentence of each file's docstring. A file
whose name begins with `_` is for the files beside it only.

"""


def sentence(file: Path) -> str:
    """The first paragraph of a file's docstring, as Markdown in one line."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not docstring:
        raise SystemExit(f"{file.relative_to(ROOT)}: no docstring, expected one that begins with a sentence")
    line = " ".join(docstring.split("\n\n")[0].split())
    return re.sub(r":\w+:(?=`)", "", line.replace("``", "`")).replace("|", "\\|")


def packages() -> Iterator[tuple[Path, list[Path]]]:
    """Every folder of the library with its Python files: those for users first. Links are not followed."""
    for name in LIBRARY:
        for folder in sorted([ROOT / name, *(p for p in (ROOT / name).rglob("*") if p.is_dir())]):
            files = sorted(folder.glob("*.py"), key=lambda file: (file.name.startswith("_"), file.name))
            if files and not folder.is_symlink():
                yield folder, [file for file in files if file.name != "__init__.py"]


def page() -> str:
    """The whole page."""
    text = HEAD + "| folder | what is in it |\n|---|---|\n"
    text += "".join(f"| `{name}/` | {what} |\n" for name, what in FOLDERS.items())
    for folder, files in packages():
        text += f"\n## {folder.relative_to(ROOT).as_posix()}/\n\n{sentence(folder / '__init__.py')}\n\n"
        text += "| file | what it does |\n|---|---|\n"
        below = [inner for inner, _ in packages() if inner.parent == folder]
        text += "".join(f"| `{inner.name}/` | {sentence(inner / '__init__.py')} |\n" for inner in below)
        text += "".join(f"| `{file.name}` | {sentence(file)} |\n" for file in files)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
