"""No command runs a file of the current folder, however it is called and wherever it starts a child."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.parameters import thorough

MODULES = ["ast", "enum", "json", "msgspec", "numpy", "queue", "random", "re", "socket", "struct", "tempfile"]
SHAPE = "--dim 32 --hidden 64 --heads 2 --layers 1 --seq 16 --vocab 64"
COMPAT, LIMITS, SUITE = "compat --budget 0.2", "limits --budget 0.2", "suite --only compat --budget 1"
TRAIN = f"train {SHAPE} --steps 1 --device emulator"


def hostile(file: Path, name: str) -> None:
    file.write_text(f"open('run-{name}', 'w')\nraise ImportError('{name}, found here')\n")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder whose modules leave a mark and fail, and make it the current one."""
    folder = tmp_path / "hostile"
    folder.mkdir()
    for name in MODULES:
        hostile(folder / f"{name}.py", name)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry))
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    monkeypatch.chdir(folder)
    return folder


def check(command: list[str], folder: Path) -> None:
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    assert [path.name for path in folder.glob("run-*")] == []
    assert "found here" not in run.stdout + run.stderr
    assert "Traceback" not in run.stderr
    assert "emulator" in run.stdout


@pytest.mark.parametrize("verb", [COMPAT, *thorough(TRAIN)])
def test_python_m_runs_no_file_of_the_current_folder(folder: Path, verb: str) -> None:
    check(["-m", "aneperf", *verb.split()], folder)


@pytest.mark.parametrize("verb", [*thorough(LIMITS, SUITE), TRAIN])
def test_the_script_runs_no_package_of_the_current_folder(folder: Path, tmp_path: Path, verb: str) -> None:
    script = tmp_path / "command.py"
    script.write_text("from aneperf.cli.main import main\nmain()\n")
    (folder / "aneperf").mkdir()
    hostile(folder / "aneperf" / "__init__.py", "aneperf")
    check([str(script), *verb.split()], folder)
