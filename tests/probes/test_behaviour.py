"""The probes of behaviour: weights, counters, compat, parity, limits."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import _ane_native as native
from aneperf import mil
from aneperf.errors import ArgumentError, CompileBudgetError, CompileError, DeviceUnavailable, EvaluateError
from aneperf.reference import evaluate
from aneperf.results import Result
from aneperf.runner import question as checking
from aneperf.runner.in_child import Outcome
from aneperf.runner.operations import CASES
from aneperf.runner.progress import Step
from support.child_probes import no_overlap
from support.programs import NO_BUDGET

compat_module, limits_module, parity_module, weights_module = (
    __import__(f"aneperf.probes.{name}", fromlist=["_"]) for name in ("compat", "limits", "parity", "weights")
)


def rows(result: Result) -> dict[str, Any]:
    return {row.key.partition("/")[2]: row for row in result}


class Wrapped:
    """A device with some of its programs' methods replaced."""

    def __init__(self, **methods: Any) -> None:
        self._device = aneperf.open("emulator", compile_budget=NO_BUDGET)
        self._methods = methods
        self.info = self._device.info
        self.make_surface = self._device.make_surface
        self.compile_budget = self._device.compile_budget
        self.programs: list[Any] = []

    def compile(self, text: str, weights: Any, **options: Any) -> Any:
        if "compile" in self._methods:
            self._methods["compile"](text)
        self.programs.append(WrappedProgram(self, self._device.compile(text, weights, **options)))
        return self.programs[-1]


class WrappedProgram:
    def __init__(self, device: Wrapped, program: aneperf.Program) -> None:
        self._device, self._program = device, program

    def __getattr__(self, name: str) -> Any:
        method = self._device._methods.get(name)
        if method is None:
            return getattr(self._program, name)
        return lambda *args, **kwargs: method(self, *args, **kwargs)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exception: object) -> None:
        self._program.unload()


# Weights


def test_weights_are_baked_in_on_the_emulator(emulator: aneperf.Device) -> None:
    steps: list[Step] = []
    result = aneperf.weights(emulator, progress=steps.append)
    assert {row.status for row in result} == {"ok"}
    assert {row.params["verdict"] for row in result} == {"baked in: the output did not change"}
    assert [row.key for row in result][1] == "weights/reload, other files"
    assert [step.row for step in steps if step.row] == list(result)
    assert "baked in" in str(result)


def test_weights_that_can_be_changed_are_told() -> None:
    def reload(program: Any, weights: Any) -> None:
        if weights:
            text = program._device.text
            program._program = program._device._device.compile(text, dict(weights))

    device = Wrapped(reload=reload)
    device.text = weights_module._Layer().text  # type: ignore[attr-defined]
    found = rows(aneperf.weights(device))  # type: ignore[arg-type]
    assert found["reload, same files"].params["verdict"].startswith("baked in")
    assert (
        found["reload, other files"].params["verdict"] == "changed: the output is that of the other weights"
    )


def test_an_output_of_neither_weights_is_an_error() -> None:
    def bind(program: Any, inputs: Any, outputs: Any, **options: Any) -> Any:
        if options.get("procedure"):
            return SimpleNamespace(evaluate=lambda: None)  # leaves what is in the surface: zeros
        return program._program.bind(inputs, outputs, **options)

    found = rows(aneperf.weights(Wrapped(bind=bind)))  # type: ignore[arg-type]
    assert found["procedure 15"].status == "error"
    assert found["procedure 15"].reason == "the output changed, to that of neither weights"
    assert found["reload, other files"].status == "ok"


@pytest.mark.parametrize(
    ("failure", "status", "text"),
    [
        (DeviceUnavailable("no reload here"), "unsupported", "unavailable on this device: no reload here"),
        (EvaluateError("[evaluate] status 0x2"), "ok", "refused: [evaluate] status 0x2"),
        (CompileError("[compile] LoadFailure: no"), "ok", "refused: [compile] LoadFailure: no"),
    ],
)
def test_refusals_are_verdicts(failure: Exception, status: str, text: str) -> None:
    def reload(program: Any, weights: Any) -> None:
        raise failure

    device = Wrapped(reload=reload)
    found = rows(aneperf.weights(device))["reload, other files"]  # type: ignore[arg-type]
    assert found.status == status
    assert text in (found.reason, found.params.get("verdict"))
    assert not any(program.loaded for program in device.programs)


