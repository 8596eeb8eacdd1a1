"""Operations that repeat, pad, crop, resize, shuffle, stack and sort."""

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
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=7)
PLANES = nps.array_shapes(min_dims=3, max_dims=5, max_side=7)
MODES = ["STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"]


def check(device, define, expected, *arrays):
    (got,) = evaluate(device, define, *arrays)
    oracle.assert_same(got, np.ascontiguousarray(expected))


@given(nps.array_shapes(min_dims=1, max_dims=4, max_side=7), st.data(), SEEDS)
def test_stack(device, shape, data, seed):
    axis = data.draw(st.integers(-len(shape) - 1, len(shape)))
    arrays = [any_halves(seed + i, shape) for i in range(data.draw(st.integers(1, 4)))]
    check(device, lambda *values: mil.stack(values, axis), np.stack(arrays, axis), *arrays)


def test_stack_with_a_constant(device):
    x, constant = any_halves(1, (2, 3)), normal_halves(2, (2, 3))
    check(device, lambda t: mil.stack([constant, t], 1), np.stack([constant, x], 1), x)


@given(SHAPES, st.data(), SEEDS)
def test_flatten2d(device, shape, data, seed):
    axis = data.draw(st.integers(-len(shape), len(shape)))
    x = any_halves(seed, shape)
    rows = math.prod(shape[:axis] if axis >= 0 else shape[: axis + len(shape)])
    check(device, lambda t: mil.flatten2d(t, axis), x.reshape(rows, -1), x)


@given(SHAPES, st.data(), SEEDS)
def test_reverse(device, shape, data, seed):
    axes = data.draw(st.none() | nps.valid_tuple_axes(len(shape), min_size=1))
    x = any_halves(seed, shape)
    check(device, lambda t: mil.reverse(t, axes), np.flip(x, axes), x)


@given(nps.array_shapes(min_dims=1, max_dims=5, max_side=5), st.data(), SEEDS)
def test_tile(device, shape, data, seed):
    reps = data.draw(st.lists(st.integers(1, 3), min_size=len(shape), max_size=len(shape)))
    x = any_halves(seed, shape)
    check(device, lambda t: mil.tile(t, reps), np.tile(x, reps), x)


@given(SHAPES, st.data(), st.sampled_from(["constant", "reflect", "replicate"]), SEEDS)
def test_pad(device, shape, data, mode, seed):
    count = data.draw(st.integers(1, len(shape)))
    most = [{"constant": 5, "reflect": side - 1, "replicate": side}[mode] for side in shape[-count:]]
    pad = [data.draw(st.integers(0, m)) for m in most for _ in range(2)]
    widths = [(0, 0)] * (len(shape) - count) + list(zip(pad[::2], pad[1::2], strict=True))
    x = any_halves(seed, shape)
    options = {"constant_values": np.float16(-1.5)} if mode == "constant" else {}
    expected = np.pad(x, widths, {"replicate": "edge"}.get(mode, mode), **options)
    check(device, lambda t: mil.pad(t, pad, mode, -1.5), expected, x)


@given(PLANES, st.data(), SEEDS)
def test_crop(device, shape, data, seed):
    crops = []
    for side in shape[-2:]:
        before = data.draw(st.integers(0, side - 1))
        crops.append((before, data.draw(st.integers(0, side - 1 - before))))
    x = any_halves(seed, shape)
    rows, columns = (slice(a, side - b) for (a, b), side in zip(crops, shape[-2:], strict=True))
    check(device, lambda t: mil.crop(t, *crops), x[..., rows, columns], x)


