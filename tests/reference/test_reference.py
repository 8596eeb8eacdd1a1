"""The package's float64 reference against the tests' own oracle, and against the emulator."""

import inspect
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf
from aneperf import mil
from aneperf._ane_native import operations as mil_operations
from aneperf.kernels import ConvStack
from aneperf.reference import OPERATIONS, evaluate, evaluate_disturbed
from aneperf.reference.precision import Errors, compare, worst
from aneperf.runner.operations import CASES
from support import oracle
from support.programs import build, normal_halves
from support.programs import evaluate as run

X = normal_halves(0, (2, 6, 9, 10))
LINE, SOLID, SOLID_BACK, BIAS = (
    normal_halves(i, shape) for i, shape in enumerate([(4, 3, 5), (4, 6, 2, 3, 1), (6, 2, 2, 3, 2), (4,)])
)


def reference(define: Any, *arrays: NDArray[Any]) -> NDArray[Any]:
    outputs = evaluate(build(define, *arrays), **{f"x{i}": array for i, array in enumerate(arrays)})
    return outputs["y0"]


@pytest.mark.parametrize("name", CASES)
def test_the_emulator_agrees_on_every_case(emulator: aneperf.Device, name: str) -> None:
    case = CASES[name]
    program, inputs = case.build(), case.inputs()
    assert f" {name}(" in program.text
    expected = evaluate(program, **inputs)
    for output, got in program.compile(emulator).run(**inputs).items():
        errors = compare(got, expected[output])
        assert errors is not None
        assert errors.relative <= (0 if case.reference.exact else 2.0**-7)  # tables of 33 points
        assert np.ptp(expected[output]) > 0  # a constant would hide what is wrong


