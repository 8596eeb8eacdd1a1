"""int8, latency, ports, dispatch, sweep and qos: rows, keys and what becomes of failures."""

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileBudgetError, CompileError, EvaluateError
from aneperf.kernels import ConvStack, QuantizedStack
from aneperf.probes.sweep import CHANNELS, DEPTH, SPATIAL, measure_stacks, parse_values
from aneperf.results import Result
from aneperf.runner.progress import Step
from support.child_probes import ticking_stacks
from support.fakes import FakeDevice, TickingClock, fake_text, with_fake_kernels

SMALL = QuantizedStack(channels=4, depth=2, height=4, width=4)
IN_FP16 = ConvStack(channels=4, depth=2, height=4, width=4, port_dtype="fp16")


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeDevice:
    with_fake_kernels(monkeypatch)
    return FakeDevice()


def run(probe: Callable[..., Result], device: FakeDevice, **options: Any) -> Result:
    return probe(device, **{"budget": 8.0, "clock": device.clock, **options})


PROBES: dict[str, tuple[Callable[..., Result], dict[str, Any], list[ConvStack]]] = {
    "int8": (aneperf.int8, {"configs": [SMALL]}, [IN_FP16, SMALL]),
    "latency": (aneperf.latency, {}, [ConvStack(c, 1) for c in (256, 512, 1024, 2048, 3072, 4096)]),
    "ports": (aneperf.ports, {"configs": [IN_FP16]}, [ConvStack(4, 2, 4, 4), IN_FP16]),
    "dispatch": (
        aneperf.dispatch, {}, [ConvStack(64, n, width=32, port_dtype="fp16") for n in (1, 2, 4, 8, 16, 32)]
    ),
    "sweep": (aneperf.sweep, {"depth": [1, 3]}, [ConvStack(512, 1), ConvStack(512, 3)]),
}  # fmt: skip
KEYS = {
    "int8": ["int8/conv4x2/sp4x4/fp16", "int8/conv4x2/sp4x4/w8a8"],
    "latency": [f"latency/conv{c}x1/sp64/fp32-ports" for c in (256, 512, 1024, 2048, 3072, 4096)],
    "ports": ["ports/conv4x2/sp4x4/fp32-ports", "ports/conv4x2/sp4x4/fp16-ports"],
    "dispatch": [
        *(f"dispatch/conv64x{n}/sp32/fp16-ports" for n in (1, 2, 4, 8, 16, 32)),
        "dispatch/intercept",
    ],
    "sweep": ["sweep/conv512x1/sp64/fp32-ports", "sweep/conv512x3/sp64/fp32-ports"],
}


@pytest.fixture(params=PROBES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_rows(device: FakeDevice, name: str) -> None:
    probe, options, stacks = PROBES[name]
    for place, stack in enumerate(stacks):
        device.times[fake_text(stack)] = lambda call, place=place: 100_000 * (place + 1)  # type: ignore[misc]
    result = run(probe, device, **options)
    assert result.probe == name
    assert [row.key for row in result] == KEYS[name]
    timed = result.rows[: len(stacks)]
    for row, stack, place in zip(timed, stacks, range(6), strict=False):
        assert row.status == "ok"
        assert (row.unit, row.error) == ("ms", 0)
        assert row.median == pytest.approx(0.1 * (place + 1))
        assert row.metrics["tflops"] == pytest.approx(stack.flops / (1e8 * (place + 1)))
        assert row.metrics["weights_mb"] == stack.weight_bytes / 2**20
        assert row.metrics["first_ms"] == pytest.approx(0.1 * (place + 1))
        assert row.metrics["compile_ms"] == 12
        assert "load_ms" not in row.metrics
        assert row.durations_ns
    assert not any(program.loaded for program in device.programs)
    assert len(device.programs) == len(stacks)


def test_a_wrong_answer_is_an_error_row(device: FakeDevice, name: str) -> None:
    probe, options, stacks = PROBES[name]
    device.outcomes = {fake_text(stacks[1]): 3.0}
    result = run(probe, device, **options)
    assert [row.status for row in result.rows[: len(stacks)]] == ["ok", "error"] + ["ok"] * (len(stacks) - 2)
    assert "wrong output: relative error 2, where rounding explains" in str(result.rows[1].reason)
    assert not {"tflops", "ratio"} & set(result.rows[1].metrics)


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (CompileError("[compile] InvalidMILProgram: no"), "unsupported"),
        (CompileBudgetError("[compile] 100 compiles are used up"), "skipped"),
    ],
)
def test_a_refusal_is_a_row_and_the_probe_goes_on(
    device: FakeDevice, name: str, failure: Exception, status: str
) -> None:
    probe, options, stacks = PROBES[name]
    device.outcomes = {fake_text(stacks[0]): failure}
    result = run(probe, device, **options)
    assert [row.status for row in result.rows[: len(stacks)]] == [status] + ["ok"] * (len(stacks) - 1)
    assert result.rows[0].reason == str(failure)
    assert any("new process" in note for note in result.notes) == (status == "skipped")


