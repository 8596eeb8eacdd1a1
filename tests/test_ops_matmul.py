"""Convolutions and matrix products against float64 sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import oracle
from aneperf import mil
from programs import evaluate, normal_halves

SEEDS = st.integers(0, 2**32 - 1)


def check_product(device, expected, define, *arrays):
    (got,) = evaluate(device, define, *arrays)
    oracle.assert_within(got, expected, overflow=oracle.PRODUCT_OVERFLOW)


def pairs(largest):
    return st.tuples(st.integers(1, largest), st.integers(1, largest))


@st.composite
def convolutions(draw, batches, pad_types):
    """The shapes of x and of the weight, and conv's arguments."""
    groups = draw(st.integers(1, 4))
    inputs, outputs = groups * draw(st.integers(1, 5)), groups * draw(st.integers(1, 5))
    kernel, strides, dilations = draw(pairs(5)), draw(pairs(3)), draw(pairs(3))
    pad_type = draw(st.sampled_from(pad_types))
    pad = draw(st.tuples(*[st.integers(0, 4)] * 4)) if pad_type == "custom" else (0, 0, 0, 0)
    extents = []
    for i in range(2):
        reach = (kernel[i] - 1) * dilations[i] + 1
        least = 1 if pad_type == "same" else max(1, reach - pad[2 * i] - pad[2 * i + 1])
        extents.append(least + draw(st.integers(0, 10)))
    arguments = {"strides": strides, "pad_type": pad_type, "pad": pad, "dilations": dilations}
    weight_shape = (outputs, inputs // groups, *kernel)
    return (draw(batches), inputs, *extents), weight_shape, {**arguments, "groups": groups}


def check_conv(device, x, weight, pad_type="valid", **arguments):
    pad = arguments.get("pad", (0, 0, 0, 0))
    if pad_type == "same":
        ones = (1, 1)
        pad = oracle.same_padding(
            x.shape[2:], weight.shape[2:], arguments.get("strides", ones), arguments.get("dilations", ones)
        )
    expected = oracle.conv(x, weight, **{**arguments, "pad": pad})
    check_product(device, expected, lambda t: mil.conv(t, weight, pad_type=pad_type, **arguments), x)


@given(convolutions(st.integers(1, 3), ["valid", "same", "custom"]), SEEDS)
def test_conv(device, case, seed):
    shape, weight_shape, arguments = case
    check_conv(device, normal_halves(seed, shape), normal_halves(seed + 1, weight_shape), **arguments)


@pytest.mark.parametrize(
    ("shape", "weight_shape", "arguments"),
    [
        ((1, 256, 1, 64), (256, 256, 1, 1), {}),
        ((1, 300, 1, 1100), (270, 300, 1, 1), {}),
        ((3, 130, 5, 131), (3, 130, 1, 1), {}),
        ((1, 1500, 1, 40), (7, 1500, 1, 1), {}),
        ((2, 24, 33, 35), (36, 24, 3, 3), {"pad_type": "same"}),
        ((2, 24, 33, 35), (36, 1, 3, 3), {"pad_type": "same", "groups": 12, "strides": (2, 2)}),
        ((1, 3, 40, 41), (130, 3, 7, 5), {"pad_type": "custom", "pad": (6, 0, 1, 5), "strides": (3, 2)}),
        ((1, 64, 1, 700), (64, 64, 1, 15), {"pad_type": "same", "dilations": (1, 4)}),
        ((1, 4, 50, 1), (4, 4, 40, 1), {}),
        ((1, 8, 1, 9), (8, 8, 1, 1), {"strides": (1, 2)}),
        ((1, 8, 3, 3), (8, 8, 1, 1), {"pad_type": "custom", "pad": (1, 2, 3, 4)}),
    ],
)
def test_conv_across_tiles(device, shape, weight_shape, arguments):
    if "groups" in arguments:
        weight_shape = (weight_shape[0], shape[1] // arguments["groups"], *weight_shape[2:])
    scale = np.prod(weight_shape[1:]) ** -0.5
    check_conv(device, normal_halves(1, shape), normal_halves(2, weight_shape, scale), **arguments)


@given(convolutions(st.just(1), ["valid", "custom"]), SEEDS)
def test_conv_with_run_time_weights(device, case, seed):
    shape, weight_shape, arguments = case
    x, weight = normal_halves(seed, shape), normal_halves(seed + 1, weight_shape)
    expected = oracle.conv(x, weight, **{k: v for k, v in arguments.items() if k != "pad_type"})
    check_product(device, expected, lambda t, w: mil.conv(t, w, **arguments), x, weight)


@st.composite
def products(draw):
    """The shapes of x and y for matmul, and which are transposed; batch axes broadcast both ways."""
    batches = draw(nps.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=4)).input_shapes
    rows, inner, columns = (draw(st.integers(1, 20)) for _ in range(3))
    transposed = draw(st.tuples(st.booleans(), st.booleans()))
    x = (inner, rows) if transposed[0] else (rows, inner)
    y = (columns, inner) if transposed[1] else (inner, columns)
    return (*batches[0], *x), (*batches[1], *y), transposed


@given(products(), SEEDS, st.sampled_from([1.0, 100.0]))
def test_matmul(device, case, seed, scale):
    shape_x, shape_y, transposed = case
    x, y = normal_halves(seed, shape_x), normal_halves(seed + 1, shape_y, scale)
    check_product(device, oracle.matmul(x, y, *transposed), lambda a, b: _matmul(a, b, transposed), x, y)


def _matmul(x, y, transposed):
    return mil.matmul(x, y, transpose_x=transposed[0], transpose_y=transposed[1])


@given(products(), SEEDS, st.booleans())
def test_matmul_with_a_constant(device, case, seed, left):
    shape_x, shape_y, transposed = case
    x, y = normal_halves(seed, shape_x), normal_halves(seed + 1, shape_y)
    expected = oracle.matmul(x, y, *transposed)
    if left:
        check_product(device, expected, lambda t: _matmul(x, t, transposed), y)
    else:
        check_product(device, expected, lambda t: _matmul(t, y, transposed), x)


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(129, 70, 513), (1, 3000, 1), (300, 1, 530), (128, 40, 512), (257, 33, 3)]
)
def test_matmul_across_tiles(device, rows, inner, columns, transposed):
    shape_x = (2, 1, inner, rows) if transposed[0] else (2, 1, rows, inner)
    shape_y = (3, columns, inner) if transposed[1] else (3, inner, columns)
    x, y = normal_halves(3, shape_x), normal_halves(4, shape_y)
    check_product(device, oracle.matmul(x, y, *transposed), lambda a, b: _matmul(a, b, transposed), x, y)


