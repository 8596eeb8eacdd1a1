"""Idle and inputs: first calls after pauses, and calls on zeros."""

from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileError
from aneperf.kernels import ConvStack
from aneperf.kernels.repeated_stack import ZeroStack
from aneperf.probes.idle import STACK, is_dangerous
from aneperf.results import Result
from aneperf.schema import check_numbers
from support.fakes import FakeDevice, an_environment, fake_text, run_probe
from support.terminals import widest_line

SMALL = ConvStack(channels=32, depth=2, width=32, port_dtype="fp16")


class Sleeper:
    """Moves a fake device's clock; the first call after a pause takes 1 ms more for each second of it."""

    def __init__(self, device: FakeDevice) -> None:
        self.device = device
        self.slept: list[float] = []
        self.is_after_pause = False
        device.call_ns = self.call_ns

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.device.clock.now += seconds
        self.is_after_pause = True

    def call_ns(self, call: int) -> int:
        extra = self.slept[-1] if self.is_after_pause else 0.0
        self.is_after_pause = False
        return int(1e6 * (1 + extra))


def idle(fake: FakeDevice, **options: Any) -> tuple[Result, Sleeper]:
    sleeper = Sleeper(fake)
    return run_probe(aneperf.idle, fake, sleep=sleeper, **options), sleeper


def test_first_calls_by_pause(fake: FakeDevice) -> None:
    result, sleeper = idle(fake, budget=200.0, pauses=[5.0, 0.5])
    assert [row.key for row in result] == ["idle/0.5 s", "idle/5 s"]
    assert sleeper.slept == [0.5, 5.0] * 9
    for row, pause in zip(result, (0.5, 5.0), strict=True):
        assert (row.status, row.n, row.unit) == ("ok", 9, "ms")
        assert row.median == pytest.approx(1 + pause)
        assert row.metrics["steady_ms"] == pytest.approx(1)
        assert row.metrics["second_ms"] == pytest.approx(1)
        assert row.metrics["extra_ms"] == pytest.approx(pause)
        assert row.metrics["times_steady"] == pytest.approx(1 + pause)
    assert result.notes[-1] == "A first call takes 6 times a steady one after 5 s (9 pauses): 5 ms more."
    assert result.notes[0].startswith("The emulator has no power states")
    assert widest_line(result) <= 80
    check_numbers(result)
    assert not any(program.loaded for program in fake.programs)


def test_the_budget_bounds_the_pauses(fake: FakeDevice) -> None:
    result, sleeper = idle(fake, budget=8.0)
    assert sum(sleeper.slept) < 8
    assert [row.status for row in result] == ["ok"] * 4 + ["skipped"] * 4
    reason = "a budget of 8 s has no room for it: the shorter pauses come first"
    assert result.rows[-1].reason == reason


def test_canceled_requests_are_counted(fake: FakeDevice) -> None:
    sleeper = Sleeper(fake)

    def sleep(seconds: float) -> None:
        sleeper(seconds)
        fake.programs[-1].stats.retried_evaluations = 0
        sleeper.device.call_ns = sleeper.call_ns

    def retry(call: int) -> int:
        if sleeper.is_after_pause:
            fake.programs[-1].stats.retried_evaluations = 1
        return sleeper.call_ns(call)

    fake.call_ns = retry
    result = run_probe(aneperf.idle, fake, sleep=sleep, pauses=[5.0], budget=20.0)
    assert result.rows[0].metrics["retried_evaluations"] == result.rows[0].n == 3
    assert "canceled and that were made again: 3;" in str(result)


def test_no_slow_call_is_said_too(fake: FakeDevice) -> None:
    result = run_probe(aneperf.idle, fake, sleep=lambda seconds: None, pauses=[0.1])
    assert result.notes[-1] == (
        "No pause that was tried (1) made every first call take 2 times a steady one or more."
    )


@pytest.mark.parametrize(
    ("outcome", "status"), [(CompileError("[compile] no"), "unsupported"), (3.0, "error")]
)
def test_programs_that_are_refused_or_wrong(fake: FakeDevice, outcome: Any, status: str) -> None:
    fake.outcomes = {fake_text(STACK): outcome}
    result, _ = idle(fake)
    assert {row.status for row in result} == {status}


