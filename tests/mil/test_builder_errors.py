"""Calls that the builder refuses, and what the errors say."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from aneperf import mil
from aneperf.errors import ArgumentError, CompileError


def start(**options: Any) -> tuple[mil.Builder, mil.Tensor]:
    builder = mil.Builder(**options)
    return builder, builder.input("x", (1, 8, 1, 32))


def weight(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(shape)


BadCall = Callable[[mil.Builder, mil.Tensor], object]


def other() -> mil.Tensor:
    return mil.Builder().input("x", (1, 8, 1, 32))


def output_twice(builder: mil.Builder, x: mil.Tensor) -> None:
    y = mil.relu(x)
    builder.output("y", y)
    builder.output("z", y)


ARGUMENT_ERRORS: dict[str, tuple[BadCall, str]] = {
    "input name": (lambda b, x: b.input("2x", (1, 8, 1, 32)), "'2x' is not a name"),
    "input name type": (lambda b, x: b.input(3, (1, 8, 1, 32)), "3 is not a name"),  # type: ignore[arg-type]
    "input name newline": (lambda b, x: b.input("y\n", (1,)), "is not a name"),
    "input name unicode": (lambda b, x: b.input("ä", (1,)), "is not a name"),
    "input name long": (lambda b, x: b.input("y" * 201, (1,)), "is not a name"),
    "input name reserved": (lambda b, x: b.input("fp16", (1,)), "a word of MIL"),
    "input name taken": (lambda b, x: b.input("x", (1,)), "'x' is taken by an input"),
    "input shape zero": (lambda b, x: b.input("y", (1, 0)), "not a size of at least 1"),
    "input shape negative": (lambda b, x: b.input("y", (1, -1)), "not a size of at least 1"),
    "input shape float": (lambda b, x: b.input("y", (1.0, 8)), "not an integer"),  # type: ignore[arg-type]
    "input shape bool": (lambda b, x: b.input("y", (True, 8)), "not a size"),
    "input shape scalar": (lambda b, x: b.input("y", 64), "not a sequence"),  # type: ignore[arg-type]
    "input shape string": (lambda b, x: b.input("y", "64"), "not a sequence"),  # type: ignore[arg-type]
    "input dtype unknown": (lambda b, x: b.input("y", (1,), "half"), "unknown dtype 'half'"),  # type: ignore[arg-type]
    "input dtype numpy": (lambda b, x: b.input("y", (1,), np.float16), "unknown dtype"),  # type: ignore[arg-type]
    "input dtype port": (lambda b, x: b.input("y", (1,), "int32"), "ports are fp16 or fp32"),
    "output of input": (lambda b, x: b.output("y", x), "is the input 'x'"),
    "output of constant": (lambda b, x: b.output("y", mil.const(1.0)), "is a constant"),
    "output twice": (output_twice, "already the output 'y'"),
    "output foreign": (lambda b, x: b.output("y", mil.relu(other())), "another builder"),
    "output name taken": (lambda b, x: b.output("x", mil.relu(x)), "'x' is taken by an input"),
    "output dtype": (lambda b, x: b.output("y", mil.quantize(x, 1.0)), "is int8; ports are"),
    "output swapped": (lambda b, x: b.output(mil.relu(x), "y"), "output\\(name, tensor\\)"),  # type: ignore[arg-type]
    "no outputs": (lambda b, x: b.build(), "no outputs"),
    "opset": (lambda b, x: mil.Builder("ios99"), "opset 'ios99' is unknown"),  # type: ignore[arg-type]
    "dialect": (lambda b, x: b.build([]), "dialect \\[\\] is unknown"),  # type: ignore[arg-type]
    "weight files": (lambda b, x: b.build(weight_files="two"), "weight_files 'two'"),  # type: ignore[arg-type]
    "builders mixed": (lambda b, x: mil.add(x, other()), "different builders"),
    "builders mixed in a tuple": (lambda b, x: mil.concat([x, other()], 1), "different builders"),
    "only constants": (lambda b, x: mil.mul(2.0, 3.0), "mul: every operand is a constant"),
    "name taken": (lambda b, x: mil.relu(mil.relu(x, name="r"), name="r"), "taken by the result of relu"),
    "name reserved": (lambda b, x: mil.relu(x, name="const"), "a word of MIL"),
    "name type": (lambda b, x: mil.relu(x, name=b""), "b'' is not a name"),  # type: ignore[arg-type]
    "name of constant taken": (
        lambda b, x: mil.conv(x, mil.const(weight(8, 8, 1, 1), name="x")),
        "'x' is taken",
    ),
    "name of own constant": (
        lambda b, x: mil.conv(x, mil.const(weight(8, 8, 1, 1), name="c"), name="c"),
        "'c' is taken by another value of this operation",
    ),
    "operand list": (lambda b, x: mil.add(x, [1.0]), "add: y: \\[1.0\\] is not a tensor"),  # type: ignore[arg-type]
    "operand string": (lambda b, x: mil.add(x, "1"), "add: y: '1' is not a tensor"),  # type: ignore[arg-type]
    "operand bool": (lambda b, x: mil.add(x, True), "add: y: True is bool, not fp16"),
    "operand complex": (lambda b, x: mil.add(x, np.array([1j])), "not a number"),
    "operand object": (lambda b, x: mil.add(x, np.array([None])), "not a number"),
    "operand empty": (lambda b, x: mil.add(x, np.zeros((1, 0))), "add: y: is empty"),
    "weight NaN": (lambda b, x: mil.mul(x, np.array([1, np.nan])), "nan at \\[1\\] is not finite"),
    "weight infinite": (lambda b, x: mil.mul(x, -np.inf), "-inf is not finite"),
    "weight overflow": (
        lambda b, x: mil.mul(x, np.array([[1, 7e4]])),
        "70000.0 at \\[0, 1\\] overflows fp16",
    ),
    "number overflow": (lambda b, x: mil.mul(x, 65520), "65520 overflows fp16"),
    "number huge": (lambda b, x: mil.mul(x, 10**400), "not a number"),
    "number vanishes": (lambda b, x: mil.rsqrt(x, 1e-12), "epsilon: 1e-12 becomes 0 in fp16"),
    "axes empty": (lambda b, x: mil.reduce_sum(x, []), "axes: is empty"),
    "axes float": (lambda b, x: mil.reduce_sum(x, [1.0]), "is float64, not int32"),  # type: ignore[list-item]
    "axes bool": (lambda b, x: mil.reduce_sum(x, [True]), "is bool, not int32"),
    "axes string": (lambda b, x: mil.reduce_sum(x, "1"), "is a string, not int32"),  # type: ignore[arg-type]
    "axis out of int32": (lambda b, x: mil.softmax(x, 2**31), "2147483648 is outside int32"),
    "keep_dims integer": (lambda b, x: mil.reduce_sum(x, [1], 1), "1 is int64, not bool"),  # type: ignore[arg-type]
    "pad ragged": (lambda b, x: mil.reshape(x, [[1], [2, 3]]), "differ in length"),  # type: ignore[list-item]
    "mode number": (lambda b, x: mil.gelu(x, 1), "1 is not a string"),  # type: ignore[arg-type]
    "values tensor": (lambda b, x: mil.concat(x, 1), "is not a list of tensors"),  # type: ignore[arg-type]
    "values empty": (lambda b, x: mil.concat([], 1), "\\[\\] is not a list of tensors"),
    "zero point range": (lambda b, x: mil.quantize(x, 1.0, 200), "200 is outside int8"),
    "zero point dtype": (lambda b, x: mil.quantize(x, 1.0, 0, "int5"), "unknown dtype 'int5'"),  # type: ignore[arg-type]
    "const dtype": (lambda b, x: mil.const(1.0, "float"), "unknown dtype 'float'"),  # type: ignore[arg-type]
    "const string as number": (lambda b, x: mil.const("1", "int32"), "is a string, not int32"),
    "const number as string": (lambda b, x: mil.const(1, "string"), "is not a string"),
    "const fraction as integer": (lambda b, x: mil.const(1.5, "int8"), "1.5 is float64, not int8"),
    "const uint4 range": (
        lambda b, x: mil.const(np.array([3, 16]), "uint4"),
        "16 at \\[1\\] is outside uint4",
    ),
    "channels of rank 1": (lambda b, x: mil.reshape(x, [256]).channels, "has no channel axis"),
}


@pytest.mark.parametrize("case", ARGUMENT_ERRORS)
def test_argument_errors(case: str) -> None:
    call, message = ARGUMENT_ERRORS[case]
    with pytest.raises(ArgumentError, match=message):
        call(*start())


COMPILE_ERRORS: dict[str, tuple[BadCall, str]] = {
    "conv channels": (lambda b, x: mil.conv(x, weight(8, 4, 1, 1)), "weight has 4 input channels, x has 8"),
    "conv rank": (lambda b, x: mil.conv(x, weight(8, 8)), "weight"),
    "conv kernel too large": (lambda b, x: mil.conv(x, weight(8, 8, 1, 33)), "larger than the padded input"),
    "conv pad without custom": (lambda b, x: mil.conv(x, weight(8, 8, 1, 1), pad=(0, 0, 1, 1)), "custom"),
    "conv stride": (lambda b, x: mil.conv(x, weight(8, 8, 1, 1), strides=(0, 1)), "strides"),
    "conv groups": (lambda b, x: mil.conv(x, weight(8, 8, 1, 1), groups=3), "groups"),
    "conv of fp32": (
        lambda b, x: mil.conv(b.input("wide", (1, 8, 1, 32), "fp32"), weight(8, 8, 1, 1)),
        "cast first",
    ),
    "broadcast": (lambda b, x: mil.add(x, np.zeros(3)), "do not broadcast"),
    "integer array with floats": (lambda b, x: mil.add(x, np.arange(32)), "int32, must be fp16"),
    "matmul": (lambda b, x: mil.matmul(x, x), "inner extents differ"),
    "softmax axis": (lambda b, x: mil.softmax(x, 4), "axis 4 is outside"),
    "reduce axis twice": (lambda b, x: mil.reduce_sum(x, [1, -3]), "twice"),
    "layer_norm gamma": (lambda b, x: mil.layer_norm(x, [1], np.ones(4)), "gamma"),
    "reshape": (lambda b, x: mil.reshape(x, [3, 5]), "cannot reshape"),
    "transpose": (lambda b, x: mil.transpose(x, [0, 1, 2]), "perm"),
    "slice": (lambda b, x: mil.slice_by_size(x, [0, 0, 0, 30], [1, 8, 1, 3]), "outside axis 3"),
    "concat": (lambda b, x: mil.concat([x, mil.transpose(x, [0, 3, 2, 1])], 2), "differ"),
    "split": (lambda b, x: mil.split(x, 3, 1), "does not split"),
    "squeeze": (lambda b, x: mil.squeeze(x, [1]), "is not 1"),
    "cast": (lambda b, x: mil.cast(x, "int32"), "cast"),
    "gelu mode": (lambda b, x: mil.gelu(x, "FAST"), "mode must be"),  # type: ignore[arg-type]
    "attribute that is computed": (lambda b, x: mil.softmax(x, mil.relu(x)), "constant"),  # type: ignore[arg-type]
    "required argument None": (lambda b, x: mil.tile(x, None), "'reps' is missing"),  # type: ignore[arg-type]
    "quantized data of floats": (lambda b, x: mil.constexpr_affine_dequantize(weight(8, 8), 1.0), "int8"),
    "too many axes": (lambda b, x: mil.expand_dims(x, [0, 1]), "5 axes"),
}


@pytest.mark.parametrize("case", COMPILE_ERRORS)
def test_compile_errors(case: str) -> None:
    call, message = COMPILE_ERRORS[case]
    with pytest.raises(CompileError, match=message):
        call(*start())


@pytest.mark.parametrize(
    "call",
    [
        lambda x: mil.conv(x, weight(8, 4, 1, 1), name="y"),
        lambda x: mil.conv(x, weight(8, 8, 1, 1), name="x"),
        lambda x: mil.conv(x, mil.const(weight(8, 8, 1, 1), name="x")),
        lambda x: mil.add(x, other()),
    ],
)
def test_a_refused_operation_leaves_no_trace(call: Callable[[mil.Tensor], object]) -> None:
    def program(*, spoiled: bool) -> mil.Program:
        builder, x = start()
        if spoiled:
            with pytest.raises((ArgumentError, CompileError)):
                call(x)
        builder.output("y", mil.conv(x, weight(8, 8, 1, 1)))
        return builder.build()

    assert program(spoiled=True) == program(spoiled=False)
