"""Compiles that never return: the child is killed, and the reason says what to do."""

import copy
import math
import os
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import aneperf
from aneperf.device import compile_timeout_of
from aneperf.runner.child import CompileExpired
from aneperf.runner.in_child import (
    BLOCKED,
    NOT_TRIED,
    Outcome,
    Task,
    after_expiry,
    each_in_child,
    run_in_child,
)
from aneperf.runner.measured import Measured
from aneperf.runner.watched import describe, watched
from support.child_probes import never_compiles
from support.fakes import FakeDevice, a_result, an_environment

PROGRAM = "a program of x fp16[1, 64, 1, 64] and 2.5 MB of weights"
RECOVERY = ("sudo killall aned", "sudo killall -9 ANECompilerService")


@pytest.fixture
def hasty() -> aneperf.Device:
    return aneperf.open("emulator", compile_timeout=0.5)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_compile_that_never_returns(
    hasty: aneperf.Device, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "pid"
    monkeypatch.setenv("CHILD_PROBES_MARK", str(mark))
    outcome = run_in_child(never_compiles, hasty, time_limit=600.0)
    assert outcome.failure == (
        f"at 2x conv: the compile of {PROGRAM} did not end within 0.5 s and was killed: "
        "give it more time (--compile-timeout)"
    )
    assert not outcome.blocked
    assert [(row.key, row.status) for row in outcome.as_result("made-up", an_environment()).rows] == [
        ("made-up/finished", "ok"),
        ("made-up/unfinished", "error"),
    ]
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("check", "told"),
    [
        (Outcome((), a_result()), "A small program still compiles; "),
        (Outcome((), failure="killed"), f"A small program does not compile either: {BLOCKED}, "),
        (Outcome((), failure="no room", exception="CompileError"), "A small program fails (no room); "),
    ],
)
def test_what_is_told_of_the_engine(monkeypatch: pytest.MonkeyPatch, check: Outcome, told: str) -> None:
    """Tell apart by a small program whether other compiles end. One that fails has ended."""
    limits = []

    def run(task: Task, *_: Any) -> Outcome:
        limits.append(task.compile_timeout)
        return check

    monkeypatch.setattr("aneperf.runner.in_child._run", run)
    for seconds in (0.1, 20.0, 120.0):
        text, blocked = after_expiry(CompileExpired(PROGRAM, seconds), "ane")
        start = f"the compile of {PROGRAM} did not end within {seconds:g} s and was killed. {told}"
        assert text.startswith(start)
        assert blocked is (BLOCKED in told)
    assert limits == [5, 20, 30]
    assert all(command in text for command in RECOVERY)


def test_when_no_compile_ends_the_remaining_items_are_not_tried(
    hasty: aneperf.Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aneperf.runner.in_child.after_expiry", lambda *_: (BLOCKED, True))

    def lost(item: str, measured: Measured) -> Any:
        return measured.row(f"made-up/{item}", {})

    rows = each_in_child(
        never_compiles, ["finished", "b", "c", "d"], hasty, budget=600.0, item_limit=600.0, lost=lost
    )
    assert [(row.key, row.status, row.reason) for row in rows] == [
        ("made-up/finished", "ok", None),
        ("made-up/b", "error", f"at 2x conv: {BLOCKED}"),
        ("made-up/c", "skipped", NOT_TRIED),
        ("made-up/d", "skipped", NOT_TRIED),
    ]


def test_a_watched_device_can_be_copied() -> None:
    device = aneperf.open("emulator")
    copied = copy.copy(watched(device, parent=SimpleNamespace()))  # type: ignore[arg-type]
    assert copied == device
    assert copied.info() == device.info()


def test_a_program_is_described_by_its_inputs_and_weights() -> None:
    text = "func main<ios18>(tensor<fp16, [1, 2]> a, tensor<fp32, []> b) { tensor<fp16, [3]> c = f(); }"
    assert describe(text, {}) == "a program of a fp16[1, 2], b fp32[] and 0 MB of weights"
    assert describe("garbage", {"w": bytes(10**6)}) == "a program of no inputs and 1 MB of weights"


@pytest.mark.parametrize("seconds", [0, -1, 1e6, math.nan, math.inf, "soon", True])
def test_a_timeout_has_bounds(seconds: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(aneperf.ArgumentError, match=r"compile_timeout must be a number from 0.1 to 86400"):
        aneperf.open("emulator", compile_timeout=seconds)
    monkeypatch.setenv("ANEPERF_COMPILE_TIMEOUT", str(seconds))
    with pytest.raises(aneperf.ArgumentError, match=r"^ANEPERF_COMPILE_TIMEOUT=\S+: compile_timeout must be"):
        aneperf.open("emulator")


def test_the_environment_gives_the_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compile_timeout_of(aneperf.open("emulator")) == 120
    monkeypatch.setenv("ANEPERF_COMPILE_TIMEOUT", "0.25")
    assert compile_timeout_of(aneperf.open("emulator")) == 0.25
    assert compile_timeout_of(aneperf.open("emulator", compile_timeout=3)) == 3


def test_the_command_runs_an_engines_probe_in_a_child(
    run: Any, temporary: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals reach a process that makes no call of the framework."""
    engine = FakeDevice(kind="ane")
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: engine)
    monkeypatch.setattr("aneperf.runner.in_child.name_of", lambda device: "emulator")
    assert run("counters", "-o", str(tmp_path / "r.json")).code == 0
    result = aneperf.Result.load(tmp_path / "r.json")
    assert result.environment.device == "ane"
    assert len(result) > 3
    assert engine.programs == []
    assert list(temporary.iterdir()) == []
