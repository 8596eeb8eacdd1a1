"""Operations that only move elements: every bit arrives, NaN's too where the profile has them."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import CompileError, mil
from aneperf.mil.call import apply
from support import oracle
from support.programs import any_halves, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=9)
PLANES = nps.array_shapes(min_dims=3, max_dims=5, max_side=7)


def check(device, define, expected, *arrays):
    (got,) = evaluate(device, define, *arrays)
    oracle.assert_same(got, np.ascontiguousarray(expected))


@st.composite
def slices(draw):
    """Draw a shape, and begin, end and stride for each axis, with masks; no slice is empty."""
    shape = draw(SHAPES)
    axes = []
    for extent in shape:
        begin = draw(st.integers(0, extent - 1))
        end = draw(st.integers(begin + 1, extent))
        masks = draw(st.tuples(st.booleans(), st.booleans(), st.booleans()))
        # Counted from the end; the end of the axis has no such number.
        begin -= extent if draw(st.booleans()) else 0
        end -= extent if end < extent and draw(st.booleans()) else 0
        axes.append((begin, end, draw(st.integers(1, 4)), *masks))
    assume(not all(axis[-1] for axis in axes))  # a scalar is no port
    return shape, [list(values) for values in zip(*axes, strict=True)]


@given(slices(), SEEDS)
def test_slice_by_index(device, case, seed):
    shape, arguments = case
    x = any_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.slice_by_index(t, *arguments), x)
    oracle.assert_same(got, oracle.slice_by_index(x, *arguments))


def test_slice_by_index_without_masks_or_strides(device):
    x = any_halves(1, (4, 5, 6))
    (got,) = evaluate(device, lambda t: mil.slice_by_index(t, [1, 0, -4], [3, 99, -1]), x)
    oracle.assert_same(got, x[1:3, :, -4:-1])


@given(SHAPES, st.data(), SEEDS)
def test_slice_by_size(device, shape, data, seed):
    begin = [data.draw(st.integers(0, extent - 1)) for extent in shape]
    size = [
        data.draw(st.sampled_from([-1]) | st.integers(1, extent - first))
        for extent, first in zip(shape, begin, strict=True)
    ]
    x = any_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.slice_by_size(t, begin, size), x)
    oracle.assert_same(got, oracle.slice_by_size(x, begin, size))


@given(SHAPES, st.data(), SEEDS)
def test_gather(device, shape, data, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    most = 5 - (len(shape) - 1)
    counts = data.draw(
        nps.array_shapes(min_dims=1 if len(shape) == 1 else 0, max_dims=min(3, most), max_side=4)
    )
    extent = shape[axis]
    low = -extent if data.draw(st.booleans()) else 0
    dtype = data.draw(st.sampled_from([np.int32, np.int16, np.uint16] if low == 0 else [np.int32, np.int16]))
    indices = np.random.default_rng(seed).integers(low, extent, counts).astype(dtype)
    x = any_halves(seed, shape)
    check(device, lambda t: mil.gather(t, mil.const(indices, dtype.__name__), axis), x.take(indices, axis), x)


@pytest.mark.parametrize(("batch", "axis"), [(1, 1), (1, 2), (2, 2), (2, 3)])
def test_gather_with_batch_axes(device, batch, axis):
    x = any_halves(1, (2, 3, 4, 5))
    indices = np.random.default_rng(2).integers(0, 4 if axis != 1 else 3, (*x.shape[:batch], 6))
    rows = [x[place].take(indices[place], axis - batch) for place in np.ndindex(*x.shape[:batch])]
    expected = np.stack(rows).reshape(*x.shape[:batch], *rows[0].shape)
    check(device, lambda t: mil.gather(t, indices, axis, batch), expected, x)


@given(SHAPES, st.data(), SEEDS)
def test_gather_along_axis(device, shape, data, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    taken = list(shape)
    taken[axis] = data.draw(st.integers(1, 9))
    indices = np.random.default_rng(seed).integers(-shape[axis], shape[axis], taken)
    x = any_halves(seed, shape)
    expected = np.take_along_axis(x, indices, axis)
    check(device, lambda t: mil.gather_along_axis(t, indices, axis), expected, x)


def test_gather_of_a_long_axis(device):
    x, indices = any_halves(1, (60000, 3)), np.array([59999, 0, 40000, 32768])
    check(device, lambda t: mil.gather(t, mil.const(indices, "uint16")), x[indices], x)


@pytest.mark.parametrize(
    ("op", "indices", "arguments", "message"),
    [
        ("gather", [3], {"axis": 1}, "index 3 is outside an axis of 3 elements"),
        ("gather", [-4], {"axis": 1}, "index -4 is outside an axis of 3 elements"),
        ("gather", [0], {"axis": 3}, "axis 3 is outside a tensor of rank 3"),
        ("gather", np.zeros((1, 1, 1, 1)), {}, "at most 5 axes"),
        ("gather", [0, 1, 0], {"axis": 1, "batch_dims": 1}, "do not share 1 axes in front of axis 1"),
        ("gather", [0, 1], {"axis": 0, "batch_dims": 1}, "do not share 1 axes in front of axis 0"),
        ("gather", [0, 1], {"axis": 0, "batch_dims": -1}, "do not share -1 axes"),
        ("gather_along_axis", [0, 1], {}, r"must be as x, \[2, 3, 4\], but for axis 0, are \[2\]"),
        ("gather_along_axis", np.zeros((2, 3, 5)), {"axis": 1}, "indices must be as x"),
        ("gather_along_axis", np.full((2, 3, 4), 4), {"axis": 2}, "index 4 is outside an axis of 4"),
    ],
)
def test_what_gathers_refuse(op, indices, arguments, message):
    x = mil.Builder().input("x", (2, 3, 4))
    with pytest.raises(CompileError, match=message):
        getattr(mil, op)(x, np.asarray(indices, np.int32), **arguments)


@pytest.mark.parametrize("op", ["gather", "gather_along_axis"])
def test_gathers_take_constant_indices_alone(op):
    x = mil.Builder().input("x", (2, 3, 4))
    _, computed = mil.topk(x, 2, 0)
    with pytest.raises(
        CompileError, match="by constant indices only; computed ones run on the CPU"
    ) as caught:
        getattr(mil, op)(x, computed)
    assert caught.value.kind == "CompilationFailure"


@pytest.mark.parametrize(
    ("define", "expected"),
    [
        (lambda t: mil.transpose(t, [2, 0, 1]), lambda a: a.transpose(2, 0, 1)),
        (lambda t: mil.reshape(t, (6, -1)), lambda a: a.reshape(6, -1)),
        (lambda t: mil.tile(t, (2, 1, 3)), lambda a: np.tile(a, (2, 1, 3))),
        (lambda t: mil.expand_dims(t, [1]), lambda a: a[:, None]),
        (lambda t: mil.squeeze(mil.expand_dims(t, [1]), [1]), lambda a: a),
        (lambda t: mil.concat([t, mil.logical_not(t), t], 1), lambda a: np.concatenate([a, ~a, a], 1)),
        (lambda t: mil.concat([t, t], 2, True), lambda a: a.repeat(2, 2)),
    ],
)
def test_truth_values_move(device, define, expected):
    x = normal_halves(1, (3, 4, 70))
    check(
        device,
        lambda t: mil.cast(define(mil.greater(t, 0)), "fp16"),
        expected(x > 0).astype(np.float16),
        x,
    )


def test_concat_joins_values_of_one_dtype():
    x = mil.Builder().input("x", (2, 3))
    with pytest.raises(CompileError, match="value 1 is bool, the first is fp16"):
        mil.concat([x, mil.greater(x, 0)], 0)


@given(SHAPES, st.data(), SEEDS)
def test_transpose(device, shape, data, seed):
    perm = data.draw(st.permutations(range(len(shape))))
    signed = [axis - len(shape) if data.draw(st.booleans()) else axis for axis in perm]
    x = any_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.transpose(t, signed), x)
    oracle.assert_same(got, x.transpose(perm))


@pytest.mark.parametrize(
    ("shape", "perm"), [((130, 257), (1, 0)), ((3, 70, 90), (2, 0, 1)), ((1, 12, 64, 65), (0, 1, 3, 2))]
)
def test_large_transposes(device, shape, perm):
    x = any_halves(2, shape)
    (got,) = evaluate(device, lambda t: mil.transpose(t, perm), x)
    oracle.assert_same(got, x.transpose(perm))


@given(SHAPES, st.data(), SEEDS)
def test_reshape(device, shape, data, seed):
    remaining, target = math.prod(shape), []
    for _ in range(data.draw(st.integers(0, 4))):
        side = data.draw(st.sampled_from([d for d in range(1, remaining + 1) if remaining % d == 0]))
        remaining //= side
        target.append(side)
    target.insert(data.draw(st.integers(0, len(target))), data.draw(st.sampled_from([-1, remaining])))
    x = any_halves(seed, shape)
    (got,) = evaluate(device, lambda t: mil.reshape(t, target), x)
    oracle.assert_same(got, x.reshape(target))


@given(nps.array_shapes(min_dims=1, max_dims=4, max_side=5), st.data(), SEEDS)
def test_expand_dims_and_squeeze(device, shape, data, seed):
    added = data.draw(st.integers(1, 5 - len(shape)))
    axes = data.draw(nps.valid_tuple_axes(len(shape) + added, min_size=added, max_size=added))
    x = any_halves(seed, shape)

    def there_and_back(t):
        wide = mil.expand_dims(t, axes)
        return wide, mil.squeeze(wide, axes)

    wide, back = evaluate(device, there_and_back, x)
    oracle.assert_same(wide, np.expand_dims(x, axes))
    oracle.assert_same(back, x)


def test_squeeze_drops_every_axis_of_one_element(device):
    x = any_halves(3, (1, 4, 1, 5, 1))
    (got,) = evaluate(device, mil.squeeze, x)
    oracle.assert_same(got, x.reshape(4, 5))


@given(SHAPES, st.data(), st.booleans(), SEEDS)
def test_concat(device, shape, data, interleave, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    arrays = []
    for i in range(data.draw(st.integers(1, 5))):
        part = list(shape)
        if not interleave:
            part[axis] = data.draw(st.integers(1, 5))
        arrays.append(any_halves(seed + i, tuple(part)))
    (got,) = evaluate(device, lambda *values: mil.concat(values, axis, interleave), *arrays)
    oracle.assert_same(got, oracle.concat(arrays, axis, interleave))


@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0), (1, 0, 1), (0, 1, 0, 1, 1)])
def test_concat_with_constants(device, order, interleave):
    """Show the computed parts and the constant ones to a following operation."""
    x, constant = any_halves(4, (1, 3, 2, 5)), normal_halves(5, (1, 3, 2, 5))

    def program(t):
        joined = mil.concat([[t, constant][i] for i in order], 1, interleave)
        return joined, mil.relu(joined)

    joined, after = evaluate(device, program, x)
    expected = oracle.concat([[x, constant][i] for i in order], 1, interleave)
    oracle.assert_same(joined, expected)
    oracle.assert_same(after, oracle.rounded(oracle.exact("relu", expected)))


@given(SHAPES, st.data(), SEEDS)
def test_split_into_equal_parts(device, shape, data, seed):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    count = data.draw(st.integers(1, 4))
    full = list(shape)
    full[axis] *= count
    x = any_halves(seed, tuple(full))
    got = evaluate(device, lambda t: mil.split(t, count, axis), x)
    for part, expected in zip(got, np.split(x, count, axis), strict=True):
        oracle.assert_same(part, expected)


@given(SHAPES, st.data(), SEEDS)
def test_split_by_sizes(device, shape, data, seed):
    axis = data.draw(st.integers(0, len(shape) - 1))
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    full = list(shape)
    full[axis] = sum(sizes)
    x = any_halves(seed, tuple(full))
    got = evaluate(device, lambda t: apply("split", x=t, split_sizes=mil.const(sizes), axis=axis), x)
    for part, expected in zip(got, np.split(x, np.cumsum(sizes)[:-1], axis), strict=True):
        oracle.assert_same(part, expected)


def test_nan_is_moved_where_the_profile_has_it(plain):
    x = any_halves(6, (2, 3, 4))
    x[:, 1] = np.nan
    moved = evaluate(
        plain, lambda t: (mil.transpose(t, [2, 1, 0]), mil.slice_by_size(t, [0, 1, 0], [2, 1, 4])), x
    )
    oracle.assert_same(moved[0], x.transpose(2, 1, 0))
    assert np.isnan(moved[1]).all()


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
    """View [N, C, H b, W b] as [N, C, H, b, W, b]."""
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
        (lambda x: mil.topk(x, 7), "k must be 1 to 6"),
    ],
)
def test_what_is_refused(define, message):
    x = mil.Builder().input("x", (1, 4, 5, 6))
    with pytest.raises(CompileError, match=message):
        define(x)
