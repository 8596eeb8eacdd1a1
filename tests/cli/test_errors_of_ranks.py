"""Errors of the command line in one of several ranks, before these have met."""

from __future__ import annotations

import signal
import sys

import pytest

from aneperf.cli import main as main_module
from aneperf.signals import Interrupted


@pytest.mark.parametrize("variable", ["OMPI_COMM_WORLD_RANK", "PMI_RANK"])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_a_rank_that_the_launcher_leaves_tells_its_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, rank: str
) -> None:
    monkeypatch.setattr(main_module, "_RANK_0_S", 0.0)
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, rank)
    for option in ("--stepz", "--config=/nonexistent.toml"):
        monkeypatch.setattr(sys, "argv", ["aneperf", "train", option])
        assert main_module._run() == 2
        assert capsys.readouterr().err.startswith("aneperf: ")


def test_a_rank_that_the_launcher_ends_meanwhile_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(seconds: float) -> None:
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "1")
    monkeypatch.setattr(main_module.time, "sleep", end)
    monkeypatch.setattr(sys, "argv", ["aneperf", "train", "--stepz"])
    assert main_module._run() == 2
    assert capsys.readouterr().err == ""
