"""Run the notebooks and keep their outputs, as they are committed: no times, nothing of this machine.

multiseq train starter --out runs/starter && python tools/run_notebooks.py
"""

from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    for file in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(file, 4)
        metadata = dict(notebook.metadata)
        resources = {"metadata": {"path": file.parent}}
        options = {"timeout": 1800, "record_timing": False, "coalesce_streams": True}
        nbclient.NotebookClient(notebook, resources=resources, **options).execute()
        notebook.metadata = metadata
        nbformat.write(notebook, file)
