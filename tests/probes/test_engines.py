"""Engines: two programs at once, in a thread and in a process."""

from types import SimpleNamespace
from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileBudgetError, CompileError, EvaluateError
from aneperf.kernels.repeated_stack import RepeatedStack
from aneperf.measure import Estimate
from aneperf.results import Result
from aneperf.runner.beside import Beside, BesideLost, Order, Setup, program_beside, serve_program
from aneperf.runner.measured import Measured
from aneperf.schema import check_numbers
from support.fakes import FakeDevice
from support.terminals import widest_line

probe = __import__("aneperf.probes.engines", fromlist=["_"])
SMALL = RepeatedStack(channels=32, depth=2, width=64)


class FakeBeside:
    """A partner whose calls take `share` of the time of as many calls of one program."""

    def __init__(self, device: FakeDevice, share: float = 0.0, failure: str = "", wrong: str = "") -> None:
        self.device, self.share, self.failure, self.wrong = device, share, failure, wrong
        self.calls = 0

    def __enter__(self) -> "FakeBeside":
        return self

    def __exit__(self, *exception: object) -> None:
        self.is_stopped = True

    def begin(self, order: Order) -> None:
        self.calls = order.calls

    def wait(self) -> None:
        if self.failure:
            raise BesideLost(self.failure)
        self.device.clock.now += self.share * self.calls * 1e-3

    def do(self, order: Order) -> None:
        assert order.check
        if self.wrong:
            raise BesideLost(self.wrong)


@pytest.fixture
def fake(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    """Offer a fake device whose texts are the seeds of stacks."""
    monkeypatch.setattr(
        RepeatedStack, "build", lambda self: SimpleNamespace(text=f"seed {self.seed}", weights={})
    )
    return fake


def run(monkeypatch: pytest.MonkeyPatch, device: FakeDevice, beside: Any, **options: Any) -> Result:
    def start(of: Any, stack: RepeatedStack) -> Any:
        if isinstance(beside, BaseException):
            raise beside
        return beside

    monkeypatch.setattr(probe, "program_beside", start)
    return aneperf.engines(device, **{"budget": 100.0, "clock": device.clock, **options})  # type: ignore[arg-type]


def by_arrangement(result: Result) -> dict[str, Any]:
    return {str(row.params.get("arrangement", "system")): row for row in result}


def test_two_programs_on_the_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "EMULATED", SMALL)
    monkeypatch.setattr(probe, "_SLOT_S", 1e-3)
    monkeypatch.setattr(probe, "_ROUNDS", 6)
    result = aneperf.engines("emulator", budget=30.0)
    assert [row.key for row in result] == [
        "engines/system", *(f"engines/conv32x2/sp64/{name}" for name in ("alone", "threads", "processes"))
    ]  # fmt: skip
    assert [row.status for row in result] == ["unsupported", "ok", "ok", "ok"]
    assert result.rows[0].reason == "unavailable: the emulator has no engines"
    assert all(row.n == 6 and row.metrics["calls_per_s"] for row in result.rows[1:])
    assert result.notes[0] == "The emulator has no engines: programs share the CPU's cores."
    assert result.notes[1].startswith("Throughput of two programs: in two threads ")
    assert widest_line(result) <= 80
    check_numbers(result)