@given(nps.array_shapes(min_dims=1, max_dims=5, max_side=7), st.integers(1, 20), st.booleans(), SEEDS)
def test_linear(device, shape, outputs, has_bias, seed):
    x, weight = normal_halves(seed, shape), normal_halves(seed + 1, (outputs, shape[-1]))
    bias = normal_halves(seed + 2, (outputs,)) if has_bias else None
    check_product(device, oracle.linear(x, weight, bias), lambda t: mil.linear(t, weight, bias), x)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(129, 65, 1025), (1, 2000, 513), (1030, 3, 2)])
def test_linear_across_tiles(device, rows, inputs, outputs):
    x, weight = normal_halves(5, (2, rows, inputs)), normal_halves(6, (outputs, inputs))
    bias = normal_halves(7, (outputs,), 100)
    check_product(device, oracle.linear(x, weight, bias), lambda t: mil.linear(t, weight, bias), x)


@st.composite
def attentions(draw):
    """The shapes of query, key, value, and of a mask that broadcasts to the scores."""
    batch = draw(nps.array_shapes(min_dims=1, max_dims=3, max_side=3))
    rows, length, features, values = (draw(st.integers(1, 12)) for _ in range(4))
    scores = (*batch, rows, length)
    mask = tuple(1 if draw(st.booleans()) else extent for extent in scores)
    mask = mask[draw(st.integers(0, len(mask) - 1)) :]
    return (*batch, rows, features), (*batch, length, features), (*batch, length, values), mask


@given(attentions(), SEEDS, st.sampled_from([0.5, 3.0]))
def test_attention(device, case, seed, scale):
    arrays = [normal_halves(seed + i, shape, scale) for i, shape in enumerate(case[:3])]
    check_product(device, oracle.attention(*arrays), mil.scaled_dot_product_attention, *arrays)


@given(attentions(), SEEDS)
def test_attention_with_a_mask(plain, case, seed):
    arrays = [normal_halves(seed + i, shape, 2) for i, shape in enumerate(case)]
    arrays[3][np.random.default_rng(seed).random(arrays[3].shape) < 0.2] = -65504
    (got,) = evaluate(plain, mil.scaled_dot_product_attention, *arrays)
    oracle.assert_within(got, oracle.attention(*arrays), has_nan=True)


@pytest.mark.parametrize(
    ("rows", "length", "features", "values"), [(64, 64, 64, 64), (65, 300, 48, 7), (1, 700, 3, 200)]
)
def test_attention_across_tiles(device, rows, length, features, values):
    shapes = [(2, 3, rows, features), (2, 3, length, features), (2, 3, length, values)]
    arrays = [normal_halves(i, shape) for i, shape in enumerate(shapes)]
    check_product(device, oracle.attention(*arrays), mil.scaled_dot_product_attention, *arrays)


def test_attention_matches_its_decomposition(device):
    """With a causal mask, which the decomposed form honours on the engine."""
    query, key, value = (normal_halves(i, (1, 2, 33, 16)) for i in range(3))
    mask = np.where(np.tri(33, dtype=bool), 0, -65504).astype(np.float16)

    def decomposed(q, k, v):
        scores = mil.mul(mil.matmul(q, k, transpose_y=True), 0.25)
        return mil.matmul(mil.softmax(mil.add(scores, mask)), v)

    (got,) = evaluate(device, decomposed, query, key, value)
    expected = oracle.attention(query, key, value, mask).value
    # Three roundings of scores of at most 10, one of each weight, one at the end.
    np.testing.assert_allclose(got, expected, atol=0.05)
