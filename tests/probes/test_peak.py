import math
from typing import Any

import numpy as np
import pytest

from aneperf.errors import ArgumentError, CompileBudgetError, CompileError, EvaluateError
from aneperf.kernels.conv_stack import PUBLISHED, ConvStack
from aneperf.probes.peak import peak
from aneperf.results import Result
from aneperf.runner import run as run_module
from aneperf.runner.measured import Measured
from aneperf.runner.progress import Budget, Progress
from support.fakes import FakeClock, FakeDevice, FakeStack, TickingClock

STACKS = [FakeStack(channels=4, depth=depth, width=4) for depth in (1, 2, 3, 4)]


def run(device: Any, stacks: Any = STACKS, budget: float = 4.0, **options: Any) -> Result:
    clock = device.clock if isinstance(device, FakeDevice) else FakeClock()
    return peak(device, configs=stacks, budget=budget, clock=clock, **options)


def test_rows_hold_the_throughput() -> None:
    device = FakeDevice()
    result = run(device)
    assert [row.status for row in result] == ["ok"] * 4
    assert [row.key for row in result] == [f"peak/conv4x{depth}/sp4/fp32-ports" for depth in (1, 2, 3, 4)]
    row = result.rows[3]
    assert row.params == {
        "config": "4x conv 4ch sp4", "channels": 4, "depth": 4, "height": 1, "width": 4, "ports": "fp32"
    }  # fmt: skip
    assert row.median == 1.0
    assert row.unit == "ms"
    assert row.error == 0
    assert row.metrics["tflops"] == pytest.approx(2 * 4 * 4 * 4 * 4 / 1e-3 / 1e12)
    assert row.metrics["weights_mib"] == 2 * 4 * 4 * 4 / 2**20
    assert result.best == row
    assert result.environment.is_software
    assert not any(program.loaded for program in device.programs)


def test_interval_of_the_throughput_is_that_of_the_time() -> None:
    device = FakeDevice()
    device.call_ns = lambda call: 1_000_000 + 1000 * (call * 7919 % 101)
    (row,) = run(device, STACKS[:1])
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.metrics["tflops_low"] == pytest.approx(512 / row.ci_high / 1e9 / 4)
    assert row.metrics["tflops_high"] == pytest.approx(512 / row.ci_low / 1e9 / 4)
    assert row.metrics["tflops_low"] < row.metrics["tflops"] < row.metrics["tflops_high"]


def test_a_wrong_output_is_an_error_and_not_a_fast_row() -> None:
    device = FakeDevice({"2x conv 4ch sp4": 1.5, "3x conv 4ch sp4": math.nan, "4x conv 4ch sp4": math.inf})
    right, wrong, undefined, infinite = run(device)
    assert right.status == "ok"
    assert wrong.status == "error"
    assert wrong.reason == "wrong output: relative error 0.5, where rounding explains 0.0028"
    assert wrong.error == 0.5
    for row in (undefined, infinite):
        assert (row.status, row.reason, row.error) == ("error", "the output is not finite", None)
    assert not any("tflops" in row.metrics for row in (wrong, undefined, infinite))


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (CompileError("[compile] InvalidMILProgram: line 7, column 2: no"), "unsupported"),
        (CompileBudgetError("[compile] 100 compiles are used up"), "skipped"),
        (EvaluateError("[evaluate] status 0x1d"), "error"),
    ],
)
def test_a_refused_configuration_is_a_row_and_the_probe_goes_on(failure: Exception, status: str) -> None:
    rows = run(FakeDevice({"2x conv 4ch sp4": failure})).rows
    assert [row.status for row in rows] == ["ok", status, "ok", "ok"]
    assert rows[1].reason == str(failure)
    assert rows[1].median is None


def test_a_failing_evaluation_unloads_its_program() -> None:
    def fail(call: int) -> int:
        raise EvaluateError("[evaluate] status 0x4")

    device = FakeDevice()
    device.call_ns = fail
    (row,) = run(device, STACKS[:1])
    assert (row.status, row.reason) == ("error", "[evaluate] status 0x4")
    assert not device.programs[0].loaded