def test_a_failing_evaluation_is_an_error_and_unloads(device: FakeDevice, name: str) -> None:
    def fail(call: int) -> int:
        raise EvaluateError("[evaluate] status 0x1d")

    probe, options, stacks = PROBES[name]
    device.times[fake_text(stacks[1])] = fail
    result = run(probe, device, **options)
    assert [row.status for row in result.rows[: len(stacks)]] == ["ok", "error"] + ["ok"] * (len(stacks) - 2)
    assert result.rows[1].reason == "[evaluate] status 0x1d"
    assert "ratio" not in result.rows[1].metrics
    assert not any(program.loaded for program in device.programs)


def test_an_interrupt_keeps_what_was_finished(device: FakeDevice, name: str) -> None:
    def interrupt(call: int) -> int:
        raise KeyboardInterrupt

    probe, options, stacks = PROBES[name]
    device.times = {fake_text(stacks[-1]): interrupt}
    steps: list[Step] = []
    with pytest.raises(KeyboardInterrupt):
        run(probe, device, progress=steps.append, **options)
    together = name in ("int8", "ports", "dispatch")  # of which none is finished
    assert len([step.row for step in steps if step.row]) == (0 if together else len(stacks) - 1)
    assert not any(program.loaded for program in device.programs)


def test_progress(device: FakeDevice, name: str) -> None:
    probe, options, stacks = PROBES[name]
    steps: list[Step] = []
    result = run(probe, device, progress=steps.append, **options)
    assert [step.row for step in steps if step.row] == list(result.rows[: len(stacks)])
    assert [step.done for step in steps] == list(range(len(stacks) + 1))
    assert {step.total for step in steps} == {len(stacks)}


@pytest.mark.parametrize("budget", [0, -1, float("nan"), "30", True])
def test_bad_budgets(device: FakeDevice, name: str, budget: Any) -> None:
    probe, options, _ = PROBES[name]
    with pytest.raises(ArgumentError, match="budget"):
        run(probe, device, budget=budget, **options)
    assert device.programs == []


def test_without_time_rows_are_skipped(device: FakeDevice) -> None:
    device.call_ns = lambda call: 10**9
    result = run(aneperf.latency, device, budget=2.0)
    assert [row.status for row in result] == ["ok"] + ["skipped"] * 5


@pytest.mark.parametrize("name", ["int8", "ports"])
def test_pairs_have_a_ratio(device: FakeDevice, name: str) -> None:
    probe, options, (base, other) = PROBES[name]
    device.times[fake_text(base)] = lambda call: 185_000 + call * 7919 % 101
    device.times[fake_text(other)] = lambda call: 100_000 + call * 7907 % 103
    first, second = run(probe, device, **options).rows
    assert "ratio" not in first.metrics
    assert second.metrics["ratio"] == pytest.approx(1.85, abs=0.002)
    assert second.metrics["ratio_low"] <= second.metrics["ratio"] <= second.metrics["ratio_high"]
    text = str(run(probe, device, **options))
    assert "1.85x ±0.0%" in text


def test_pairs_are_timed_in_turns(device: FakeDevice) -> None:
    """A machine whose speed halves meanwhile changes both times, and not their ratio."""

    def slowing(ns: int) -> Callable[[int], int]:
        return lambda call: int(ns * (1 + device.clock.now / 8))

    device.times = {fake_text(IN_FP16): slowing(2_000_000), fake_text(SMALL): slowing(1_000_000)}
    second = run(aneperf.int8, device, configs=[SMALL]).rows[1]
    assert second.metrics["ratio"] == pytest.approx(2, rel=0.03)


