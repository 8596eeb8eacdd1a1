"""Sums, softmax and norms on the engine's profiles, to the bit, and the published errors of the long ones."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import aneperf
from aneperf import mil
from support import oracle
from support.programs import evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)
SHAPES = nps.array_shapes(min_dims=1, max_dims=5, max_side=9)


def words(seed, shape):
    return np.random.default_rng(seed).integers(0, 1 << 16, shape, np.uint16).view(np.float16)


def axes_of(data, shape):
    return tuple(
        sorted(axis % len(shape) for axis in data.draw(nps.valid_tuple_axes(len(shape), min_size=1)))
    )


@given(SHAPES, st.data(), SEEDS)
def test_sums_and_means_are_exact_before_they_are_rounded(device, shape, data, seed):
    axes, x = axes_of(data, shape), words(seed, shape)
    got = evaluate(device, lambda t: (mil.reduce_sum(t, axes), mil.reduce_mean(t, axes)), x)
    wide = oracle.decoded(x)
    if wide.size <= 384 or len(shape) - 1 not in axes:
        oracle.assert_same(got[0], oracle.engine_sum(wide, axes))
    oracle.assert_same(got[1], oracle.engine_mean(wide, axes))


@pytest.mark.parametrize("op", ["reduce_max", "reduce_min"])
@given(SHAPES, st.data(), SEEDS)
def test_extremes_take_nan_for_a_large_number(device, op, shape, data, seed):
    axes, x = axes_of(data, shape), words(seed, shape)
    (got,) = evaluate(device, lambda t: getattr(mil, op)(t, axes), x)
    extreme = {"reduce_max": np.max, "reduce_min": np.min}[op]
    oracle.assert_same(got, oracle.engine_rounded(extreme(oracle.decoded(x), axes, keepdims=True)))


@pytest.mark.parametrize(
    ("shape", "axes"),
    [((1, 9001, 1, 3), (1,)), ((2, 5000, 1, 70), (1,)), ((3, 4097, 1, 1), (1,)), ((2, 5, 300, 7), (2,))],
)
def test_sums_of_squares_over_other_axes_than_the_last_are_exact(emulator, shape, axes):
    x = normal_halves(1, shape, 0.7)
    got = evaluate(
        emulator,
        lambda t: (
            mil.reduce_sum(t, axes),
            mil.reduce_mean(mil.square(t), axes),
            mil.reduce_sum(mil.mul(t, t), axes),
        ),
        x,
    )
    wide = oracle.decoded(x)
    squares = oracle.step(wide**2)
    expected = (
        oracle.engine_sum(wide, axes),
        oracle.engine_mean(squares, axes),
        oracle.engine_sum(squares, axes),
    )
    for one, other in zip(got, expected, strict=True):
        oracle.assert_same(one, other)


@pytest.mark.parametrize(
    ("chip", "longest"), [("h13", 192), ("h14", 192), ("h15", 384), ("h16", 384), ("h19", 384)]
)
def test_sums_of_a_long_last_axis_pass_through_fp16(chip, longest):
    device = aneperf.open("emulator", chip=chip)
    for length in (longest, longest + 1, 1000):
        x = np.abs(normal_halves(2, (3, length), 9.0))
        (got,) = evaluate(device, lambda t: mil.reduce_sum(t, [1]), x)
        wide = oracle.decoded(x)
        expected = oracle.engine_sum(wide, (1,)) if length <= longest else oracle.engine_long_sum(wide)
        oracle.assert_same(got, expected)


@given(SHAPES, st.data(), SEEDS, st.sampled_from([0.01, 1.0, 30.0, 10000.0]))
def test_softmax(emulator, shape, data, seed, scale):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    x = normal_halves(seed, shape, scale)
    (got,) = evaluate(emulator, lambda t: mil.softmax(t, axis), x)
    oracle.assert_same(got, oracle.engine_softmax(oracle.decoded(x), axis))


@pytest.mark.parametrize(
    ("shape", "axis"), [((3, 2, 1, 5000), 3), ((1, 500, 1, 19), 1), ((17, 19, 15, 33), 2)]
)
def test_softmax_across_tiles(emulator, shape, axis):
    x = normal_halves(2, shape, 3)
    (got,) = evaluate(emulator, lambda t: mil.softmax(t, axis), x)
    oracle.assert_same(got, oracle.engine_softmax(oracle.decoded(x), axis))


def test_softmax_subtracts_the_maximum(device):
    (got,) = evaluate(device, mil.softmax, np.array([[1000, 1, 2, 3], [-np.inf] * 4], np.float16))
    assert got.tolist() == [[1, 0, 0, 0], [0.25] * 4]


@given(nps.array_shapes(min_dims=3, max_dims=4, max_side=9), SEEDS)
def test_instance_norm(emulator, shape, seed):
    x, gamma, beta = (normal_halves(seed + i, each) for i, each in enumerate((shape, shape[1:2], shape[1:2])))
    (got,) = evaluate(emulator, lambda t: mil.instance_norm(t, gamma, beta, 1e-3), x)
    parameters = (oracle.decoded(each).reshape(-1, *[1] * (len(shape) - 2)) for each in (gamma, beta))
    axes, epsilon = tuple(range(2, len(shape))), float(np.float16(1e-3))
    oracle.assert_same(got, oracle.engine_layer_norm(oracle.decoded(x), axes, *parameters, epsilon))


@given(SHAPES, st.data(), SEEDS, st.sampled_from([1e-3, 1.0, 100.0]))
def test_layer_norm(emulator, shape, data, seed, scale):
    axes, x = axes_of(data, shape), normal_halves(seed, shape, scale)
    sizes = tuple(shape[axis] for axis in axes)
    gamma, beta = normal_halves(seed + 1, sizes), normal_halves(seed + 2, sizes)
    (got,) = evaluate(emulator, lambda t: mil.layer_norm(t, axes, gamma, beta, 1e-3), x)
    over = [shape[axis] if axis in axes else 1 for axis in range(len(shape))]
    parameters = (oracle.decoded(each).reshape(over) for each in (gamma, beta))
    expected = oracle.engine_layer_norm(oracle.decoded(x), axes, *parameters, float(np.float16(1e-3)))
    oracle.assert_same(got, expected)


def relative_error(got, reference):
    got, reference = np.asarray(got, np.float64), np.asarray(reference, np.float64)
    return np.linalg.norm(got - reference) / np.linalg.norm(reference)


def test_long_sums_and_softmax_err_about_as_much_as_published(emulator):
    """Compare with ANEForge's errors on M4 to M6, 256 rows of 4096: the order of the sum is a stand-in."""

    def softmax(x):
        powers = np.exp(x - x.max(-1, keepdims=True))
        return powers / powers.sum(-1, keepdims=True)

    for define, reference, published in (
        (lambda t: mil.reduce_sum(t, [-1]), lambda x: x.sum(-1, keepdims=True), 8.079179874948665e-4),
        (mil.softmax, softmax, 1.0256527550328975e-3),
    ):
        x = np.random.default_rng(11).standard_normal((256, 4096)).astype(np.float32)
        (got,) = evaluate(emulator, define, x.astype(np.float16))
        assert relative_error(got, reference(x)) == pytest.approx(published, rel=0.12)


def test_layer_norms_of_channels_err_as_published(emulator):
    """Compare with ANEForge's error on M5."""
    x = np.random.default_rng(11).standard_normal((256, 4096)).astype(np.float32)
    random = np.random.default_rng(13)
    gamma = (random.standard_normal(4096) * 0.1 + 1).astype(np.float32)
    beta = (random.standard_normal(4096) * 0.1).astype(np.float32)
    (got,) = evaluate(
        emulator,
        lambda t: mil.layer_norm(t, [1], gamma, beta, 1e-5),
        x.astype(np.float16).reshape(256, 4096, 1, 1),
    )
    centred = x - x.mean(-1, keepdims=True)
    reference = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gamma + beta
    assert relative_error(got.reshape(x.shape), reference) == pytest.approx(6.6324813e-4, rel=1e-3)
