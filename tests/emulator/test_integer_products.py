"""Products of two dequantized operands: exact sums of integers, which are scaled, and rounded once.

That is the emulator's definition on the profiles that multiply integers; results are compared bit for bit.
"""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aneperf
from aneperf import CompileError, mil
from support import oracle, product_edges
from support.integers import Quantized, full_range, product
from support.programs import build, evaluate, normal_halves, run
from support.strategies import convolutions, products

SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def operands(draw, x_shape, weight_shape, axis):
    """Draw an activation with one scale, a weight with one or several, and zero points likewise."""
    result = []
    for shape, along in ((x_shape, None), (weight_shape, axis)):
        dtype, seed = draw(st.sampled_from(["int8", "uint8"])), draw(SEEDS)
        several_scales, several_zeros = (along is not None and draw(st.booleans()) for _ in range(2))
        scale = np.random.default_rng(seed).uniform(-9, -3, shape[along] if several_scales else ())
        zero_point = np.asarray(0)
        if draw(st.booleans()):
            zero_point = full_range(seed + 1, (shape[along],) if several_zeros else (), dtype)
        vector = np.ndim(scale) or np.ndim(zero_point)
        result.append(
            Quantized(
                full_range(seed, shape, dtype),
                np.exp2(scale).astype(np.float16),
                zero_point,
                along if vector else None,
            )
        )
    return result


def check(device, expected, define, x, weight):
    (got,) = evaluate(device, lambda t: define(x.activation(t), weight.constant()), x.port())
    oracle.assert_same(got, expected)


@given(st.data())
def test_conv(emulator, data):
    shape, weight_shape, arguments = data.draw(convolutions(st.integers(1, 3), ["valid", "custom"]))
    x, weight = data.draw(operands(shape, weight_shape, 0))
    oracle_arguments = {k: v for k, v in arguments.items() if k != "pad_type"}
    expected = product(lambda a, b: oracle.conv(a, b, **oracle_arguments), x, weight, 1)
    check(emulator, expected, lambda t, w: mil.conv(t, w, **arguments), x, weight)


@given(products(), st.booleans(), st.data())
def test_matmul(emulator, case, weight_is_x, data):
    shape_x, shape_y, transposed = case
    if weight_is_x:
        axis, output_axis = len(shape_x) - (1 if transposed[0] else 2), -2
        y, x = data.draw(operands(shape_y, shape_x, axis))
        expected = product(lambda a, b: oracle.matmul(b, a, *transposed), y, x, output_axis)
        check(emulator, expected, lambda t, w: _matmul(w, t, transposed), y, x)
    else:
        axis, output_axis = len(shape_y) - (2 if transposed[1] else 1), -1
        x, y = data.draw(operands(shape_x, shape_y, axis))
        expected = product(lambda a, b: oracle.matmul(a, b, *transposed), x, y, output_axis)
        check(emulator, expected, lambda t, w: _matmul(t, w, transposed), x, y)


def _matmul(x, y, transposed):
    return mil.matmul(x, y, transpose_x=transposed[0], transpose_y=transposed[1])


@given(st.lists(st.integers(1, 7), min_size=1, max_size=4), st.integers(1, 40), st.booleans(), st.data())
def test_linear(emulator, shape, outputs, has_bias, data):
    x, weight = data.draw(operands(tuple(shape), (outputs, shape[-1]), 0))
    bias = normal_halves(3, (outputs,), 10) if has_bias else None
    expected = product(oracle.linear, x, weight, -1, bias)
    check(emulator, expected, lambda t, w: mil.linear(t, w, bias), x, weight)


def test_products_at_the_edges_of_tiles(emulator, thorough):
    every = 1 if thorough else 4
    cases = {name: case for name, case in product_edges.cases(every).items() if name.startswith("integer")}
    assert cases
    for name, case in cases.items():
        (got,) = evaluate(emulator, case.define, *case.arrays)
        try:
            case.check("h16", got)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


