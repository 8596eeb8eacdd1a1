"""Convolutions and matrix products as the engine sums them, to the bit, and in plain arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from aneperf import CompileError, mil
from support import oracle
from support.oracle import engine
from support.programs import evaluate, normal_halves
from support.strategies import SEEDS, convolutions, pairs, products


@pytest.fixture(scope="session")
def devices(device, plain):
    return device, plain


def check_product(devices, op, operands, options, define, *inputs):
    """Check the engine's sums to the bit, and those in fp32 within what fp32 errs."""
    device, plain = devices
    (got,) = evaluate(device, define, *inputs)
    oracle.assert_same(got, getattr(engine, op)(*operands, **options))
    (got,) = evaluate(plain, define, *inputs)
    oracle.assert_within(got, getattr(oracle, op)(*operands, **options), has_nan=True)


def biases(seed, count, wanted):
    """Draw a bias as large as the sums, or none."""
    return normal_halves(seed + 2, (count,), 4) if wanted else None


def check_conv(devices, x, weight, pad_type="valid", **arguments):
    pad = arguments.get("pad")
    if pad_type == "same":
        ones = (1,) * (x.ndim - 2)
        pad = oracle.same_padding(
            x.shape[2:], weight.shape[2:], arguments.get("strides", ones), arguments.get("dilations", ones)
        )
    options = {**arguments, "pad": pad}
    check_product(
        devices,
        "conv",
        (x, weight),
        options,
        lambda t: mil.conv(t, weight, pad_type=pad_type, **arguments),
        x,
    )


@given(convolutions(st.integers(1, 3), ["valid", "same", "custom"]), st.booleans(), SEEDS)
def test_conv_over_one_to_three_axes(devices, case, has_bias, seed):
    shape, weight_shape, arguments = case
    bias = biases(seed, weight_shape[0], has_bias)
    x, weight = normal_halves(seed, shape), normal_halves(seed + 1, weight_shape)
    check_conv(devices, x, weight, bias=bias, **arguments)


@pytest.mark.parametrize(
    ("shape", "weight_shape", "arguments"),
    [
        ((2, 36, 1, 700), (300, 36, 1, 1), {}),
        ((3, 40, 1, 1), (70, 40, 1, 1), {}),
        ((2, 24, 33, 35), (36, 2, 3, 3), {"pad_type": "same", "groups": 12}),
        ((1, 5, 1000), (7, 5, 9), {"pad_type": "same", "strides": (2,)}),
        ((2, 6, 9, 10, 40), (8, 3, 3, 2, 4), {"groups": 2, "strides": (2, 1, 3), "dilations": (2, 1, 1)}),
    ],
)
def test_a_bias_of_conv_across_tiles(devices, shape, weight_shape, arguments):
    x, weight = normal_halves(1, shape), normal_halves(2, weight_shape, 0.1)
    check_conv(devices, x, weight, bias=normal_halves(3, weight_shape[:1], 3), **arguments)


def test_the_bias_is_added_before_the_one_rounding(plain):
    """Round 2,048 + 1 + 1 once: 2,048 + 1 alone rounds to 2,048."""
    x, weight = np.array([2048, 1], np.float16).reshape(1, 2, 1), np.ones((1, 2, 1), np.float16)
    one = np.ones(1, np.float16)
    for define in (
        lambda t: mil.conv(t, weight, one),
        lambda t: mil.conv_transpose(t, weight.reshape(2, 1, 1), one),
        lambda t: mil.linear(mil.transpose(t, [0, 2, 1]), weight[:, :, 0], one),
    ):
        (got,) = evaluate(plain, define, x)
        assert got.ravel().tolist() == [2050]


@given(convolutions(st.just(1), ["valid", "custom"]), SEEDS)
def test_conv_with_run_time_weights_and_a_bias(devices, case, seed):
    shape, weight_shape, arguments = case
    x, weight, bias = (normal_halves(seed, s) for s in (shape, weight_shape, weight_shape[:1]))
    options = {"bias": bias, **{k: v for k, v in arguments.items() if k != "pad_type"}}
    check_product(
        devices, "conv", (x, weight), options, lambda t, w: mil.conv(t, w, bias, **arguments), x, weight
    )


