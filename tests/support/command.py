"""Run the `aneperf` command in this process."""

import sys
from dataclasses import dataclass
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
