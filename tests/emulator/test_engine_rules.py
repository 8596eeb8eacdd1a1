"""How the engine departs from IEEE fp16, and that profile "none" does not."""

import dataclasses
import math

import numpy as np
import pytest

from aneperf import mil
from support import oracle
from support.oracle import engine
from support.programs import build, evaluate, normal_halves, run

INFINITY = np.float16(np.inf)


def halves(*values):
    return np.array(values, np.float16)


def bits(array):
    return array.view(np.uint16).ravel().tolist()


# Overflow


def product_of(x, weight):
    """Multiply a row with a column, by each operation that forms a matrix product."""
    row, k = halves(*x).reshape(1, 1, 1, -1), len(x)
    column = halves(*weight)
    return {
        "matmul": (lambda t: mil.matmul(t, column.reshape(k, 1)), row),
        "linear": (lambda t: mil.linear(t, column.reshape(1, k)), row),
        "conv": (lambda t: mil.conv(t, column.reshape(1, k, 1, 1)), row.reshape(1, k, 1, 1)),
    }


@pytest.mark.parametrize("op", ["matmul", "linear", "conv"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("x", "weight", "expected"),
    [
        ([16384, 16368], [1, 1], 32752),
        ([16384, 16376], [1, 1], 32768),  # rounded from 32760
        ([16384, 16384], [1, 1], math.inf),
        ([16384, 16384], [1, -1], 0),
    ],
)
def test_products_overflow_at_32768(device, plain, op, sign, x, weight, expected):
    define, array = product_of([sign * v for v in x], weight)[op]
    assert evaluate(device, define, array)[0].item() == sign * expected
    true = sign * sum(a * b for a, b in zip(x, weight, strict=True))
    assert evaluate(plain, define, array)[0].item() == float(oracle.rounded(np.float64(true)))


def test_attention_overflows_at_32768_too(device, plain):
    value = halves(32752, 32768, -32768, 65504).reshape(1, 1, 4)
    one = halves(1).reshape(1, 1, 1)
    arrays = (one, one, value)
    (got,) = evaluate(device, mil.scaled_dot_product_attention, *arrays)
    assert got.ravel().tolist() == [32752, math.inf, -math.inf, math.inf]
    (got,) = evaluate(plain, mil.scaled_dot_product_attention, *arrays)
    oracle.assert_same(got, value)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_partial_sum_that_overflows_stays_infinite(emulator, plain, sign):
    define, array = product_of([sign * v for v in (30000, 30000, -30000, -20000)], [1, 1, 1, 1])["matmul"]
    assert evaluate(emulator, define, array)[0].item() == sign * math.inf
    assert evaluate(plain, define, array)[0].item() == sign * 10000


@pytest.mark.parametrize("op", ["matmul", "linear", "conv"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("x", "weight", "expected"),
    [
        ([-1024, 256], [1, 128], 31744),  # the sum does not reach the limit, though a product does
        ([256, -1024], [128, 1], math.inf),
        ([32768, -32768, 1, 0], [1, 1, 1, 1], 0),
        ([20000, -20000], [2, 5], 0),
        ([20000, -16376, -16376, -16376], [2, 2, 2, 2], math.inf),
    ],
)
def test_the_order_of_products_decides_what_overflows(emulator, op, sign, x, weight, expected):
    define, array = product_of([sign * v for v in x], weight)[op]
    assert evaluate(emulator, define, array)[0].item() == sign * expected


@pytest.mark.parametrize("value", [65504.0, math.inf])
def test_long_sums_of_large_numbers_have_their_sign(emulator, value):
    """Take more than 2^23 of them, whose sum in units of 2^-24 exceeds 64 bits."""
    x = np.full((1, 8192, 1032, 1), value, np.float16)
    mean, total = evaluate(
        emulator, lambda t: (mil.reduce_mean(t, [1, 2, 3]), mil.reduce_sum(t, [1, 2, 3])), x
    )
    assert (mean.item(), total.item()) == (65504 if value == 65504 else math.inf, math.inf)


@pytest.mark.parametrize("sign", [1, -1])
def test_reductions_round_ties_away_from_zero(device, plain, sign):
    # Past 2048 the even numbers are left: 2049 is a tie, as is 2051.
    x = halves(2048, 1, 0, 0, 0, 0, 0, 0, 2048, 2, 1, 0, 0, 0, 0, 0).reshape(1, 2, 1, 8) * np.float16(sign)
    for axes, array in ((-1, x), (1, x.transpose(0, 3, 2, 1))):
        got = evaluate(device, lambda t, axes=axes: mil.reduce_sum(t, [axes]), array)[0]
        assert got.ravel().tolist() == [sign * 2050, sign * 2052]
        got = evaluate(plain, lambda t, axes=axes: mil.reduce_sum(t, [axes]), array)[0]
        assert got.ravel().tolist() == [sign * 2048, sign * 2052]


@pytest.mark.parametrize("op", ["matmul", "linear", "conv"])
@pytest.mark.parametrize("sign", [1, -1])
def test_products_round_ties_away_from_zero(device, plain, op, sign):
    define, array = product_of([sign * 2048, sign], [1, 1])[op]
    assert evaluate(device, define, array)[0].item() == sign * 2050
    assert evaluate(plain, define, array)[0].item() == sign * 2048


@pytest.mark.parametrize("sign", [1, -1])
def test_reductions_overflow_past_65504(device, plain, sign):
    x = halves(65504, 0, 65504, 1, 65504, 16, 32768, 32752).reshape(4, 2) * np.float16(sign)
    got, mean = evaluate(device, lambda t: (mil.reduce_sum(t, [1]), mil.reduce_mean(t, [1])), x)
    assert (sign * got).ravel().tolist() == [65504, math.inf, math.inf, math.inf]
    assert (sign * mean).ravel().tolist() == [32752, 32752, 32768, 32768]
    (got,) = evaluate(plain, lambda t: mil.reduce_sum(t, [1]), x)
    assert (sign * got).ravel().tolist() == [65504, 65504, math.inf, math.inf]


@pytest.mark.parametrize("sign", [1, -1])
def test_elementwise_results_overflow_from_65520(device, sign):
    x = halves(15, 15.99, 16, 65504)
    (got,) = evaluate(device, lambda t: mil.mul(mil.add(t, 65504.0), sign), x)
    assert (sign * got).tolist() == [65504, 65504, math.inf, math.inf]
    (got,) = evaluate(device, lambda t: mil.mul(t, sign), np.full(3, 65504, np.float16))
    assert (sign * got).tolist() == [65504] * 3
    (got,) = evaluate(device, mil.square, halves(255.9, 256))
    assert got.tolist() == [65472, math.inf]


def test_exp_overflows_at_11_094(device):
    below = np.nextafter(np.float16(11.094), np.float16(0))
    (got,) = evaluate(device, mil.exp, halves(below, 11.094, 12, 65504))
    assert np.isfinite(got[0])
    assert np.all(got[1:] == INFINITY)
    (got,) = evaluate(device, mil.softmax, halves(65504, 65504, -65504).reshape(1, 3))
    assert got.ravel().tolist() == [0.5, 0.5, 0]


# NaN

UNDEFINED = {
    "inf - inf": (lambda t: mil.sub(t, t), halves(math.inf, -math.inf)),
    "inf + -inf": (lambda t: mil.add(t, mil.mul(t, -1.0)), halves(math.inf, -math.inf)),
    "0 * inf": (lambda t: mil.mul(t, 0.0), halves(math.inf, -math.inf)),
    "inf * 0": (lambda t: mil.mul(0.0, t), halves(math.inf, -math.inf)),
    "0 / 0": (lambda t: mil.real_div(t, 0.0), halves(0, -0.0)),
    "inf / inf": (lambda t: mil.real_div(t, t), halves(math.inf, -math.inf)),
    "sqrt": (mil.sqrt, halves(-1, -6e-8, -math.inf)),
    "rsqrt": (mil.rsqrt, halves(-1, -6e-8, -math.inf)),
    "log": (mil.log, halves(-1, -6e-8, -math.inf)),
    "pow": (lambda t: mil.pow(t, 0.5), halves(-1, -6e-8)),
    "reduce_sum": (lambda t: mil.reduce_sum(t, [-1]), halves(math.inf, -math.inf, 0)),
    "reduce_mean over columns": (
        lambda t: mil.reduce_mean(t, [0]),
        halves(math.inf, math.inf, -math.inf, -math.inf).reshape(2, 2),
    ),
    "layer_norm": (lambda t: mil.layer_norm(t, [0]), halves(math.inf, 1, 2)),
    "matmul": (
        lambda t: mil.matmul(t, np.array([[1], [-1]], np.float16)),
        halves(math.inf, math.inf).reshape(1, 2),
    ),
    "linear": (
        lambda t: mil.linear(t, np.array([[1, -1]], np.float16)),
        halves(math.inf, math.inf).reshape(1, 2),
    ),
    "conv": (
        lambda t: mil.conv(t, np.array([1, -1], np.float16).reshape(1, 2, 1, 1)),
        np.full((1, 2, 1, 3), math.inf, np.float16),
    ),
}


@pytest.mark.parametrize("case", UNDEFINED)
def test_what_is_undefined_is_plus_zero_and_nan_without_the_engine(device, plain, case):
    define, x = UNDEFINED[case]
    (got,) = evaluate(device, define, x)
    assert set(bits(got)) == {0}
    (got,) = evaluate(plain, define, x)
    assert np.isnan(got).all()


def test_nan_from_a_port_is_a_large_number(device, plain):
    nan = np.array([0x7E00, 0xFE00, 0x7C01, 0xFFFF], np.uint16).view(np.float16)

    def program(t):
        return (
            mil.relu(t),
            mil.mul(t, -1.0),
            mil.mul(t, 0.25),
            mil.tanh(t),
            mil.maximum(t, 1.0),
            mil.softmax(t),
        )

    inf = math.inf
    expected = [
        [inf, 0, inf, 0],
        [-inf, inf, -inf, inf],
        [24576, -24576, 16400, -32752],
        [1, -1, 1, -1],
        [inf, 1, inf, 1],
        [1, 0, 0, 0],
    ]
    assert [result.tolist() for result in evaluate(device, program, nan)] == expected
    for result in evaluate(plain, program, nan):
        assert np.isnan(result).all()


def test_rows_of_infinities_are_ordinary_to_softmax(device, plain):
    masked = np.full((2, 5), -math.inf, np.float16)
    for axis, array in ((1, masked), (0, masked.T.copy())):
        got = evaluate(device, lambda t, axis=axis: mil.softmax(t, axis), array)[0]
        np.testing.assert_allclose(got, 0.2, rtol=1e-3)
        assert np.isnan(evaluate(plain, lambda t, axis=axis: mil.softmax(t, axis), array)[0]).all()
    assert evaluate(device, mil.softmax, halves(math.inf, math.inf))[0].tolist() == [0.5, 0.5]


def test_nan_from_an_fp32_port_acts_as_infinity(device, plain):
    x = np.array([np.nan, -np.nan, 1e9], np.float32)
    assert bits(evaluate(device, lambda t: mil.cast(t, "fp16"), x)[0]) == [0x7C00] * 3
    assert np.isnan(evaluate(plain, lambda t: mil.cast(t, "fp16"), x)[0]).tolist() == [True, True, False]


def test_infinity_in_a_weight_is_65536(device, plain):
    weight = normal_halves(1, (32, 1, 1, 1))
    x = normal_halves(2, (1, 1, 1, 1)) ** 2
    program = build(lambda t: mil.conv(t, weight), x)
    (path,) = program.weights
    poisoned = weight.copy()
    poisoned[3] = INFINITY
    blob, _ = mil.write_blob([poisoned])
    program = dataclasses.replace(program, weights={path: blob})
    (got,) = run(program.compile(device), x)
    oracle.assert_same(got, engine.conv(x, poisoned))
    assert np.isfinite(got[0, 3])
    (got,) = run(program.compile(plain), x)
    assert np.isinf(got).ravel().tolist() == [i == 3 for i in range(32)]


# Subnormals


def test_subnormals_are_preserved(device):
    tiny = np.arange(1, 1024, 7, dtype=np.uint16).view(np.float16)
    x = tiny.reshape(1, 1, 1, -1)
    results = evaluate(
        device,
        lambda t: (
            mil.abs(t),
            mil.add(t, 0.0),
            mil.mul(t, 1.0),
            mil.relu(t),
            mil.reduce_sum(t, [2]),
            mil.reduce_max(t, [1]),
            mil.cast(mil.cast(t, "fp32"), "fp16"),
        ),
        x,
    )
    for result in results:
        np.testing.assert_array_equal(result.ravel(), tiny)


@pytest.mark.parametrize(
    ("x", "weight", "expected"),
    [
        (-8, -8, 1),
        (-8, -9, 0),
        (-1, -15, 1),
        (-2, -15, 1),
        (-3, -15, 0),
        (-2, -24, 0),
        (4, -24, 0),
        (8, -24, 1),
    ],
)
def test_a_product_whose_exponents_sum_up_to_minus_17_is_dropped(device, x, weight, expected):
    """Count subnormal numbers as of exponent -14, however small they are: 8 products of 2^x and 2^weight."""
    array = np.full((1, 8, 1, 1), 2.0**x, np.float16)
    (got,) = evaluate(device, lambda t: mil.conv(t, np.full((1, 8, 1, 1), 2.0**weight, np.float16)), array)
    assert got.item() == expected * 8 * 2.0**-16


@pytest.mark.parametrize("largest", [2.0**-7, 0.25, 1.0, 3.0, 5.4, 7.5])
@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_sums_are_exact_however_large_their_terms(device, largest, zeros):
    """Mix terms to drop with products of up to `largest` squared, some sums of which are of one sign."""
    generator = np.random.default_rng(17)

    def operand(rows, columns):
        shape = (rows, columns)
        values = generator.uniform(-largest, largest, shape) * 2.0 ** -generator.integers(0, 16, shape)
        values[::3] = np.abs(generator.uniform(largest / 2, largest, values[::3].shape))
        return np.where(generator.random(shape) < zeros, 0, values).astype(np.float16)

    x, y = operand(13, 700), operand(700, 37)
    x[4, ::2] = largest
    y[:, 7] = largest
    (got,) = evaluate(device, mil.matmul, x, y)
    oracle.assert_same(got, engine.matmul(x, y))


# Things that the engine ignores


def test_the_attention_mask_is_ignored_and_the_program_says_so(emulator, plain):
    arrays = [normal_halves(i, (1, 2, 5, 8)) for i in range(3)]
    mask = np.where(np.tri(5, dtype=bool), 0, -65504).astype(np.float16)
    program = build(mil.scaled_dot_product_attention, *arrays, mask)
    compiled = program.compile(emulator)
    (note,) = compiled.notes
    assert "attn_mask is ignored on h16" in note
    assert "decomposed attention" in note
    (masked,) = run(compiled, *arrays, mask)
    (unmasked,) = evaluate(emulator, mil.scaled_dot_product_attention, *arrays)
    oracle.assert_same(masked, unmasked)

    compiled = program.compile(plain)
    assert compiled.notes == []
    (masked,) = run(compiled, *arrays, mask)
    oracle.assert_within(masked, oracle.attention(*arrays, mask), has_nan=True)
    np.testing.assert_array_equal(masked[:, :, 0], arrays[2][:, :, 0])  # the first row sees itself alone


def test_run_time_weights_of_a_convolution_are_noted(emulator):
    x, weight = normal_halves(1, (1, 4, 1, 8)), normal_halves(2, (3, 4, 1, 1))
    compiled = build(mil.conv, x, weight).compile(emulator)
    (note,) = compiled.notes
    assert "run-time weights" in note
    assert "use matmul" in note
    (got,) = run(compiled, x, weight)
    oracle.assert_same(got, engine.conv(x, weight))
    assert build(lambda t: mil.conv(t, weight), x).compile(emulator).notes == []
