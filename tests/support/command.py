"""Run the `aneperf` command in this process."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aneperf.cli import main as cli


@dataclass
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["aneperf", *arguments])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        code = exit.value.code or 0
        assert isinstance(code, int)
        return Outcome(code, *capsys.readouterr())

    return run


def assert_refused(outcome: Outcome, message: str) -> None:
    """Check for exit code 2 and one line of error, and nothing else."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("aneperf: ")
    assert message in outcome.err
    assert outcome.err.count("\n") == 1


def small_file(tmp_path: Path, content: bytes) -> str:
    """Write a file and return its path."""
    (tmp_path / "file").write_bytes(content)
    return str(tmp_path / "file")