def test_ratios_are_of_throughput(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    found = by_arrangement(run(monkeypatch, fake, FakeBeside(fake)))
    assert found["processes"].metrics["ratio"] == pytest.approx(2)  # its partner takes no time of its own
    assert found["threads"].metrics["ratio"] == pytest.approx(1)  # both of its programs take the clock's
    assert found["alone"].median == pytest.approx(1)
    assert found["processes"].median == pytest.approx(0.5)
    assert found["processes"].metrics["calls_per_s"] == pytest.approx(2000)
    assert not any(program.loaded for program in fake.programs)
    result = run(monkeypatch, fake, FakeBeside(fake))
    assert result.notes[1] == (
        "Throughput of two programs: in two threads does not grow, 1x [1, 1]; in two processes doubles, "
        "2x [2, 2]."
    )


@pytest.mark.parametrize(
    ("beside", "status", "reason"),
    [
        (BesideLost("no such device"), "error", "no such device"),
        ({"failure": "its process was killed by SIGSEGV"}, "error", "its process was killed by SIGSEGV"),
        ({"wrong": "wrong output: relative error 1"}, "error", "wrong output: relative error 1"),
    ],
)
def test_a_partner_that_fails_loses_its_row_only(
    fake: FakeDevice, monkeypatch: pytest.MonkeyPatch, beside: Any, status: str, reason: str
) -> None:
    partner = FakeBeside(fake, **beside) if isinstance(beside, dict) else beside
    found = by_arrangement(run(monkeypatch, fake, partner))
    assert (found["processes"].status, found["processes"].reason) == (status, reason)
    assert {found[name].status for name in ("alone", "threads")} == {"ok"}


def test_refusals(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    fake.outcomes = {"seed 1": CompileBudgetError("[compile] spent")}
    found = by_arrangement(run(monkeypatch, fake, FakeBeside(fake)))
    assert (found["threads"].status, found["processes"].status) == ("skipped", "ok")
    fake.outcomes = {"seed 0": CompileError("[compile] no")}
    result = run(monkeypatch, fake, FakeBeside(fake))
    assert [row.status for row in result] == ["unsupported"] * 4
    assert "Throughput of two programs: nothing is known." in result.notes
    fake.outcomes = {"seed 0": 3.0}
    found = by_arrangement(run(monkeypatch, fake, FakeBeside(fake)))
    assert found["alone"].status == "error"
    assert found["alone"].reason.startswith("wrong output")

    def fail(call: int) -> int:
        raise EvaluateError("[evaluate] status 0x1d")

    fake.outcomes, fake.times = {}, {"seed 1": fail}
    found = by_arrangement(run(monkeypatch, fake, FakeBeside(fake)))
    assert found["threads"].reason == "[evaluate] status 0x1d"
    assert found["alone"].status == "ok"
    fake.times = {"seed 0": fail}
    found = by_arrangement(run(monkeypatch, fake, FakeBeside(fake)))
    assert {row.status for name, row in found.items() if name != "system"} == {"error"}


@pytest.mark.parametrize(
    ("chip", "told", "verdict"),
    [
        ("Apple M6", "2", "2 by the framework; 2 published for Apple M6"),
        ("Apple M99", "1", "1 by the framework"),
        ("Apple M4", "unavailable", None),
    ],
)
def test_the_system_tells_of_engines(
    fake: FakeDevice, monkeypatch: pytest.MonkeyPatch, chip: str, told: str, verdict: str | None
) -> None:
    properties = {"kind": "ane", "chip": chip, "engines": told, "route": "memory"}
    monkeypatch.setattr(fake, "info", lambda: dict(properties))
    result = run(monkeypatch, fake, FakeBeside(fake))
    row = by_arrangement(result)["system"]
    assert row.params.get("verdict") == verdict
    assert (f"Engines: {verdict}." in result.notes) == (verdict is not None)
    assert widest_line(result) <= 80
    assert row.metrics == ({} if verdict is None else {"engines": float(told)})


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        ((1.9, 1.8, 2.0), "doubles"),
        ((1.4, 1.3, 1.5), "grows, and does not double"),
        ((1.5, 1.3, 1.9), "grows"),
        ((1.0, 0.9, 1.05), "does not grow"),
        ((1.1, 0.9, 1.8), "is undecided"),
        ((1.9, None, None), "is undecided"),
    ],
)
def test_the_interval_decides(ratio: tuple[float, float | None, float | None], verdict: str) -> None:
    measured = Measured("ok").with_ratio(Estimate(*ratio))
    assert f"in two threads {verdict}, " in probe.judge_throughput(
        {"alone": Measured("ok"), "threads": measured}
    )


@pytest.mark.thorough
def test_a_program_beside_makes_calls_and_checks_them() -> None:
    with program_beside(aneperf.open("emulator:h16"), SMALL) as beside:
        beside.do(Order(calls=3))
        beside.do(Order(check=True))
    with pytest.raises(BesideLost, match="no chip is called 'h99'"):
        Beside(serve_program, Setup(device="emulator:h99", stack=SMALL))


def test_layers_of_a_repeated_stack_share_a_weight(emulator: aneperf.Device) -> None:
    built = SMALL.build()
    assert sum(map(len, built.weights.values())) == 64 + 64 + SMALL.weight_bytes
    assert built.text != RepeatedStack(channels=32, depth=2, width=64, seed=1).build().text
    with built.compile(emulator) as program:
        assert SMALL.check(program.run(x=SMALL.input())["y"]) <= SMALL.tolerance
    with pytest.raises(ArgumentError, match="orthogonal stack: ports are fp16"):
        RepeatedStack(channels=32, depth=2, port_dtype="fp32")