@pytest.mark.parametrize(
    ("shape", "weight_shape", "arguments", "message"),
    [
        ((4, 5), (4, 5), {}, r"x must be \[batch, channels, ...\] of 3 to 5 axes, is \[4, 5\]"),
        ((1, 4, 5), (2, 4, 1, 1), {}, r"weight must be .* as many axes as x, \[1, 4, 5\], is \[2, 4, 1, 1\]"),
        ((1, 4, 5), (2, 4, 6), {}, r"the kernel \[6\] is larger than the padded input"),
        ((1, 4, 5), (2, 4, 1), {"strides": (1, 1)}, "strides needs a positive integer for each axis"),
        ((1, 4, 5), (2, 4, 1), {"dilations": (0,)}, "dilations needs a positive integer for each axis"),
        (
            (1, 4, 5, 6),
            (2, 4, 1, 1),
            {"pad_type": "custom", "pad": (1, 1)},
            "pad needs two numbers, each 0 to",
        ),
        ((1, 4, 5, 6), (2, 4, 1, 1), {"bias": np.ones(3, np.float16)}, r"bias must be \[2\], is \[3\]"),
        ((1, 4, 5, 6), (2, 4, 1, 1), {"bias": 1.0}, r"bias must be \[2\], is \[\]"),
        ((1, 4, 5, 6), (2, 4, 1, 1), {"bias": np.ones(2, np.int32)}, "'bias' is int32, must be fp16"),
        ((1, 4, 5, 6), (2, 4, 1, 1), {"pad_type": "full"}, 'pad_type must be "valid", "custom", "same" or'),
    ],
)
def test_what_conv_refuses(shape, weight_shape, arguments, message):
    x = mil.Builder().input("x", shape)
    with pytest.raises(CompileError, match=message):
        mil.conv(x, np.ones(weight_shape, np.float16), **arguments)


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
        ((1, 4, 50, 1), (4, 4, 31, 1), {}),
        ((1, 8, 1, 9), (8, 8, 1, 1), {"strides": (1, 2)}),
        ((1, 8, 3, 3), (8, 8, 1, 1), {"pad_type": "custom", "pad": (1, 2, 3, 4)}),
    ],
)
def test_conv_across_tiles(devices, shape, weight_shape, arguments):
    if "groups" in arguments:
        weight_shape = (weight_shape[0], shape[1] // arguments["groups"], *weight_shape[2:])
    scale = np.prod(weight_shape[1:]) ** -0.5
    check_conv(devices, normal_halves(1, shape), normal_halves(2, weight_shape, scale), **arguments)


@given(convolutions(st.just(1), ["valid", "custom"]), SEEDS)
def test_conv_with_run_time_weights(devices, case, seed):
    shape, weight_shape, arguments = case
    x, weight = normal_halves(seed, shape), normal_halves(seed + 1, weight_shape)
    options = {k: v for k, v in arguments.items() if k != "pad_type"}
    check_product(devices, "conv", (x, weight), options, lambda t, w: mil.conv(t, w, **arguments), x, weight)


@st.composite
def transposed_convolutions(draw):
    """Draw the shapes of x and weight, conv_transpose's arguments, and the result's height and width."""
    groups, axes = draw(st.integers(1, 3)), draw(st.sampled_from([2, 2, 1, 3]))
    inputs, outputs = groups * draw(st.integers(1, 4)), draw(st.integers(1, 4))
    most = [5, 4, 3, 7] if axes < 3 else [3, 3, 2, 4]
    kernel, strides, dilations, extents = (draw(pairs(largest, axes)) for largest in most)
    pad_type = draw(st.sampled_from(["valid", "custom", "same"]))
    pad, result, whole = [0] * (2 * axes), [], []
    for i in range(axes):
        reach = (kernel[i] - 1) * dilations[i] + 1
        full = (extents[i] - 1) * strides[i] + reach
        if pad_type == "custom":
            pad[2 * i] = draw(st.integers(0, min(4, full - 1)))
            pad[2 * i + 1] = draw(st.integers(0, min(4, full - 1 - pad[2 * i])))
        whole.append(extents[i] * strides[i] if pad_type == "same" else full - pad[2 * i] - pad[2 * i + 1])
        # The sizes that conv takes to x's.
        lowest = whole[i] - strides[i] + 1 if pad_type == "same" else whole[i]
        result.append(draw(st.integers(lowest, lowest + strides[i] - 1)))
    arguments = {
        "strides": strides,
        "pad_type": pad_type,
        "pad": pad,
        "dilations": dilations,
        "groups": groups,
    }
    batch = draw(st.integers(1, 3))
    if result != whole or draw(st.booleans()):
        arguments["output_shape"] = (batch, outputs * groups, *result)
    return (batch, inputs, *extents), (inputs, outputs, *kernel), arguments, result


def check_conv_transpose(devices, x, weight, arguments, extents):
    kept = {k: v for k, v in arguments.items() if k not in ("pad_type", "output_shape")}
    if arguments.get("pad_type") == "same":
        ones = (1,) * len(extents)
        kept["pad"] = oracle.same_padding(
            extents, weight.shape[2:], arguments.get("strides", ones), arguments.get("dilations", ones)
        )
    options = {"extents": extents, **kept}
    check_product(
        devices,
        "conv_transpose",
        (x, weight),
        options,
        lambda t: mil.conv_transpose(t, weight, **arguments),
        x,
    )


@given(transposed_convolutions(), st.booleans(), SEEDS)
def test_conv_transpose_over_one_to_three_axes(devices, case, has_bias, seed):
    shape, weight_shape, arguments, extents = case
    x, weight = normal_halves(seed, shape), normal_halves(seed + 1, weight_shape)
    bias = biases(seed, weight_shape[1] * arguments["groups"], has_bias)
    check_conv_transpose(devices, x, weight, {**arguments, "bias": bias}, extents)


def test_conv_transpose_is_its_bias_where_no_tap_falls(device):
    x, weight, bias = (
        np.ones((1, 1, 2), np.float16),
        np.ones((1, 2, 1), np.float16),
        np.array([3, -4], np.float16),
    )
    (got,) = evaluate(device, lambda t: mil.conv_transpose(t, weight, bias, strides=(3,)), x)
    np.testing.assert_array_equal(got[0], [[4, 3, 3, 4], [-3, -4, -4, -3]])


@pytest.mark.parametrize(
    ("shape", "weight_shape", "arguments", "extents"),
    [
        ((1, 70, 17, 33), (70, 130, 3, 3), {"strides": (2, 2), "pad_type": "same"}, (34, 66)),
        ((2, 33, 9, 300), (33, 40, 2, 4), {"strides": (1, 2)}, (10, 602)),
        ((1, 600, 5, 7), (600, 9, 3, 3), {"pad_type": "custom", "pad": (1, 1, 1, 1)}, (5, 7)),
        ((1, 64, 8, 8), (64, 1, 4, 4), {"strides": (2, 2), "groups": 64}, (18, 18)),
        ((1, 3, 4, 5), (3, 2, 1, 1), {"strides": (3, 2)}, (10, 9)),
    ],
)
def test_conv_transpose_across_tiles(devices, shape, weight_shape, arguments, extents):
    x, weight = normal_halves(1, shape), normal_halves(2, weight_shape, weight_shape[0] ** -0.5)
    check_conv_transpose(devices, x, weight, arguments, extents)


def test_conv_transpose_is_the_transpose_of_conv(device):
    """Check <conv(u), v> = <u, conv_transpose(v)>, exactly: whole numbers."""
    rng = np.random.default_rng(3)
    u, weight = (rng.integers(-3, 4, shape).astype(np.float16) for shape in [(1, 4, 11, 8), (6, 2, 3, 2)])
    arguments = {
        "strides": (3, 2),
        "pad_type": "custom",
        "pad": (2, 1, 0, 1),
        "dilations": (2, 1),
        "groups": 2,
    }
    (forward,) = evaluate(device, lambda t: mil.conv(t, weight, **arguments), u)
    v = rng.integers(-3, 4, forward.shape).astype(np.float16)
    (back,) = evaluate(device, lambda t: mil.conv_transpose(t, weight, output_shape=u.shape, **arguments), v)
    assert (forward * v).sum(dtype=np.float64) == (u * back).sum(dtype=np.float64) != 0


@pytest.mark.parametrize(
    ("weight_shape", "arguments", "message"),
    [
        ((3, 2, 1, 1), {}, "weight has 3 input channels, x has 4"),
        ((4, 2, 1), {}, "weight must be .in, out / groups, kernel.... with as many axes as x"),
        ((4, 2, 1, 1), {"groups": 3}, "3 groups do not divide 4 input channels"),
        ((4, 2, 1, 1), {"pad_type": "custom", "pad": (3, 2, 0, 0)}, "an axis that is not 1 to"),
        ((4, 2, 1, 1), {"pad": (1, 0, 0, 0)}, 'write "custom" to pad'),
        ((4, 2, 3, 3), {"strides": (0, 1)}, "strides needs a positive integer for each axis"),
        ((4, 2, 3, 3), {"strides": (2**31 - 1, 1)}, "an axis that is not 1 to"),
        (
            (4, 2, 3, 3),
            {"output_shape": (1, 2, 7)},
            "output_shape must be .1, 2, .... with as many axes as x",
        ),
        (
            (4, 2, 3, 3),
            {"output_shape": (1, 3, 7, 8)},
            "output_shape must be .1, 2, .... with as many axes as x",
        ),
        ((4, 2, 3, 3), {"output_shape": (1, 2, 0, 8)}, "an axis that is not 1 to"),
        ((4, 2, 3, 3), {"output_shape": (1, 2, 8, 8)}, r"does not take \[1, 2, 8, 8\] to \[1, 4, 5, 6\]"),
        ((4, 2, 3, 3), {"strides": (2, 2), "output_shape": (1, 2, 10, 13)}, r"does not take"),
    ],
)
def test_what_conv_transpose_refuses(weight_shape, arguments, message):
    x = mil.Builder().input("x", (1, 4, 5, 6))
    with pytest.raises(CompileError, match=message):
        mil.conv_transpose(x, np.ones(weight_shape, np.float16), **arguments)


def test_conv_transpose_with_a_compressed_weight(devices):
    x, weight = (
        normal_halves(1, (1, 6, 4, 5)),
        np.random.default_rng(2).integers(-128, 128, (6, 3, 2, 3), np.int8),
    )
    options = {"extents": (8, 7), "strides": (2, 1)}
    stored = mil.constexpr_affine_dequantize(weight, 1 / 256)
    check_product(
        devices,
        "conv_transpose",
        (x, weight / 256),
        options,
        lambda t: mil.conv_transpose(t, stored, strides=(2, 1)),
        x,
    )


@st.composite
def contractions(draw):
    """Draw the shapes of the two values of an einsum; batch and height broadcast both ways."""
    rows, inner, columns = (draw(st.integers(1, 20)) for _ in range(3))
    axes = [
        draw(st.sampled_from([(n, n), (n, 1), (1, n)])) for n in draw(st.tuples(*[st.integers(1, 4)] * 2))
    ]
    shapes = [
        (axes[0][i], first, axes[1][i], last)
        for i, (first, last) in enumerate([(rows, inner), (inner, columns)])
    ]
    return [shape[1:] for shape in shapes] if draw(st.booleans()) else shapes


@given(contractions(), SEEDS, st.sampled_from([1.0, 100.0]))
def test_einsum(devices, shapes, seed, scale):
    x, y = normal_halves(seed, shapes[0]), normal_halves(seed + 1, shapes[1], scale)
    equation = "nchw,nwhu->nchu" if x.ndim == 4 else "Abz,zbc->Abc"
    check_product(devices, "einsum", (x, y), {}, lambda a, b: mil.einsum([a, b], equation), x, y)
    check_product(devices, "einsum", (x, y), {}, lambda a: mil.einsum([a, y], equation), x)


def test_einsum_across_tiles(devices):
    x, y = normal_halves(1, (2, 130, 3, 70)), normal_halves(2, (1, 70, 3, 515))
    check_product(devices, "einsum", (x, y), {}, lambda a, b: mil.einsum([a, b]), x, y)


@pytest.mark.parametrize(
    ("shapes", "equation", "message"),
    [
        ([(1, 2, 3, 4), (1, 4, 3, 5)], "nchw,nhwu->nchu", 'the engine takes "nchw,nwhu->nchu"'),
        ([(1, 2, 3, 4), (1, 4, 3, 5)], "nchw,nwhu->nchu ", "the engine takes"),
        ([(1, 2, 3, 4), (1, 4, 3, 5)], "", "the engine takes"),
        ([(2, 3, 4), (4, 3, 5)], "nchw,nwhu->nchu", r"for tensors of 4 axes, one is \[2, 3, 4\]"),
        ([(1, 2, 3, 4), (1, 5, 3, 4)], "nchw,nwhu->nchu", "the first value has 4, the second 5"),
        ([(1, 2, 3, 4), (1, 4, 2, 5)], "nchw,nwhu->nchu", "do not broadcast"),
        ([(1, 2, 3, 4)], "nchw,nwhu->nchu", "values must be two tensors, is 1"),
    ],
)
def test_what_einsum_refuses(shapes, equation, message):
    b = mil.Builder()
    values = [b.input(f"x{i}", shape) for i, shape in enumerate(shapes)]
    with pytest.raises(CompileError, match=message):
        mil.einsum(values, equation)


@given(products(), SEEDS, st.sampled_from([1.0, 100.0]))
def test_matmul(devices, case, seed, scale):
    shape_x, shape_y, transposed = case
    x, y = normal_halves(seed, shape_x), normal_halves(seed + 1, shape_y, scale)
    check_matmul(devices, (x, y), transposed, lambda a, b: _matmul(a, b, transposed), x, y)


def _matmul(x, y, transposed):
    return mil.matmul(x, y, transpose_x=transposed[0], transpose_y=transposed[1])


def check_matmul(devices, operands, transposed, define, *inputs):
    options = {"transpose_x": transposed[0], "transpose_y": transposed[1]}
    check_product(devices, "matmul", operands, options, define, *inputs)


@given(products(), SEEDS, st.booleans())
def test_matmul_with_a_constant(devices, case, seed, left):
    shape_x, shape_y, transposed = case
    x, y = normal_halves(seed, shape_x), normal_halves(seed + 1, shape_y)
    if left:
        check_matmul(devices, (x, y), transposed, lambda t: _matmul(x, t, transposed), y)
    else:
        check_matmul(devices, (x, y), transposed, lambda t: _matmul(t, y, transposed), x)


@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("rows", "inner", "columns"), [(129, 70, 513), (1, 3000, 1), (300, 1, 530), (128, 40, 512), (257, 33, 3)]
)
def test_matmul_across_tiles(devices, rows, inner, columns, transposed):
    shape_x = (2, 1, inner, rows) if transposed[0] else (2, 1, rows, inner)
    shape_y = (3, columns, inner) if transposed[1] else (3, inner, columns)
    x, y = normal_halves(3, shape_x), normal_halves(4, shape_y)
    check_matmul(devices, (x, y), transposed, lambda a, b: _matmul(a, b, transposed), x, y)


