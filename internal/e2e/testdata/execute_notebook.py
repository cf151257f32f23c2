"""Executes a notebook with other parameters, and prints what its cells put out.

Usage: execute_notebook.py NOTEBOOK FOLDER PARAMETERS

The notebook runs in FOLDER; the cell tagged "parameters" is replaced by
PARAMETERS. The output is JSON: for each code cell its text, and the kinds of data
that it displays.
"""

import json
import sys

import nbformat
from nbclient import NotebookClient

path, folder, parameters = sys.argv[1:]
notebook = nbformat.read(path, as_version=4)
nbformat.validate(notebook)
replaced = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
assert len(replaced) == 1, "the notebook has no cell for parameters, or several"
replaced[0].source = parameters

client = NotebookClient(notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": folder}})
try:
    client.execute()
finally:
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            outputs = cell.get("outputs", [])
            cells.append({
                "text": "".join(o.get("text", "") for o in outputs),
                "data": sorted(kind for o in outputs for kind in o.get("data", {})),
            })
    print(json.dumps(cells))
