"""MIL text: golden programs in both dialects, and round trips through the parser."""

import inspect
import re
import sys
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
from aneperf.mil import elementwise, movement, product, reduction, storage, window

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
val = tensor<fp16, [8, 4, 1, 1]>(BLOBFILE(path = string("@model_path/weights/weight_0.bin"), \
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
val = tensor<fp16, [8, 4, 1, 1]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight_0.bin"), \
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


# Every operation, with each of its arguments; x is [1, 8, 4, 16].
CALLS: dict[str, Callable[[mil.Tensor], mil.Tensor | tuple[mil.Tensor, ...]]] = {
    "abs": mil.abs,
    "add": lambda x: mil.add(x, 0.1),
    "affine": lambda x: mil.affine(x, array(1, 6), 3, 5),
    "atan": mil.atan,
    "avg_pool": lambda x: mil.avg_pool(x, (2, 3), (2, 1), "same", exclude_padding_from_average=True),
    "batch_norm": lambda x: mil.batch_norm(x, array(8), array(8) ** 2, array(8), array(8), 1e-3),
    "batch_to_space": lambda x: mil.batch_to_space(mil.concat([x, x], 0), (1, 2), ((1, 0), (0, 3))),
    "cast": lambda x: mil.cast(x, "fp32"),
    "ceil": mil.ceil,
    "clamped_relu": lambda x: mil.clamped_relu(x, 0.1, 6),
    "clip": lambda x: mil.clip(x, -1, 2.5),
    "concat": lambda x: mil.concat([x, x, array(1, 8, 4, 16)], 3, interleave=True),
    "constexpr_affine_dequantize": lambda x: mil.conv(
        x, mil.constexpr_affine_dequantize(levels(8, 8, 1, 1), array(8) ** 2 + 1, levels(8), 0)
    ),
    "constexpr_blockwise_shift_scale": lambda x: mil.conv(
        x, mil.constexpr_blockwise_shift_scale(levels(8, 8, 1, 1), array(8, 2, 1, 1), levels(8, 2, 1, 1))
    ),
    "constexpr_lut_to_dense": lambda x: mil.conv(
        x, mil.constexpr_lut_to_dense(mil.const(levels(8, 8, 1, 1) % 16, "uint4"), array(2, 1, 1, 1, 16, 1))
    ),
    "constexpr_sparse_to_dense": lambda x: mil.conv(
        x, mil.constexpr_sparse_to_dense(array(32).astype(np.float16), levels(8, 8, 1, 1) % 2)
    ),
    "conv": lambda x: mil.conv(
        x,
        array(6, 4, 3, 2),
        strides=(2, 1),
        pad_type="custom",
        pad=(1, 0, 2, 1),
        dilations=(1, 2),
        groups=2,
    ),
    "conv_transpose": lambda x: mil.conv_transpose(
        x,
        array(8, 3, 3, 2),
        strides=(2, 3),
        pad_type="custom",
        pad=(1, 0, 2, 1),
        dilations=(1, 2),
        groups=2,
        output_shape=(1, 6, 9, 46),
    ),
    "cos": mil.cos,
    "crop": lambda x: mil.crop(x, [1, 0], [2, 3]),
    "depth_to_space": lambda x: mil.depth_to_space(x, 2),
    "dequantize": lambda x: mil.dequantize(mil.quantize(x, 0.5), array(8) ** 2 + 1, levels(8), axis=1),
    "einsum": lambda x: mil.einsum([x, array(1, 16, 4, 3)], "abcd,adce->abce"),
    "elu": lambda x: mil.elu(x, 0.7),
    "equal": lambda x: mil.cast(mil.equal(x, 0), "fp16"),
    "erf": mil.erf,
    "exp": mil.exp,
    "exp2": mil.exp2,
    "expand_dims": lambda x: mil.expand_dims(x, [0]),
    "flatten2d": lambda x: mil.flatten2d(x, 2),
    "floor": mil.floor,
    "floor_div": lambda x: mil.floor_div(x, 0.3),
    "gelu": lambda x: mil.gelu(x, "TANH_APPROXIMATION"),
    "greater": lambda x: mil.cast(mil.greater(x, array(16)), "fp16"),
    "greater_equal": lambda x: mil.cast(mil.greater_equal(x, x), "fp16"),
    "instance_norm": lambda x: mil.instance_norm(x, array(8), array(8)),
    "inverse": mil.inverse,
    "l2_norm": mil.l2_norm,
    "l2_pool": lambda x: mil.l2_pool(x, (4, 1)),
    "layer_norm": lambda x: mil.layer_norm(x, [1], array(8), array(8), 1e-4),
    "leaky_relu": lambda x: mil.leaky_relu(x, 0.01),
    "less": lambda x: mil.cast(mil.less(0.5, x), "fp16"),
    "less_equal": lambda x: mil.cast(mil.less_equal(x, 1), "fp16"),
    "linear": lambda x: mil.linear(x, array(4, 16), array(4)),
    "linear_activation": lambda x: mil.linear_activation(x, 2, 1),
    "local_response_norm": lambda x: mil.local_response_norm(x, 5),
    "log": lambda x: mil.log(x, 1e-3),
    "logical_not": lambda x: mil.cast(mil.logical_not(mil.less(x, 1)), "fp16"),
    "matmul": lambda x: mil.matmul(array(5, 4), x, transpose_x=False, transpose_y=False),
    "max_pool": lambda x: mil.max_pool(x, (2, 3), (2, 2), "custom", (1, 1, 1, 1), True),
    "maximum": lambda x: mil.maximum(x, array(4, 1)),
    "minimum": lambda x: mil.minimum(-0.0, x),
    "mul": lambda x: mil.mul(x, x),
    "not_equal": lambda x: mil.cast(mil.not_equal(x, 1), "fp16"),
    "pad": lambda x: mil.pad(x, [1, 2, 0, 3], "constant", -1.5),
    "pixel_shuffle": lambda x: mil.pixel_shuffle(x, 2),
    "pixel_unshuffle": lambda x: mil.pixel_unshuffle(x, 2),
    "pow": lambda x: mil.pow(x, -0.5),
    "prelu": lambda x: mil.prelu(x, array(8)),
    "quantize": lambda x: mil.dequantize(mil.quantize(x, 0.1, 7, "uint8"), 0.1, 7),
    "real_div": lambda x: mil.real_div(1, x),
    "reduce_l1_norm": lambda x: mil.reduce_l1_norm(x, [1, 3]),
    "reduce_l2_norm": lambda x: mil.reduce_l2_norm(x, [1, 3]),
    "reduce_log_sum": lambda x: mil.reduce_log_sum(x, [1, 3]),
    "reduce_log_sum_exp": lambda x: mil.reduce_log_sum_exp(x, [1, 3]),
    "reduce_max": lambda x: mil.reduce_max(x, [-1]),
    "reduce_mean": lambda x: mil.reduce_mean(x, [1, 2, 3]),
    "reduce_min": lambda x: mil.reduce_min(x, [2], keep_dims=False),
    "reduce_sum": lambda x: mil.reduce_sum(x, [0, 1, 2, 3], keep_dims=False),
    "reduce_sum_square": lambda x: mil.reduce_sum_square(x, [1, 3]),
    "relu": mil.relu,
    "relu6": mil.relu6,
    "reshape": lambda x: mil.reshape(x, [1, 32, 1, -1]),
    "resize_bilinear": lambda x: mil.resize_bilinear(x, 7, 5, "ALIGN_CORNERS"),
    "resize_nearest_neighbor": lambda x: mil.resize_nearest_neighbor(x, 3, 20),
    "reverse": lambda x: mil.reverse(x, [1, -1]),
    "round": mil.round,
    "rsqrt": lambda x: mil.rsqrt(x, 1e-5),
    "scaled_dot_product_attention": lambda x: mil.scaled_dot_product_attention(x, x, x, array(4, 4)),
    "scaled_tanh": lambda x: mil.scaled_tanh(x, 1.7, 0.6),
    "select": lambda x: mil.select(mil.greater(x, 0), x, -1),
    "sigmoid": mil.sigmoid,
    "sigmoid_hard": lambda x: mil.sigmoid_hard(x, 0.2, 0.5),
    "sign": mil.sign,
    "silu": mil.silu,
    "sin": mil.sin,
    "slice_by_index": lambda x: mil.slice_by_index(
        x,
        [0, 1, 0, 2],
        [1, 2, 0, -1],
        [1, 1, 2, 3],
        [False] * 4,
        [False, False, True, False],
        [False, True, False, False],
    ),
    "slice_by_size": lambda x: mil.slice_by_size(x, [0, 0, 1, 8], [1, 8, 2, 8]),
    "softmax": lambda x: mil.softmax(x, 1),
    "softplus": mil.softplus,
    "softsign": mil.softsign,
    "space_to_batch": lambda x: mil.space_to_batch(x, (3, 2), ((2, 0), (1, 1))),
    "space_to_depth": lambda x: mil.space_to_depth(x, 4),
    "split": lambda x: mil.split(x, 4, -1),
    "sqrt": mil.sqrt,
    "square": mil.square,
    "squeeze": lambda x: mil.squeeze(x, [0]),
    "stack": lambda x: mil.stack([x, mil.relu(x)], -1),
    "sub": lambda x: mil.sub(array(16), x),
    "tanh": mil.tanh,
    "threshold": lambda x: mil.threshold(x, 0.1),
    "thresholded_relu": lambda x: mil.thresholded_relu(x, 1),
    "tile": lambda x: mil.tile(x, [1, 2, 1, 3]),
    "topk": lambda x: mil.topk(x, 3, 1)[0],
    "transpose": lambda x: mil.transpose(x, [0, 3, 1, 2]),
    "upsample_bilinear": lambda x: mil.upsample_bilinear(x, 2, 1.5, False),
    "upsample_nearest_neighbor": lambda x: mil.upsample_nearest_neighbor(x, 2, 3),
}
FAMILIES = (elementwise, product, reduction, movement, storage, window)
SINCE_IOS17 = {
    "constexpr_blockwise_shift_scale",
    "constexpr_lut_to_dense",
    "constexpr_sparse_to_dense",
    "dequantize",
    "quantize",
    "scaled_dot_product_attention",
}


def test_every_operation_is_called() -> None:
    functions = {
        name
        for module in FAMILIES
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and not name.startswith("_")
    }
    assert functions == set(CALLS)


@pytest.mark.parametrize("op", CALLS)
def test_arguments_have_the_names_of_the_parameters(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []

    def record(*positional: Any, **arguments: Any) -> tuple[mil.Tensor, ...]:
        calls.append((*positional, arguments))
        return (mil.const(0),)

    # apply_one finds it among its own module's names, the others among theirs.
    for module in (sys.modules["aneperf.mil.call"], *FAMILIES):
        monkeypatch.setattr(module, "apply", record, raising=False)
    function = getattr(mil, op)
    given = {parameter: mil.const(0) for parameter in inspect.signature(function).parameters}
    function(**given)
    name = given.pop("name")
    if op in ("quantize", "dequantize"):
        given["input"] = given.pop("x")
    assert calls == [(op, name, given)]


@pytest.mark.parametrize("weight_files", ["separate", "single"])
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("op", CALLS)
def test_round_trip(op: str, dialect: Any, weight_files: Any) -> None:
    builder = mil.Builder(dialect)
    x = builder.input("x", (1, 8, 4, 16))
    if dialect == "ios16" and op in SINCE_IOS17:
        with pytest.raises(CompileError, match="opset"):
            CALLS[op](x)
        return
    results = CALLS[op](x)
    for index, result in enumerate(results if isinstance(results, tuple) else (results,)):
        builder.output(f"out_{index}", result)
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
    fp16 unused = const()[name=string("unused"), val=fp16(0x7c00)];
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
        fp16 unused = const()[name = string("unused"), val = fp16(0x7c00)];
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
    path = "@model_path/weights/weight_0.bin"
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
