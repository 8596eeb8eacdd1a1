"""Windows: pooling, resizing, affine maps."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import CompileError, mil
from support import oracle
from support.programs import any_halves, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
PLANES = nps.array_shapes(min_dims=3, max_dims=5, max_side=7)
MODES = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]


def check(device, define, expected, *arrays):
    (got,) = evaluate(device, define, *arrays)
    oracle.assert_same(got, np.ascontiguousarray(expected))


@st.composite
def pools(draw):
    """Draw a shape of one to three axes behind the channels, and the arguments of a pool over it."""
    axes = draw(st.sampled_from([2, 2, 1, 3]))
    numbers = st.tuples(*[st.integers(1, 4)] * axes)
    shape = tuple(draw(st.lists(st.integers(1, 9 if axes < 3 else 5), min_size=2 + axes, max_size=2 + axes)))
    kernel, strides = draw(numbers), draw(numbers)
    ceil_mode = draw(st.booleans())
    pad = [draw(st.integers(0, k - 1)) for k in kernel for _ in range(2)]
    if ceil_mode:
        pad[1::2] = pad[::2]
    for axis in range(axes):
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
    x = normal_halves(seed, shape, 100)
    (got,) = evaluate(device, lambda t: mil.l2_pool(t, kernel, strides, "custom", pad, ceil_mode), x)
    oracle.assert_within(got, oracle.pool("l2_pool", x, kernel, strides, pad, ceil_mode))


@pytest.mark.parametrize(("pad_type", "pad"), [("same", (0, 1)), ("same_lower", (1, 0))])
def test_the_odd_element_of_same_padding(device, pad_type, pad):
    x, weight = normal_halves(1, (1, 2, 6)), normal_halves(2, (3, 2, 2))
    for define in (
        lambda t, *p: mil.max_pool(t, (2,), None, *p),
        lambda t, kind, *p: mil.conv(t, weight, pad_type=kind, pad=p[0] if p else None),
    ):
        (got,) = evaluate(device, lambda t, define=define: define(t, pad_type), x)
        (expected,) = evaluate(device, lambda t, define=define: define(t, "custom", pad), x)
        oracle.assert_same(got, expected)


@pytest.mark.parametrize("op", ["max_pool", "avg_pool", "l2_pool"])
@pytest.mark.parametrize(
    ("shape", "kernel", "strides"),
    [((61, 300), (5, 4), (2, 3)), ((700,), (5,), (3,)), ((7, 11, 60), (3, 2, 4), (2, 1, 3))],
)
def test_pools_of_large_planes_with_same_padding(device, op, shape, kernel, strides):
    x = normal_halves(1, (2, 3, *shape))
    (got,) = evaluate(device, lambda t: getattr(mil, op)(t, kernel, strides, "same"), x)
    pad = oracle.same_padding(shape, kernel, strides, (1,) * len(shape))
    assert got.shape == (2, 3, *(-(-extent // step) for extent, step in zip(shape, strides, strict=True)))
    oracle.assert_within(got, oracle.pool(op, x, kernel, strides, pad))


def test_max_pool_keeps_nan_and_ignores_padding(plain):
    x = np.array([[-1, np.nan, -3, -4]], np.float16).reshape(1, 1, 1, 4)
    (got,) = evaluate(plain, lambda t: mil.max_pool(t, (1, 2), (1, 1), "custom", (0, 0, 1, 1)), x)
    np.testing.assert_array_equal(got.ravel(), [-1, math.nan, math.nan, -3, -4])


@pytest.mark.parametrize("width", [3, 6, 7, 8, 9, 40])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_max_pool_of_zeros_and_nan_at_every_width(plain, width, stride):
    """Keep the sign of a negative zero where all are, in rows wide enough for vectors and narrower."""
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
        (((0, 1),), "kernel_sizes needs a positive integer for each axis"),
        (((2,),), "kernel_sizes needs a positive integer for each axis"),
        (((1, 1), (1, 1), "valid", (1, 0, 0, 0)), 'write "custom" to pad'),
    ],
)
def test_what_pools_refuse(arguments, message):
    x = mil.Builder().input("x", (1, 2, 4, 4))
    with pytest.raises(CompileError, match=message):
        mil.max_pool(x, *arguments)


MATRICES = st.lists(st.floats(-2, 2, width=16), min_size=6, max_size=6)


@given(st.tuples(*[st.integers(1, 7)] * 4), st.integers(2, 9), st.integers(2, 9), st.data(), SEEDS)
def test_affine(device, shape, height, width, data, seed):
    count = data.draw(st.sampled_from([1, shape[0]]))
    matrices = np.array([data.draw(MATRICES) for _ in range(count)], np.float16)
    x = normal_halves(seed, shape)
    expected = oracle.affine(x, matrices, height, width)
    (got,) = evaluate(device, lambda t: mil.affine(t, matrices, height, width), x)
    oracle.assert_within(got, expected)
    (got,) = evaluate(device, lambda t, m: mil.affine(t, m, height, width), x, matrices)
    oracle.assert_within(got, expected)


def test_affine_by_the_unit_matrix_and_a_quarter_rotation(device):
    x = normal_halves(1, (1, 3, 5, 5))
    (same,) = evaluate(device, lambda t: mil.affine(t, np.array([[1, 0, 0, 0, 1, 0]]), 5, 5), x)
    (rotated,) = evaluate(device, lambda t: mil.affine(t, np.array([[0, 1, 0, -1, 0, 0]]), 5, 5), x)
    oracle.assert_same(same, x)
    oracle.assert_same(rotated, np.ascontiguousarray(np.rot90(x, -1, (2, 3))))


def test_affine_by_hostile_matrices(plain):
    """Read 0 far outside, and where positions are undefined."""
    x = normal_halves(1, (4, 1, 3, 3))
    matrices = np.zeros((4, 6), np.float16)
    matrices[0, 2], matrices[1, 0], matrices[2, 5], matrices[3, 4] = np.inf, np.nan, -65504, -np.inf
    (got,) = evaluate(plain, lambda t, m: mil.affine(t, m, 2, 2), x, matrices)
    assert not got.any()


@given(PLANES, st.integers(1, 4), st.integers(1, 4), SEEDS)
def test_upsample_nearest_neighbor(device, shape, down, across, seed):
    x = any_halves(seed, shape)
    expected = x.repeat(down, -2).repeat(across, -1)
    check(device, lambda t: mil.upsample_nearest_neighbor(t, down, across), expected, x)


@pytest.mark.parametrize(
    ("shape", "factors", "sizes"),
    [
        ((1, 2, 4, 6), (1.5, 0.5), (6, 3)),
        ((1, 5, 7), (1.5, 1.5), (7, 10)),
        (
            (1, 5, 7),
            (float.fromhex("0x1.6667b6p+0"), float.fromhex("0x1.492582p+0")),
            (7, 9),
        ),  # by coremltools
        ((3, 5, 10), (1.4, 1.1), (7, 11)),  # no float of 32 bits is 1.4, but 5 times it rounds to 7
        ((2, 3, 3, 64), (5 / 3, 1.25), (5, 80)),
    ],
)
def test_upsampling_by_fractions(device, shape, factors, sizes):
    """Sample what a resize to these sizes samples."""
    x = normal_halves(1, shape)
    rows, columns = (np.arange(n) * size // n for n, size in zip(sizes, shape[-2:], strict=True))
    check(device, lambda t: mil.upsample_nearest_neighbor(t, *factors), x[..., rows, :][..., columns], x)
    (got,) = evaluate(device, lambda t: mil.upsample_bilinear(t, *factors, False), x)
    points = [oracle.grid(size, n, "UNALIGN_CORNERS") for n, size in zip(sizes, shape[-2:], strict=True)]
    oracle.assert_within(got, oracle.bilinear(x, points))


@given(PLANES, st.integers(1, 12), st.integers(1, 12), SEEDS)
def test_resize_nearest_neighbor(device, shape, height, width, seed):
    x = any_halves(seed, shape)
    rows, columns = np.arange(height) * shape[-2] // height, np.arange(width) * shape[-1] // width
    expected = x[..., rows, :][..., columns]
    check(device, lambda t: mil.resize_nearest_neighbor(t, height, width), expected, x)


@pytest.mark.parametrize("mode", MODES)
@given(PLANES, st.integers(1, 12), st.integers(1, 12), SEEDS)
def test_resize_bilinear(device, mode, shape, height, width, seed):
    x = normal_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.resize_bilinear(t, height, width, mode), x)
    points = [oracle.grid(shape[-2], height, mode), oracle.grid(shape[-1], width, mode)]
    oracle.assert_within(got, oracle.bilinear(x, points))


@given(PLANES, st.sampled_from([1, 1.5, 2, 3]), st.sampled_from([1, 2.25]), st.booleans(), SEEDS)
def test_upsample_bilinear(device, shape, down, across, align, seed):
    x = normal_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.upsample_bilinear(t, down, across, align), x)
    mode = "STRICT_ALIGN_CORNERS" if align else "UNALIGN_CORNERS"
    sizes = int(shape[-2] * down), int(shape[-1] * across)
    points = [oracle.grid(side, count, mode) for side, count in zip(shape[-2:], sizes, strict=True)]
    oracle.assert_within(got, oracle.bilinear(x, points))


@pytest.mark.parametrize(("height", "width"), [(122, 600), (500, 7), (20, 4099)])
@pytest.mark.parametrize("mode", MODES)
def test_resize_bilinear_across_tasks(device, mode, height, width):
    """Share rows of x in a task, which takes several rows of the result."""
    x = normal_halves(1, (2, 61, 300))
    (got,) = evaluate(device, lambda t: mil.resize_bilinear(t, height, width, mode), x)
    oracle.assert_within(
        got, oracle.bilinear(x, [oracle.grid(61, height, mode), oracle.grid(300, width, mode)])
    )


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda x: mil.affine(x, np.ones((2, 6)), 2, 2), r"must be \[1, 6\] or"),
        (lambda x: mil.affine(x, np.ones((1, 6)), 0, 2), "output_height must be positive"),
        (lambda x: mil.affine(x, np.ones((1, 6)), 2, 2, "nearest"), 'sampling_mode must be "bilinear"'),
        (lambda x: mil.affine(x, np.ones((1, 6)), 2, 2, padding_value=1.0), "padding_value must be 0"),
        (lambda x: mil.affine(x, np.ones((1, 6)), 2, 2, align_corners=False), "align_corners must be true"),
        (lambda x: mil.upsample_bilinear(x, 1e-3), "must be 1 to"),
        (lambda x: mil.resize_bilinear(x, 2, 2, "CORNERS"), "there is no sampling_mode"),
        (lambda x: mil.resize_nearest_neighbor(x, 0, 1), "target_size_height must be positive"),
    ],
)
def test_what_is_refused(define, message):
    x = mil.Builder().input("x", (1, 4, 5, 6))
    with pytest.raises(CompileError, match=message):
        define(x)
