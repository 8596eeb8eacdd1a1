"""int8, latency, ports, dispatch, and sweep: rows, keys and what becomes of failures."""

import json
from collections.abc import Callable
from typing import Any

import pytest

import aneperf
from aneperf.errors import ArgumentError, CompileBudgetError, CompileError, EvaluateError
from aneperf.kernels import ConvStack, QuantizedStack
from aneperf.results import Result
from aneperf.runner.progress import Progress
from support.fakes import FakeDevice, TickingClock, fake_text, run_probe

SMALL = QuantizedStack(channels=4, depth=2, height=4, width=4)
IN_FP16 = ConvStack(channels=4, depth=2, height=4, width=4, port_dtype="fp16")


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


def test_rows(fake: FakeDevice, name: str) -> None:
    probe, options, stacks = PROBES[name]
    for place, stack in enumerate(stacks):
        fake.times[fake_text(stack)] = lambda call, place=place: 100_000 * (place + 1)  # type: ignore[misc]
    result = run_probe(probe, fake, **options)
    assert result.probe == name
    assert [row.key for row in result] == KEYS[name]
    timed = result.rows[: len(stacks)]
    for row, stack, place in zip(timed, stacks, range(6), strict=False):
        assert row.status == "ok"
        assert (row.unit, row.error) == ("ms", 0)
        assert row.median == pytest.approx(0.1 * (place + 1))
        assert row.metrics["tflops"] == pytest.approx(stack.flops / (1e8 * (place + 1)))
        assert row.metrics["weights_mib"] == stack.weight_bytes / 2**20
        assert row.metrics["first_ms"] == pytest.approx(0.1 * (place + 1))
        assert row.metrics["compile_ms"] == 12
        assert "load_ms" not in row.metrics
        assert row.durations_ns
    assert not any(program.loaded for program in fake.programs)
    assert len(fake.programs) == len(stacks)


def test_a_wrong_answer_is_an_error_row(fake: FakeDevice, name: str) -> None:
    probe, options, stacks = PROBES[name]
    fake.outcomes = {fake_text(stacks[1]): 3.0}
    result = run_probe(probe, fake, **options)
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
    fake: FakeDevice, name: str, failure: Exception, status: str
) -> None:
    probe, options, stacks = PROBES[name]
    fake.outcomes = {fake_text(stacks[0]): failure}
    result = run_probe(probe, fake, **options)
    assert [row.status for row in result.rows[: len(stacks)]] == [status] + ["ok"] * (len(stacks) - 1)
    assert result.rows[0].reason == str(failure)
    assert any("new process" in note for note in result.notes) == (status == "skipped")


def test_a_failing_evaluation_is_an_error_and_unloads(fake: FakeDevice, name: str) -> None:
    def fail(call: int) -> int:
        raise EvaluateError("[evaluate] status 0x1d")

    probe, options, stacks = PROBES[name]
    fake.times[fake_text(stacks[1])] = fail
    result = run_probe(probe, fake, **options)
    assert [row.status for row in result.rows[: len(stacks)]] == ["ok", "error"] + ["ok"] * (len(stacks) - 2)
    assert result.rows[1].reason == "[evaluate] status 0x1d"
    assert "ratio" not in result.rows[1].metrics
    assert not any(program.loaded for program in fake.programs)


def test_an_interrupt_keeps_what_was_finished(fake: FakeDevice, name: str) -> None:
    def interrupt(call: int) -> int:
        raise KeyboardInterrupt

    probe, options, stacks = PROBES[name]
    fake.times = {fake_text(stacks[-1]): interrupt}
    steps: list[Progress] = []
    with pytest.raises(KeyboardInterrupt):
        run_probe(probe, fake, progress=steps.append, **options)
    together = name in ("int8", "ports", "dispatch")  # of which none is finished
    assert len([step.row for step in steps if step.row]) == (0 if together else len(stacks) - 1)
    assert not any(program.loaded for program in fake.programs)


