"""int8 and uint8: quantize, dequantize, weights stored in 8 bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import oracle
from aneperf import mil
from programs import any_halves, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = ["int8", "uint8"]
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=9)


@st.composite
def parameters(draw):
    """A shape, scale and zero point (scalars, or one element for each index of the axis), dtype and axis."""
    shape, dtype, seed = draw(SHAPES), draw(st.sampled_from(DTYPES)), draw(SEEDS)
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    random, limits = np.random.default_rng(seed), np.iinfo(dtype)

    def one_or_many(values):
        return values if draw(st.booleans()) else values[0]

    scale = one_or_many(np.exp2(random.uniform(-10, 4, shape[axis])).astype(np.float16))
    zero_point = one_or_many(random.integers(limits.min, limits.max + 1, shape[axis]).astype(dtype))
    return shape, scale, zero_point, dtype, axis if np.ndim(scale) or np.ndim(zero_point) else None


def through_integers(t, scale, zero_point, dtype, axis):
    return mil.cast(mil.quantize(t, scale, zero_point, dtype, axis), "fp16")


@given(parameters(), SEEDS, st.booleans())
def test_quantize(device, case, seed, is_any):
    shape, scale, zero_point, dtype, axis = case
    x = any_halves(seed, shape) if is_any else normal_halves(seed, shape, 30)
    (got,) = evaluate(device, lambda t: through_integers(t, scale, zero_point, dtype, axis), x)
    expected = oracle.quantize(x, scale, zero_point, dtype, axis)
    np.testing.assert_array_equal(got, expected)


@given(parameters(), SEEDS)
def test_dequantize(device, case, seed):
    """Of what quantize gives, with a scale of 1 so that every integer occurs."""
    shape, scale, zero_point, dtype, axis = case
    limits = np.iinfo(dtype)
    q = np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape)

    def program(t):
        return mil.dequantize(mil.quantize(t, 1.0, output_dtype=dtype), scale, zero_point, axis)

    (got,) = evaluate(device, program, q.astype(np.float16))
    oracle.assert_same(got, oracle.rounded(oracle.dequantize(q, scale, zero_point, axis) + 0.0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_away_from_zero_and_ends_are_clamped(device, dtype):
    quarters = (np.arange(-1200, 1200) / 4).astype(np.float16)
    (got,) = evaluate(device, lambda t: through_integers(t, 1.0, None, dtype, None), quarters)
    limits = np.iinfo(dtype)
    away = np.trunc(quarters.astype(np.float64) + np.copysign(0.5, quarters))
    np.testing.assert_array_equal(got, np.clip(away, limits.min, limits.max))


def test_the_round_trip_of_the_published_benchmark(device):
    """Scale 2^-3, no zero point: within half a step, and clamped at the ends."""
    x = normal_halves(1, (1, 64, 1, 64), 8)
    (got,) = evaluate(device, lambda t: mil.dequantize(mil.quantize(t, 0.125), 0.125), x)
    clamped = np.clip(x, -16, 15.875)
    assert np.abs(got.astype(np.float64) - clamped).max() <= 0.0625


@pytest.mark.parametrize("shape", [(1, 5, 1, 9001), (5, 9001, 1, 1), (3, 5, 7, 300)])
@pytest.mark.parametrize("axis", [0, 1, 3])
def test_quantize_across_tiles(device, shape, axis):
    x = normal_halves(2, shape, 40)
    scale = np.exp2(np.random.default_rng(3).uniform(-4, 2, shape[axis])).astype(np.float16)
    zero_point = np.random.default_rng(4).integers(0, 256, shape[axis]).astype(np.uint8)

    def program(t):
        q = mil.quantize(t, scale, zero_point, "uint8", axis)
        return mil.cast(q, "fp16"), mil.dequantize(q, scale, zero_point, axis)

    integers, back = evaluate(device, program, x)
    expected = oracle.quantize(x, scale, zero_point, "uint8", axis)
    np.testing.assert_array_equal(integers, expected)
    oracle.assert_same(back, oracle.rounded(oracle.dequantize(expected, scale, zero_point, axis)))


@given(parameters(), SEEDS)
def test_weights_in_8_bits(device, case, seed):
    shape, scale, zero_point, dtype, axis = case
    limits = np.iinfo(dtype)
    q = np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)
    weight = oracle.rounded(oracle.dequantize(q, scale, zero_point, axis))
    x = normal_halves(seed, shape)

    def program(t):
        return mil.add(t, mil.constexpr_affine_dequantize(q, scale, zero_point, 0 if axis is None else axis))

    (got,) = evaluate(device, program, x)
    oracle.assert_same(got, oracle.rounded(oracle.exact("add", x, weight)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_conv_with_weights_in_8_bits(device, dtype):
    """The weight is fp16 before it is used; one scale for each output channel."""
    limits = np.iinfo(dtype)
    q = np.random.default_rng(5).integers(limits.min, limits.max + 1, (48, 32, 1, 1)).astype(dtype)
    scale = np.exp2(np.random.default_rng(6).uniform(-12, -8, 48)).astype(np.float16)
    weight = oracle.rounded(oracle.dequantize(q, scale, 0, 0))
    x = normal_halves(7, (1, 32, 2, 33))
    (got,) = evaluate(device, lambda t: mil.conv(t, mil.constexpr_affine_dequantize(q, scale)), x)
    oracle.assert_within(got, oracle.conv(x, weight), overflow=oracle.PRODUCT_OVERFLOW)
