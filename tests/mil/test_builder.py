"""The builder: what it makes of calls, and what it refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from aneperf import mil
from aneperf.errors import ArgumentError, CompileError
from aneperf.mil.graph import Operation


def start(**options: Any) -> tuple[mil.Builder, mil.Tensor]:
    builder = mil.Builder(**options)
    return builder, builder.input("x", (1, 8, 1, 32))


def built(builder: mil.Builder, result: mil.Tensor, **options: Any) -> mil.Graph:
    """The program's graph, with its weights, as the parser reads it."""
    builder.output("result", result)
    program = builder.build(**options)
    return mil.parse(program.text, program.weights)


def operations(graph: mil.Graph) -> list[Operation]:
    return [statement for statement in graph.statements if isinstance(statement, Operation)]


def constants(graph: mil.Graph) -> dict[str, mil.Tensor]:
    return {statement.name: statement for statement in graph.statements if isinstance(statement, mil.Tensor)}


def weight(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(shape)


# Types and constants


def test_results_have_the_inferred_types() -> None:
    _, x = start()
    y = mil.conv(x, weight(16, 8, 1, 3))
    assert (y.dtype, y.shape, y.channels, y.width, y.rank) == ("fp16", (1, 16, 1, 30), 16, 30, 4)
    assert mil.reduce_mean(y, [1, 3], keep_dims=False).shape == (1, 1)
    assert [part.shape for part in mil.split(y, 4, 1)] == [(1, 4, 1, 30)] * 4
    assert mil.cast(y, "fp32").dtype == "fp32"


@given(
    npst.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        npst.array_shapes(max_dims=4, max_side=8),
        elements=st.floats(-65504, 65504, width=16),
    )
)
def test_float_arrays_are_rounded_to_fp16(array: NDArray[Any]) -> None:
    constant = mil.const(array)
    assert constant.type == mil.TensorType("fp16", array.shape)
    assert isinstance(constant.constant, np.ndarray)
    assert constant.constant.tobytes() == array.astype(np.float16).tobytes()


@given(st.sampled_from(["int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64"]), st.data())
def test_integers_keep_their_values_or_are_refused(dtype: Any, data: st.DataObject) -> None:
    limits = np.iinfo(dtype)
    inside = data.draw(st.integers(limits.min, limits.max))
    assert int(mil.const(inside, dtype).constant) == inside  # type: ignore[arg-type]
    outside = data.draw(st.integers(limits.max + 1, 2**70) | st.integers(-(2**70), limits.min - 1))
    with pytest.raises(ArgumentError):
        mil.const(outside, dtype)


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (1.5, None, "fp16"),
        (3, None, "int32"),
        (True, None, "bool"),
        ("valid", None, "string"),
        (np.arange(3), None, "int32"),
        (np.zeros(3, np.int8), None, "int8"),
        (np.zeros(3, np.float32), None, "fp16"),
        (np.zeros(3, np.float64), "fp32", "fp32"),
        (np.zeros(3, ">f4"), None, "fp16"),
        ([1, 2, 3], "fp16", "fp16"),
        (np.arange(16), "uint4", "uint4"),
    ],
)
def test_dtypes_of_constants(value: Any, dtype: Any, expected: str) -> None:
    assert mil.const(value, dtype).dtype == expected


