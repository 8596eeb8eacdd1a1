from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import _ane_native as native
from aneperf import mil
from aneperf.errors import ArgumentError, CompileBudgetError, CompileError, DeviceUnavailable, EvaluateError
from aneperf.runner.progress import Progress
from support.wrapped import Wrapped, rows

compat_module, limits_module, parity_module, weights_module = (
    __import__(f"aneperf.probes.{name}", fromlist=["_"]) for name in ("compat", "limits", "parity", "weights")
)


def test_weights_are_baked_in_on_the_emulator(emulator: aneperf.Device) -> None:
    steps: list[Progress] = []
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


def layer() -> tuple[mil.Program, np.ndarray]:
    x = np.random.default_rng(0).integers(-64, 65, (1, 32, 1, 32)).astype(np.float16)
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


def test_counters_are_values_or_unavailable(device: aneperf.Device) -> None:
    result = aneperf.counters(device)
    assert all(row.name == row.key.removeprefix("counters/") for row in result)
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
