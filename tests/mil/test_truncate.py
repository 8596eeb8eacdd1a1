"""Programs that end early compute what the whole one computes up to there."""

import numpy as np

import aneperf
from aneperf import mil
from aneperf.mil.truncate import Truncated
from aneperf.reference import evaluate

SHAPE = (1, 32, 2, 16)
WEIGHT = np.random.default_rng(0).integers(-2, 3, (32, 32, 1, 1)).astype(np.float16) / 4


def network() -> mil.Program:
    """Build a network with two inputs, a residual, truth values, two outputs and weights in a file."""
    b = mil.Builder()
    x, other = b.input("x", SHAPE), b.input("other", SHAPE, "fp32")
    hidden = mil.conv(x, mil.constexpr_affine_dequantize((WEIGHT * 4).astype(np.int8), 0.25), name="h")
    low, high = mil.split(mil.relu(hidden, name="r"), 2, 1, name="halves")
    b.output("low", low * 2.0)
    wide = mil.concat([low, high], 1, name="joined") + x
    truth = mil.greater(wide, 0.5, name="truth")
    b.output("y", mil.select(truth, wide, mil.cast(other, "fp16", name="o"), name="chosen"))
    return b.build()


def inputs(program: mil.Program) -> dict[str, np.ndarray]:
    """Draw multiples of 1/4, with which the network computes without rounding."""
    random = np.random.default_rng(1)
    dtypes = {"fp16": np.float16, "fp32": np.float32}
    return {
        name: (random.integers(-4, 5, type.shape) / 4).astype(dtypes[type.dtype])
        for name, type in (("x", network().inputs["x"]), ("other", network().inputs["other"]))
        if name in program.inputs
    }


def test_every_program_gives_what_later_operations_take(plain: aneperf.Device) -> None:
    whole = Truncated(network())
    assert [operation.op for operation in whole.operations] == [
        *("conv", "relu", "split", "mul", "concat", "add", "greater", "cast", "select")
    ]
    outputs = []
    for count in range(1, 10):
        program = whole.program(count)
        assert program is not None
        outputs.append(list(program.outputs))
        arrays = inputs(program)
        expected = evaluate(program, **arrays)
        got = program.compile(plain).run(**arrays)
        assert got.keys() == program.outputs.keys()
        for name, array in got.items():
            np.testing.assert_array_equal(array, expected[name])
    assert outputs == [
        ["h"],
        ["r"],
        ["halves_0", "halves_1"],
        ["halves_0", "halves_1", "low"],
        ["low", "joined"],
        ["low", "add_0"],
        ["low", "add_0", "truth_as_fp16"],
        ["low", "add_0", "truth_as_fp16", "o"],
        ["low", "y"],
    ]


def test_inputs_and_weights_that_are_not_needed_are_left_out() -> None:
    b = mil.Builder()
    x, other = b.input("x", SHAPE), b.input("other", SHAPE)
    b.output("y", mil.conv(mil.relu(x), WEIGHT) + other)
    whole = Truncated(b.build())
    first, second = whole.program(1), whole.program(2)
    assert first is not None
    assert second is not None
    assert (list(first.inputs), list(second.inputs)) == (["x"], ["x"])
    assert ("BLOBFILE" in first.text, "BLOBFILE" in second.text) == (False, True)


def test_quantized_values_leave_as_halves(plain: aneperf.Device) -> None:
    b = mil.Builder()
    b.output("y", mil.dequantize(mil.quantize(b.input("x", SHAPE), 0.25), 0.25))
    program = Truncated(b.build()).program(1)
    assert program is not None
    x = inputs(program)["x"]
    np.testing.assert_array_equal(program.compile(plain).run(x=x)["quantize_0_as_fp16"], 4 * x)


def test_where_there_would_be_too_many_outputs_no_program_ends() -> None:
    b = mil.Builder()
    b.output("y", mil.concat(mil.split(mil.relu(b.input("x", (1, 256, 1, 32))), 256, 1), 1))
    whole = Truncated(b.build())
    assert [whole.program(count) is None for count in (1, 2, 3)] == [False, True, False]