def test_a_constant_is_a_snapshot() -> None:
    builder, x = start()
    array = np.ones((8, 8, 1, 1), np.float16)
    y = mil.conv(x, array)
    array[:] = 7
    stored = constants(built(builder, y))["weight_0"].constant
    assert np.array_equal(stored, np.ones((8, 8, 1, 1)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(mil.const(array).constant)[:] = 7


def test_numbers_take_the_dtype_of_the_tensor_beside_them() -> None:
    builder, x = start()
    y = mil.real_div(1, mil.maximum(np.float64(0.1), x))
    found = constants(built(builder, y))
    assert {name: tensor.dtype for name, tensor in found.items()} == {"x_0": "fp16", "x_1": "fp16"}
    assert float(found["x_0"].constant) == np.float16(0.1)  # type: ignore[arg-type]


def test_quantization_constants_have_the_dtypes_of_their_roles() -> None:
    builder, x = start()
    levels = mil.quantize(x, 0.125, zero_point=3, output_dtype="uint8")
    found = constants(built(builder, mil.dequantize(levels, 0.125, zero_point=3)))
    assert found["scale_0"].dtype == "fp16"
    assert found["zero_point_0"].dtype == "uint8"


def test_arguments_that_are_none_are_left_out() -> None:
    builder, x = start()
    (operation,) = operations(built(builder, mil.slice_by_index(x, [0, 0, 0, 0], [1, 2, 1, 2])))
    assert list(operation.arguments) == ["x", "begin", "end"]


def test_operators_are_the_operations() -> None:
    builder, x = start()
    array = np.full((8, 1, 1), 2.0)
    y = (1 - x) * array + array * x / 3 - x
    y = (2 / (x - 1 + y)) @ weight(32, 32)
    y = weight(1, 1) @ y
    sides = [
        " ".join([operation.op, *(side for side in "xy" if operation.arguments[side].constant is not None)])  # type: ignore[union-attr]
        for operation in operations(built(builder, y))
    ]
    # Each operation, and which side of it is a constant.
    expected = "sub x, mul y, mul x, real_div y, add, sub, sub y, add, real_div x, matmul y, matmul x"
    assert ", ".join(sides) == expected


# Names and sharing


def test_generated_names_follow_the_operations() -> None:
    builder, x = start()
    y = mil.relu(mil.relu(x))
    parts = mil.split(y, 2, 1)
    named = mil.split(y, 2, 1, name="half")
    assert y.name == "relu_1"
    assert [part.name for part in (*parts, *named)] == ["split_0_0", "split_0_1", "half_0", "half_1"]
    builder.output("z", parts[1])
    assert parts[1].name == "z"


def test_a_result_that_becomes_an_output_gives_its_name_free() -> None:
    builder, x = start()
    builder.output("y", mil.relu(x, name="r"))
    assert mil.tanh(x, name="r").name == "r"


def test_generated_names_avoid_the_users() -> None:
    builder = mil.Builder()
    x = builder.input("relu_0", (1, 8, 1, 32))
    builder.input("split_0_1", (1, 8, 1, 32))
    assert mil.relu(x).name == "relu_1"
    assert mil.split(x, 2, 1)[0].name == "split_1_0"


def test_equal_short_constants_are_defined_once() -> None:
    builder, x = start()
    graph = built(builder, mil.conv(mil.conv(x, weight(8, 8, 1, 1)), weight(8, 8, 1, 1)))
    assert list(constants(graph)) == [
        "weight_0",
        "strides_0",
        "pad_type_0",
        "pad_0",
        "dilations_0",
        "groups_0",
        "weight_1",
    ]


def test_zeros_of_different_sign_are_different_constants() -> None:
    builder, x = start()
    assert len(constants(built(builder, (x + 0.0) + -0.0))) == 2


def test_a_shared_weight_is_stored_once_and_in_every_builder() -> None:
    shared = mil.const(weight(8, 8, 1, 1), name="shared")
    for _ in range(2):
        builder, x = start()
        builder.output("y", mil.conv(mil.conv(x, shared), shared))
        assert list(builder.build().weights) == ["@model_path/weights/shared.bin"]


def test_quantized_weights_are_shared_too() -> None:
    levels = np.arange(-32, 32, dtype=np.int8).reshape(8, 8, 1, 1)
    shared = mil.constexpr_affine_dequantize(mil.const(levels, name="levels"), np.full(8, 0.5), axis=0)
    for _ in range(2):
        builder, x = start()
        graph = built(builder, mil.conv(mil.conv(x, shared), shared))
        expression, *convs = operations(graph)
        assert expression.op == "constexpr_affine_dequantize"
        assert [conv.arguments["weight"] for conv in convs] == [expression.results[0]] * 2
        stored = expression.arguments["quantized_data"]
        assert isinstance(stored, mil.Tensor)
        assert np.array_equal(stored.constant, levels)  # type: ignore[arg-type]


def test_constants_stand_just_before_their_first_use() -> None:
    builder, x = start()
    graph = built(builder, mil.mul(mil.relu(x), 0.5) + 2)
    kinds = [s.op if isinstance(s, Operation) else s.name for s in graph.statements]
    assert kinds == ["relu", "y_0", "mul", "y_1", "add"]


# Programs


def test_ports_keep_the_order_of_their_declaration() -> None:
    builder = mil.Builder()
    b, a = builder.input("b", (1, 4, 1, 8)), builder.input("a", (1, 4, 1, 8), "fp32")
    builder.output("z", b + 1)
    builder.output("y", mil.cast(a, "fp16"))
    program = builder.build()
    assert program.inputs == {
        "b": mil.TensorType("fp16", (1, 4, 1, 8)),
        "a": mil.TensorType("fp32", (1, 4, 1, 8)),
    }
    assert list(program.outputs) == ["z", "y"]
    assert "} -> (z, y);" in program.text


@pytest.mark.parametrize("weight_files", ["separate", "single"])
def test_weights_are_where_the_text_says(weight_files: str) -> None:
    builder, x = start()
    first, second = weight(16, 8, 1, 1), weight(4, 16, 1, 3)
    graph = built(builder, mil.conv(mil.conv(x, first), second), weight_files=weight_files)
    assert len({blob.path for blob in graph.blobs.values()}) == (2 if weight_files == "separate" else 1)
    found = constants(graph)
    for name, array in {"weight_0": first, "weight_1": second}.items():
        assert np.array_equal(found[name].constant, array.astype(np.float16))  # type: ignore[arg-type]


def test_weight_files_differ_by_more_than_case() -> None:
    builder, x = start()
    y = mil.conv(x, mil.const(weight(8, 8, 1, 1), name="W"))
    builder.output("y", mil.conv(y, mil.const(weight(8, 8, 1, 1), name="w")))
    paths = [path.lower() for path in builder.build().weights]
    assert len(set(paths)) == 2


def test_short_weights_stand_in_the_text() -> None:
    builder, x = start()
    builder.output("y", mil.mul(x, np.arange(8).reshape(8, 1, 1) / 8))
    assert builder.build().weights == {}


def test_building_twice_gives_the_same() -> None:
    builder, x = start()
    builder.output("y", mil.conv(x, weight(8, 8, 1, 1)))
    assert builder.build() == builder.build()


def test_a_program_prints_without_its_weights() -> None:
    builder, x = start()
    builder.output("y", mil.conv(x, weight(8, 8, 1, 1)))
    assert len(repr(builder.build())) < 300


def test_the_other_dialect_is_checked_when_built() -> None:
    builder, x = start()
    builder.output("y", mil.scaled_dot_product_attention(x, x, x))
    builder.build()
    with pytest.raises(CompileError, match="ios18"):
        builder.build("ios16")


# Refusals

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
    "zero point dtype": (lambda b, x: mil.quantize(x, 1.0, 0, "int4"), "unknown dtype 'int4'"),  # type: ignore[arg-type]
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
    "integer array beside floats": (lambda b, x: mil.add(x, np.arange(32)), "int32, must be fp16"),
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
    "required argument None": (lambda b, x: mil.softmax(x, None), "'axis' is missing"),  # type: ignore[arg-type]
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