def test_progress(fake: FakeDevice, name: str) -> None:
    probe, options, stacks = PROBES[name]
    steps: list[Progress] = []
    result = run_probe(probe, fake, progress=steps.append, **options)
    assert [step.row for step in steps if step.row] == list(result.rows[: len(stacks)])
    assert [step.done for step in steps] == list(range(len(stacks) + 1))
    assert {step.total for step in steps} == {len(stacks)}


@pytest.mark.parametrize("budget", [0, -1, float("nan"), "30", True])
def test_bad_budgets(fake: FakeDevice, name: str, budget: Any) -> None:
    probe, options, _ = PROBES[name]
    with pytest.raises(ArgumentError, match="budget"):
        run_probe(probe, fake, budget=budget, **options)
    assert fake.programs == []


def test_without_time_rows_are_skipped(fake: FakeDevice) -> None:
    fake.call_ns = lambda call: 10**9
    result = run_probe(aneperf.latency, fake, budget=2.0)
    assert [row.status for row in result] == ["ok"] + ["skipped"] * 5


@pytest.mark.parametrize("name", ["int8", "ports"])
def test_pairs_have_a_ratio(fake: FakeDevice, name: str) -> None:
    probe, options, (base, other) = PROBES[name]
    fake.times[fake_text(base)] = lambda call: 185_000 + call * 7919 % 101
    fake.times[fake_text(other)] = lambda call: 100_000 + call * 7907 % 103
    first, second = run_probe(probe, fake, **options).rows
    assert "ratio" not in first.metrics
    assert second.metrics["ratio"] == pytest.approx(1.85, abs=0.002)
    assert second.metrics["ratio_low"] <= second.metrics["ratio"] <= second.metrics["ratio_high"]
    text = str(run_probe(probe, fake, **options))
    assert "1.85x ±0.0%" in text


def test_pairs_are_timed_in_turns(fake: FakeDevice) -> None:
    """Halve the machine's speed meanwhile: both times change, and their ratio does not."""

    def slowing(ns: int) -> Callable[[int], int]:
        return lambda call: int(ns * (1 + fake.clock.now / 8))

    fake.times = {fake_text(IN_FP16): slowing(2_000_000), fake_text(SMALL): slowing(1_000_000)}
    second = run_probe(aneperf.int8, fake, configs=[SMALL]).rows[1]
    assert second.metrics["ratio"] == pytest.approx(2, rel=0.03)


def test_the_published_pairs_are_the_default(fake: FakeDevice) -> None:
    rows = run_probe(aneperf.int8, fake).rows
    assert [row.params["config"] for row in rows] == [
        f"{precision} {depth}x conv {channels}ch 64x64"
        for depth, channels in ((128, 512), (64, 512), (256, 256), (128, 256), (128, 384))
        for precision in ("FP16", "W8A8")
    ]
    assert rows[1].key == "int8/conv512x128/sp64x64/w8a8"
    assert (rows[0].metrics["weights_mib"], rows[1].metrics["weights_mib"]) == (64, 32)
    assert rows[0].metrics["gflop"] == pytest.approx(274.878, abs=1e-3)


def test_a_budget_too_short_for_the_largest_pair_still_has_the_others(fake: FakeDevice) -> None:
    """Measure the pair of 128 layers, which overruns its share, last, though it stands first."""
    fake.call_ns = lambda call: 10_000_000
    stacks = [QuantizedStack(channels=512, depth=depth, height=64, width=64) for depth in (128, 64, 32)]
    slow = ConvStack(channels=512, depth=128, height=64, width=64, port_dtype="fp16")
    fake.times = {fake_text(slow): lambda call: 60_000_000_000}
    rows = run_probe(aneperf.int8, fake, configs=stacks, budget=3.0).rows
    assert [row.params["depth"] for row in rows] == [128, 128, 64, 64, 32, 32]
    assert all(row.status == "ok" for row in rows)


