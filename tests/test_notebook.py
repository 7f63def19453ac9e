"""The notebook of the guides runs from top to bottom in a kernel of its own, and is committed without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

GUIDES = Path(__file__).resolve().parent.parent / "docs" / "guides"
PICTURES = 4  # cells that show some
PATIENCE = 240  # seconds for one cell: the tests may share the machine


def notebook():
    return nbformat.read(GUIDES / "notebook.ipynb", as_version=4)


def test_the_notebook_is_committed_without_outputs():
    nbformat.validate(notebook())
    cells = [cell for cell in notebook().cells if cell.cell_type == "code"]
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]


@pytest.mark.timeout(600)
def test_the_notebook_runs(tmp_path, monkeypatch):
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "TMPDIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "TMPDIR").mkdir()
    opened = notebook()
    NotebookClient(
        opened, timeout=PATIENCE, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    outputs = [output for cell in opened.cells for output in cell.get("outputs", ())]
    assert len([output for output in outputs if "image/png" in output.get("data", {})]) == PICTURES
    assert not [output for output in outputs if "WeightzooWarning" in output.get("text", "")]