def test_the_published_pairs_are_the_default(device: FakeDevice) -> None:
    rows = run(aneperf.int8, device).rows
    assert [row.params["config"] for row in rows] == [
        f"{precision} {depth}x conv {channels}ch 64x64"
        for depth, channels in ((128, 512), (64, 512), (256, 256), (128, 256), (128, 384))
        for precision in ("FP16", "W8A8")
    ]
    assert rows[1].key == "int8/conv512x128/sp64x64/w8a8"
    assert (rows[0].metrics["weights_mb"], rows[1].metrics["weights_mb"]) == (64, 32)
    assert rows[0].metrics["gflop"] == pytest.approx(274.878, abs=1e-3)


def test_a_budget_too_short_for_the_largest_pair_still_has_the_others(device: FakeDevice) -> None:
    """The pair of 128 layers overruns its share, and is not measured first though it stands first."""
    device.call_ns = lambda call: 10_000_000
    stacks = [QuantizedStack(channels=512, depth=depth, height=64, width=64) for depth in (128, 64, 32)]
    slow = ConvStack(channels=512, depth=128, height=64, width=64, port_dtype="fp16")
    device.times = {fake_text(slow): lambda call: 60_000_000_000}
    rows = run(aneperf.int8, device, configs=stacks, budget=3.0).rows
    assert [row.params["depth"] for row in rows] == [128, 128, 64, 64, 32, 32]
    assert all(row.status == "ok" for row in rows)


@pytest.mark.parametrize("configs", [[], [IN_FP16], "x", None, 3])
def test_int8_refuses_what_is_no_quantized_stack(device: FakeDevice, configs: Any) -> None:
    with pytest.raises(ArgumentError, match="QuantizedStacks"):
        run(aneperf.int8, device, configs=configs)


def test_repeated_configurations_are_refused(device: FakeDevice) -> None:
    for probe, configs in ((aneperf.int8, [SMALL, SMALL]), (aneperf.ports, [IN_FP16, IN_FP16])):
        with pytest.raises(ArgumentError, match="more than once"):
            run(probe, device, configs=configs)


def test_the_dispatch_floor_is_found_twice(device: FakeDevice) -> None:
    for stack in PROBES["dispatch"][2]:
        ns = 90_000 + 2_000 * stack.depth
        device.times[fake_text(stack)] = lambda call, ns=ns: ns + call * 7919 % 101  # type: ignore[misc]
    result = run(aneperf.dispatch, device)
    row = result.rows[-1]
    assert row.median == pytest.approx(0.09005, abs=2e-5)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low <= 0.09005 <= row.ci_high
    assert row.metrics["ms_per_layer"] == pytest.approx(0.002, rel=0.01)
    assert "they agree" in result.notes[0]
    assert "0.09205 ms for the smallest kernel, 0.09005 ms less its layer" in result.notes[0]


def test_the_dispatch_floors_may_disagree(device: FakeDevice) -> None:
    for stack in PROBES["dispatch"][2]:
        ns = 50_000 if stack.depth == 1 else 90_000 + 2_000 * stack.depth + 50 * (stack.depth % 3)
        device.times[fake_text(stack)] = lambda call, ns=ns: ns  # type: ignore[misc]
    assert "do not agree" in run(aneperf.dispatch, device).notes[0]


def test_a_dispatch_floor_that_no_line_has(device: FakeDevice) -> None:
    for stack in PROBES["dispatch"][2]:
        device.times[fake_text(stack)] = lambda call, stack=stack: 1000 * stack.depth**2  # type: ignore[misc]
    row = run(aneperf.dispatch, device).rows[-1]
    assert (row.status, row.median) == ("unsupported", None)
    assert "no straight line" in str(row.reason)
    device.outcomes = {fake_text(stack): CompileError("no") for stack in PROBES["dispatch"][2][2:]}
    row = run(aneperf.dispatch, device).rows[-1]
    assert (row.status, row.reason) == (
        "skipped",
        "a line needs 3 kernels besides the smallest, and 1 were measured",
    )


