"""Errors of the command line in one of several ranks, before these have met."""

from __future__ import annotations

import signal
import sys

import pytest

from aneperf.cli import main as main_module
from aneperf.signals import Interrupted


@pytest.mark.parametrize(
    ("variables", "unknown", "missing"),
    [
        ({"OMPI_COMM_WORLD_RANK": "0"}, True, True),
        ({"OMPI_COMM_WORLD_RANK": "1"}, True, True),  # still there after rank 0's time
        ({"PMI_RANK": "0"}, True, True),
        ({"PMI_RANK": "1"}, False, True),  # the launcher leaves it, and a file may be missing on its machine
    ],
)
def test_an_error_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    unknown: bool,
    missing: bool,
) -> None:
    monkeypatch.setattr(main_module, "_RANK_0_S", 0.0)
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, rank in variables.items():
        monkeypatch.setenv(name, rank)
    for option, is_told in (("--stepz", unknown), ("--config=/nonexistent.toml", missing)):
        monkeypatch.setattr(sys, "argv", ["aneperf", "train", option])
        assert main_module._run() == 2
        assert capsys.readouterr().err.startswith("aneperf: ") == is_told


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