@pytest.mark.parametrize("configs", [[], [IN_FP16], "x", None, 3])
def test_int8_refuses_what_is_no_quantized_stack(fake: FakeDevice, configs: Any) -> None:
    with pytest.raises(ArgumentError, match="QuantizedStacks"):
        run_probe(aneperf.int8, fake, configs=configs)


def test_repeated_configurations_are_refused(fake: FakeDevice) -> None:
    for probe, configs in ((aneperf.int8, [SMALL, SMALL]), (aneperf.ports, [IN_FP16, IN_FP16])):
        with pytest.raises(ArgumentError, match="more than once"):
            run_probe(probe, fake, configs=configs)


def test_the_dispatch_floor_is_found_twice(fake: FakeDevice) -> None:
    for stack in PROBES["dispatch"][2]:
        ns = 90_000 + 2_000 * stack.depth
        fake.times[fake_text(stack)] = lambda call, ns=ns: ns + call * 7919 % 101  # type: ignore[misc]
    result = run_probe(aneperf.dispatch, fake)
    row = result.rows[-1]
    assert row.median == pytest.approx(0.09005, abs=2e-5)
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert row.ci_low <= 0.09005 <= row.ci_high
    assert row.metrics["ms_per_layer"] == pytest.approx(0.002, rel=0.01)
    assert "they agree" in result.notes[0]
    assert "0.09205 ms for the smallest kernel, 0.09005 ms less its layer" in result.notes[0]


def test_the_dispatch_floors_may_disagree(fake: FakeDevice) -> None:
    for stack in PROBES["dispatch"][2]:
        ns = 50_000 if stack.depth == 1 else 90_000 + 2_000 * stack.depth + 50 * (stack.depth % 3)
        fake.times[fake_text(stack)] = lambda call, ns=ns: ns  # type: ignore[misc]
    assert "do not agree" in run_probe(aneperf.dispatch, fake).notes[0]


def test_a_dispatch_floor_that_no_line_has(fake: FakeDevice) -> None:
    for stack in PROBES["dispatch"][2]:
        fake.times[fake_text(stack)] = lambda call, stack=stack: 1000 * stack.depth**2  # type: ignore[misc]
    row = run_probe(aneperf.dispatch, fake).rows[-1]
    assert (row.status, row.median) == ("unsupported", None)
    assert "no straight line" in str(row.reason)
    fake.outcomes = {fake_text(stack): CompileError("no") for stack in PROBES["dispatch"][2][2:]}
    row = run_probe(aneperf.dispatch, fake).rows[-1]
    assert (row.status, row.reason) == (
        "skipped",
        "a line needs 3 kernels besides the smallest, and 1 were measured",
    )


@pytest.mark.parametrize(
    ("probe", "options"),
    [
        (aneperf.int8, {"configs": [QuantizedStack(channels=32, depth=3, height=2, width=32)]}),
        (aneperf.ports, {"configs": [ConvStack(channels=32, depth=2)]}),
        (aneperf.dispatch, {}),
        (aneperf.qos, {"values": [0, 21, 63]}),
        (aneperf.sweep, {"channels": [1, 64], "spatial": [1, 33], "depth": [2]}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_on_the_emulator(emulator: Any, probe: Callable[..., Result], options: dict[str, Any]) -> None:
    result = probe(emulator, budget=160.0, clock=TickingClock(4.0), **options)
    # Times need not lie on a line: that depends on the machine.
    refused = [row for row in result if row.status != "ok"]
    assert [row.key for row in refused] in ([], ["dispatch/intercept"])
    assert all("no straight line" in row.reason for row in refused)
    assert json.loads(result.to_json())["probe"] == result.probe
    assert str(result)


def test_without_fp32_ports_there_is_no_ratio() -> None:
    device = aneperf.open("emulator:h13")
    fp32, fp16 = aneperf.ports(
        device, configs=[ConvStack(channels=32, depth=2)], budget=20.0, clock=TickingClock(4.0)
    ).rows
    assert (fp32.status, fp16.status) == ("unsupported", "ok")
    assert "ratio" not in fp16.metrics
