"""Element-wise operations on the engine's profiles, to the bit: every fp16 word, and what chips gave."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

import aneperf
from aneperf import mil
from support import oracle
from support.programs import evaluate

EVERY_HALF = np.arange(1 << 16, dtype=np.uint16).view(np.float16).reshape(1, 16, 64, 64)
NUMBERS = oracle.decoded(EVERY_HALF)
ENGINES = ("h13", "h14", "h15", "h16", "h17", "h18", "h18g", "h19")
# Around every boundary: subnormals, ties, the largest numbers, exponent 31, both signs.
EDGES = np.array(
    [
        *(0, 1, 2, 3, 0x3FF, 0x400, 0x401, 0x7FF, 0x800, 0x1400, 0x1401, 0x3BFF, 0x3C00, 0x3C01, 0x4000),
        *(0x4248, 0x5BFF, 0x5C00, 0x6400, 0x6800, 0x6801, 0x77FF, 0x7800, 0x7BFE, 0x7BFF),
        *(0x7C00, 0x7C01, 0x7E00, 0x7FFF),
    ],
    np.uint16,
)
EDGES = np.concatenate([EDGES, EDGES | 0x8000]).view(np.float16)
PAIRS = nps.mutually_broadcastable_shapes(num_shapes=2, min_dims=1, max_dims=4, min_side=1, max_side=9).map(
    lambda shapes: shapes.input_shapes
)


def words(seed, shape):
    return np.random.default_rng(seed).integers(0, 1 << 16, shape, np.uint16).view(np.float16)


def open_engine(chip):
    return aneperf.open("emulator", chip=chip)


@pytest.mark.parametrize("op", oracle.ENGINE_UNARY)
def test_function_of_every_half(emulator, op):
    (got,) = evaluate(emulator, getattr(mil, op), EVERY_HALF)
    oracle.assert_same(got, oracle.engine_rounded(oracle.ENGINE_UNARY[op](NUMBERS)))


SCALARS = {op: cases for op, cases in oracle.SCALARS.items() if op in oracle.ENGINE_WITH_SCALARS}
SCALARS |= {op: [(epsilon,) for epsilon in (0.0, 6e-8, 1e-3, 0.7, 2048.0)] for op in ("log", "rsqrt")}


@pytest.mark.parametrize(("op", "scalars"), [(op, case) for op, cases in SCALARS.items() for case in cases])
def test_function_with_scalars_of_every_half(emulator, op, scalars):
    (got,) = evaluate(emulator, lambda t: getattr(mil, op)(t, *scalars), EVERY_HALF)
    stored = [float(np.float16(scalar)) for scalar in scalars]
    oracle.assert_same(got, oracle.engine_rounded(oracle.ENGINE_WITH_SCALARS[op](NUMBERS, *stored)))


@pytest.mark.parametrize("op", ["atan", "elu", "gelu_sigmoid"])
def test_functions_of_unknown_tables_are_right(emulator, op):
    function, true = {
        "atan": (mil.atan, np.arctan),
        "elu": (lambda t: mil.elu(t, 0.5), lambda x: np.where(x < 0, 0.5 * np.expm1(np.minimum(x, 0)), x)),
        "gelu_sigmoid": (
            lambda t: mil.gelu(t, "SIGMOID_APPROXIMATION"),
            lambda x: x / (1 + np.exp(np.minimum(-1.702 * x, 700))),
        ),
    }[op]
    (got,) = evaluate(emulator, function, EVERY_HALF)
    oracle.assert_same(got, oracle.engine_rounded(true(NUMBERS)))


@pytest.mark.parametrize("chip", ENGINES)
def test_every_engine_has_the_tables_and_the_rounding(chip):
    x = words(1, (1, 1, 7, 301))
    tanh, total = evaluate(open_engine(chip), lambda t: (mil.tanh(t), mil.add(t, 1.0)), x)
    oracle.assert_same(tanh, oracle.engine_rounded(oracle.ENGINE_UNARY["tanh"](oracle.decoded(x))))
    oracle.assert_same(total, oracle.engine_rounded(oracle.decoded(x) + 1))


@pytest.mark.parametrize("op", oracle.ENGINE_BINARY)
def test_binary_of_all_edges(device, op):
    x, y = (a.copy() for a in np.broadcast_arrays(EDGES.reshape(-1, 1), EDGES))
    (got,) = evaluate(device, getattr(mil, op), x, y)
    expected = oracle.ENGINE_BINARY[op](oracle.decoded(x), oracle.decoded(y))
    oracle.assert_same(got, oracle.engine_rounded(expected))


@pytest.mark.parametrize("op", oracle.ENGINE_BINARY)
@given(PAIRS, st.integers(0, 2**32 - 1))
def test_binary_with_broadcasting(device, op, shapes, seed):
    x, y = words(seed, shapes[0]), words(seed + 1, shapes[1])
    (got,) = evaluate(device, getattr(mil, op), x, y)
    expected = oracle.ENGINE_BINARY[op](oracle.decoded(x), oracle.decoded(y))
    oracle.assert_same(got, oracle.engine_rounded(expected))


@pytest.mark.parametrize("op", ["add", "sub", "mul"])
def test_a_sum_far_below_a_tie_is_rounded_once(device, op):
    """Pair every number with one that is 2^10 to 2^27 times smaller: fp32 holds no such sum exactly."""
    x = words(3, (18, 4096))
    y = oracle.rounded(oracle.decoded(words(4, x.shape)) * 2.0 ** -np.arange(10, 28).reshape(-1, 1))
    (got,) = evaluate(device, getattr(mil, op), x, y)
    oracle.assert_same(
        got, oracle.engine_rounded(oracle.ENGINE_BINARY[op](oracle.decoded(x), oracle.decoded(y)))
    )


@pytest.mark.parametrize("op", oracle.COMPARISONS)
def test_comparisons_take_nan_for_a_large_number(emulator, op):
    x, y = (a.copy() for a in np.broadcast_arrays(EDGES.reshape(-1, 1), EDGES))
    (got,) = evaluate(emulator, lambda a, b: mil.cast(getattr(mil, op)(a, b), "fp16"), x, y)
    np.testing.assert_array_equal(got, getattr(np, op)(oracle.decoded(x), oracle.decoded(y)))


def test_movement_keeps_the_bits_of_nan(emulator):
    moved = evaluate(
        emulator,
        lambda t: (mil.transpose(t, [1, 0]), mil.reshape(t, (64, 1024)), mil.select(mil.less(t, 2e4), t, t)),
        EVERY_HALF.reshape(1024, 64),
    )
    for got, expected in zip(moved, (EVERY_HALF.reshape(1024, 64).T, EVERY_HALF, EVERY_HALF), strict=True):
        np.testing.assert_array_equal(got.view(np.uint16).ravel(), expected.ravel().view(np.uint16))


# a, b, a + b, a - b, a * b on M6 (751K, numerics3)
MEASURED = [
    (2048, 1, 2050, 2047, 2048),
    (-2048, -1, -2050, -2047, 2048),
    (4096, 2, 4100, 4094, 8192),
    (1, 0.00048828125, 1.0009765625, 0.99951171875, 0.00048828125),
    (16384, 16384, 32768, 0, np.inf),
    (32752, 16, 32768, 32736, np.inf),
    (65504, 0, 65504, 65504, 0),
    (40000, 1, 40000, 40000, 40000),
    (6.103515625e-05, 0, 6.103515625e-05, 6.103515625e-05, 0),
    (9.5367431640625e-07, 0, 9.5367431640625e-07, 9.5367431640625e-07, 0),
    (5.960464477539063e-08, 0, 5.960464477539063e-08, 5.960464477539063e-08, 0),
    (0.000244140625, 0.000244140625, 0.00048828125, 0, 5.960464477539063e-08),
    (0.0078125, 0.0009765625, 0.0087890625, 0.0068359375, 7.62939453125e-06),
    (200, 200, 400, 0, 40000),
    (np.nan, 1, np.inf, np.inf, np.inf),
    (np.inf, 1, np.inf, np.inf, np.inf),
]


def test_arithmetic_as_measured(device):
    a, b, *expected = np.array(MEASURED, np.float16).T
    got = evaluate(device, lambda x, y: (mil.add(x, y), mil.sub(x, y), mil.mul(x, y)), a.copy(), b.copy())
    for result, measured in zip(got, expected, strict=True):
        oracle.assert_same(result, np.ascontiguousarray(measured))


# Function, x, value on the chips that were measured: all bits are published, or three digits.
VALUES = [
    (lambda t: mil.log(t, 0.0), 0, -45440),  # M1 (ane-guide)
    (lambda t: mil.log(t, 0.0), 1.00390625, 0.0037250518798828125),  # M6 (751K)
    (mil.exp, 9.703125, 16296),  # M6
    (mil.exp, 11.09375, np.inf),  # M1, M5 (ane-guide, ANEForge)
    (mil.exp, 11.0859375, 65184),  # computed
    (mil.softplus, 11.09375, 0),  # M5 (ANEForge)
    (mil.gelu, 0, -0.0007538795471191406),  # M5, M5 Pro, M6 (cadamcat, ANEForge)
    (mil.sigmoid, -9.9375, 0),  # M6
    (mil.round, 1024, 1025),  # M5
    (mil.round, 1025, 1026),
    (mil.round, -2047, -2048),
    (lambda t: mil.mul(t, -0.8), np.inf, -52416),  # M5
    (lambda t: mil.inverse(t, 0.0), -0.0, np.inf),  # M1
    (lambda t: mil.sub(t, t), np.inf, 0),  # M1
    (lambda t: mil.mul(t, 0.0), np.inf, 0),  # M1
    (lambda t: mil.cast(mil.quantize(t, 1.0), "fp16"), 0.5, 1),  # M5 Pro (cadamcat)
    (lambda t: mil.cast(mil.quantize(t, 1.0), "fp16"), -2.5, -3),
]
DIGITS = [
    (mil.gelu, -1.526e-5, "-0.000761"),
    (mil.silu, -2.289e-5, "-0.00171"),
    (mil.tanh, -0.0002403, "-0.000239"),
    (mil.sin, -3.141, "-0.000946"),
    (lambda t: mil.rsqrt(t, 0.0), 0.0332, "5.5"),
]


def test_values_as_measured(device):
    for function, x, measured in VALUES:
        (got,) = evaluate(device, function, np.array([x], np.float16))
        assert got.item() == measured, (x, got)
    for function, x, digits in DIGITS:
        (got,) = evaluate(device, function, np.array([x], np.float16))
        assert float(f"{got.item():.3g}") == float(digits), (x, got)


# Largest errors on M6 against float64 (751K): interval, absolute error, its digits.
ERRORS = [
    ("sigmoid", -12, 12, "0.003355"),
    ("erf", -4, 4, "0.0008642"),
    ("sin", -8, 8, "0.0006329"),
    ("exp", -12, 10, "100.8"),
    ("log", 2**-10, 1000, "0.006638"),
    ("sqrt", 2**-10, 1000, "0.0181"),
    ("rsqrt", 2**-6, 1000, "0.00814"),
    ("gelu", -8, 8, "0.006159"),
    ("silu", -12, 12, "0.01491"),
]


@pytest.mark.parametrize(("op", "low", "high", "digits"), ERRORS)
def test_errors_of_the_tables_as_measured(emulator, op, low, high, digits):
    exact = {
        "log": lambda x: oracle.log(x, 0.0).value,
        "rsqrt": lambda x: x**-0.5,
        "sqrt": np.sqrt,
        "sin": np.sin,
    }
    name = {"gelu": "gelu_exact"}.get(op, op)
    x = EVERY_HALF[(low <= NUMBERS) & (high >= NUMBERS)]
    function = {"log": lambda t: mil.log(t, 0.0), "rsqrt": lambda t: mil.rsqrt(t, 0.0)}.get(
        op, getattr(mil, op)
    )
    (got,) = evaluate(emulator, function, x)
    wide = x.astype(np.float64)
    true = exact[op](wide) if op in exact else oracle.elementary(name, wide).value
    error = np.abs(got.astype(np.float64) - true).max()
    assert float(f"{error:.{len(digits.lstrip('0.').replace('.', ''))}g}") == float(digits)
