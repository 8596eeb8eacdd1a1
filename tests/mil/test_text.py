"""MIL text: golden programs in both dialects, and round trips through the parser."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from aneperf import mil
from aneperf.errors import ArgumentError, CompileError
from aneperf.mil.call import OPERATIONS
from aneperf.runner.operations import CASES

DIALECTS = ("ios18", "ios16")

GOLDEN = {
    "ios18": """\
program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3510.2.1"}, {"coremlc-version", "3505.4.1"}, \
{"coremltools-component-milinternal", ""}, {"coremltools-version", "9.0"}})]
{
    func main<ios18>(tensor<fp16, [1, 4, 1, 8]> x) {
        fp16 y_0 = const()[name = string("y_0"), val = fp16(0x1p-3)];
        tensor<fp16, [1, 4, 1, 8]> mul_0 = mul(x = x, y = y_0)[name = string("mul_0")];
        tensor<fp16, [8, 4, 1, 1]> weight_0 = const()[name = string("weight_0"), \
val = tensor<fp16, [8, 4, 1, 1]>(BLOBFILE(path = string("@model_path/weights/weight.bin"), \
offset = uint64(64)))];
        tensor<int32, [2]> strides_0 = const()[name = string("strides_0"), val = tensor<int32, [2]>([1, 1])];
        string pad_type_0 = const()[name = string("pad_type_0"), val = string("valid")];
        tensor<int32, [4]> pad_0 = const()[name = string("pad_0"), val = tensor<int32, [4]>([0, 0, 0, 0])];
        tensor<int32, [2]> dilations_0 = const()[name = string("dilations_0"), \
val = tensor<int32, [2]>([1, 1])];
        int32 groups_0 = const()[name = string("groups_0"), val = int32(1)];
        tensor<fp16, [1, 8, 1, 8]> conv_0 = conv(x = mul_0, weight = weight_0, strides = strides_0, \
pad_type = pad_type_0, pad = pad_0, dilations = dilations_0, groups = groups_0)[name = string("conv_0")];
        tensor<int32, [1]> axes_0 = const()[name = string("axes_0"), val = tensor<int32, [1]>([1])];
        bool keep_dims_0 = const()[name = string("keep_dims_0"), val = bool(true)];
        tensor<fp16, [1, 1, 1, 8]> total = reduce_sum(x = conv_0, axes = axes_0, keep_dims = keep_dims_0)\
[name = string("total")];
    } -> (total);
}
""",
    "ios16": """\
program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3505.4.1"}})]
{
    func main<ios16>(tensor<fp16, [1, 4, 1, 8]> x) {
        tensor<fp16, []> y_0 = const()[name = tensor<string, []>("y_0"), val = tensor<fp16, []>(0x1p-3)];
        tensor<fp16, [1, 4, 1, 8]> mul_0 = mul(x = x, y = y_0)[name = tensor<string, []>("mul_0")];
        tensor<fp16, [8, 4, 1, 1]> weight_0 = const()[name = tensor<string, []>("weight_0"), \
val = tensor<fp16, [8, 4, 1, 1]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), \
offset = tensor<uint64, []>(64)))];
        tensor<int32, [2]> strides_0 = const()[name = tensor<string, []>("strides_0"), \
val = tensor<int32, [2]>([1, 1])];
        tensor<string, []> pad_type_0 = const()[name = tensor<string, []>("pad_type_0"), \
val = tensor<string, []>("valid")];
        tensor<int32, [4]> pad_0 = const()[name = tensor<string, []>("pad_0"), \
val = tensor<int32, [4]>([0, 0, 0, 0])];
        tensor<int32, [2]> dilations_0 = const()[name = tensor<string, []>("dilations_0"), \
val = tensor<int32, [2]>([1, 1])];
        tensor<int32, []> groups_0 = const()[name = tensor<string, []>("groups_0"), \
val = tensor<int32, []>(1)];
        tensor<fp16, [1, 8, 1, 8]> conv_0 = conv(x = mul_0, weight = weight_0, strides = strides_0, \
pad_type = pad_type_0, pad = pad_0, dilations = dilations_0, groups = groups_0)\
[name = tensor<string, []>("conv_0")];
        tensor<int32, [1]> axes_0 = const()[name = tensor<string, []>("axes_0"), \
val = tensor<int32, [1]>([1])];
        tensor<bool, []> keep_dims_0 = const()[name = tensor<string, []>("keep_dims_0"), \
val = tensor<bool, []>(true)];
        tensor<fp16, [1, 1, 1, 8]> total = reduce_sum(x = conv_0, axes = axes_0, keep_dims = keep_dims_0)\
