"""Operations that only move elements: every bit arrives, NaN's too where the profile has them."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import mil
from aneperf.mil.call import apply
from support import oracle
from support.programs import any_halves, evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=9)


@st.composite
def slices(draw):
    """A shape, and begin, end and stride for each axis, with masks; no slice is empty."""
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
    """What follows must see the computed parts, and every constant one."""
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
