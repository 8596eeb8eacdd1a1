"""Rows measured in rounds by several processes, which these tests replace by calls that take no time."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import aneperf
from aneperf.errors import ArgumentError
from aneperf.kernels import ConvStack
from aneperf.results import Result, Row
from aneperf.runner import rounds
from aneperf.runner.case import Case, stack_case
from aneperf.runner.in_child import NOT_TRIED, Outcome
from aneperf.runner.progress import Progress, ProgressCallback
from aneperf.runner.rounds import NO_PROCESS, Repeat, measure_in_rounds
from aneperf.runner.run import compile_notes
from aneperf.runner.timing import Part, measure_as, part
from support.child_probes import ticking_peak
from support.fakes import FakeClock, FakeDevice, a_measured_row, a_result, with_fake_kernels

CASES = [stack_case("made", ConvStack(64, depth)) for depth in (1, 2)]


def probe(
    device: FakeDevice, *, stacks: list[ConvStack], budget: float, progress: ProgressCallback
) -> Result:
    """Measure each stack by taking the device's clock ahead."""
    assert all(type(stack) is ConvStack for stack in stacks)
    rows: list[Row] = []
    for place, stack in enumerate(stacks):
        progress(Progress(place, len(stacks), stack.name))
        device.clock.now += 0.5
        call_ns = device.call_ns(len(device.asked))
        row = a_measured_row(seed=len(device.asked), key=CASES[place].key, metrics={"calls_s": 0.4})
        device.asked.append(int(1000 * budget / part().to_come))
        rows.append(msgspec.structs.replace(row, status="error", reason="off") if call_ns == 0 else row)
        progress(Progress(place + 1, len(stacks), stack.name, rows[-1]))
    return a_result(*rows)