EXTREMES = [
    ("int8", -128, 0, "int8", -128, 0),
    ("int8", 127, -128, "int8", 127, -128),
    ("int8", -128, 127, "uint8", 255, 0),
    ("uint8", 255, 0, "int8", -128, 127),
    ("uint8", 255, 0, "uint8", 0, 255),
    ("uint8", 0, 255, "uint8", 255, 0),
]


@pytest.mark.parametrize("columns", [1, 40])
@pytest.mark.parametrize(("x_dtype", "x", "x_zero", "w_dtype", "w", "w_zero"), EXTREMES)
def test_the_largest_sums_of_32_bits(plain, x_dtype, x, x_zero, w_dtype, w, w_zero, columns):
    """Sum as many terms of the same sign as fit: 128^2 or 255^2 times their number is just below 2^31."""
    depth = (2**31 - 1) // (max(abs(x - x_zero), 255 if x_zero else 128) * max(abs(w - w_zero), 128))
    depth = min(depth, (2**31 - 1) // abs((x - x_zero) * (w - w_zero)), 33025)
    scale = np.float16(2.0**-12)
    activation = Quantized(np.full((1, depth, 1, columns), x, x_dtype), scale, x_zero)
    weight = Quantized(np.full((3, depth, 1, 1), w, w_dtype), scale, w_zero)
    total = depth * (x - x_zero) * (w - w_zero)  # Python's integers
    true = total * 2.0**-24
    expected = oracle.rounded(np.full((1, 3, 1, columns), true))
    check(plain, expected, mil.conv, activation, weight)
    flat = Quantized(activation.q[0, :, 0].T.copy(), scale, x_zero)
    rows = Quantized(weight.q[:, :, 0, 0], scale, w_zero)
    check(plain, oracle.rounded(np.full((columns, 3), true)), mil.linear, flat, rows)


def sums_to(total, terms):
    """Return int8 weights of `terms` inputs of -128, and of one input of 1, that sum up to `total`."""
    weight = np.zeros(terms + 1, np.int8)
    most = -128 if total > 0 else 127
    count, rest = divmod(abs(total), abs(128 * most))
    weight[:count] = most
    weight[count], weight[-1] = np.int8([-(rest // 128), rest % 128]) * (1 if total > 0 else -1)
    return weight


LIMIT = 2**31
TOTALS = [sign * (LIMIT + more) for sign in (1, -1) for more in (-1, 0, 1, 2**20)]


def test_a_sum_that_exceeds_32_bits_is_infinite(emulator):
    """Sum 2^31 and its neighbors, whatever the scale; a bias comes later."""
    shape = (65536, 3)
    weight = np.array([sums_to(total, 3 * 65536 - 1) for total in TOTALS])
    x = np.full((1, 3 * 65536, 2), -128, np.int8)
    x[0, -1] = 1
    x[0, :, 1] = -1 - x[0, :, 1]  # 127 and -2
    activation = Quantized(x.reshape(1, *shape, 2), np.float16(2.0**-8))
    constant = Quantized(weight.reshape(-1, *shape, 1), np.float16(2.0**-9))
    sums = weight.astype(np.int64) @ x[0].astype(np.int64)
    assert sums[:, 0].tolist() == TOTALS
    bias = normal_halves(1, (len(TOTALS),), 1000)
    value = np.where(np.abs(sums) < LIMIT, sums * 2.0**-17, np.copysign(np.inf, sums))
    without, biased = evaluate(
        emulator,
        lambda t: tuple(
            mil.conv(activation.activation(t), constant.constant(), bias=b) for b in (None, bias)
        ),
        activation.port(),
    )
    oracle.assert_same(without[0, :, 0], oracle.rounded(value, ties_away=True))
    oracle.assert_same(biased[0, :, 0], oracle.rounded(value + bias[:, None].astype(float), ties_away=True))


@pytest.mark.parametrize(("columns", "x_zero"), [(1, 255), (35, 0), (35, 255)])
@pytest.mark.parametrize("terms", [33025, 33026, 33024 + 64, 65533])
def test_long_sums_are_exact(emulator, terms, columns, x_zero):
    """Sum up to, and beyond, what fits 32 bits for sure: 33,025 products of 255 x 255."""
    x = np.maximum(full_range(1, (1, terms, 1, columns), "uint8"), np.uint8([range(0, 7 * columns, 7)]))
    x[..., 0] = 255
    x ^= np.uint8(x_zero)  # less the zero point, the same but for the sign
    weight = full_range(2, (5, terms, 1, 1), "uint8")
    weight[:2] = 255
    activation = Quantized(x, np.float16(0.013), x_zero)
    constant = Quantized(weight, np.full(5, 0.0019, np.float16), np.array([0, 1, 0, 77, 255]), 0)
    bias = normal_halves(3, (5,), 100)
    expected = product(oracle.conv, activation, constant, 1, bias)
    assert np.isinf(expected[0, 0, 0, 0]) == (terms > 33025)
    check(emulator, expected, lambda t, w: mil.conv(t, w, bias=bias), activation, constant)


@pytest.mark.parametrize("chip", ["h18g", "none"])
def test_sums_are_rounded_once(chip):
    """Sum ties of fp16 and their neighbors, which fp32 cannot tell apart."""
    tie = 2**24 + 2**13
    totals = [sign * (tie + more) for sign in (1, -1) for more in (-1, 0, 1)]
    weight = Quantized(np.array([sums_to(total, 1100) for total in totals]), np.float16(2.0**-9))
    x = np.full((1, 1101), -128, np.int8)
    x[0, -1] = 1
    activation = Quantized(x, np.float16(2.0**-8))
    expected = oracle.rounded(np.array([totals]) * 2.0**-17, ties_away=chip != "none")
    assert len(np.unique(expected)) == 4
    device = aneperf.open(f"emulator:{chip}")
    check(device, expected, mil.linear, activation, weight)


def test_a_sum_that_might_not_fit_is_one_of_fp16(plain):
    """Sum one term more than 2^31 / 255^2: the result must still be right."""
    depth = 33026
    x = Quantized(np.full((1, depth), 255, np.uint8), np.float16(2.0**-8), 0)
    weight = Quantized(np.full((2, depth), 255, np.uint8), np.float16(2.0**-8), 0)
    (got,) = evaluate(plain, lambda t: mil.linear(x.activation(t), weight.constant()), x.port())
    expected = oracle.linear(x.differences() * 2.0**-8, weight.differences() * 2.0**-8)
    oracle.assert_within(got, expected)


def sums_of_integers_differ(device, x_axis=None, weight_axis=0, scale=0.1):
    """Return whether a product has the bits of integer arithmetic, not those of fp16 operands."""
    shape, weight_shape = (1, 96, 1, 50), (40, 96, 1, 1)
    several = np.full(96, scale, np.float16)
    x = Quantized(full_range(1, shape, "int8"), np.float16(scale) if x_axis is None else several, 0, x_axis)
    count = weight_shape[weight_axis]
    weight = Quantized(
        full_range(2, weight_shape, "int8"), np.full(count, scale / 8, np.float16), 0, weight_axis
    )

    def define(t):
        activation, constant = x.activation(t), weight.constant()
        # Adding 0 hides where a value comes from.
        return mil.conv(activation, constant), mil.conv(mil.add(activation, 0.0), constant)

    integers, halves = evaluate(device, define, x.port())
    return not np.array_equal(integers, halves)


@pytest.mark.parametrize("chip", ["h13", "h14", "h15", "h16", "h17", "h18", "h18g", "h19", "none"])
def test_which_profiles_multiply_integers(chip):
    device = aneperf.open(f"emulator:{chip}")
    assert sums_of_integers_differ(device) == (chip not in ("h13", "h14", "h15"))


def test_scales_along_the_sum_are_of_fp16(emulator):
    assert sums_of_integers_differ(emulator)
    assert not sums_of_integers_differ(emulator, x_axis=1)
    assert not sums_of_integers_differ(emulator, weight_axis=1)


def test_with_powers_of_two_both_ways_have_the_same_bits(emulator):
    """Use operands that are fp16 numbers, whose sums are exact in fp32."""
    assert not sums_of_integers_differ(emulator, scale=2.0**-6)


def test_an_infinite_scale_is_one_of_fp16(emulator):
    """Use a weight that only a file can hold."""
    x = Quantized(np.int8([[1, 0, -1], [2, 0, 0]]), np.float16(1))
    scale = np.full(64, 0.5, np.float16)
    weight = Quantized(np.int8([[1, 0, 0]] * 64), scale, 0, 0)

    def define(t):
        activation, constant = x.activation(t), weight.constant()
        return mil.linear(activation, constant), mil.linear(mil.add(activation, 0.0), constant)

    program = build(define, x.port())
    ((path, blob),) = program.weights.items()
    assert blob.count(scale.tobytes()) == 1
    poisoned = np.append(scale[:-1], np.float16(np.inf))
    program = dataclasses.replace(program, weights={path: blob.replace(scale.tobytes(), poisoned.tobytes())})
    integers, halves = run(program.compile(emulator), x.port())
    oracle.assert_same(integers, halves)


def test_the_dequantized_activation_may_be_used_elsewhere(emulator):
    x = Quantized(full_range(1, (1, 33, 2, 7), "int8"), np.float16(0.1), 3)
    weight = Quantized(full_range(2, (9, 33, 1, 1), "int8"), np.float16(0.01))

    def define(t):
        activation, constant = x.activation(t), weight.constant()
        return (
            mil.conv(activation, constant),
            activation,
            mil.mul(constant, mil.slice_by_size(t, [0] * 4, [1] * 4)),
        )

    y, activation, _ = evaluate(emulator, define, x.port())
    oracle.assert_same(y, product(oracle.conv, x, weight, 1))
    oracle.assert_same(activation, oracle.engine_rounded(oracle.dequantize(x.q, x.scale, 3, None)))


def published_stack(x, depth, channels):
    for layer in range(depth):
        q = full_range(layer, (channels, channels, 1, 1), "int8")
        y = mil.conv(x, mil.constexpr_affine_dequantize(q, np.float16(channels**-0.5 / 64)))
        x = mil.dequantize(mil.quantize(y, 0.125), 0.125)
    return x


def test_the_published_stack(emulator):
    """Chain conv, quantize, dequantize, conv: dequantized values are never computed; all are exact."""
    x = normal_halves(1, (1, 48, 3, 70), 8)
    q = mil.quantize

    def define(t, depth):
        return published_stack(mil.dequantize(q(t, 0.125), 0.125), depth, 48)

    short, long = (build(lambda t, d=depth: define(t, d), x).compile(emulator) for depth in (2, 7))
    assert long.stats.operations - short.stats.operations == 5 * 2
    value = oracle.quantize(x, np.float16(0.125), 0, "int8", None)
    scale = np.float16(48**-0.5 / 64)
    for layer in range(7):
        weight = Quantized(full_range(layer, (48, 48, 1, 1), "int8"), scale)
        y = product(oracle.conv, Quantized(value.astype(np.int8), np.float16(0.125)), weight, 1)
        value = oracle.quantize(y, np.float16(0.125), 0, "int8", None)
    assert np.unique(value).size > 20
    (got,) = run(long, x)
    oracle.assert_same(got, oracle.rounded(value * 0.125))


def test_operands_that_do_not_fit_are_refused(emulator):
    weight = Quantized(full_range(1, (4, 6), "int8"), np.float16(1))
    x = Quantized(full_range(2, (3, 6), "int8"), np.float16(1))
    with pytest.raises(CompileError, match=r"'scale' must be a scalar or \[4\], is \[6\]"):
        mil.constexpr_affine_dequantize(weight.q, np.ones(6), axis=0)
    with pytest.raises(CompileError, match="int8"):
        build(lambda t: mil.linear(mil.quantize(t, 1.0), weight.constant()), x.port())
    program = build(lambda t: mil.linear(x.activation(t), weight.constant()), x.port())
    for old, new, message in [
        (
            "zero_point = int8(0)]",
            "zero_point = uint8(0)]",
            "'zero_point' must be int8 like the quantized data",
        ),
        ("fp16(0x1p+0)", "fp16(-0x1p+0)", "'scale' must be positive"),
    ]:
        assert old in program.text
        with pytest.raises(CompileError, match=message):
            emulator.compile(program.text.replace(old, new), program.weights)