def test_an_interrupt_passes_and_unloads() -> None:
    def interrupt(call: int) -> int:
        raise KeyboardInterrupt

    device = FakeDevice()
    device.call_ns = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(device)
    assert not device.programs[0].loaded


def test_an_output_that_goes_wrong_while_it_is_timed_is_an_error() -> None:
    device = FakeDevice({"1x conv 4ch sp4": lambda calls: 1.0 if calls < 50 else 1.5})
    (row,) = run(device, STACKS[:1])
    assert row.n is not None
    assert row.n > 50
    assert row.status == "error"
    assert row.reason == "wrong output: relative error 0.5, where rounding explains 0.002"


def test_what_the_budget_does_not_reach_is_skipped() -> None:
    device = FakeDevice()
    device.call_ns = lambda call: 10**9
    first, *others = run(device, budget=2.0)
    assert (first.status, first.n) == ("ok", 3)
    assert {row.status for row in others} == {"skipped"}
    assert {row.reason for row in others} == {"the time budget was spent: give more seconds"}


def test_without_compiles_a_note_says_what_to_do() -> None:
    failure = CompileBudgetError("this process has used its 100 compiles")
    result = run(FakeDevice({"2x conv 4ch sp4": failure}))
    assert "new process" in result.notes[-1]
    assert "aneperf.open(..., compile_budget=N)" in result.notes[-1]
    assert not any("compile_budget" in note for note in run(FakeDevice()).notes)


def test_every_duration_is_kept_in_order() -> None:
    device = FakeDevice()
    device.call_ns = lambda call: 1_000_000 - call
    (row,) = run(device, STACKS[:1])
    assert row.n is not None
    assert row.warm_up is not None
    assert row.durations_ns == tuple(1_000_000 - call for call in range(row.warm_up + row.n))
    device.call_ns = lambda call: 1000 + call  # enough of them to be cut
    (row,) = run(device, STACKS[:1])
    assert row.n is not None
    assert row.n > 10_000
    assert row.durations_ns == tuple(1000 + call for call in range(10_000))


def test_budget_is_shared_evenly_over_what_remains() -> None:
    clock = FakeClock()
    budget = Budget(12.0, 4, clock)
    assert budget.next_share() == 3
    clock.now = 1.5  # the first part left half of its share
    assert budget.next_share() == 3.5
    clock.now = 11
    assert budget.next_share() == 0.5
    clock.now = 13
    assert budget.next_share() == 0


@pytest.mark.parametrize("budget", [0, -3, math.nan, math.inf, True, "30", None])
def test_bad_budgets_are_refused(budget: Any) -> None:
    device = FakeDevice()
    with pytest.raises(ArgumentError, match="budget must be a positive, finite number"):
        run(device, budget=budget)
    assert device.programs == []


def test_bad_configurations_are_refused_before_any_is_measured() -> None:
    device = FakeDevice()
    with pytest.raises(ArgumentError, match="configs is empty"):
        run(device, [])
    with pytest.raises(ArgumentError, match="holds 'peak/conv4x1/sp4/fp32-ports' more than once"):
        run(device, [STACKS[0], STACKS[0]])
    with pytest.raises(ArgumentError, match="fp64"):
        run(device, ports="fp64")
    with pytest.raises(ArgumentError, match="no configuration is called 1: choose from 32x conv 512ch sp64,"):
        run(device, [1])
    for configs in (5, "128x conv 512ch sp64", STACKS[0]):
        with pytest.raises(ArgumentError, match="configs must be a list of ConvStacks or names"):
            run(device, configs)
    assert device.programs == []


@pytest.mark.parametrize("name", [3, "gpu", "", b"ane"])
def test_bad_devices_are_refused(name: Any) -> None:
    with pytest.raises(ArgumentError, match="device"):
        run(name)


def test_ports_are_each_configurations_own_unless_given() -> None:
    stacks = [STACKS[0], FakeStack(channels=4, depth=1, width=4, port_dtype="fp16")]
    keys = ["peak/conv4x1/sp4/fp32-ports", "peak/conv4x1/sp4/fp16-ports"]
    result = run(FakeDevice(), stacks)
    assert [row.key for row in result] == keys
    assert len(result.notes) == 2
    result = run(FakeDevice(), stacks[:1], ports="fp16")
    assert [row.key for row in result] == keys[1:]
    assert "Ports are fp16" in result.notes[0]


