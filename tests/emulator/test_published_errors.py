"""Check layers' errors against those that ANEForge published for the engine, digit by digit.

Source: ANEForge, bench/results/rooflines, by its recipe: operands of fp32 rounded to fp16, the reference in
float64 of the unrounded ones.
"""

import numpy as np
import pytest

import aneperf
from aneperf import mil
from support import oracle
from support.programs import evaluate


def open_chip(chip):
    return aneperf.open("emulator", chip=chip)


def relative_error(got, reference):
    return np.linalg.norm(got.astype(np.float64) - reference) / np.linalg.norm(reference)


@pytest.mark.parametrize("chip", ["h13", "h14", "h16", "h17", "h18g"])
@pytest.mark.parametrize(("size", "published"), [(512, 0.00257800397023792), (1024, 0.005528352999597525)])
def test_linear(chip, size, published):
    rng = np.random.default_rng(0)
    x, weight = (
        rng.standard_normal((size, size)).astype(np.float32) / np.float32(np.sqrt(size)) for _ in range(2)
    )
    halves = weight.astype(np.float16)
    (got,) = evaluate(open_chip(chip), lambda t: mil.linear(t, halves), x[:256].astype(np.float16))
    error = relative_error(got, x[:256].astype(np.float64) @ weight.T.astype(np.float64))
    np.testing.assert_allclose(error, published, rtol=1e-12)


def conv_error(chip, channels, batch):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((batch, channels, 64, 64)).astype(np.float32)[:1]
    weight = rng.standard_normal((channels, channels, 3, 3)).astype(np.float32) * np.sqrt(2 / (9 * channels))
    pad, halves = (1, 1, 1, 1), weight.astype(np.float16)
    (got,) = evaluate(
        open_chip(chip), lambda t: mil.conv(t, halves, pad_type="custom", pad=pad), x.astype(np.float16)
    )
    return relative_error(got, oracle.conv(x, weight, pad=pad).value)


@pytest.mark.parametrize(("batch", "published"), [(8, 0.0003671660721200675), (16, 0.00036713452579315676)])
@pytest.mark.parametrize("chip", ["h13", "h16"])
def test_conv_of_64_channels(chip, batch, published):
    np.testing.assert_allclose(conv_error(chip, 64, batch), published, rtol=1e-12)


@pytest.mark.parametrize(
    ("channels", "published"), [(64, 0.0005162338465671137), (128, 0.0005214500415248461)]
)
def test_conv_by_winograds_transform(channels, published):
    np.testing.assert_allclose(conv_error("h18g", channels, 8), published, rtol=1e-12)
