"""Convolutions 3 wide, which the engine of M5 and later computes by Winograd's transform along the width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import aneperf
from aneperf import mil
from support import oracle
from support.oracle import engine
from support.programs import evaluate, normal_halves
from support.strategies import SEEDS


@pytest.fixture(scope="module")
def chips():
    return {chip: aneperf.open("emulator", chip=chip) for chip in ("h16", "h17", "h18g")}


def conv(device, x, weight, **arguments):
    pad_type = "custom" if "pad" in arguments else "valid"
    (got,) = evaluate(device, lambda t: mil.conv(t, weight, pad_type=pad_type, **arguments), x)
    return got


@st.composite
def cases(draw):
    """Draw the shapes of x and weight, padding and groups: at least 256 positions."""
    groups, batch = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    inputs, outputs = draw(st.integers(2, 5)), draw(st.integers(3, 7))
    kernel = draw(st.integers(1, 5))
    pad = tuple(draw(st.integers(0, 2)) for _ in range(4))
    height, width = draw(st.integers(16, 20)), draw(st.integers(18, 37))
    x = (batch, groups * inputs, height + kernel, width)
    return x, (groups * outputs, inputs, kernel, 3), {"pad": pad, "groups": groups}


@given(cases(), st.booleans(), st.sampled_from([1.0, 2.0**-7, 100.0]), SEEDS)
def test_it_is_computed_by_the_transform(chips, case, has_bias, scale, seed):
    shape, weight_shape, arguments = case
    x, weight = normal_halves(seed, shape, scale), normal_halves(seed + 1, weight_shape, 0.2)
    bias = normal_halves(seed + 2, weight_shape[:1]) if has_bias else None
    expected = engine.winograd_conv(x, weight, bias=bias, **arguments)
    for chip in ("h17", "h18g"):
        oracle.assert_same(conv(chips[chip], x, weight, bias=bias, **arguments), expected)


def test_a_line_is_computed_by_the_transform(chips):
    x, weight = normal_halves(1, (1, 8, 300)), normal_halves(2, (8, 8, 3), 0.2)
    expected = engine.winograd_conv(x[:, :, None], weight[:, :, None])[:, :, 0]
    oracle.assert_same(conv(chips["h17"], x, weight), expected)


DIRECT = {
    "before M5": ("h16", (1, 8, 20, 20), (8, 8, 3, 3), {}),
    "5 wide": ("h17", (1, 8, 20, 20), (8, 8, 3, 5), {}),
    "1 wide": ("h17", (1, 8, 20, 20), (8, 8, 3, 1), {}),
    "6 high": ("h17", (1, 8, 24, 20), (8, 8, 6, 3), {}),
    "depthwise": ("h17", (1, 8, 20, 20), (8, 1, 3, 3), {"groups": 8}),
    "strided": ("h17", (1, 8, 40, 40), (8, 8, 3, 3), {"strides": (2, 2)}),
    "dilated": ("h17", (1, 8, 24, 24), (8, 8, 3, 3), {"dilations": (2, 2)}),
    "small": ("h17", (1, 8, 10, 18), (8, 8, 3, 3), {}),
    "deep": ("h17", (1, 4, 3, 20, 20), (8, 4, 2, 3, 3), {}),
}


@pytest.mark.parametrize("case", DIRECT)
def test_it_is_computed_directly(chips, case):
    chip, shape, weight_shape, arguments = DIRECT[case]
    x, weight = normal_halves(1, shape), normal_halves(2, weight_shape, 0.2)
    oracle.assert_same(conv(chips[chip], x, weight, **arguments), engine.conv(x, weight, **arguments))


def test_sparse_weights_are_used_directly(chips):
    x, weight = normal_halves(1, (1, 8, 20, 20)), normal_halves(2, (8, 8, 3, 3), 0.2)
    kept = np.random.default_rng(3).random(weight.shape) < 0.5

    def define(t):
        return mil.conv(t, mil.constexpr_sparse_to_dense(weight[kept], kept.astype(np.uint8)))

    (got,) = evaluate(chips["h17"], define, x)
    oracle.assert_same(got, engine.conv(x, np.where(kept, weight, 0)))


def test_run_time_weights_are_used_directly(chips):
    x, weight = normal_halves(1, (1, 8, 20, 20)), normal_halves(2, (8, 8, 3, 3), 0.2)
    (got,) = evaluate(chips["h17"], mil.conv, x, weight)
    oracle.assert_same(got, engine.conv(x, weight))
