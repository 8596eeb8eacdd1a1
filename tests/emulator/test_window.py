"""Windows over height and width: pooling."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aneperf import CompileError, mil
from support import oracle
from support.programs import any_halves, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
PAIR = st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def pools(draw):
    """A shape, and the arguments of a pool over it."""
    shape = tuple(draw(st.lists(st.integers(1, 9), min_size=4, max_size=4)))
    kernel, strides = draw(PAIR), draw(PAIR)
    ceil_mode = draw(st.booleans())
    pad = [draw(st.integers(0, k - 1)) for k in kernel for _ in range(2)]
    if ceil_mode:
        pad[1], pad[3] = pad[0], pad[2]
    for axis in range(2):
        assume(shape[2 + axis] + pad[2 * axis] + pad[2 * axis + 1] >= kernel[axis])
    return shape, kernel, strides, pad, ceil_mode


@given(pools(), SEEDS)
def test_max_pool(device, case, seed):
    shape, kernel, strides, pad, ceil_mode = case
    x = any_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.max_pool(t, kernel, strides, "custom", pad, ceil_mode), x)
    expected = oracle.pool("max_pool", x, kernel, strides, pad, ceil_mode)
    np.testing.assert_array_equal(got, expected.value)


@given(pools(), SEEDS, st.booleans())
def test_avg_pool(device, case, seed, exclude):
    shape, kernel, strides, pad, ceil_mode = case
    x = normal_halves(seed, shape)
    (got,) = evaluate(
        device, lambda t: mil.avg_pool(t, kernel, strides, "custom", pad, ceil_mode, exclude), x
    )
    oracle.assert_within(got, oracle.pool("avg_pool", x, kernel, strides, pad, ceil_mode, exclude))


@given(pools(), SEEDS)
def test_l2_pool(device, case, seed):
    shape, kernel, strides, pad, ceil_mode = case
    assume(not ceil_mode)
    x = normal_halves(seed, shape, 100)
    (got,) = evaluate(device, lambda t: mil.l2_pool(t, kernel, strides, "custom", pad), x)
    oracle.assert_within(got, oracle.pool("l2_pool", x, kernel, strides, pad))


@pytest.mark.parametrize("op", ["max_pool", "avg_pool", "l2_pool"])
def test_pools_of_large_planes_with_same_padding(device, op):
    x = normal_halves(1, (2, 3, 61, 300))
    (got,) = evaluate(device, lambda t: getattr(mil, op)(t, (5, 4), (2, 3), "same"), x)
    pad = oracle.same_padding((61, 300), (5, 4), (2, 3), (1, 1))
    assert got.shape == (2, 3, 31, 100)
    oracle.assert_within(got, oracle.pool(op, x, (5, 4), (2, 3), pad))


def test_max_pool_keeps_nan_and_ignores_padding(plain):
    x = np.array([[-1, np.nan, -3, -4]], np.float16).reshape(1, 1, 1, 4)
    (got,) = evaluate(plain, lambda t: mil.max_pool(t, (1, 2), (1, 1), "custom", (0, 0, 1, 1)), x)
    np.testing.assert_array_equal(got.ravel(), [-1, math.nan, math.nan, -3, -4])


@pytest.mark.parametrize("width", [3, 6, 7, 8, 9, 40])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_max_pool_of_zeros_and_nan_at_every_width(plain, width, stride):
    """A zero is negative where all are, whether a row is too narrow for vectors or not."""
    random = np.random.default_rng(width)
    x = random.choice(np.array([0.0, -0.0, -0.0, -0.0, np.nan], np.float16), (1, 30, 5, width))
    (got,) = evaluate(plain, lambda t: mil.max_pool(t, (2, 2), (1, stride)), x)
    columns = np.arange(0, width - 1, stride)
    parts = [x[:, :, i : i + 4, columns + j] for i in range(2) for j in range(2)]
    expected = np.where(np.isnan(parts).any(0), np.nan, np.where(np.signbit(parts).all(0), -0.0, 0.0))
    oracle.assert_same(got, expected.astype(np.float16))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((5, 1),), "larger than the padded input"),
        (((2, 2), (1, 1), "custom", (2, 0, 0, 0)), "padding must be smaller than the window"),
        (((3, 3), (1, 1), "custom", (1, 0, 0, 0), True), "ceil_mode needs the same padding on both sides"),
        (((0, 1),), "kernel_sizes must be two positive integers"),
        (((1, 1), (1, 1), "valid", (1, 0, 0, 0)), 'write "custom" to pad'),
    ],
)
def test_what_pools_refuse(arguments, message):
    x = mil.Builder().input("x", (1, 2, 4, 4))
    with pytest.raises(CompileError, match=message):
        mil.max_pool(x, *arguments)