ORACLE = {
    "conv": (
        lambda x: mil.conv(x, WEIGHT, strides=(2, 1), pad_type="custom", pad=(1, 0, 2, 1), dilations=(1, 2)),
        lambda x: oracle.conv(x, WEIGHT, (2, 1), (1, 0, 2, 1), (1, 2)),
    ),
    "conv same": (
        lambda x: mil.conv(x, WEIGHT, strides=(2, 3), pad_type="same"),
        lambda x: oracle.conv(x, WEIGHT, (2, 3), oracle.same_padding((9, 10), (3, 2), (2, 3), (1, 1))),
    ),
    "conv groups": (
        lambda x: mil.conv(x, WEIGHT[:, :2], groups=3),
        lambda x: oracle.conv(x, WEIGHT[:, :2], groups=3),
    ),
    "conv over one axis": (
        lambda x: mil.conv(mil.reshape(x, (2, 6, 90)), LINE, BIAS, strides=(3,), groups=2),
        lambda x: oracle.conv(x.reshape(2, 6, 90), LINE, (3,), groups=2, bias=BIAS),
    ),
    "conv over three axes": (
        lambda x: mil.conv(
            mil.reshape(x, (1, 6, 2, 9, 10)), SOLID, BIAS, pad_type="custom", pad=(1, 0, 0, 2, 1, 1)
        ),
        lambda x: oracle.conv(x.reshape(1, 6, 2, 9, 10), SOLID, pad=(1, 0, 0, 2, 1, 1), bias=BIAS),
    ),
    "conv_transpose over three axes": (
        lambda x: mil.conv_transpose(
            mil.reshape(x, (1, 6, 2, 9, 10)), SOLID_BACK, BIAS, strides=(2, 1, 3), groups=2
        ),
        lambda x: oracle.conv_transpose(
            x.reshape(1, 6, 2, 9, 10), SOLID_BACK, (4, 11, 29), (2, 1, 3), groups=2, bias=BIAS
        ),
    ),
    "avg_pool over three axes": (
        lambda x: mil.avg_pool(mil.reshape(x, (1, 6, 2, 9, 10)), (2, 3, 2), (1, 2, 2)),
        lambda x: oracle.pool("avg_pool", x.reshape(1, 6, 2, 9, 10), (2, 3, 2), (1, 2, 2), [0] * 6),
    ),
    "conv_transpose": (
        lambda x: mil.conv_transpose(
            x, WEIGHT, strides=(2, 1), pad_type="custom", pad=(1, 0, 2, 1), dilations=(1, 2)
        ),
        lambda x: oracle.conv_transpose(x, WEIGHT, (18, 9), (2, 1), (1, 0, 2, 1), (1, 2)),
    ),
    "conv_transpose same": (
        lambda x: mil.conv_transpose(x, WEIGHT[:, :2], strides=(2, 3), pad_type="same", groups=3),
        lambda x: oracle.conv_transpose(
            x,
            WEIGHT[:, :2],
            (18, 30),
            (2, 3),
            oracle.same_padding((18, 30), (3, 2), (2, 3), (1, 1)),
            groups=3,
        ),
    ),
    "conv_transpose to a shape": (
        lambda x: mil.conv_transpose(x, WEIGHT, strides=(3, 3), output_shape=(2, 6, 29, 31)),
        lambda x: oracle.conv_transpose(x, WEIGHT, (29, 31), (3, 3)),
    ),
    "einsum": (
        lambda x: mil.einsum([x, mil.transpose(x, [0, 3, 2, 1])]),
        lambda x: oracle.einsum(x, x.transpose(0, 3, 2, 1)),
    ),
    "affine": (
        lambda x: mil.affine(x, MATRIX, 5, 8),
        lambda x: oracle.affine(x, MATRIX, 5, 8),
    ),
    "matmul": (
        lambda x: mil.matmul(x, x, transpose_x=True),
        lambda x: oracle.matmul(x, x, transpose_x=True),
    ),
    "softmax": (lambda x: mil.softmax(x, 1), lambda x: oracle.softmax(x, 1)),
    "layer_norm": (
        lambda x: mil.layer_norm(x, [1, 3], GAMMA, None, 0.5),
        lambda x: oracle.layer_norm(x, [1, 3], GAMMA, None, 0.5),
    ),
    "instance_norm": (
        lambda x: mil.instance_norm(x, VECTOR, VECTOR, 0.5),
        lambda x: oracle.instance_norm(x, VECTOR, VECTOR, 0.5),
    ),
    "l2_norm": (lambda x: mil.l2_norm(x, 0.5), lambda x: oracle.l2_norm(x, 0.5)),
    "local_response_norm": (
        lambda x: mil.local_response_norm(x, 3, 0.5, 0.25, 2.0),
        lambda x: oracle.local_response_norm(x, 3, 0.5, 0.25, 2.0),
    ),
    "reduce_log_sum_exp": (
        lambda x: mil.reduce_log_sum_exp(x, [1, 2], False),
        lambda x: oracle.reduce_log_sum_exp(x, [1, 2], False),
    ),
    "gelu": (
        lambda x: mil.gelu(x, "TANH_APPROXIMATION"),
        lambda x: oracle.elementary("gelu_tanh", x),
    ),
    **{
        f"{op} {ceil}": (
            lambda x, op=op, ceil=ceil: getattr(mil, op)(
                x, (3, 2), (2, 3), "custom", (1, 1, 1, 1), ceil_mode=ceil
            ),
            lambda x, op=op, ceil=ceil: oracle.pool(op, x, (3, 2), (2, 3), (1, 1, 1, 1), ceil),
        )
        for op in ("max_pool", "avg_pool")
        for ceil in (False, True)
    },
    "avg_pool without padding": (
        lambda x: mil.avg_pool(x, (3, 2), (2, 3), "custom", (1, 1, 1, 1), True, True),
        lambda x: oracle.pool("avg_pool", x, (3, 2), (2, 3), (1, 1, 1, 1), True, True),
    ),
    **{
        f"resize_bilinear {mode}": (
            lambda x, mode=mode: mil.resize_bilinear(x, 5, 17, mode),
            lambda x, mode=mode: oracle.bilinear(x, [oracle.grid(9, 5, mode), oracle.grid(10, 17, mode)]),
        )
        for mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")
    },
    "attention with a mask": (
        lambda x: mil.scaled_dot_product_attention(x, x, x, MASK),
        lambda x: oracle.attention(x, x, x, MASK),
    ),
}
MATRIX = np.array([[0.75, -0.25, 0.125, 0.25, 1.5, 0.0]], np.float16)
WEIGHT = normal_halves(1, (6, 6, 3, 2))
GAMMA = normal_halves(2, (6, 10))
VECTOR = normal_halves(3, (6,))
MASK = np.triu(np.full((9, 9), -100, np.float16), 1)