@pytest.mark.parametrize(
    ("failure", "status"),
    [(CompileError("[compile] no"), "unsupported"), (CompileBudgetError("[compile] spent"), "skipped")],
)
def test_weights_without_a_program(failure: Exception, status: str) -> None:
    def refuse(text: str) -> None:
        raise failure

    result = aneperf.weights(Wrapped(compile=refuse))  # type: ignore[arg-type]
    assert {row.status for row in result} == {status}


# The device contract behind them


def layer() -> tuple[mil.Program, np.ndarray]:
    x = np.random.default_rng(0).standard_normal((1, 32, 1, 32)).astype(np.float16)
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", x.shape), np.eye(32)[:, :, None, None] * 2))
    return b.build(), x


def test_a_reload_keeps_the_weights_it_was_compiled_with(device: aneperf.Device) -> None:
    built, x = layer()
    program = built.compile(device)
    (path,) = built.weights
    other = built.weights[path][:128] + bytes(len(built.weights[path]) - 128)
    program.reload()
    program.reload({path: other})
    np.testing.assert_array_equal(program.run(x=x)["y"], 2 * x)
    with pytest.raises(ArgumentError, match="weight '@model_path/none': the program has no weight file"):
        program.reload({"@model_path/none": b""})
    with pytest.raises(ArgumentError, match="weights must be a dict"):
        program.reload([b""])  # type: ignore[arg-type]
    assert program.loaded
    program.unload()
    with pytest.raises(EvaluateError, match="the program is unloaded"):
        program.reload()


def test_a_request_carries_a_weights_buffer_and_a_procedure(device: aneperf.Device) -> None:
    built, x = layer()
    program = built.compile(device)
    source, result = device.make_surface(program.inputs[0]), device.make_surface(program.outputs[0])
    source.write(x)
    buffer = device.make_surface(4096)
    for options in ({"weights_buffer": buffer}, {"procedure": 128}, {"weights_buffer": None}):
        result.write(np.zeros_like(x))
        program.bind({"x": source}, {"y": result}, **options).evaluate()  # type: ignore[arg-type]
        np.testing.assert_array_equal(result.read(), 2 * x)
    for procedure in (-1, 129):
        with pytest.raises(ArgumentError, match=f"procedure is {procedure}, must be in 0..128"):
            program.bind({"x": source}, {"y": result}, procedure=procedure)
    with pytest.raises((ArgumentError, TypeError)):
        program.bind({"x": source}, {"y": result}, procedure="0")  # type: ignore[arg-type]


def test_stats_tell_the_time_of_a_compile(device: aneperf.Device) -> None:
    stats = layer()[0].compile(device).stats
    assert stats.compile_ns is not None
    assert stats.compile_ns > 0
    assert (stats.load_ns is None) == (device.info()["kind"] == "emulator")


def test_counters_have_a_value_or_a_reason(device: aneperf.Device) -> None:
    built, x = layer()
    program = built.compile(device)
    source, result = device.make_surface(program.inputs[0]), device.make_surface(program.outputs[0])
    source.write(x)
    found = program.counters({"x": source}, {"y": result})
    assert [counter.name for counter in found][:2] == ["hardware execution time", "performance counters"]
    for counter in found:
        assert isinstance(counter, native.Counter)
        assert (counter.value is None) == bool(counter.reason)
    np.testing.assert_array_equal(result.read(), 2 * x)
    with pytest.raises(EvaluateError, match="output 'y' has no surface"):
        program.counters({"x": source}, {})


# Counters


def test_counters_are_values_or_unavailable(device: aneperf.Device) -> None:
    result = aneperf.counters(device)
    for row in result:
        assert row.status in ("ok", "unsupported")
        assert (row.status == "ok") == ("value" in row.metrics)
        assert row.status == "ok" or row.reason.startswith("unavailable: ")
    found = rows(result)
    assert found["hardware execution time"].status == "unsupported"
    assert found["time of the compile"].metrics["value"] > 0
    assert found["step of the host's clock"].metrics["value"] > 0
    text = str(result)
    assert "hardware execution time" in text
    assert "unavailable" in text


def test_a_counter_that_is_read_is_a_value() -> None:
    def counters(program: Any, inputs: Any, outputs: Any) -> list[Any]:
        return [SimpleNamespace(name="hardware execution time", unit="ns", value=123, reason="")]

    row = rows(aneperf.counters(Wrapped(counters=counters)))["hardware execution time"]  # type: ignore[arg-type]
    assert row.metrics == {"value": 123}