@given(nps.array_shapes(min_dims=1, max_dims=5, max_side=7), st.integers(1, 20), st.booleans(), SEEDS)
def test_linear(devices, shape, outputs, has_bias, seed):
    x, weight = normal_halves(seed, shape), normal_halves(seed + 1, (outputs, shape[-1]))
    bias = normal_halves(seed + 2, (outputs,)) if has_bias else None
    check_product(devices, "linear", (x, weight), {"bias": bias}, lambda t: mil.linear(t, weight, bias), x)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(129, 65, 1025), (1, 2000, 513), (1030, 3, 2)])
def test_linear_across_tiles(devices, rows, inputs, outputs):
    x, weight = normal_halves(5, (2, rows, inputs)), normal_halves(6, (outputs, inputs))
    bias = normal_halves(7, (outputs,), 100)
    check_product(devices, "linear", (x, weight), {"bias": bias}, lambda t: mil.linear(t, weight, bias), x)


@st.composite
def attentions(draw):
    """Draw the shapes of query, key, value, and of a mask that broadcasts to the scores."""
    batch = draw(nps.array_shapes(min_dims=1, max_dims=3, max_side=3))
    rows, length, features, values = (draw(st.integers(1, 12)) for _ in range(4))
    scores = (*batch, rows, length)
    mask = tuple(1 if draw(st.booleans()) else extent for extent in scores)
    mask = mask[draw(st.integers(0, len(mask) - 1)) :]
    return (*batch, rows, features), (*batch, length, features), (*batch, length, values), mask


