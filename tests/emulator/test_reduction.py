"""Operations along axes: reductions, softmax, layer_norm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import CompileError, mil
from support import oracle
from support.programs import any_halves, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=9)
REDUCTIONS = ["reduce_sum", "reduce_mean", "reduce_max", "reduce_min"]
NORMS = ["reduce_l1_norm", "reduce_l2_norm", "reduce_log_sum_exp", "reduce_sum_square"]


@st.composite
def shapes_and_axes(draw):
    """Draw a shape and some of its axes, in any order, counted from either end."""
    shape = draw(SHAPES)
    return shape, draw(nps.valid_tuple_axes(len(shape), min_size=1))


def check_reduction(device, op, x, axes, keep_dims):
    (got,) = evaluate(device, lambda t: getattr(mil, op)(t, axes, keep_dims), x)
    expected = getattr(oracle, op)(x, axes, keep_dims)
    oracle.assert_within(got, expected, has_nan=True)


@pytest.mark.parametrize("op", REDUCTIONS + NORMS)
@given(shapes_and_axes(), st.booleans(), SEEDS, st.sampled_from([1e-6, 1.0, 300.0]))
def test_reductions(plain, op, case, keep_dims, seed, scale):
    shape, axes = case
    check_reduction(plain, op, normal_halves(seed, shape, scale), axes, keep_dims)


def test_without_axes_every_axis_is_meant(plain):
    x = normal_halves(1, (2, 3, 40))
    for op in REDUCTIONS + NORMS:
        (got,) = evaluate(plain, getattr(mil, op), x)
        (expected,) = evaluate(plain, lambda t, op=op: getattr(mil, op)(t, [0, 1, 2]), x)
        oracle.assert_same(got, expected)
    (got,) = evaluate(plain, mil.layer_norm, x)
    oracle.assert_within(got, oracle.layer_norm(x, (0, 1, 2), None, None, 1e-5))


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min"])
@given(shapes_and_axes(), SEEDS)
def test_extremes_are_exact(plain, op, case, seed):
    shape, axes = case
    x = any_halves(seed, shape)
    (got,) = evaluate(plain, lambda t: getattr(mil, op)(t, axes), x)
    # The sign of a zero is not compared: it depends on the zeros of the whole row.
    np.testing.assert_array_equal(got, getattr(oracle, op)(x, axes).value.astype(np.float16))


@pytest.mark.parametrize("op", REDUCTIONS + NORMS)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 4095), [1]),
        ((1, 4096), [-1]),
        ((17, 4097), [1]),
        ((3, 9001), [1]),
        ((9001, 3), [0]),
        ((2, 33, 300), [1]),
        ((2, 5, 3, 1000), [0, 2]),
        ((37, 1, 41, 1, 7), [0, 4]),
        ((1, 1, 1, 1, 1), [0, 1, 2, 3, 4]),
        ((70000 // 7, 7), [0, 1]),
    ],
)
def test_long_reductions(plain, op, shape, axes):
    check_reduction(plain, op, normal_halves(1, shape), axes, True)


@given(shapes_and_axes(), st.booleans(), SEEDS, st.sampled_from([1e-6, 1.0, 3000.0]))
def test_log_of_sums(plain, case, keep_dims, seed, scale):
    shape, axes = case
    check_reduction(plain, "reduce_log_sum", np.abs(normal_halves(seed, shape, scale)), axes, keep_dims)


def test_log_of_a_sum_that_is_not_positive(plain):
    x = np.array([[1, -2], [0, 0]], np.float16)
    (got,) = evaluate(plain, lambda t: mil.reduce_log_sum(t, [1], False), x)
    assert np.isnan(got[0])
    assert got[1] == -np.inf


@given(SHAPES, st.data(), SEEDS, st.sampled_from([0.01, 1.0, 30.0, 10000.0]))
def test_softmax(plain, shape, data, seed, scale):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal_halves(seed, shape, scale)
    (got,) = evaluate(plain, lambda t: mil.softmax(t, axis), x)
    oracle.assert_within(got, oracle.softmax(x, axis))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 5000, 1, 3), (3, 2, 1, 5000), (17, 19, 15, 33)])
def test_softmax_across_tiles(plain, shape, axis):
    x = normal_halves(2, shape, 3)
    (got,) = evaluate(plain, lambda t: mil.softmax(t, axis), x)
    oracle.assert_within(got, oracle.softmax(x, axis))


@pytest.mark.parametrize("axis", [1, 3])
def test_softmax_subtracts_the_maximum_and_takes_masks(plain, axis):
    x = normal_halves(3, (1, 40, 1, 40), 200)
    x[..., :7, :, 5:20] = -65504
    x[..., 20:, :, 30:] = -np.inf
    (got,) = evaluate(plain, lambda t: mil.softmax(t, axis), x)
    oracle.assert_within(got, oracle.softmax(x, axis))
    assert np.all(got[np.isinf(x)] == 0)


@given(
    shapes_and_axes(),
    SEEDS,
    st.booleans(),
    st.booleans(),
    st.sampled_from([1e-5, 1e-3, 1.0]),
    st.sampled_from([1e-3, 1.0, 100.0]),
    st.sampled_from([0.0, 10.0]),
)
def test_layer_norm(plain, case, seed, has_gamma, has_beta, epsilon, scale, shift):
    shape, axes = case
    x = (normal_halves(seed, shape, scale) + np.float16(shift)).astype(np.float16)
    normalized = tuple(shape[axis] for axis in sorted(axis % len(shape) for axis in axes))
    gamma = normal_halves(seed + 1, normalized) if has_gamma else None
    beta = normal_halves(seed + 2, normalized) if has_beta else None
    (got,) = evaluate(plain, lambda t: mil.layer_norm(t, axes, gamma, beta, epsilon), x)
    oracle.assert_within(got, oracle.layer_norm(x, axes, gamma, beta, float(np.float16(epsilon))))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1, 1, 5, 5000), [3]),
        ((1, 5000, 1, 5), [1]),
        ((2, 77, 3, 65), [1]),
        ((2, 77, 3, 65), [1, 3]),
        ((2, 77, 3, 65), [0, 2]),
        ((2, 77, 3, 65), [-1, 0, 1]),
    ],
)
def test_layer_norm_across_tiles(plain, shape, axes):
    x = normal_halves(4, shape)
    normalized = tuple(shape[axis] for axis in sorted(axis % 4 for axis in axes))
    gamma, beta = normal_halves(5, normalized), normal_halves(6, normalized)
    (got,) = evaluate(plain, lambda t: mil.layer_norm(t, axes, gamma, beta), x)
    oracle.assert_within(got, oracle.layer_norm(x, axes, gamma, beta, float(np.float16(1e-5))))


def test_layer_norm_of_a_constant_row_is_beta(device):
    x = np.full((1, 1, 3, 50), 7, np.float16)
    beta = normal_halves(7, (50,))
    (got,) = evaluate(device, lambda t: mil.layer_norm(t, [3], None, beta), x)
    oracle.assert_same(got, np.broadcast_to(beta, x.shape))


@given(st.integers(1, 200), st.integers(1, 20), SEEDS)
def test_rms_norm_as_published(device, channels, width, seed):
    """Compute the training kernels' norm: mul, reduce_sum, mul, add, pow, mul, mul; each rounds once."""
    x, weight = normal_halves(seed, (1, channels, 1, width)), normal_halves(seed + 1, (1, channels, 1, 1))

    def rms_norm(t):
        mean_square = mil.mul(mil.reduce_sum(mil.mul(t, t), [1]), 1 / channels)
        return mil.mul(mil.mul(t, mil.pow(mil.add(mean_square, 1e-5), -0.5)), weight)

    (got,) = evaluate(device, rms_norm, x)
    wide = x.astype(np.float64)
    true = wide / np.sqrt((wide**2).mean(1, keepdims=True) + 1e-5) * weight
    # Seven roundings of fp16, the first five halved by the root, and its argument's subnormal epsilon.
    np.testing.assert_allclose(got, true, rtol=8 * 2.0**-11, atol=1e-3)