def blocks(x, b):
    """[N, C, H b, W b] as [N, C, H, b, W, b]."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // b, b, w // b, b)


@given(st.tuples(*[st.integers(1, 4)] * 4), st.integers(1, 3), SEEDS)
def test_block_shuffles(device, shape, b, seed):
    n, c, h, w = shape
    x = any_halves(seed, (n, c, h * b, w * b))
    slow = blocks(x, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, -1, h, w)
    fast = blocks(x, b).transpose(0, 1, 3, 5, 2, 4).reshape(n, -1, h, w)
    check(device, lambda t: mil.space_to_depth(t, b), slow, x)
    check(device, lambda t: mil.pixel_unshuffle(t, b), fast, x)
    check(device, lambda t: mil.depth_to_space(t, b), x, slow)
    check(device, lambda t: mil.pixel_shuffle(t, b), x, fast)


ENDS = st.tuples(*[st.tuples(st.integers(0, 3), st.integers(0, 3))] * 2)
BLOCKS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@given(st.tuples(*[st.integers(1, 4)] * 4), BLOCKS, ENDS, SEEDS)
def test_space_to_batch(device, shape, block, paddings, seed):
    sizes = [s * b - sum(ends) for s, b, ends in zip(shape[2:], block, paddings, strict=True)]
    assume(min(sizes) > 0)
    x = any_halves(seed, (*shape[:2], *sizes))
    expected = oracle.space_to_batch(x, block, paddings)
    check(device, lambda t: mil.space_to_batch(t, block, paddings), expected, x)


@given(st.tuples(*[st.integers(1, 4)] * 4), BLOCKS, ENDS, SEEDS)
def test_batch_to_space(device, shape, block, crops, seed):
    assume(all(s * b > sum(ends) for s, b, ends in zip(shape[2:], block, crops, strict=True)))
    x = any_halves(seed, (shape[0] * block[0] * block[1], *shape[1:]))
    expected = oracle.batch_to_space(x, block, crops)
    check(device, lambda t: mil.batch_to_space(t, block, crops), expected, x)


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


def test_affine_by_the_unit_matrix_and_a_quarter_turn(device):
    x = normal_halves(1, (1, 3, 5, 5))
    (same,) = evaluate(device, lambda t: mil.affine(t, np.array([[1, 0, 0, 0, 1, 0]]), 5, 5), x)
    (turned,) = evaluate(device, lambda t: mil.affine(t, np.array([[0, 1, 0, -1, 0, 0]]), 5, 5), x)
    oracle.assert_same(same, x)
    oracle.assert_same(turned, np.ascontiguousarray(np.rot90(x, -1, (2, 3))))


def test_affine_by_hostile_matrices(plain):
    """Far outside, and undefined, are 0."""
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
    """A task takes several rows of the result, which share rows of x."""
    x = normal_halves(1, (2, 61, 300))
    (got,) = evaluate(device, lambda t: mil.resize_bilinear(t, height, width, mode), x)
    oracle.assert_within(
        got, oracle.bilinear(x, [oracle.grid(61, height, mode), oracle.grid(300, width, mode)])
    )


@given(SHAPES, st.data(), st.booleans(), SEEDS)
def test_topk(device, shape, data, ascending, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    k = data.draw(st.integers(1, shape[axis]))
    x = any_halves(seed, shape)
    x = np.where(x == 0, np.float16(0), x)  # zeros of both signs are equal

    def program(t):
        values, indices = mil.topk(t, k, axis, ascending, "uint16")
        return values, mil.cast(indices, "fp16")

    values, indices = evaluate(device, program, x)
    order = np.argsort(x if ascending else -x, axis, kind="stable").take(range(k), axis)
    np.testing.assert_array_equal(indices, order)
    oracle.assert_same(values, np.take_along_axis(x, order, axis))


def test_topk_of_a_long_axis(device):
    x = normal_halves(1, (3, 5000, 2))
    (got,) = evaluate(device, lambda t: mil.topk(t, 7, 1)[0], x)
    np.testing.assert_array_equal(got, -np.sort(-x, 1)[:, :7])


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (lambda x: mil.stack([x, mil.transpose(x, [0, 1, 3, 2])], 0), r"value 1 is \[1, 4, 6, 5\]"),
        (lambda x: mil.stack([mil.expand_dims(x, [0])], 0), "at most 5 axes"),
        (lambda x: mil.flatten2d(x, 5), "axis 5 is outside"),
        (lambda x: mil.tile(x, [2, 2]), "one entry for each axis"),
        (lambda x: mil.tile(x, [1, 1, 0, 1]), "must be positive"),
        (lambda x: mil.pad(x, [0, 6], "reflect"), "must be 0 to 5 in mode reflect"),
        (lambda x: mil.pad(x, [7, 0], "replicate"), "must be 0 to 6 in mode replicate"),
        (lambda x: mil.pad(x, [1, 1], "wrap"), "mode must be constant, reflect or replicate"),
        (lambda x: mil.pad(x, [1]), "two entries for each"),
        (lambda x: mil.pad(x, [-1, 0]), "must be 0 to"),
        (lambda x: mil.crop(x, [3, 2], [0, 0]), "leave something of 5 elements"),
        (lambda x: mil.depth_to_space(x, 3), "3 squared does not divide the channels"),
        (lambda x: mil.pixel_unshuffle(x, 2), "2 does not divide height and width"),
        (lambda x: mil.space_to_batch(x, (2, 2), ((0, 0), (0, 0))), "2 does not divide the 5 elements"),
        (lambda x: mil.space_to_batch(x, (5, 0), ((0, 0), (0, 0))), "each 1 to 65536"),
        (lambda x: mil.space_to_batch(x, (1, 2), ((0, 0), (-1, 1))), "none negative"),
        (lambda x: mil.space_to_batch(x, (1, 2), (0, 0)), r"must be tensor<int32, \[2, 2\]>"),
        (
            lambda x: mil.batch_to_space(x, (2, 1), ((0, 0), (0, 0))),
            r"block of \[2, 1\] does not divide the batch",
        ),
        (lambda x: mil.batch_to_space(x, (1, 1), ((0, 0), (3, 3))), "leave nothing of 6 elements"),
        (lambda x: mil.affine(x, np.ones((2, 6)), 2, 2), r"must be \[1, 6\] or"),
        (lambda x: mil.affine(x, np.ones((1, 6)), 0, 2), "output_height must be positive"),
        (lambda x: mil.affine(x, np.ones((1, 6)), 2, 2, "nearest"), 'sampling_mode must be "bilinear"'),
        (lambda x: mil.affine(x, np.ones((1, 6)), 2, 2, padding_value=1.0), "padding_value must be 0"),
        (lambda x: mil.affine(x, np.ones((1, 6)), 2, 2, align_corners=False), "align_corners must be true"),
        (lambda x: mil.upsample_bilinear(x, 1e-3), "must be 1 to"),
        (lambda x: mil.resize_bilinear(x, 2, 2, "CORNERS"), "there is no sampling_mode"),
        (lambda x: mil.resize_nearest_neighbor(x, 0, 1), "target_size_height must be positive"),
        (lambda x: mil.topk(x, 7), "k must be 1 to 6"),
    ],
)
def test_what_is_refused(define, message):
    x = mil.Builder().input("x", (1, 4, 5, 6))
    with pytest.raises(CompileError, match=message):
        define(x)