@pytest.mark.parametrize(
    ("changes", "danger"),
    [
        ({"device": "ane", "chip": "Apple M3 Ultra", "os": "macOS 26.5.2"}, True),
        ({"device": "ane", "chip": "Apple M1 Ultra", "os": "macOS 15.1"}, True),
        ({"device": "ane", "chip": "Apple M3 Ultra", "os": "Darwin"}, True),
        ({"device": "ane", "chip": "Apple M3 Ultra", "os": "macOS 27.0"}, False),
        ({"device": "ane", "chip": "Apple M3 Max", "os": "macOS 26.5.2"}, False),
        ({"device": "emulator", "chip": "M3 Ultra", "os": "macOS 26.5.2"}, False),
        # An old build of Python is told that macOS 26 is 16; the kernel's version is the bridge's.
        (
            {
                "device": "ane",
                "chip": "Apple M3 Ultra",
                "os": "macOS 16.0",
                "properties": {"weight files": "one (macOS 27)"},
            },
            False,
        ),
    ],
)
def test_an_ultra_before_macos_27_is_dangerous(changes: dict[str, Any], danger: bool) -> None:
    assert is_dangerous(an_environment(**changes)) is danger


def test_no_pause_on_an_ultra_unless_asked(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.probes.idle.is_dangerous", lambda environment: True)
    result, sleeper = idle(fake)
    assert {row.status for row in result} == {"skipped"}
    assert "--even-on-ultra" in str(result.rows[0].reason)
    assert (sleeper.slept, fake.programs) == ([], [])
    result, sleeper = idle(fake, even_on_ultra=True)
    assert sleeper.slept


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pauses": []}, "pauses must be a list of seconds"),
        ({"pauses": "1"}, "pauses must be a list of seconds"),
        ({"pauses": [0]}, "pauses must be a positive"),
        ({"pauses": [61.0]}, "a pause takes at most 60 s, not 61"),
        ({"budget": 0}, "budget must be a positive"),
    ],
)
def test_what_idle_cannot_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        aneperf.idle("emulator", **options)


def zero_of(stack: ConvStack) -> ZeroStack:
    return ZeroStack(stack.channels, stack.depth, stack.height, stack.width, stack.port_dtype)


def test_zeros_are_timed_against_random_inputs(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.measure.watch.is_preempted", lambda seen: False)
    fake.outcomes = {fake_text(zero_of(SMALL)): 0.0}
    fake.times = {
        fake_text(SMALL): lambda call: 200_000 + call * 7919 % 101,
        fake_text(zero_of(SMALL)): lambda call: 100_000 + call * 7907 % 103,
    }
    result = run_probe(aneperf.inputs, fake, configs=[SMALL])
    assert [row.key for row in result] == ["inputs/conv32x2/sp32/random", "inputs/conv32x2/sp32/zero"]
    assert [row.status for row in result] == ["ok", "ok"]
    assert result.rows[1].metrics["ratio"] == pytest.approx(2, rel=0.01)
    assert result.notes[1].startswith("Values change the time, random / zero: 2x conv 32ch sp32 2x [")
    monkeypatch.setattr("aneperf.measure.watch.is_preempted", lambda seen: True)
    result = run_probe(aneperf.inputs, fake, configs=[SMALL])
    assert result.notes[1].startswith("Values may change the time, random / zero: 2x conv 32ch sp32 2x [")
    assert "Other work took the CPU" in result.notes[1]
    fake.times = {}
    result = run_probe(aneperf.inputs, fake, configs=[SMALL])
    assert result.notes[1] == "No effect of values found: no interval, of 1, lies 5% from 1."


def test_zeros_on_the_device(device: aneperf.Device) -> None:
    result = aneperf.inputs(device, configs=[SMALL], budget=0.1)
    assert [row.status for row in result] == ["ok", "ok"]
    assert result.rows[1].error == 0
    check_numbers(result)
    assert widest_line(result) <= 80


def test_an_output_of_zeros_must_be_zero() -> None:
    zero = zero_of(SMALL)
    assert not zero.input().any()
    y = np.zeros(SMALL.shape, np.float16)
    assert zero.check(y) == 0
    y[0, 0, 0, 0] = 0.5
    assert zero.check(y) == 0.5
    y[0, 0, 0, 0] = np.nan
    assert zero.check(y) == float("inf")
