"""Pages of the documentation that are made while the site is built; mkdocs.yml names this file as a hook.

- the front page is README.md;
- each notebook is a page, with the outputs that it was committed with;
- the API has one page for each folder of the library, with all that its files list in ``__all__``.

A link to a file outside docs/ leads to the repository.
"""

import ast
import base64
import json
import posixpath
import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))

from write_layout import ROOT, packages, sentence

NOTEBOOKS = {
    "first-steps.md": "notebooks/01_first_steps.ipynb",
    "words.md": "notebooks/02_words.ipynb",
    "texts.md": "notebooks/03_texts.ipynb",
    "translation.md": "notebooks/04_translation.ipynb",
    "phonemes.md": "notebooks/05_phonemes.ipynb",
    "speakers.md": "notebooks/06_speakers.ipynb",
    "recognition.md": "notebooks/07_recognition.ipynb",
    "molecules.md": "notebooks/08_molecules.ipynb",
    "networks.md": "notebooks/09_networks.ipynb",
    "facts.md": "notebooks/10_facts.ipynb",
}
MADE = {"index.md": "README.md", **NOTEBOOKS}
"""Pages of the site and the files of the repository that they are made of."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the decisions and the pages of the API into the navigation."""
    decisions = sorted(path.relative_to(ROOT / "docs") for path in (ROOT / "docs/decisions").glob("*.md"))
    lists = {"decisions": [path.as_posix() for path in decisions], "api": list(api_pages())}
    config.nav = _filled(config.nav, lists)
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    notebooks = {name: json.loads((ROOT / file).read_text("utf-8")) for name, file in NOTEBOOKS.items()}
    pages = {name: notebook_page(notebook) for name, notebook in notebooks.items()}
    made = {"index.md": readme, **pages, **api_pages()}
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that leave docs/ into links to the repository."""
    source = MADE.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    if source == "README.md":
        markdown = re.sub(r'(src|srcset)="docs/', r'\1="', markdown)

    def link(match: re.Match[str]) -> str:
        target, hash_, anchor = match[1].partition("#")
        if "://" in target or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        here = path.removeprefix("docs/")
        for name, made_of in MADE.items():
            here = name if path == made_of else here
        if files.get_file_from_path(here):
            return f"]({posixpath.relpath(here, posixpath.dirname(page.file.src_uri) or '.')}{hash_}{anchor})"
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"]({config.repo_url}/{kind}/main/{path}{hash_}{anchor})"

    return re.sub(r"\]\(([^)\s]+)\)", link, markdown)


def _filled(nav: Any, lists: dict[str, list[str]]) -> Any:
    """The navigation with lists of pages where it has their names."""
    if isinstance(nav, list):
        return [_filled(entry, lists) for entry in nav]
    if isinstance(nav, dict):
        return {title: _filled(entry, lists) for title, entry in nav.items()}
    return lists.get(nav, nav)


def api_pages() -> dict[str, str]:
    """File name and Markdown of each page: what the files of a folder list in ``__all__``."""
    pages, homes = {}, {}
    for folder, files in packages():
        if folder.name.startswith("_"):
            continue
        name = folder.relative_to(ROOT).as_posix().replace("/", ".")
        name = name if name.startswith("multiseq") else f"multiseq.{name}"  # the adapters
        text = f"# {name}\n\n{sentence(folder / '__init__.py')}\n"
        for file in files:
            public = [] if file.name.startswith("_") else public_names(file)
            homes |= {member: f"{name}.{file.stem}.{member}" for member in public}
            if public:
                text += f"\n::: {name}.{file.stem}\n    options:\n      members: [{', '.join(public)}]\n"
        pages[f"api/{name}.md"] = text
    root = all_of(ROOT / "multiseq" / "__init__.py")
    names = "".join(f"- [`{member}`][{homes[member]}]\n" for member in root)
    front = f"# Public names\n\n`from multiseq import …`:\n\n{names}\nAll other names, by folder:\n\n"
    front += "".join(f"- [{name[4:-3]}]({name[4:]})\n" for name in pages)
    return {"api/index.md": front, **pages}


def public_names(file: Path) -> list[str]:
    """The names in a file's ``__all__`` that the file itself defines, in their order."""
    defined = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        defined.update(target.id for target in targets if isinstance(target, ast.Name))
    return [name for name in all_of(file) if name in defined]


def all_of(file: Path) -> list[str]:
    """The ``__all__`` of a file; nothing where it has none."""
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    return []


def notebook_page(notebook: dict[str, Any]) -> str:
    """A notebook with its outputs as one page: texts and pictures, not sounds."""
    text = ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            text += f"{source}\n\n"
            continue
        text += f"```python\n{source}\n```\n\n"
        for output in cell["outputs"]:
            data = output.get("data", {})
            if output["output_type"] == "stream":
                text += f"```text\n{''.join(output['text'])}```\n\n"
            elif "image/png" in data:
                picture = base64.b64encode(base64.b64decode(data["image/png"])).decode()
                text += f'<img alt="" src="data:image/png;base64,{picture}">\n\n'
    return text