def test_qos(device: FakeDevice) -> None:
    result = run(aneperf.qos, device, budget=8.0)
    assert [row.key for row in result] == [f"qos/{value}/conv256x1/sp64" for value in range(64)]
    assert device.asked == [21, *range(64)]
    assert {row.status for row in result} == {"ok"}
    assert result.rows[33].params == {"config": "QoS 33 user interactive", "qos": 33}
    assert result.rows[33].metrics["ratio"] == 1
    assert result.notes[0] == "No effect found: no interval, of 63, lies 5% from QoS 21."
    assert not any(program.loaded for program in device.programs)


def test_a_qos_that_matters_is_named(device: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> None:
    compile = FakeDevice.compile

    def by_qos(self: FakeDevice, text: str, weights: Any, qos: int = 21) -> Any:
        if qos == 63:
            raise CompileError("[compile] no such quality of service")
        self.call_ns = lambda call: (80_000 if qos == 9 else 100_000) + call * 7919 % 101
        return compile(self, text, weights, qos)

    monkeypatch.setattr(FakeDevice, "compile", by_qos)
    result = run(aneperf.qos, device, values=[0, 9, 21, 63])
    assert [row.status for row in result] == ["ok", "ok", "ok", "unsupported"]
    assert result.notes[0] == "Intervals that lie 5% or more from QoS 21: 9 (0.80x)."
    assert result.rows[1].metrics["ratio"] == pytest.approx(0.8, abs=0.001)


def test_where_the_default_qos_is_refused_others_are_still_tried(
    device: FakeDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    compile = FakeDevice.compile

    def by_qos(self: FakeDevice, text: str, weights: Any, qos: int = 21) -> Any:
        if qos == 21:
            raise CompileError("[compile] no")
        return compile(self, text, weights, qos)

    monkeypatch.setattr(FakeDevice, "compile", by_qos)
    result = run(aneperf.qos, device, values=[0, 21])
    assert [row.status for row in result] == ["ok", "unsupported"]
    assert "ratio" not in result.rows[0].metrics


@pytest.mark.parametrize("values", [[], [64], [-1], [1.0], [True], [3, 3], ["0"]])
def test_bad_qos_values(device: FakeDevice, values: Any) -> None:
    with pytest.raises(ArgumentError, match=r"values must be different integers in 0\.\.63"):
        run(aneperf.qos, device, values=values)


def test_sweep_defaults(device: FakeDevice) -> None:
    rows = run(aneperf.sweep, device).rows
    assert [row.params["width"] for row in rows] == list(SPATIAL)
    assert {(row.params["channels"], row.params["depth"]) for row in rows} == {(512, 128)}
    rows = run(aneperf.sweep, device, channels=CHANNELS, budget=60.0).rows
    assert [row.params["channels"] for row in rows] == list(CHANNELS)
    assert {(row.params["width"], row.params["depth"]) for row in rows} == {(64, 1)}
    rows = run(aneperf.sweep, device, depth=DEPTH, channels=[64], spatial=[32, 64], ports="fp16").rows
    assert [(row.params["depth"], row.params["width"]) for row in rows] == [
        (layers, positions) for layers in DEPTH for positions in (32, 64)
    ]


def test_there_are_52_channel_values() -> None:
    assert len(set(CHANNELS)) == 52
    assert (min(CHANNELS), max(CHANNELS)) == (1, 4096)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": [0]}, "channels 0 is not an integer in 1..65536"),
        ({"spatial": [64, 70000]}, "width 70000 is not an integer in 1..65536"),
        ({"depth": [1.5]}, "depth 1.5 is not an integer"),
        ({"channels": []}, "channels is empty"),
        ({"depth": 4}, "depth must be a list of integers, not 4"),
        ({"depth": "4"}, "depth must be a list of integers, not '4'"),
        ({"depth": [2, 2]}, "more than once"),
        ({"channels": [65536]}, "1x conv 65536ch sp64 has 8.0 GiB of weights, where a sweep takes 2"),
        ({"channels": [16384], "spatial": [65536]}, "has 4.0 GiB of each port"),
        ({"ports": "int8"}, "port_dtype 'int8'"),
    ],
)
def test_impossible_sweeps_are_refused_before_anything_is_built(
    device: FakeDevice, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message.replace(".", r"\.")):
        run(aneperf.sweep, device, **options)
    assert device.programs == []


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("64", [64]),
        ("64,512", [64, 512]),
        (" 64, 512 ", [64, 512]),
        ("64..2048", [64, 128, 256, 512, 1024, 2048]),
        ("100..500", [100, 200, 400]),
        ("1,2..4,2", [1, 2, 4]),
        ("all", [7, 9]),
    ],
)
def test_values_of_a_sweep(text: str, values: list[int]) -> None:
    assert parse_values("--depth", text, [7, 9]) == values