def test_counters_of_a_program_that_fails() -> None:
    def counters(program: Any, inputs: Any, outputs: Any) -> list[Any]:
        raise EvaluateError("[evaluate] status 0x16")

    result = aneperf.counters(Wrapped(counters=counters))  # type: ignore[arg-type]
    assert [row.status for row in result] == ["ok", "error"]


# Compat and parity


def test_compat_on_the_emulator() -> None:
    found = rows(aneperf.compat("emulator:h16"))
    assert set(found) == set(compat_module.ITEMS)
    refused = {name for name, row in found.items() if row.status != "ok"}
    assert refused == {
        *(f"ports/{dtype} {side}" for dtype in compat_module._INTEGERS for side in ("input", "output")),
        "semantics/attention mask",
    }
    assert found["semantics/attention mask"].reason == "the mask is ignored"
    assert "port 'x' is int8" in found["ports/int8 input"].reason
    assert found["op/transpose"].error == 0


def test_compat_shows_what_a_generation_lacks() -> None:
    items = ["op/sin", "op/topk", "ports/fp32", "op/exp"]
    found = rows(aneperf.compat("emulator:h13", items=items))
    assert [found[item].status for item in items] == ["unsupported", "unsupported", "unsupported", "ok"]


def test_a_mask_that_is_heeded_is_ok(plain: aneperf.Device) -> None:
    assert compat_module.ITEMS["semantics/attention mask"]().ask(plain)["status"] == "ok"


def test_compat_takes_as_many_processes_as_its_compiles_need() -> None:
    items = [f"op/{name}" for name in list(CASES)[:7]]
    steps: list[Step] = []
    device = aneperf.open("emulator", compile_budget=3)
    result = aneperf.compat(device, items=items, progress=steps.append)
    assert [row.key for row in result] == [f"compat/{item}" for item in items]
    assert {row.status for row in result} == {"ok"}
    assert [step.row for step in steps if step.row] == list(result)


@pytest.mark.parametrize("name", [item for item in compat_module.ITEMS if not item.startswith("op/")])
def test_a_wrong_output_is_an_error(name: str) -> None:
    """Of every item that is not an operation: none passes whatever the device answers."""
    question = compat_module.ITEMS[name]()
    outputs = [{port: 1.5 * array + 1 for port, array in arrays.items()} for arrays in question.expected]
    errors = checking._errors(
        [{port: array.astype(np.float16) for port, array in arrays.items()} for arrays in outputs],
        question.expected,
    )
    fields = checking.judge(errors, question.tolerance, {})
    assert fields["status"] == "error"
    assert fields["reason"].startswith("wrong output: off by ")


def test_swapped_ports_are_noticed() -> None:
    question = compat_module.ITEMS["ports/4 inputs, 3 outputs"]()
    (arrays,), (expected,) = question.inputs, question.expected
    program = compat_module._several([("x10", 32), ("x2", 32), ("b", 32), ("a", 32)], ["z", "y10", "y9"])
    assert program.text == question.text
    for first, second in (("x10", "x2"), ("a", "b")):
        swapped = {**arrays, first: arrays[second], second: arrays[first]}
        graph = SimpleNamespace(text=question.text, weights=question.weights)
        other = evaluate(graph, **swapped)  # type: ignore[arg-type]
        assert all(not np.allclose(other[port], expected[port], atol=0.1) for port in expected)
    assert not np.allclose(expected["y10"], expected["y9"], atol=0.1)
    assert not np.allclose(expected["z"], expected["y9"], atol=0.1)


def test_parity_on_the_emulator() -> None:
    items = ["op/exp", "op/transpose", "kernel/conv_stack", "kernel/attention_forward"]
    result = aneperf.parity("emulator", items=items)
    assert [row.key for row in result] == [f"parity/{item}" for item in items]
    for row in result:
        assert row.status == "ok"
        assert row.error is not None
        assert row.error <= row.metrics["tolerance"]
        assert {"max_abs", "max_ulp", "exact_share"} <= set(row.metrics)
    assert result.rows[0].metrics["exact_share"] > 0.99
    assert result.rows[1].metrics == {
        **result.rows[1].metrics, "max_abs": 0, "max_ulp": 0, "exact_share": 1, "tolerance": 0
    }  # fmt: skip


def test_parity_has_every_operation_and_kernel() -> None:
    assert {f"op/{name}" for name in CASES} < set(parity_module.ITEMS)
    assert len(parity_module.FAMILIES) >= 14