@pytest.mark.parametrize("name", ORACLE)
def test_the_oracle_agrees(name: str) -> None:
    define, expected = ORACLE[name]
    value = expected(X).value
    got = reference(define, X)
    assert got.shape == value.shape
    np.testing.assert_allclose(got, value, rtol=1e-12, atol=1e-12)


EXACT_PROGRAMS = {
    "slices": lambda x: mil.slice_by_index(
        x, [1, 1, 0, 2], [2, 6, 9, 8], [1, 2, 3, 1], None, None, [True, False, False, False]
    ),
    "masks": lambda x: mil.slice_by_index(
        x, [1, 2, 3, 4], [1, 5, 6, 7], None, [True] * 4, [False, True, False, True]
    ),
    "interleave": lambda x: mil.concat([x, mil.relu(x)], 2, interleave=True),
    "reflect": lambda x: mil.pad(x, [1, 2, 0, 5], "reflect"),
    "replicate": lambda x: mil.pad(x, [1, 2, 0, 5], "replicate"),
    "constant": lambda x: mil.pad(x, [1, 2, 0, 5], constant_val=0.5),
    "transpose": lambda x: mil.transpose(x, [-1, 0, 2, 1]),
    "topk": lambda x: mil.topk(x, 3, 2, ascending=True)[0],
    "split": lambda x: mil.split(x, 3, 1)[2],
    "stack": lambda x: mil.stack([x, x], -1),
    "reverse": lambda x: mil.reverse(x),
    "tile": lambda x: mil.tile(x, [2, 1, 3, 2]),
    "squeeze": lambda x: mil.squeeze(mil.expand_dims(mil.slice_by_size(x, [0] * 4, [1, -1, -1, -1]), [0])),
    "flatten2d": lambda x: mil.flatten2d(x, 3),
    "quantize by channel": lambda x: mil.dequantize(
        mil.quantize(x, STEPS, ZEROS, "uint8", axis=1), STEPS, ZEROS, axis=1
    ),
    "cast": lambda x: mil.cast(mil.cast(mil.mul(x, 64.0), "int8"), "fp16"),
    "vectors of a table": lambda x: mil.mul(x, mil.constexpr_lut_to_dense(INDICES, TABLE, vector_axis=1)),
    "blocks": lambda x: mil.mul(x, mil.constexpr_blockwise_shift_scale(DATA, SCALES, OFFSETS)),
}
STEPS = np.array([1, 0.5, 0.25, 0.125, 2, 4], np.float16)
ZEROS = np.array([1, 2, 3, 4, 5, 6], np.uint8)
INDICES = np.random.default_rng(0).integers(0, 256, (1, 3, 9, 10), np.uint8)
TABLE = (np.arange(512).reshape(1, 1, 1, 1, 256, 2) / 512).astype(np.float16)
DATA = np.random.default_rng(0).integers(-100, 100, (1, 6, 9, 10), np.int8)
SCALES = np.array([0.5, 2], np.float16).reshape(1, 2, 1, 1)
OFFSETS = np.array([3, -3], np.int8).reshape(1, 2, 1, 1)