def test_keys_tell_areas_apart() -> None:
    stacks = [FakeStack(channels=4, depth=1, height=4, width=4), FakeStack(channels=4, depth=1, width=16)]
    assert [row.key for row in run(FakeDevice(), stacks)] == [
        "peak/conv4x1/sp4x4/fp32-ports",
        "peak/conv4x1/sp16/fp32-ports",
    ]


def test_progress_tells_every_step() -> None:
    steps: list[Progress] = []
    result = run(FakeDevice(), progress=steps.append)
    assert [(step.done, step.total) for step in steps] == [(done, 4) for done in range(5)]
    assert [step.doing for step in steps] == [*(stack.name for stack in STACKS), ""]
    assert [step.row for step in steps] == [None, *result.rows]


def test_the_published_configurations_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "time_together", lambda *arguments: [Measured("ok")])
    rows = peak(FakeDevice()).rows  # type: ignore[arg-type]
    assert [row.params["config"] for row in rows] == [stack.name for stack in PUBLISHED]
    assert [row.params["config"] for row in rows][4] == "128x conv 512ch sp64"
    assert rows[4].metrics == {"weights_mib": 64.0, "gflop": 4.294967296}


def test_a_name_stands_for_a_published_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConvStack, "build", FakeStack.build)  # without 100 MB of weights
    names = ["128x conv 512ch sp64", "64x conv 256ch sp64"]
    device = FakeDevice(dict.fromkeys(names, CompileError("[compile] no")))
    assert [row.params["config"] for row in run(device, names)] == names
    with pytest.raises(ArgumentError, match=r"called '1x conv': choose from .*, 128x conv 384ch sp64"):
        run(device, ["1x conv"])


@pytest.mark.parametrize("ports", ["fp32", "fp16"])
def test_on_the_emulator(emulator: Any, ports: Any) -> None:
    stacks = [ConvStack(channels=32, depth=depth, width=20) for depth in (1, 16, 64)]
    result = peak(emulator, configs=stacks, ports=ports, budget=0.3, clock=TickingClock(0.01))
    assert [row.status for row in result] == ["ok"] * 3
    for row, stack in zip(result, stacks, strict=True):
        assert row.error is not None
        assert 0 < row.error < stack.tolerance / 2
        assert row.n is not None
        assert row.n >= 3
    assert result.environment.device == "emulator"


def test_on_the_emulator_a_stack_with_one_changed_layer_is_wrong(device: Any) -> None:
    class Changed(ConvStack):
        def build(self, dialect: Any = "ios18") -> Any:
            program = super().build(dialect)
            for path, blob in program.weights.items():
                values = np.frombuffer(blob, np.uint8).copy()
                values[-2 * self.channels**2 :] = values[-2 * self.channels**2 :][::-1]
                program.weights[path] = values.tobytes()
            return program

    (row,) = peak(
        device, configs=[Changed(channels=32, depth=8, width=20)], budget=0.1, clock=TickingClock(0.01)
    )
    assert row.status == "error"
    assert row.reason is not None
    assert "output" in row.reason


def test_predictions_stand_beside_measured_times() -> None:
    result = run(FakeDevice(), STACKS[:2], predict="m4max")
    for row in result:
        assert 0 < row.metrics["predicted_low_ms"] < row.metrics["predicted_ms"]
        assert row.metrics["predicted_ms"] < row.metrics["predicted_high_ms"]
    assert any("M4 Max" in note for note in result.notes)
    header, *_ = (line for line in repr(result).splitlines() if "Config" in line)
    assert "Predicted" in header
    assert "90 % interval" in header
    assert all(row.params["predicted_chip"] == "M4 Max" for row in result)
    assert "the measured ones of a CPU: the two do not compare" in " ".join(repr(result).split())
    assert "A19: no figure" in str(run(FakeDevice(), STACKS[:1], predict="A19").notes)
    assert "Predicted" not in repr(run(FakeDevice(), STACKS[:2]))
    with pytest.raises(ArgumentError, match="no chip is called"):
        run(FakeDevice(), STACKS[:1], predict="M99")
