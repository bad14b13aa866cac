"""Run the notebooks and keep their outputs, as they are committed: no times, nothing of this machine.

multiseq train starter --out runs/starter && python tools/run_notebooks.py
python tools/run_notebooks.py notebooks/08_molecules.ipynb

Without files, all are run. Those about graphs want the data sets in the folder MULTISEQ_DATA.
"""

import sys
from pathlib import Path

import nbclient
import nbformat

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    chosen = [Path(name) for name in sys.argv[1:]] or sorted((ROOT / "notebooks").glob("*.ipynb"))
    for file in chosen:
        notebook = nbformat.read(file, 4)
        metadata = dict(notebook.metadata)
        resources = {"metadata": {"path": file.parent}}
        options = {"timeout": 3600, "record_timing": False, "coalesce_streams": True}
        nbclient.NotebookClient(notebook, resources=resources, **options).execute()
        notebook.metadata = metadata
        nbformat.write(notebook, file)
