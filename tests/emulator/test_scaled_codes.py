"""Weights of integers with a scale for each output, which M5 applies to the rounded sum."""

import numpy as np
import pytest

import aneperf
from aneperf import mil
from support import oracle
from support.oracle import engine
from support.programs import evaluate, normal_halves

# 32 terms on M5 Pro: cadamcat/llms-on-apple-neural-engine, finding on the residual of a dot product.
CODES = "2 -2 4 -7 1 0 -6 -3 3 1 -6 0 -2 -6 -6 1 5 5 5 6 7 3 -8 -1 1 2 -3 4 -2 0 2 -7"
INPUTS = "-42 -7 5 25 -2 6 18 6 -34 10 -7 6 8 28 10 1 7 7 -17 -7 -27 -83 60 -7 -8 -24 15 -16 -9 18 3 42"
SCALE = np.float16(0.007476806640625)


def open_chip(chip):
    return aneperf.open("emulator", chip=chip)


@pytest.fixture(scope="module")
def m5():
    return open_chip("M5")


def published():
    codes, x = (np.array(text.split(), np.int64) for text in (CODES, INPUTS))
    return codes.astype(np.int8).reshape(1, 32), (x / 256).astype(np.float16).reshape(1, 32)


def test_the_published_dot_product(m5):
    codes, x = published()
    four_bits = mil.constexpr_blockwise_shift_scale(mil.const(codes, "int4"), SCALE.reshape(1, 1))
    for weight in (four_bits, mil.constexpr_affine_dequantize(codes, SCALE)):
        (got,) = evaluate(m5, lambda t, weight=weight: mil.linear(t, weight), x)
        assert got.item() == -0.05987548828125


def test_before_m5_the_weight_is_decoded_first():
    codes, x = published()
    weight = mil.constexpr_affine_dequantize(codes, SCALE)
    (got,) = evaluate(open_chip("M4"), lambda t: mil.linear(t, weight), x)
    oracle.assert_same(got, engine.linear(x, oracle.rounded(codes * np.float64(SCALE))))
    assert got.item() != -0.05987548828125


def scaled(sums, scale, axis):
    """Scale rounded sums, ties away from zero."""
    product = sums.astype(np.float64) * oracle.along(scale, axis, sums.ndim).astype(np.float64)
    return oracle.rounded(product + 0.0, ties_away=True)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("zero_point", [0, 3])
@pytest.mark.parametrize("several", [False, True])
def test_sums_of_codes_are_rounded_and_scaled(m5, dtype, zero_point, several):
    limits = np.iinfo(dtype)
    rng = np.random.default_rng(1)
    q = rng.integers(limits.min, limits.max + 1, (24, 16, 1, 1)).astype(dtype)
    scale = np.exp2(rng.uniform(-9, -6, 24)).astype(np.float16) if several else np.float16(0.0073)
    weight = mil.constexpr_affine_dequantize(q, scale, np.array(zero_point, dtype))
    codes = (q.astype(np.int64) - zero_point).astype(np.float16)
    x = normal_halves(2, (1, 16, 3, 7))
    (got,) = evaluate(m5, lambda t: mil.conv(t, weight), x)
    oracle.assert_same(got, scaled(engine.conv(x, codes), np.broadcast_to(scale, 24), 1))


def test_a_grouped_window_of_codes(m5):
    rng = np.random.default_rng(3)
    q = rng.integers(-8, 8, (6, 2, 3, 3)).astype(np.int8)
    scale = np.exp2(rng.uniform(-9, -6, (6, 1, 1, 1))).astype(np.float16)
    weight = mil.constexpr_blockwise_shift_scale(mil.const(q, "int4"), scale)
    x = normal_halves(4, (2, 6, 20, 20))
    (got,) = evaluate(m5, lambda t: mil.conv(t, weight, groups=3), x)
    oracle.assert_same(got, scaled(engine.conv(x, q.astype(np.float16), groups=3), scale.ravel(), 1))


def test_scales_along_the_sum_are_part_of_the_weight(m5):
    rng = np.random.default_rng(5)
    q = rng.integers(-8, 8, (6, 16, 1, 1)).astype(np.int8)
    scale = np.exp2(rng.uniform(-9, -6, (6, 2, 1, 1))).astype(np.float16)
    weight = mil.constexpr_blockwise_shift_scale(mil.const(q, "int4"), scale)
    x = normal_halves(6, (1, 16, 1, 40))
    decoded = oracle.rounded(q * np.repeat(scale, 8, 1).astype(np.float64))
    (got,) = evaluate(m5, lambda t: mil.conv(t, weight), x)
    oracle.assert_same(got, engine.conv(x, decoded))


def test_with_a_bias_the_weight_is_decoded_first(m5):
    q, scale = np.arange(-64, 64, dtype=np.int8).reshape(8, 16), np.float16(0.01)
    bias, x = normal_halves(7, (8,)), normal_halves(8, (5, 16))
    decoded = oracle.rounded(q * np.float64(scale))
    (got,) = evaluate(m5, lambda t: mil.linear(t, mil.constexpr_affine_dequantize(q, scale), bias), x)
    oracle.assert_same(got, engine.linear(x, decoded, bias=bias))


def test_next_to_an_activation_of_integers_the_weight_is_decoded_first(m5):
    """Give each channel a scale of its own, so that integers cannot be summed."""
    q, scale = np.arange(-64, 64, dtype=np.int8).reshape(8, 16, 1, 1), np.float16(0.01)
    scales = np.exp2(-np.arange(16) / 4).astype(np.float16)
    x = normal_halves(9, (1, 16, 3, 5))

    def define(t):
        seen = mil.dequantize(mil.quantize(t, scales, axis=1), scales, axis=1)
        return mil.conv(seen, mil.constexpr_affine_dequantize(q, scale)), seen

    got, seen = evaluate(m5, define, x)
    oracle.assert_same(got, engine.conv(seen, oracle.rounded(q * np.float64(scale))))
