from typing import Any

import pytest

from aneperf import sustained
from aneperf.errors import ArgumentError, CompileError, EvaluateError
from aneperf.kernels import ConvStack
from aneperf.results import Result
from aneperf.runner.progress import Progress
from support.fakes import FakeDevice, TickingClock, fake_text, with_fake_kernels

STACK = ConvStack(channels=4, depth=1, width=4)
KEY = "sustained/conv4x1/sp4/fp32-ports"


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    with_fake_kernels(monkeypatch)
    return FakeDevice()


def run(device: FakeDevice, **options: Any) -> Result:
    return sustained(device, **{"stack": STACK, "clock": device.clock, **options})


def test_rows(device: FakeDevice) -> None:
    result = run(device)
    whole, *parts = result.rows
    assert [row.key for row in result] == [KEY, *(f"{KEY}/{place:02}" for place in range(1, 11))]
    assert whole.params["config"] == "1x conv 4ch sp4"
    assert len(whole.durations_ns) == sum(row.n or 0 for row in parts) == 5000
    assert whole.error == 0
    assert [row.params["config"] for row in parts[:2]] == ["0 to 0.5 s", "0.5 to 1 s"]
    for place, row in enumerate(parts):
        assert (row.params["start_s"], row.params["end_s"]) == (place / 2, (place + 1) / 2)
        assert row.median == 1
        assert abs((row.n or 0) - 500) <= 1
        assert row.metrics["tflops"] == pytest.approx(STACK.flops / 1e-3 / 1e12)
    assert (
        result.notes[0] == "Throughput over time: ██████████. The slowest interval has 100% of the fastest."
    )
    assert result.notes[1] == "Steady: the last third's calls take 1x [1, 1] the first third's."
    assert not device.programs[0].loaded


def test_throttling_is_visible(device: FakeDevice) -> None:
    device.call_ns = lambda call: (1_000_000 if device.clock.now < 2 else 2_000_000) + call * 7919 % 1009
    result = run(device)
    rates = [row.metrics["tflops"] for row in result.rows[1:]]
    assert rates[0] == pytest.approx(2 * rates[-1], rel=0.01)
    assert "████▅▅▅▅▅▅" in result.notes[0]
    assert "has 50% of the fastest" in result.notes[0]
    assert result.notes[1].startswith(
        "Slowed down: the last third's calls take 2x [2, 2] the first third's, by"
    )


def test_speeding_up(device: FakeDevice) -> None:
    device.call_ns = lambda call: (2_000_000 if device.clock.now < 3 else 1_000_000) + call * 7919 % 1009
    assert run(device).notes[1].startswith("Sped up: ")


def test_slow_calls_fill_few_intervals(device: FakeDevice) -> None:
    device.call_ns = lambda call: 1_900_000_000
    result = run(device)
    assert [row.key for row in result] == [KEY, f"{KEY}/04", f"{KEY}/08", f"{KEY}/10"]
    assert result.rows[0].n == 2
    assert "too few to tell a trend" in result.notes[1]


def test_seconds_and_budget(device: FakeDevice) -> None:
    assert sum(row.n or 0 for row in run(device, seconds=0.2).rows[1:]) in (200, 201)
    assert sum(row.n or 0 for row in run(device, seconds=9.0, budget=0.5).rows[1:]) in (500, 501)
    assert run(device, ports="fp16").rows[0].key == "sustained/conv4x1/sp4/fp16-ports"


def test_a_wrong_answer_makes_every_row_an_error(device: FakeDevice) -> None:
    device.outcomes = {fake_text(STACK): lambda calls: 1.0 if calls < 100 else 3.0}
    result = run(device)
    assert {row.status for row in result} == {"error"}
    assert all("wrong output" in str(row.reason) for row in result)
    assert not any("tflops" in row.metrics for row in result)
    assert not any("Throughput" in note for note in result.notes)


def test_refusals_are_one_row(device: FakeDevice) -> None:
    device.outcomes = {fake_text(STACK): CompileError("[compile] no")}
    (row,) = run(device).rows
    assert (row.key, row.status, row.reason) == (KEY, "unsupported", "[compile] no")

    def fail(call: int) -> int:
        raise EvaluateError("[evaluate] status 0x1d")

    device.outcomes, device.call_ns = {}, fail
    (row,) = run(device).rows
    assert (row.status, row.reason) == ("error", "[evaluate] status 0x1d")
    assert not device.programs[0].loaded


def test_an_interrupt_keeps_the_intervals_before(device: FakeDevice) -> None:
    def interrupt(call: int) -> int:
        if device.clock.now > 2.2:
            raise KeyboardInterrupt
        return 1_000_000

    device.call_ns = interrupt
    steps: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        run(device, progress=steps.append)
    rows = [step.row for step in steps if step.row]
    assert [row.key for row in rows] == [KEY, *(f"{KEY}/{place:02}" for place in range(1, 6))]
    assert {row.status for row in rows} == {"ok"}
    assert not device.programs[0].loaded


def test_an_interrupt_before_the_first_call(device: FakeDevice) -> None:
    def interrupt(call: int) -> int:
        raise KeyboardInterrupt

    device.call_ns = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(device)
    assert not device.programs[0].loaded


def test_progress(device: FakeDevice) -> None:
    steps: list[Progress] = []
    result = run(device, progress=steps.append)
    assert [step.row for step in steps if step.row] == list(result.rows)
    assert {step.total for step in steps} == {11}
    done = [step.done for step in steps if not step.row]
    assert done == sorted(done)
    assert set(done) >= set(range(10))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seconds": 0}, "seconds must be a positive"),
        ({"seconds": float("inf")}, "seconds must be a positive"),
        ({"budget": -1}, "budget must be a positive"),
        ({"stack": "128x"}, "stack must be a ConvStack"),
        ({"ports": "int8"}, "port_dtype"),
    ],
)
def test_bad_arguments(device: FakeDevice, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        run(device, **options)
    assert device.programs == []


def test_on_the_emulator(emulator: Any) -> None:
    result = sustained(
        emulator, stack=ConvStack(32, 2, width=32, port_dtype="fp16"), seconds=0.2, clock=TickingClock(0.01)
    )
    assert {row.status for row in result} == {"ok"}
