"""The notebooks of the documentation, as they are saved. `.ci/notebooks.py` executes them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
MOST_BYTES = 300_000
PLACES = re.compile(r"(?<![\w./:])(?:/(?:home|Users|tmp|root|work|private|var|opt)/|[A-Z]:\\)")
TIMES = re.compile(r"\d (?:ms|s|us|ns)\b|/s\b")


def cells(path: Path) -> list[dict[str, Any]]:
    """Return the cells of code."""
    found = json.loads(path.read_text())["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def texts(cell: dict[str, Any]) -> list[str]:
    """Return all that a cell put out as text."""
    outputs = cell["outputs"]
    parts = [output["text"] for output in outputs if "text" in output]
    parts += [text for output in outputs for kind, text in output.get("data", {}).items() if "text/" in kind]
    return ["".join(part) for part in parts]


def faults(path: Path) -> list[str]:
    """Say what is wrong with a notebook, a line for each fault."""
    code = cells(path)
    found = [] if path.stat().st_size < MOST_BYTES else [f"more than {MOST_BYTES} bytes"]
    if [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1)):
        found.append("cells were not run once each, from the first to the last")
    for cell in code:
        where = f"cell {cell['id']}"
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            found.append(f"{where}: an error")
        if any(output.get("name") == "stderr" for output in cell["outputs"]):
            found.append(f"{where}: standard error")
        text = "\n".join(texts(cell))
        if PLACES.search(text):
            found.append(f"{where}: a path of a machine")
        if TIMES.search(text) and "varies" not in cell["metadata"].get("tags", []):
            found.append(f'{where}: a time, without the tag "varies"')
    return found


def test_there_are_notebooks() -> None:
    assert {path.stem for path in NOTEBOOKS} >= {"numbers", "training", "tutorial"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_small_whole_and_of_no_machine(path: Path) -> None:
    assert faults(path) == []
    assert any(cell["outputs"] for cell in cells(path))


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"execution_count": 7}, "cells were not run once each"),
        ({"outputs": [{"output_type": "error", "ename": "E"}]}, "an error"),
        ({"outputs": [{"output_type": "stream", "name": "stderr", "text": ["w"]}]}, "standard error"),
        ({"outputs": [{"output_type": "stream", "name": "stdout", "text": ["in /home/me"]}]}, "a path"),
        ({"outputs": [{"output_type": "stream", "name": "stdout", "text": ["3.1 ms"]}]}, "a time"),
        ({"source": ["#" * MOST_BYTES]}, "more than"),
    ],
)
def test_a_fault_is_found(tmp_path: Path, change: dict[str, Any], fault: str) -> None:
    notebook = json.loads(NOTEBOOKS[0].read_text())
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "code")
    first.update({**change, "metadata": {}})
    changed = tmp_path / "changed.ipynb"
    changed.write_text(json.dumps(notebook))
    assert fault in "\n".join(faults(changed))