CHANNELS = nps.array_shapes(min_dims=3, max_dims=4, max_side=9)


def affine(seed, channels, has_gamma, has_beta):
    gamma = normal_halves(seed + 1, (channels,)) if has_gamma else None
    beta = normal_halves(seed + 2, (channels,)) if has_beta else None
    return gamma, beta


@given(nps.array_shapes(min_dims=3, max_dims=5, max_side=9), SEEDS, st.booleans(), st.booleans())
def test_batch_norm(device, shape, seed, has_gamma, has_beta):
    x, mean = normal_halves(seed, shape, 10), normal_halves(seed + 3, shape[1:2])
    variance = normal_halves(seed + 4, shape[1:2]) ** 2
    gamma, beta = affine(seed, shape[1], has_gamma, has_beta)
    (got,) = evaluate(device, lambda t: mil.batch_norm(t, mean, variance, gamma, beta, 1e-3), x)
    epsilon = float(np.float16(1e-3))
    oracle.assert_within(got, oracle.batch_norm(x, mean, variance, gamma, beta, epsilon))


@given(CHANNELS, SEEDS, st.booleans(), st.booleans())
def test_instance_norm(plain, shape, seed, has_gamma, has_beta):
    x = normal_halves(seed, shape, 10)
    gamma, beta = affine(seed, shape[1], has_gamma, has_beta)
    (got,) = evaluate(plain, lambda t: mil.instance_norm(t, gamma, beta), x)
    oracle.assert_within(got, oracle.instance_norm(x, gamma, beta, float(np.float16(1e-5))))


@given(nps.array_shapes(min_dims=3, max_dims=5, max_side=9), SEEDS, st.sampled_from([1e-3, 1.0, 300.0]))
def test_l2_norm(device, shape, seed, scale):
    x = normal_halves(seed, shape, scale)
    (got,) = evaluate(device, lambda t: mil.l2_norm(t, 1e-5), x)
    oracle.assert_within(got, oracle.l2_norm(x, float(np.float16(1e-5))))


@given(CHANNELS, SEEDS, st.sampled_from([1, 3, 5, 99]), st.sampled_from([0.5, 0.75, 1.0]))
def test_local_response_norm(device, shape, seed, size, beta):
    x = normal_halves(seed, shape, 5)
    (got,) = evaluate(device, lambda t: mil.local_response_norm(t, size, 0.1, beta, 2.0), x)
    expected = oracle.local_response_norm(x, size, float(np.float16(0.1)), beta, 2.0)
    oracle.assert_within(got, expected)


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (
            lambda x: mil.batch_norm(x, np.ones(3), np.ones(2)),
            r"mean must be \[2\], an element for each channel",
        ),
        (lambda x: mil.instance_norm(x, np.ones((2, 1))), r"gamma must be \[2\].*is \[2, 1\]"),
        (lambda x: mil.instance_norm(mil.reshape(x, (2, 12))), r"x must be .* of 3 to 4 axes, is \[2, 12\]"),
        (lambda x: mil.l2_norm(mil.reshape(x, (2, 12))), "x must have at least three axes"),
        (lambda x: mil.local_response_norm(x, 0), "size must be positive"),
    ],
)
def test_norms_of_wrong_shapes(define, message):
    x = mil.Builder().input("x", (1, 2, 3, 4))
    with pytest.raises(CompileError, match=message):
        define(x)