REPEAT = Repeat(5, probe, {"stacks": [ConvStack(64, 1), ConvStack(64, 2)]})


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Return a device whose probes run in this process instead of a child, after a turn through JSON."""

    def run(
        function: Callable[..., Result], device: Any, *, time_limit: float, progress: Any, **arguments: Any
    ) -> Outcome:
        assert time_limit > arguments["budget"]
        sent = msgspec.json.decode(msgspec.json.encode(arguments))
        result = function(device, progress=progress, **sent)
        return Outcome(result.rows, result)

    monkeypatch.setattr(rounds, "run_in_child", run)
    return FakeDevice()


def measure(
    device: FakeDevice, budget: float, processes: int = 5, cases: list[Case] = CASES, **options: Any
) -> tuple[list[Row], int]:
    progress = options.pop("progress", lambda step: None)
    return measure_in_rounds(
        options.pop("repeat", REPEAT),
        processes,
        device,  # type: ignore[arg-type]
        cases,
        budget=budget,
        progress=progress,
        clock=device.clock,
    )


def test_each_process_measures_every_row_once(device: FakeDevice) -> None:
    steps: list[Progress] = []
    rows, processes = measure(device, 10.0, progress=steps.append)
    assert processes == 5
    assert [row.key for row in rows] == [case.key for case in CASES]
    assert [len(row.processes) for row in rows] == [5, 5]
    assert len(set(rows[0].medians)) == 5
    assert [step.doing for step in steps if step.row is None][:3] == [
        "1x conv 64ch sp64 (process 1 of 5)",
        "2x conv 64ch sp64 (process 1 of 5)",
        "1x conv 64ch sp64 (process 2 of 5)",
    ]
    assert [step.done for step in steps if step.row] == list(range(1, 11))
    assert {step.total for step in steps} == {10}
    assert [len(step.row.processes) for step in steps if step.row] == [0, 0, 2, 2, 3, 3, 4, 4, 5, 5]


def test_the_processes_share_the_time_that_is_left(device: FakeDevice) -> None:
    measure(device, 10.0)
    assert device.asked[::2] == [2000, 2250, 2666, 3500, 6000]


def test_no_process_starts_without_the_time_for_it(device: FakeDevice) -> None:
    rows, processes = measure(device, 2.2)
    assert processes == 2  # a round takes 0.2 s besides its calls, and these 0.1 s at least
    assert [len(row.processes) for row in rows] == [2, 2]


def test_a_failure_ends_the_rounds(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: Any, progress: ProgressCallback, **options: Any) -> Outcome:
        row = a_measured_row(key=CASES[0].key)
        progress(Progress(1, 2, "", row))
        return Outcome((row,), failure="its process was killed by SIGSEGV", doing="2x")

    monkeypatch.setattr(rounds, "run_in_child", run)
    rows, processes = measure(device, 10.0)
    assert processes == 1
    assert [(row.status, row.reason) for row in rows] == [
        ("ok", None),
        ("error", "its process was killed by SIGSEGV"),
    ]


@pytest.mark.parametrize(("blocked", "reason"), [(False, NO_PROCESS), (True, NOT_TRIED)])
def test_rows_after_a_failure_say_why_they_were_left(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch, blocked: bool, reason: str
) -> None:
    lost = Outcome((), failure="a compile did not end", blocked=blocked)
    monkeypatch.setattr(rounds, "run_in_child", lambda *arguments, **options: lost)
    rows, _ = measure(device, 10.0)
    assert [(row.status, row.reason) for row in rows] == [
        ("error", "a compile did not end"),
        ("skipped", reason),
    ]
    assert compile_notes(rows) == ()  # compiles did not run out


def test_a_row_that_fails_in_one_process_is_in_error(device: FakeDevice) -> None:
    device.call_ns = lambda call: 0 if call == 3 else 1
    rows, _ = measure(device, 10.0)
    assert (rows[0].status, rows[1].status) == ("ok", "error")
    assert rows[1].reason == "in 1 of 5 processes: off"


def test_derived_metrics_follow_the_merged_ones(device: FakeDevice) -> None:
    cases = [
        stack_case("made", ConvStack(64, 1), derive=lambda metrics: {"twice": 2 * metrics["calls_s"]}),
        CASES[1],
    ]
    rows, _ = measure(device, 10.0, cases=cases)
    assert rows[0].metrics["twice"] == pytest.approx(2 * 5 * 0.4)


def test_arguments_that_a_child_refuses_are_refused(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome((), failure="no such stack", exception="ArgumentError")
    monkeypatch.setattr(rounds, "run_in_child", lambda *arguments, **options: outcome)
    with pytest.raises(ArgumentError, match="no such stack"):
        measure(device, 10.0)


@pytest.mark.parametrize("number", [0, 101, 2.0, True])
def test_a_number_of_processes_is_refused(number: Any) -> None:
    with pytest.raises(ArgumentError, match=r"processes must be an integer from 1 to 100, not"):
        aneperf.peak(FakeDevice(), processes=number)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "number", "budget", "rows", "expected"),
    [
        ("emulator", 5, 30, 10, 5),
        ("emulator", 5, 3, 2, 3),
        ("emulator", 5, 2.5, 2, 1),  # two processes would have an interval of no use
        ("emulator", 2, 2.5, 2, 2),  # unless they are asked for
        ("emulator", 1, 1000, 2, 1),
        ("ane", 5, 30, 10, 1),  # a second and a half of calls for its clocks, in each process
        ("ane", 5, 80, 10, 4),
        ("ane", 5, 100, 10, 5),
    ],
)
def test_the_budget_limits_the_processes(
    kind: str, number: int, budget: float, rows: int, expected: int
) -> None:
    device: Any = FakeDevice(kind=kind)
    repeat = Repeat(number, probe, {})
    assert repeat.affordable(budget, device, rows) == expected
    assert bool(repeat.note(budget, device, rows, expected)) == (expected < number)
    assert bool(repeat.forecast(budget, device, rows)) == (expected < number)


def test_a_note_says_what_more_processes_need() -> None:
    device: Any = FakeDevice(kind="ane")
    forecast = "5 processes a row need about 100 s, and the budget is 30 s"
    assert REPEAT.forecast(30.0, device, 10) == forecast
    (note,) = REPEAT.note(30, device, 10, 1)
    assert note.startswith("One process measured each row")
    assert note.endswith(": 5 need a budget of about 100 s.")
    assert REPEAT.note(60, device, 10, 3) == (
        "3 processes measured each row: 5 need a budget of about 100 s.",
    )


def test_real_processes_measure_a_row() -> None:
    stack = ConvStack(16, 1)
    (row,), processes = measure_in_rounds(
        Repeat(2, ticking_peak, {"configs": [stack]}),
        2,
        aneperf.open("emulator:h15"),
        [stack_case("peak", stack)],
        budget=1000.0,
        progress=lambda step: None,
        clock=FakeClock(),
    )
    assert processes == 2
    assert row.status == "ok", row.reason
    assert len(row.processes) == len(row.medians) == 2


def test_a_part_of_a_row_takes_its_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Divide a row's time by the processes to come, and skip no row before all time is spent."""
    device = FakeDevice()
    with_fake_kernels(monkeypatch)
    device.call_ns = lambda call: 100_000_000
    configs = [ConvStack(64, 2), ConvStack(64, 1)]
    with measure_as(Part(5, 4)):
        result = aneperf.peak(device, configs=configs, budget=8.0, clock=device.clock)  # type: ignore[arg-type]
    assert device.clock.now == pytest.approx(2.0, abs=0.3)
    assert [row.status for row in result] == ["ok", "ok"]


def test_rows_that_cost_least_are_measured_first(monkeypatch: pytest.MonkeyPatch) -> None:
    device = FakeDevice()
    with_fake_kernels(monkeypatch)
    configs = [ConvStack(64, depth) for depth in (4, 1, 2)]
    doing: list[str] = []
    result = aneperf.peak(
        device,  # type: ignore[arg-type]
        configs=configs,
        budget=8.0,
        clock=device.clock,
        progress=lambda step: doing.append(step.doing),
    )
    assert doing == [f"{depth}x conv 64ch sp64" for depth in (1, 2, 4)] + [""]
    assert [row.params["depth"] for row in result] == [4, 1, 2]
