import math
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aneperf.cli import measuring
from aneperf.errors import ResultFileError
from aneperf.probes.registry import ALLREDUCE, PROFILE, SUITE
from aneperf.results import Result, Row
from aneperf.runner.in_child import Message, _Conversation
from aneperf.runner.progress import Progress
from support.fakes import FakeDevice, an_environment
from support.interrupts import call_or_interrupt

ROWS = [Row(key=f"made-up/{number}", status="ok") for number in range(3)]


class FinishedChild:
    """Child that has sent a message for each of ROWS, and ended."""

    def __init__(self) -> None:
        reports = [Message(progress=Progress(1, 2, "", row)) for row in ROWS]
        self.messages = [*reports, Message(exception="ValueError")]
        self.is_taken = False

    def receive(self, timeout_s: float) -> Message:
        self.forget()
        self.is_taken = True
        return self.messages[0]

    def forget(self) -> None:
        if self.is_taken:
            self.messages, self.is_taken = self.messages[1:], False

    def interrupt(self) -> None:
        self.is_taken = False

    def kill(self) -> None:
        pass


def test_a_signal_at_any_point_of_a_report_loses_and_repeats_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    number, outcome = 0, None

    def run(probe: Any, device: Any, report: Any, arguments: Any) -> None:
        nonlocal outcome
        conversation = _Conversation(FinishedChild(), report)  # type: ignore[arg-type]
        outcome = call_or_interrupt(lambda: conversation.follow(math.inf, math.inf), number)
        if outcome is None:
            conversation.interrupt()
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "_run", run)
    while outcome is None:
        result = measuring._Measurement(SUITE).run({}, FakeDevice())  # type: ignore[arg-type]
        assert list(result) == ROWS
        number += 1
    assert number > 20


def test_an_interrupted_result_has_the_environment_of_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    of_ranks = an_environment(cluster={"ranks": "2"})

    def run(probe: Any, device: Any, report: Any, arguments: Any) -> None:
        report(Progress(0, 2, "1 KiB", environment=of_ranks))
        report(Progress(1, 2, "", ROWS[0]))
        raise KeyboardInterrupt

    monkeypatch.setattr(measuring, "_run", run)
    result = measuring._Measurement(ALLREDUCE).run({}, FakeDevice())  # type: ignore[arg-type]
    assert list(result) == ROWS[:1]
    assert result.environment == of_ranks


def test_an_output_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(result: Result, output: str) -> None:
        raise ResultFileError(f"{output}: cannot write: No space left on device")

    made = Result(probe="profile", environment=an_environment(), rows=(Row(key="a", status="ok"),))
    monkeypatch.setattr(measuring, "save_result", refuse)
    for result, exported in ((made, [made]), (msgspec.structs.replace(made, rows=()), [])):
        found: list[Result] = []
        monkeypatch.setattr(measuring._Measurement, "run", lambda self, arguments, device, r=result: r)
        with pytest.raises(ResultFileError, match="No space left"):
            measuring.measure(PROFILE, {}, FakeDevice, str(tmp_path / "r"), exports=[found.append])  # type: ignore[arg-type]
        assert found == exported
