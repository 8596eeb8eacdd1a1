"""The steps of a program: what each computes, and how long it takes."""

from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import ArgumentError, mil

SHAPE = (1, 64, 1, 40)  # rows of a port that are not packed
WEIGHT = (np.random.default_rng(0).standard_normal((64, 64, 1, 1)) / 8).astype(np.float16)
X = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float16)


def network() -> mil.Program:
    b = mil.Builder()
    x = b.input("x", SHAPE)
    hidden = mil.conv(x, WEIGHT, name="hidden")
    gated = mil.mul(mil.silu(hidden, name="silu"), hidden, name="gated")
    b.output("flat", mil.reshape(gated, (1, 32, 2, 40)))
    b.output("y", mil.softmax(mil.conv(gated, WEIGHT, name="second"), axis=1))
    return b.build()


def bound(program: Any, device: aneperf.Device) -> tuple[Any, dict[str, Any]]:
    source = device.make_surface(program.inputs[0])
    source.write(X)
    results = {port.name: device.make_surface(port) for port in program.outputs}
    return program.bind({"x": source}, results), results


def test_every_operation_has_a_step_or_shares_one(emulator: aneperf.Device) -> None:
    with network().compile(emulator) as program:
        steps = program.steps
        assert len(steps) == program.stats.operations
        assert {name for names in steps for name in names} >= {"hidden", "silu", "gated", "second", "y", "x"}
        assert all(names for names in steps)
        together = [names for names in steps if "silu" in names]
        assert len(together) == 1
        assert "gated" in together[0]
        order = [
            next(i for i, names in enumerate(steps) if name in names) for name in ("hidden", "gated", "y")
        ]
        assert order == sorted(order)


def test_timed_steps_compute_what_an_evaluation_does(emulator: aneperf.Device) -> None:
    with network().compile(emulator) as program:
        expected = program.run(x=X)
        request, results = bound(program, emulator)
        durations = request.time_steps(3)
        assert durations.shape == (3, len(program.steps))
        assert durations.dtype == np.int64
        assert (durations >= 0).all()
        for name, surface in results.items():
            np.testing.assert_array_equal(surface.read(), expected[name])


@pytest.mark.parametrize("count", [0, -1, 1_000_001, 2**70, 1.5, "3", None])
def test_a_bad_count(emulator: aneperf.Device, count: Any) -> None:
    with network().compile(emulator) as program, pytest.raises((ArgumentError, TypeError)):
        bound(program, emulator)[0].time_steps(count)


def test_an_unloaded_program_has_no_times(emulator: aneperf.Device) -> None:
    program = network().compile(emulator)
    request, _ = bound(program, emulator)
    program.unload()
    with pytest.raises(aneperf.EvaluateError, match="unloaded"):
        request.time_steps(1)


def test_only_the_emulator_tells(device: aneperf.Device) -> None:
    if device.info()["kind"] == "emulator":
        pytest.skip("the device under test is the emulator")
    with network().compile(device) as program:
        assert program.steps == []
        with pytest.raises(aneperf.EvaluateError, match="only the emulator tells"):
            bound(program, device)[0].time_steps(1)