@pytest.mark.parametrize("name", EXACT_PROGRAMS)
def test_what_only_moves_elements_is_the_emulators_to_the_bit(plain: aneperf.Device, name: str) -> None:
    define = EXACT_PROGRAMS[name]
    (got,) = run(plain, define, X)
    np.testing.assert_array_equal(got, reference(define, X).astype(np.float16))


def test_the_reference_takes_every_parameter_of_mil() -> None:
    unknown = {}
    for name, reference in OPERATIONS.items():
        taken = inspect.signature(reference.compute).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
            unknown[name] = mil_operations()[name].parameters.keys() - taken.keys()
    assert len(unknown) > 100
    assert {name: names for name, names in unknown.items() if names} == {}


def test_forms_that_only_text_has(plain: aneperf.Device) -> None:
    text = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 8, 3, 5]> x) {
        tensor<int32, [2]> sizes = const()[name = string("sizes"), val = tensor<int32, [2]>([2, 6])];
        tensor<fp16, [1, 2, 3, 5]> a, tensor<fp16, [1, 6, 3, 5]> b = split(x = x, split_sizes = sizes, axis = int32(1))[name = string("s")];
        tensor<fp16, [1, 4, 3, 5]> t = topk(x = b, k = int32(4), axis = int32(1), sort = bool(true), return_indices = bool(false))[name = string("t")];
        tensor<fp16, [1, 4, 6, 10]> u = upsample_bilinear(x = t, scale_factor_height = fp32(2), scale_factor_width = fp32(2), align_corners = bool(false), half_pixel_centers = bool(false))[name = string("u")];
        tensor<fp16, [1, 2, 6, 10]> v = upsample_bilinear(x = a, scale_factor_height = fp32(2), scale_factor_width = fp32(2), align_corners = bool(true))[name = string("v")];
        tensor<fp16, [1, 6, 6, 10]> y = concat(values = (u, v), axis = int32(1))[name = string("y")];
    } -> (y);
}"""  # noqa: E501
    x = normal_halves(3, (1, 8, 3, 5))
    expected = evaluate(mil.Program({}, {}, text, {}), x=x)["y"]
    np.testing.assert_allclose(plain.compile(text).run(x=x)["y"], expected, atol=0.003)


def test_a_kernel_of_many_operations() -> None:
    stack = ConvStack(channels=16, depth=5, width=32)
    x = stack.input()
    y = evaluate(stack.build(), x=x)["y"]
    np.testing.assert_allclose(y.reshape(16, 32)[:, [0, 7]], stack.reference([0, 7]), rtol=1e-12, atol=1e-12)


def test_truth_values_move_as_on_the_emulator(emulator: aneperf.Device) -> None:
    builder = mil.Builder()
    x = builder.input("x", (1, 4, 2, 6))
    truth = mil.tile(mil.transpose(mil.greater(x, 0.0), [0, 2, 1, 3]), [1, 1, 3, 1])
    truth = mil.concat([mil.squeeze(truth, [0]), mil.reshape(mil.less(x, -1.0), (2, 4, 6))], 1)
    builder.output("y", mil.cast(mil.expand_dims(truth, [0]), "fp16"))
    program = builder.build()
    inputs = {"x": np.random.default_rng(1).standard_normal((1, 4, 2, 6)).astype(np.float16)}
    expected = evaluate(program, **inputs)["y"]
    assert 0 < expected.sum() < expected.size
    np.testing.assert_array_equal(program.compile(emulator).run(**inputs)["y"], expected)


def test_arguments_that_a_text_leaves_out_have_mil_s_defaults(plain: aneperf.Device) -> None:
    text = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-version", "3520.5.1"}})]
{
    func main<ios18>(tensor<fp16, [1, 2, 6]> x, tensor<fp16, [4, 2, 3]> w) {
        tensor<fp16, [1, 4, 4]> c = conv(x = x, weight = w)[name = string("c")];
        tensor<int32, [1]> two = const()[name = string("two"), val = tensor<int32, [1]>([2])];
        tensor<fp16, [1, 4, 3]> p = avg_pool(x = c, kernel_sizes = two)[name = string("p")];
        tensor<fp16, [1, 4, 3]> s = softmax(x = p)[name = string("s")];
        tensor<fp16, [1, 4, 3]> n = layer_norm(x = s)[name = string("n")];
        tensor<fp16, [1, 4, 3]> g = gelu(x = n)[name = string("g")];
        tensor<fp16, [2, 4, 3]> k = concat(values = (g, s), axis = int32(0))[name = string("k")];
        fp16 r = reduce_max(x = k)[name = string("r")];
        tensor<fp16, [2, 4, 3]> y = sub(x = k, y = r)[name = string("y")];
    } -> (y);
}"""
    rng = np.random.default_rng(1)
    inputs = {name: rng.standard_normal(shape) for name, shape in (("x", (1, 2, 6)), ("w", (4, 2, 3)))}
    halves = {name: array.astype(np.float16) for name, array in inputs.items()}
    expected = evaluate(mil.Program({}, {}, text, {}), **halves)["y"]
    got = plain.compile(text).run(**halves)["y"]
    np.testing.assert_allclose(got, expected, atol=0.01)