@pytest.mark.parametrize(
    "text", ["", "x", "64,", "-1", "0", "0..4", "8..4", "1..", "..4", "1.5", "²", "1" * 40]
)
def test_bad_values_of_a_sweep(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"--depth: .* is no value"):
        parse_values("--depth", text, [])


@pytest.fixture
def ticking_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a sweep's children measure by a clock that ticks."""
    monkeypatch.setattr(sys.modules["aneperf.probes.sweep"], "measure_stacks", ticking_stacks)


@pytest.mark.usefixtures("ticking_children")
def test_a_sweep_beyond_the_compile_budget_goes_on_in_other_processes() -> None:
    device = aneperf.open("emulator", compile_budget=device_used() + 2)
    steps: list[Step] = []
    result = aneperf.sweep(
        device, channels=[32], depth=[1, 2, 3], budget=600.0, ports="fp16", progress=steps.append
    )
    assert [row.status for row in result] == ["ok"] * 3
    assert [row.key for row in result] == [f"sweep/conv32x{n}/sp64/fp16-ports" for n in (1, 2, 3)]
    assert "processes of their own" in result.notes[-1]
    assert [step.row.key for step in steps if step.row] == [row.key for row in result]
    assert device.compiles_used == device_used()


def device_used() -> int:
    return aneperf.open("emulator").compiles_used


def test_a_child_stops_where_its_compiles_end(device: FakeDevice) -> None:
    stack = ConvStack(512, 2)
    device.outcomes = {fake_text(stack): CompileBudgetError("[compile] used up")}
    steps: list[Step] = []
    with pytest.raises(CompileBudgetError, match="used up"):
        measure_stacks(
            device,  # type: ignore[arg-type]
            items=["512 1 64 fp32", "512 2 64 fp32"],
            budget=1.0,
            progress=lambda step: steps.append(step) or device.clock.__call__(),
        )
    assert len([step for step in steps if step.row]) == 1


@pytest.mark.parametrize(
    ("probe", "options"),
    [
        (aneperf.int8, {"configs": [QuantizedStack(channels=32, depth=3, height=2, width=32)]}),
        (aneperf.ports, {"configs": [ConvStack(channels=32, depth=2)]}),
        (aneperf.dispatch, {}),
        (aneperf.qos, {"values": [0, 21, 63]}),
        (aneperf.sweep, {"channels": [1, 3, 64], "spatial": [1, 33], "depth": [2]}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_on_the_emulator(emulator: Any, probe: Callable[..., Result], options: dict[str, Any]) -> None:
    result = probe(emulator, budget=60.0, clock=TickingClock(4.0), **options)
    # Whether times lie on a line is the machine's affair.
    refused = [row for row in result if row.status != "ok"]
    assert [row.key for row in refused] in ([], ["dispatch/intercept"])
    assert all("no straight line" in row.reason for row in refused)
    assert json.loads(result.to_json())["probe"] == result.probe
    assert str(result)


def test_without_fp32_ports_there_is_no_ratio() -> None:
    device = aneperf.open("emulator:h13", compile_budget=10**6)
    fp32, fp16 = aneperf.ports(
        device, configs=[ConvStack(channels=32, depth=2)], budget=20.0, clock=TickingClock(4.0)
    ).rows
    assert (fp32.status, fp16.status) == ("unsupported", "ok")
    assert "ratio" not in fp16.metrics


@pytest.mark.usefixtures("ticking_children")
def test_on_the_engine_a_sweep_is_measured_by_other_processes(engine_opens: bool) -> None:
    device = FakeDevice(kind="ane")
    result = aneperf.sweep(device, channels=[32], depth=[1, 2], ports="fp16", budget=600.0)  # type: ignore[arg-type]
    assert device.programs == []
    assert [row.key for row in result] == [f"sweep/conv32x{n}/sp64/fp16-ports" for n in (1, 2)]
    assert {row.status for row in result} == {"ok" if engine_opens else "error"}
    assert engine_opens or "no Neural Engine" in str(result.rows[0].reason)
    assert "processes of their own" in result.notes[-1]