@pytest.mark.parametrize("function", [aneperf.compat, aneperf.parity])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": ["op/fly"]}, "items: there is no 'op/fly': choose from "),
        ({"items": "op/exp"}, "items must be a list of names, not 'op/exp'"),
        ({"items": []}, "items must be a list of names"),
        ({"budget": 0}, "budget must be a positive, finite number"),
    ],
)
def test_what_cannot_be_asked(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        function("emulator", **options)


# Limits


def limits(**options: Any) -> dict[str, Any]:
    return rows(aneperf.limits("emulator", **{"budget": 60.0, **options}))


def test_the_emulators_limit_is_the_engines() -> None:
    steps: list[Step] = []
    result = aneperf.limits("emulator", progress=steps.append)
    found = rows(result)
    for part in ("kept", "released"):
        assert found[part].metrics["programs"] == 119
        assert found[part].params["ending"] == "the next was refused"
        assert any(note.startswith(f"{part}: [compile] CompilationFailure: ") for note in result.notes)
    assert found["compile time"].n == 119
    low, high = found["compile time"].ci_low, found["compile time"].ci_high
    # Compiles that resemble each other, on a busy machine, have no interval.
    assert (low is None) == (high is None)
    assert low is None or low <= found["compile time"].median <= high
    assert found["load time"].status == "unsupported"
    assert found["overlap"].unit == "x"
    assert found["overlap"].params["verdict"].startswith(("overlaps", "does not overlap", "undecided"))
    assert [step.row for step in steps if step.row] == list(result)


def test_counting_stops_where_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "overlap", no_overlap)
    found = limits(most=5)
    assert found["kept"].metrics["programs"] == 5
    assert found["kept"].params["ending"] == "none was refused of 5"


def test_counting_stops_with_the_budget() -> None:
    device = aneperf.open("emulator", compile_budget=NO_BUDGET)
    result = limits_module.count_programs(device, keep=True, most=10, budget=1e-9, progress=lambda step: None)
    assert result.rows[0].params["ending"] == "none was refused of 0 in the time given"
    assert [row.status for row in result] == ["ok", "unsupported", "unsupported"]


def test_a_count_that_ends_in_a_crash_is_still_a_count() -> None:
    dead = Outcome((), failure="its process was killed by SIGSEGV", doing="37")
    row, *lost = limits_module._counted("kept", dead)
    assert [row.status for row in lost] == ["error", "error"]
    assert row.metrics == {"programs": 37}
    assert row.params["ending"] == "the process did not survive the next: its process was killed by SIGSEGV"
    (row,) = limits_module._counted("released", Outcome((), failure="no such device"))
    assert (row.status, row.reason) == ("error", "no such device")


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([1.5] * 9, "overlaps: "),
        ([0.95] * 9, "does not overlap: "),
        ([0.5, 1.5] * 5, "undecided: the interval holds both"),
    ],
)
def test_the_verdict_of_an_overlap_is_its_intervals(ratios: list[float], verdict: str) -> None:
    row = limits_module._overlap_row(ratios, 1, 2)
    assert row.params["verdict"].startswith(verdict)
    assert row.n == len(ratios)


def test_what_limits_cannot_do() -> None:
    for most in (0, -1, 1.5, True):
        with pytest.raises(ArgumentError, match="most must be an integer of at least 1"):
            aneperf.limits("emulator", most=most)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="budget must be"):
        aneperf.limits("emulator", budget=-1)


# On the command line


@pytest.mark.parametrize("verb", ["weights", "counters", "compat", "parity"])
def test_verbs(
    run: Any,
    emulator: aneperf.Device,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    verb: str,
) -> None:
    # Other tests may have used the compiles of this process.
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: emulator)
    outcome = run(verb, "--device", "emulator", "-o", str(tmp_path / "r.json"))
    assert outcome.code == 0
    assert outcome.out.startswith(f"aneperf {verb}\nSoftware emulator on ")
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert json.loads((tmp_path / "r.json").read_text())["probe"] == verb
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compat", "--only", "op/fly"], "there is no 'op/fly'"),
        (["parity", "--only", "op/fly"], "there is no 'op/fly'"),
        (["limits", "--most", "0"], "most must be an integer of at least 1, not 0"),
        (["weights", "--budget", "0"], "budget must be a positive"),
        (["counters", "--device", "gpu"], "no device is called 'gpu'"),
    ],
)
def test_bad_input_is_one_line(run: Any, arguments: list[str], message: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