def test_a_wrong_weight_changes_the_reference() -> None:
    stack = ConvStack(channels=16, depth=2, width=32)
    assert not np.array_equal(
        evaluate(stack.build(), x=stack.input())["y"],
        evaluate(ConvStack(channels=16, depth=2, width=32, seed=1).build(), x=stack.input())["y"],
    )


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing: pass an array of tensor<fp32"),
        ({"x": np.zeros((1, 4))}, "input 'x' is tensor<fp32, .*>, the array \\[1, 4\\]"),
        ({"x": np.zeros((1, 4, 1, 64)), "z": X}, "no input 'z'"),
    ],
)
def test_wrong_inputs(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(aneperf.ArgumentError, match=message):
        evaluate(ConvStack(channels=4, depth=1).build(), **inputs)


def test_errors_of_operations_are_carried_on() -> None:
    x = normal_halves(4, (1, 8, 3, 5))

    def spread(define: Any) -> float:
        program = build(define, x)
        errors = compare(evaluate_disturbed(program, {"x0": x})["y0"], evaluate(program, x0=x)["y0"])
        assert errors is not None
        return errors.relative

    assert 0 < spread(lambda x: mil.transpose(x, (0, 2, 1, 3))) < 2.0**-10
    assert 2.0**-12 < spread(lambda x: x + 1.0) <= 2.0**-10
    assert spread(lambda x: (x + 1000.0) - 1000.0) > 0.1


def test_errors_are_counted() -> None:
    reference = np.array([1.0, 2.0, -4.0, 1 + 2.0**-12])
    got = np.array([1.0, 2 + 2.0**-9, -4.0, 1.0], np.float16)
    errors = compare(got, reference)
    assert errors == Errors(absolute=2.0**-9, relative=2.0**-11, ulp=1.0, exact=0.75, count=4)
    assert compare(got[:2], reference) is None
    assert compare(np.array([1.0, np.nan, -4.0, 1.0]), reference) is None
    assert compare(np.zeros(2), np.zeros(2)) == Errors(0.0, 0.0, 0.0, 1.0, 2)
    exact = compare(np.ones(12), np.ones(12))
    assert exact is not None
    assert errors is not None
    both = worst([errors, exact])
    assert (both.absolute, both.exact, both.count) == (2.0**-9, 15 / 16, 16)


def test_tolerances() -> None:
    assert CASES["transpose"].tolerance == 0
    assert CASES["add"].tolerance == 2.0**-10
    assert CASES["silu"].tolerance == pytest.approx(0.02)


def test_draws_differ_and_repeat() -> None:
    case = CASES["exp"]
    first, again, other = (case.inputs(draw)["x0"] for draw in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
