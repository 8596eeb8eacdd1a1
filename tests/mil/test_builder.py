"""The builder: values that become constants, names, programs."""

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
from aneperf.mil.weights import WEIGHT_FILE


def start(**options: Any) -> tuple[mil.Builder, mil.Tensor]:
    builder = mil.Builder(**options)
    return builder, builder.input("x", (1, 8, 1, 32))


def built(builder: mil.Builder, result: mil.Tensor, **options: Any) -> mil.Graph:
    """Return the program's graph, with its weights, as the parser reads it."""
    builder.output("result", result)
    program = builder.build(**options)
    return mil.parse(program.text, program.weights)


def operations(graph: mil.Graph) -> list[Operation]:
    return [statement for statement in graph.statements if isinstance(statement, Operation)]


def constants(graph: mil.Graph) -> dict[str, mil.Tensor]:
    return {statement.name: statement for statement in graph.statements if isinstance(statement, mil.Tensor)}


def weight(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(shape)


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


def test_numbers_take_the_dtype_of_the_other_operand() -> None:
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
        program = builder.build()
        assert program.weights == {WEIGHT_FILE: mil.write_blob([np.asarray(shared.constant)])[0]}


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
    paths = [path.lower() for path in builder.build(weight_files="separate").weights]
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
