"""Arithmetic with broadcasting, and functions of one tensor, against float64, as IEEE 754 has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import CompileError, mil
from support import oracle
from support.programs import any_halves, build, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
# Two shapes that broadcast, each missing axes or repeating along them where the other is long.
PAIRS = nps.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=5, min_side=1, max_side=9).map(
    lambda shapes: shapes.input_shapes
)
EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(1, 16, 64, 64)


@given(st.lists(st.floats(-70000, 70000) | st.floats(-1e-4, 1e-4) | st.floats(), min_size=1))
def test_the_oracle_rounds_as_numpy_does(values):
    values = np.array(values)
    with np.errstate(over="ignore"):
        expected = values.astype(np.float16)
    oracle.assert_same(oracle.rounded(values, has_nan=True), expected)


@pytest.mark.parametrize("op", oracle.EXACT_BINARY)
@given(PAIRS, SEEDS)
def test_exact_binary(plain, op, shapes, seed):
    x, y = any_halves(seed, shapes[0]), any_halves(seed + 1, shapes[1])
    x.flat[0] = np.nan
    (got,) = evaluate(plain, getattr(mil, op), x, y)
    oracle.assert_same(got, oracle.rounded(oracle.exact(op, x, y), has_nan=True))


@pytest.mark.parametrize("op", oracle.EXACT_BINARY)
@pytest.mark.parametrize("side", ["left", "right"])
def test_binary_with_a_constant(plain, op, side):
    x, constant = any_halves(1, (2, 3, 5)), normal_halves(2, (3, 1), 100)
    for c in (constant, float(constant[0, 0])):

        def in_order(t, c=c):
            return (c, t) if side == "left" else (t, c)

        (got,) = evaluate(plain, lambda t, order=in_order: getattr(mil, op)(*order(t)), x)
        oracle.assert_same(got, oracle.rounded(oracle.exact(op, *in_order(x)), has_nan=True))


@pytest.mark.parametrize(
    ("shape_x", "shape_y"),
    [
        ((3, 4097), (3, 4097)),
        ((2, 9001), (2, 1)),
        ((2, 1), (1, 9001)),
        ((5000, 1), (1, 3)),
        ((1, 64, 65), (7, 1, 1)),
        ((4096,), (3, 5, 1)),
        ((1, 1, 1, 1, 1), (1,)),
    ],
)
def test_binary_across_tiles(plain, device, shape_x, shape_y):
    x, y = any_halves(3, shape_x), any_halves(4, shape_y)
    (got,) = evaluate(plain, mil.sub, x, y)
    oracle.assert_same(got, oracle.rounded(oracle.exact("sub", x, y), has_nan=True))
    (got,) = evaluate(device, mil.sub, x, y)
    oracle.assert_same(got, oracle.engine_rounded(oracle.decoded(x) - oracle.decoded(y)))


@given(PAIRS, SEEDS, st.sampled_from([0.1, 1.0, 4.0]))
def test_pow(plain, shapes, seed, scale):
    x = np.abs(any_halves(seed, shapes[0]))
    y = normal_halves(seed + 1, shapes[1], scale)
    (got,) = evaluate(plain, mil.pow, x, y)
    oracle.assert_within(got, oracle.pow(x, y), has_nan=True)


@given(PAIRS, SEEDS)
def test_pow_of_any_sign(emulator, plain, shapes, seed):
    x, y = normal_halves(seed, shapes[0], 3), normal_halves(seed + 1, shapes[1], 3)
    y = np.where(y > 0, np.round(y), y)
    for device, has_nan in ((emulator, False), (plain, True)):
        (got,) = evaluate(device, mil.pow, x, y)
        oracle.assert_within(got, oracle.pow(x, y), has_nan=has_nan)


def test_pow_of_special_values(plain):
    special = np.array(
        [0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 3, -3, 65504, 6e-8, np.inf, -np.inf, np.nan], np.float16
    )
    x, y = special.reshape(-1, 1), special.reshape(1, -1)
    (got,) = evaluate(plain, mil.pow, x, y)
    expected = oracle.pow(x, y)
    oracle.assert_within(got, expected, has_nan=True)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(np.nan_to_num(expected.value, nan=0.0)))


@pytest.mark.parametrize("exponent", [-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0])
def test_pow_of_every_half(plain, exponent):
    x = np.where(np.isnan(EVERY_HALF), np.float16(np.nan), EVERY_HALF)  # quiet
    (got,) = evaluate(plain, lambda t: mil.pow(t, exponent), x)
    oracle.assert_within(got, oracle.pow(x, np.float64(exponent)), has_nan=True)


@pytest.mark.parametrize("op", oracle.EXACT_UNARY)
def test_exact_unary_of_every_half(plain, op):
    (got,) = evaluate(plain, getattr(mil, op), EVERY_HALF)
    oracle.assert_same(got, oracle.rounded(oracle.exact(op, EVERY_HALF), has_nan=True))


GELUS = {
    "gelu_exact": mil.gelu,
    "gelu_tanh": lambda x: mil.gelu(x, "TANH_APPROXIMATION"),
    "gelu_sigmoid": lambda x: mil.gelu(x, "SIGMOID_APPROXIMATION"),
}


@pytest.mark.parametrize("op", oracle.ELEMENTARY_UNARY)
def test_elementary_function_of_every_half(plain, op):
    function = GELUS.get(op) or getattr(mil, op)
    (got,) = evaluate(plain, function, EVERY_HALF)
    oracle.assert_within(got, oracle.elementary(op, EVERY_HALF), has_nan=True)


@pytest.mark.parametrize("op", ["log", "rsqrt"])
@pytest.mark.parametrize("epsilon", [0.0, 6e-8, 1e-3, 0.7, 2048.0])
def test_log_and_rsqrt_of_every_half(plain, op, epsilon):
    (got,) = evaluate(plain, lambda t: getattr(mil, op)(t, epsilon), EVERY_HALF)
    expected = getattr(oracle, op)(EVERY_HALF, float(np.float16(epsilon)))
    oracle.assert_within(got, expected, has_nan=True)


@pytest.mark.parametrize("op", ["sin", "cos"])
def test_sine_of_every_half(plain, op):
    (got,) = evaluate(plain, getattr(mil, op), EVERY_HALF)
    oracle.assert_within(got, oracle.sine(op, EVERY_HALF), has_nan=True)


def test_round_of_every_half(plain):
    (got,) = evaluate(plain, mil.round, EVERY_HALF)
    with np.errstate(invalid="ignore"):  # signaling NaN
        oracle.assert_same(got, np.rint(EVERY_HALF))


@pytest.mark.parametrize(
    ("op", "scalars"), [(op, case) for op, cases in oracle.SCALARS.items() for case in cases]
)
def test_function_with_scalars_of_every_half(plain, op, scalars):
    stored = [float(np.float16(scalar)) for scalar in scalars]
    (got,) = evaluate(plain, lambda t: getattr(mil, op)(t, *scalars), EVERY_HALF)
    if op in oracle.EXACT_WITH_SCALARS:
        oracle.assert_same(got, oracle.rounded(oracle.exact(op, EVERY_HALF, *stored), has_nan=True))
    else:
        oracle.assert_within(got, getattr(oracle, op)(EVERY_HALF, *stored), has_nan=True)


@given(nps.array_shapes(min_dims=3, max_dims=5, max_side=9), SEEDS)
def test_prelu(device, plain, shape, seed):
    x, alpha = any_halves(seed, shape), normal_halves(seed + 1, shape[1:2])
    slopes = alpha.astype(np.float64).reshape(-1, *[1] * (len(shape) - 2))
    for emulator, value, rounded in (
        (device, oracle.decoded(x), oracle.engine_rounded),
        (plain, x, oracle.rounded),
    ):
        (got,) = evaluate(emulator, lambda t: mil.prelu(t, alpha), x)
        oracle.assert_same(got, rounded(np.where(value < 0, slopes * value, value)))


@given(PAIRS, SEEDS)
def test_floor_div(plain, shapes, seed):
    x, y = any_halves(seed, shapes[0]), any_halves(seed + 1, shapes[1])
    near = oracle.rounded(oracle.exact("mul", y, np.float64(7)), has_nan=True)  # an almost whole quotient
    for numerator in (x, near):
        (got,) = evaluate(plain, mil.floor_div, numerator, y)
        oracle.assert_same(got, oracle.rounded(oracle.floor_div(numerator, y), has_nan=True))


@pytest.mark.parametrize("op", oracle.COMPARISONS)
@given(PAIRS, SEEDS)
def test_comparisons(device, plain, op, shapes, seed):
    x, y = any_halves(seed, shapes[0]), any_halves(seed + 1, shapes[1])
    x.flat[0] = y.flat[0]

    def program(a, b):
        truth = getattr(mil, op)(a, b)
        return mil.cast(truth, "fp16"), mil.cast(mil.logical_not(truth), "fp16")

    for emulator in (device, plain):
        truth, opposite = evaluate(emulator, program, x, y)
        np.testing.assert_array_equal(truth, getattr(np, op)(x, y))
        np.testing.assert_array_equal(opposite, 1 - truth)
        x.flat[0] = np.inf if emulator is device else np.nan


@pytest.mark.parametrize("op", ["logical_and", "logical_or", "logical_xor"])
@given(
    nps.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=4, max_side=9).map(
        lambda shapes: shapes.input_shapes
    ),
    SEEDS,
)
def test_logical_operations(device, op, shapes, seed):
    x, y = (normal_halves(seed + i, shape) for i, shape in enumerate(shapes))

    def define(a, b):
        return mil.cast(getattr(mil, op)(mil.greater(a, 0), mil.less(b, 0.5)), "fp16")

    (got,) = evaluate(device, define, x, y)
    np.testing.assert_array_equal(got, getattr(np, op)(x > 0, y < 0.5))


@pytest.mark.parametrize("op", ["logical_and", "logical_or", "logical_xor"])
def test_logical_operations_with_a_constant_take_bools_alone(device, op):
    x, mask = normal_halves(1, (3, 4, 5)), normal_halves(2, (4, 1)) > 0
    (got,) = evaluate(device, lambda t: mil.cast(getattr(mil, op)(mil.greater(t, 0), mask), "fp16"), x)
    np.testing.assert_array_equal(got, getattr(np, op)(x > 0, mask))
    with pytest.raises(CompileError, match=f"{op}: 'y' is fp16, must be bool"):
        build(lambda t: getattr(mil, op)(mil.greater(t, 0), t), x)


@given(nps.mutually_broadcastable_shapes(num_shapes=3, min_dims=1, max_dims=5, max_side=9, min_side=1), SEEDS)
def test_select(plain, shapes, seed):
    condition, a, b = (any_halves(seed + i, shape) for i, shape in enumerate(shapes.input_shapes))
    a.flat[0] = np.nan
    (got,) = evaluate(plain, lambda c, x, y: mil.select(mil.greater(c, 0), x, y), condition, a, b)
    oracle.assert_same(got, np.where(condition > 0, a, b))


def test_select_of_numbers(device):
    x = any_halves(3, (2, 5000))
    (got,) = evaluate(device, lambda t: mil.select(mil.less(t, 1.5), 1, -0.5), x)
    oracle.assert_same(got, np.where(x < 1.5, 1, -0.5).astype(np.float16))


@given(nps.array_shapes(min_dims=1, max_dims=5, max_side=9), SEEDS)
def test_unary_of_any_shape(device, plain, shape, seed):
    x = any_halves(seed, shape)
    square, tanh = evaluate(plain, lambda t: (mil.square(t), mil.tanh(t)), x)
    oracle.assert_same(square, oracle.rounded(oracle.exact("square", x)))
    oracle.assert_within(tanh, oracle.elementary("tanh", x))
    for got, op in zip(
        evaluate(device, lambda t: (mil.square(t), mil.tanh(t)), x), ("square", "tanh"), strict=True
    ):
        oracle.assert_same(got, oracle.engine_rounded(oracle.ENGINE_UNARY[op](oracle.decoded(x))))


@pytest.mark.parametrize("length", [4095, 4096, 4097, 12289, 65536])
def test_unary_across_tiles(device, plain, length):
    x = any_halves(5, (length,))
    (got,) = evaluate(plain, mil.sqrt, x)
    oracle.assert_same(got, oracle.rounded(oracle.exact("sqrt", x), has_nan=True))
    (got,) = evaluate(device, mil.sqrt, x)
    oracle.assert_same(got, oracle.engine_rounded(oracle.ENGINE_UNARY["sqrt"](oracle.decoded(x))))


@given(nps.array_shapes(min_dims=1, max_dims=5, max_side=9), SEEDS)
def test_casts_from_and_to_fp32_ports(device, shape, seed):
    bits = np.random.default_rng(seed).integers(0, 1 << 32, shape, np.uint32)
    wide = np.where(np.isnan(bits.view(np.float32)), np.float32(np.inf), bits.view(np.float32))
    near = any_halves(seed, shape).astype(np.float32) * np.float32(1.0003)
    for x in (wide, near):
        narrow, back = evaluate(
            device, lambda t: ((half := mil.cast(t, "fp16")), mil.cast(mil.abs(half), "fp32")), x
        )
        oracle.assert_same(narrow, oracle.engine_rounded(x))
        np.testing.assert_array_equal(back, np.abs(narrow).astype(np.float32))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
def test_casts_to_integers_cut_off_and_clamp(device, dtype):
    (got,) = evaluate(device, lambda t: mil.cast(mil.cast(t, dtype), "fp16"), EVERY_HALF)
    oracle.assert_same(
        got, oracle.engine_rounded(oracle.to_integers(oracle.decoded(EVERY_HALF), dtype) + 0.0)
    )


def test_casts_to_bool(device):
    (got,) = evaluate(device, lambda t: mil.cast(mil.cast(t, "bool"), "fp16"), EVERY_HALF)
    oracle.assert_same(got, (EVERY_HALF != 0).astype(np.float16))