[name = tensor<string, []>("total")];
    } -> (total);
}
""",
}


def array(*shape: int) -> NDArray[np.float64]:
    return np.random.default_rng(0).standard_normal(shape)


def levels(*shape: int) -> NDArray[np.int8]:
    return np.arange(np.prod(shape)).reshape(shape).astype(np.int8)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_golden(dialect: Any) -> None:
    builder = mil.Builder()
    x = builder.input("x", (1, 4, 1, 8))
    builder.output("total", mil.reduce_sum(mil.conv(mil.mul(x, 0.125), array(8, 4, 1, 1)), [1]))
    assert builder.build(dialect).text == GOLDEN[dialect]


@pytest.mark.parametrize("weight_files", ["separate", "single"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("op", CASES)
def test_round_trip(op: str, dialect: Any, weight_files: Any) -> None:
    builder = mil.Builder(dialect)
    has_older_form = op in ("constexpr_lut_to_dense", "constexpr_sparse_to_dense")
    if dialect == "ios16" and (has_older_form or OPERATIONS[op].opset in ("ios17", "ios18")):
        with pytest.raises(CompileError, match="opset"):
            CASES[op].define(builder)
        return
    CASES[op].define(builder)
    program = builder.build(weight_files=weight_files)

    assert f" = {op}(" in program.text
    graph = mil.parse(program.text)
    assert mil.write(graph) == program.text
    assert {tensor.name: tensor.type for tensor in graph.inputs} == program.inputs
    assert {tensor.name: tensor.type for tensor in graph.outputs} == program.outputs
    with_weights = mil.parse(program.text, program.weights)
    assert mil.write(with_weights) == program.text
    assert all(tensor.constant is not None for tensor in with_weights.blobs)


@given(
    npst.arrays(
        np.float16, npst.array_shapes(min_dims=0, max_dims=4, max_side=3), elements=st.floats(width=16)
    ),
    st.sampled_from(DIALECTS),
)
def test_every_fp16_survives(values: NDArray[np.float16], dialect: str) -> None:
    graph = mil.parse(GOLDEN[dialect])
    constant = mil.Tensor("k", mil.TensorType("fp16", values.shape), constant=values)
    holder = mil.Graph(graph.dialect, graph.inputs, (constant, *graph.statements), graph.outputs, graph.blobs)
    found = mil.parse(mil.write(holder)).statements[0]
    assert isinstance(found, mil.Tensor)
    np.testing.assert_array_equal(found.constant, values)
    finite = np.isfinite(values)
    np.testing.assert_array_equal(np.signbit(np.asarray(found.constant))[finite], np.signbit(values)[finite])


@pytest.mark.parametrize(
    ("value", "literal"),
    [
        (1.0, "0x1p+0"),
        (0.1, "0x1.998p-4"),
        (-65504, "-0x1.ffcp+15"),
        (2**-24, "0x1p-24"),
        (1e-5, "0x1.5p-17"),
        (0.0, "0x0p+0"),
        (-0.0, "-0x0p+0"),
        (1 / 768, "0x1.554p-10"),
    ],
)
def test_floats_are_spelled_exactly(value: float, literal: str) -> None:
    builder = mil.Builder()
    builder.output("z", mil.add(builder.input("x", (1, 4, 1, 8)), value))
    assert f"val = fp16({literal})" in builder.build().text


FOREIGN = """
program(1.3) [buildInfo = dict<string, string>({{"tool", "a \\"b\\" \\\\ c"}})]
{
  func main<ios18>(tensor<fp16, [1,4,1,8]> x) {
    tensor<fp16, [2,2,1,1]> w = const()[name=string("w"), val=tensor<fp16, [2,2,1,1]>([[[[1.5]],[[0x3c00]]],[[[-2]],[[0x1p-3]]]])];
    tensor<fp16, [1,2,1,8]> a, tensor<fp16, [1,2,1,8]> b = split(axis=int32(1), x=x, num_splits=int32(2))[name=string("s")];
    fp16 unused = const()[name=string("unused"), val=fp16(inf)];
    tensor<fp16, [1,2,1,8]> c = conv(weight=w, x=a, pad_type=string("valid"));
    tensor<fp16, [1,4,1,8]> y = concat(values=(c,b), axis=int32(1), interleave=bool(false))[name=string("y")];
  } -> (y);
}
"""  # noqa: E501

FOREIGN_WRITTEN = """\
program(1.3)
[buildInfo = dict<string, string>({{"tool", "a \\"b\\" \\\\ c"}})]
{
    func main<ios18>(tensor<fp16, [1, 4, 1, 8]> x) {
        tensor<fp16, [2, 2, 1, 1]> w = const()[name = string("w"), \
val = tensor<fp16, [2, 2, 1, 1]>([[[[0x1.8p+0]], [[0x1p+0]]], [[[-0x1p+1]], [[0x1p-3]]]])];
        tensor<fp16, [1, 2, 1, 8]> a, tensor<fp16, [1, 2, 1, 8]> b = split(axis = int32(1), x = x, \
num_splits = int32(2))[name = string("a")];
        fp16 unused = const()[name = string("unused"), val = fp16(inf)];
        tensor<fp16, [1, 2, 1, 8]> c = conv(weight = w, x = a, pad_type = string("valid"))\
[name = string("c")];
        tensor<fp16, [1, 4, 1, 8]> y = concat(values = (c, b), axis = int32(1), interleave = bool(false))\
[name = string("y")];
    } -> (y);
}
"""


def test_foreign_text_keeps_its_order_and_its_inline_literals() -> None:
    assert mil.write(mil.parse(FOREIGN)) == FOREIGN_WRITTEN
    assert mil.write(mil.parse(FOREIGN_WRITTEN)) == FOREIGN_WRITTEN


def test_constant_expressions_may_have_their_literals_as_arguments() -> None:
    builder = mil.Builder()
    x = builder.input("x", (1, 4, 1, 8))
    builder.output("y", mil.conv(x, mil.constexpr_affine_dequantize(levels(2, 4, 1, 1), 0.5)))
    text = builder.build().text
    bracketed = re.search(r"constexpr_affine_dequantize\(\)\[(.*)\];", text)
    assert bracketed
    assert bracketed[1].startswith(
        'axis = int32(0), name = string("constexpr_affine_dequantize_0"), quantized'
    )
    arguments = re.sub(r"name = [^,]*, ", "", bracketed[1])
    spelled = text.replace(bracketed[0], f"constexpr_affine_dequantize({arguments});")
    assert mil.write(mil.parse(spelled)) == text


def test_named_constants_stay_named_in_constant_expressions() -> None:
    text = FOREIGN_WRITTEN.replace(
        "        tensor<fp16, [2, 2, 1, 1]> w = const",
        '        tensor<int8, [1]> q = const()[name = string("q"), val = tensor<int8, [1]>([1])];\n'
        "        tensor<fp16, [1]> d = constexpr_affine_dequantize(quantized_data = q, axis = int32(0), "
        'scale = fp16(0x1p+0), zero_point = int8(0))[name = string("d")];\n'
        "        tensor<fp16, [2, 2, 1, 1]> w = const",
    )
    assert mil.write(mil.parse(text)) == text


def weighted() -> mil.Program:
    builder = mil.Builder()
    builder.output("y", mil.conv(builder.input("x", (1, 4, 1, 8)), array(8, 4, 1, 1)))
    return builder.build()


def test_weights_that_are_missing_or_wrong() -> None:
    program = weighted()
    path = "@model_path/weights/weight.bin"
    with pytest.raises(ArgumentError, match=r"weight_0.*hold no file"):
        mil.parse(program.text, {})
    with pytest.raises(ArgumentError, match=r"weight_0.*not a weight file"):
        mil.parse(program.text, {path: b"\0" * 256})
    with pytest.raises(ArgumentError, match=r"weight_0.*does not hold"):
        mil.parse(program.text, {path: mil.write_blob([np.zeros((8, 4), np.float32)])[0]})


def test_parse_reads_one_function() -> None:
    head, _, body = GOLDEN["ios18"].partition("    func main")
    second = body.rstrip().removesuffix("}")
    text = f"{head}    func main{second}    func other{second}}}\n"
    with pytest.raises(ArgumentError, match=r"2 functions \(main, other\)"):
        mil.parse(text)


def test_parse_errors_name_the_place() -> None:
    with pytest.raises(CompileError, match="line 5") as caught:
        mil.parse(GOLDEN["ios18"].replace("val = fp16(0x1p-3)", "val = 0.125"))
    assert caught.value.line == 5


def test_what_cannot_be_spelled() -> None:
    graph = mil.parse(FOREIGN)
    dialect = mil.Dialect("1.3", "ios18", (("key", "\x01"),), False)
    with pytest.raises(ArgumentError, match="cannot spell"):
        mil.write(mil.Graph(dialect, graph.inputs, graph.statements, graph.outputs))
    with pytest.raises(ArgumentError, match="neither named nor a constant"):
        mil.write(mil.Graph(graph.dialect, (), (mil.Tensor("w", mil.TensorType("fp16")),), graph.outputs))
