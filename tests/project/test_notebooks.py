"""Notebooks: a run gives the cells that were committed, but for what depends on the training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 600


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown(cell: Any) -> list[str]:
    """The outputs of a cell: its texts with # for every number, and what else there is by its kind.

    Cells with the tag `answers` show what the model predicts, which depends on its training: the texts of
    those are left out.
    """
    outputs = []
    for output in cell.outputs:
        data = output.get("data", {})
        if "image/png" in data:
            outputs.append("picture")
        elif output.output_type == "stream":
            text = re.sub(r"-?\d[\d,]*(\.\d+)?(e-?\d+)?", "#", output.text)
            answers = "answers" in cell.metadata.get("tags", [])
            outputs.append(output.name if answers else f"{output.name}: {text}")
        else:
            outputs.append(", ".join(sorted(data)) or output.output_type)
    return outputs


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def committed(request: pytest.FixtureRequest) -> Path:
    return Path(request.param)


def test_a_run_gives_the_cells_that_were_committed(committed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MULTISEQ_QUICK", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own backend shows pictures in the cells
    before, now = nbformat.read(committed, 4), nbformat.read(committed, 4)
    resources = {"metadata": {"path": committed.parent}}
    nbclient.NotebookClient(now, timeout=SECONDS, resources=resources, coalesce_streams=True).execute()
    for old, new in zip(code(before), code(now), strict=True):
        assert shown(new) == shown(old), old.id


def test_it_was_committed_after_one_whole_run(committed: Path) -> None:
    cells = code(nbformat.read(committed, 4))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert sum(shown(cell).count("picture") for cell in cells) >= 3


def test_its_outputs_are_of_no_machine(committed: Path) -> None:
    texts = [
        output.get("text", "") + output.get("data", {}).get("text/plain", "")
        for cell in code(nbformat.read(committed, 4))
        for output in cell.outputs
    ]
    assert not [
        text for text in texts if re.search(r"(^|[\s'\"(])(/\w+/|[A-Z]:\\)|Warning|0x[0-9a-f]{6}", text)
    ]
    assert all(
        output.get("name") != "stderr"
        for cell in code(nbformat.read(committed, 4))
        for output in cell.outputs
    )


def test_it_is_small(committed: Path) -> None:
    assert committed.stat().st_size < 500_000
