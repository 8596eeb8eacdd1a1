"""Execute the notebooks of docs/notebooks in a new folder, and compare their outputs with the committed ones.

A cell with the tag "varies" shows times, or what depends on the machine: only the kinds of its outputs are
compared. The text of every other cell must be the same. Pictures are not compared: versions of matplotlib
draw them differently. With --write the notebooks get the new outputs instead.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
TIMEOUT_S = 120  # of a cell
VARIES = "varies"
COLORS = re.compile(r"\x1b\[[0-9;]*m")  # in the text of an error
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def execute(notebook: Any) -> None:
    """Run all cells, and keep their outputs without times, versions and progress bars."""
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
            coalesce_streams=True,
            extra_arguments=["--log-level=ERROR"],
        ).execute()
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if not is_empty(output)]
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.data["image/png"] = shrunk(output.data["image/png"])


def is_empty(output: Any) -> bool:
    """Tell whether an output is what a progress bar leaves at its end."""
    return output.output_type == "display_data" and not any(output.data.values())


def shrunk(picture: str) -> str:
    """Return a PNG in base64 with a palette, which takes about a third of the bytes."""
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        stream = io.BytesIO()
        colors = image.convert("RGB").quantize(255, Image.Quantize.MAXCOVERAGE)
        colors.save(stream, format="png", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()


def texts(cell: Any) -> list[str]:
    """Return the text of a cell's outputs; of one that varies the kinds of outputs."""
    # Standard error has warnings of the moment, such as that matplotlib reads its fonts for the first time.
    told = [output for output in cell.outputs if output.get("name") != "stderr"]
    if VARIES in cell.metadata.get("tags", ()):
        return sorted({kind for output in told for kind in output.get("data", {"text/plain": ""})})
    return [output.get("text") or output.data["text/plain"] for output in told]


def differences(committed: Any, executed: Any) -> list[str]:
    """Say which cells have other outputs than the committed ones."""
    found = []
    for old, new in zip(committed.cells, executed.cells, strict=True):
        if old.cell_type == "code" and texts(old) != texts(new):
            found.append(f"cell {old.id}:\n  committed {texts(old)}\n  now       {texts(new)}")
    return found


def main() -> int:
    """Return 1 if a cell failed, or has other outputs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write the new outputs into the notebooks")
    parser.add_argument("notebooks", nargs="*", type=Path, metavar="FILE", help="by default all")
    arguments = parser.parse_args()
    os.environ["ANEPERF_DEVICE"] = "emulator"  # also on a Mac: the committed outputs are the emulator's
    failed = False
    for path in arguments.notebooks or sorted(FOLDER.glob("*.ipynb")):
        committed, executed = (nbformat.read(path, as_version=4) for _ in range(2))
        start = time.monotonic()
        try:
            execute(executed)
            wrong = [] if arguments.write else differences(committed, executed)
        except CellExecutionError as error:
            wrong = [COLORS.sub("", str(error))]
        if arguments.write and not wrong:
            nbformat.write(executed, path)
        print(f"{path.name}: {time.monotonic() - start:.0f} s", *wrong, sep="\n", flush=True)
        failed = failed or bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