def in_steps(query, key, value):
    """Compute attention as the engine is taken to do it."""
    scores = mil.matmul(query, key, transpose_y=True)
    scale = np.float16(query.shape[-1] ** -0.5)
    return mil.matmul(mil.softmax(mil.mul(scores, scale)), value)


def check_attention(emulator, plain, *arrays):
    (got,) = evaluate(emulator, mil.scaled_dot_product_attention, *arrays)
    (expected,) = evaluate(emulator, in_steps, *arrays)
    oracle.assert_same(got, expected)
    (got,) = evaluate(plain, mil.scaled_dot_product_attention, *arrays)
    oracle.assert_within(got, oracle.attention(*arrays), has_nan=True)


@given(attentions(), SEEDS, st.sampled_from([0.5, 3.0]))
def test_attention(emulator, plain, case, seed, scale):
    arrays = [normal_halves(seed + i, shape, scale) for i, shape in enumerate(case[:3])]
    check_attention(emulator, plain, *arrays)


@given(attentions(), SEEDS)
def test_attention_with_a_mask(plain, case, seed):
    arrays = [normal_halves(seed + i, shape, 2) for i, shape in enumerate(case)]
    arrays[3][np.random.default_rng(seed).random(arrays[3].shape) < 0.2] = -65504
    (got,) = evaluate(plain, mil.scaled_dot_product_attention, *arrays)
    oracle.assert_within(got, oracle.attention(*arrays), has_nan=True)


@pytest.mark.parametrize(
    ("rows", "length", "features", "values"), [(64, 64, 64, 64), (65, 300, 48, 7), (1, 700, 3, 200)]
)
def test_attention_across_tiles(emulator, plain, rows, length, features, values):
    shapes = [(2, 3, rows, features), (2, 3, length, features), (2, 3, length, values)]
    arrays = [normal_halves(i, shape) for i, shape in enumerate(shapes)]
    check_attention(emulator, plain, *arrays)


def test_attention_matches_its_decomposition(device):
    """Use a causal mask, which the decomposed form honors on the engine."""
    query, key, value = (normal_halves(i, (1, 2, 33, 16)) for i in range(3))
    mask = np.where(np.tri(33, dtype=bool), 0, -65504).astype(np.float16)

    def decomposed(q, k, v):
        scores = mil.mul(mil.matmul(q, k, transpose_y=True), 0.25)
        return mil.matmul(mil.softmax(mil.add(scores, mask)), v)

    (got,) = evaluate(device, decomposed, query, key, value)
    expected = oracle.attention(query, key, value, mask).value
    # Three roundings of scores of at most 10, one of each weight, one at the end.
    np.testing.assert_allclose(got, expected, atol=0.05)
