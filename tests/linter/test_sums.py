"""Check lint's forecast of sums of products against the engine's arithmetic."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import aneperf
from aneperf import mil, reference
from aneperf.linter.loss import given, loss, normal
from support.linting import program
from support.programs import build, normal_halves, run

Halves = NDArray[np.float16]
MANY = (256, 384)  # rows, terms


def opened() -> aneperf.Device:
    return aneperf.open("emulator", chip="h16")


def observed(define: Callable[..., Any], *arrays: Halves) -> float:
    """Return the relative error of the engine's arithmetic."""
    built = build(define, *arrays)
    (got,) = run(built.compile(opened()), *arrays)
    exact = reference.evaluate(built, **{f"x{i}": array for i, array in enumerate(arrays)})["y0"]
    return float(np.linalg.norm(got.astype(np.float64) - exact) / np.linalg.norm(exact))


def sums(define: Callable[..., Any], *shapes: tuple[int, ...], **how: Any) -> list[aneperf.Finding]:
    found = aneperf.lint(program(define, *shapes), **how)
    return [each for each in found if "standard deviation" in each.reason]


def foretold(text: str, before: str) -> float:
    (number,) = re.findall(rf"{before} ([-\d.e+]+) %", text)
    return float(number) / 100


def grid(rng: np.random.Generator, shape: tuple[int, ...]) -> Halves:
    return (rng.integers(-127, 128, shape) * 2.0**-13).astype(np.float16)


W = {"small": 1e-4, "fan-in": 384**-0.5, "one": 1.0}


@pytest.mark.parametrize(
    ("deviation", "weight"),
    [(384**-0.5, "fan-in"), (2.0**-12, "fan-in"), (1.0, "small"), (1e-3, "one"), (2.0**-6, "grid")],
)
def test_the_loss_of_a_linear_layer(deviation: float, weight: str) -> None:
    shape = (MANY[1], MANY[1])
    w = grid(np.random.default_rng(3), shape) if weight == "grid" else normal_halves(1, shape, W[weight])
    (found,) = sums(lambda x: mil.linear(x, w), MANY, activations=deviation)
    assert (found.op, found.severity) == ("linear", "inexact")
    x = normal_halves(2, MANY, deviation)
    error = observed(lambda x: mil.linear(x, w), x)
    np.testing.assert_allclose(foretold(found.reason, "off by"), error, rtol=0.05)

    factor = int(re.findall(r"Multiply weight by (\d+) and the result by 1/\1,", found.remedy)[0])
    scaled = (w.astype(np.float64) * factor).astype(np.float16)
    # The error left is less than that of rounding the result to fp16, which comes on top.
    assert foretold(found.remedy, "leaves") <= 2.1e-4
    assert observed(lambda x: mil.linear(x, scaled), x) < 3.1e-4


@pytest.mark.parametrize(
    ("weight", "deviation"),
    [
        (normal_halves(1, (2000,), 0.01), 0.1),
        (normal_halves(1, (2000,), 2.0**-14), 2.0),  # many subnormal
        (np.ones(2000, np.float16), 2.0**-7),  # whose products need few bits
    ],
)
def test_the_loss_of_single_products(weight: Halves, deviation: float) -> None:
    w, x = weight.astype(np.float64), normal_halves(2, (2000,), deviation).astype(np.float64)
    exponents = [np.maximum(np.frexp(each)[1] - 1, -14) for each in (w, x)]
    dropped = exponents[0][:, None] + exponents[1] <= -17
    products = np.outer(w, x)
    rounded = np.copysign(np.floor(np.abs(products) * 2.0**16 + 0.5) * 2.0**-16, products)
    errors, total = np.where(dropped, products, products - rounded), np.square(products).sum()
    found = loss(deviation, given(weight))
    assert found is not None
    np.testing.assert_allclose(found.dropped, dropped.mean(), rtol=0.1, atol=1e-3)
    np.testing.assert_allclose(found.energy, np.square(products[dropped]).sum() / total, rtol=0.2, atol=1e-6)
    np.testing.assert_allclose(found.error, math.sqrt(np.square(errors).sum() / total), rtol=0.05)


def test_shares_of_normal_values() -> None:
    np.testing.assert_allclose(normal(1.0).sum(), 1)
    np.testing.assert_allclose(normal(1.0)[: 15 << 10].sum(), 0.682689, rtol=1e-3)  # below 1.0


SMALL = 0.02
CASES: dict[str, tuple[Callable[..., Any], list[tuple[int, ...]]]] = {
    "conv": (lambda x: mil.conv(x, normal_halves(1, (64, 32, 3, 3), SMALL), groups=2), [(1, 64, 16, 16)]),
    "conv_transpose": (
        lambda x: mil.conv_transpose(x, normal_halves(1, (64, 16, 3, 3), SMALL), strides=[2, 2], groups=2),
        [(1, 64, 16, 16)],
    ),
    "matmul": (lambda x: mil.matmul(x, normal_halves(1, (256, 64), SMALL)), [(64, 256)]),
    "matmul transposed": (
        lambda x: mil.matmul(normal_halves(1, (256, 64), SMALL), x, transpose_x=True),
        [(256, 64)],
    ),
    "einsum": (lambda x: mil.einsum([x, normal_halves(1, (1, 256, 2, 64), SMALL)]), [(1, 64, 2, 256)]),
    "run time": (lambda x, y: mil.matmul(x, y), [(64, 256), (256, 64)]),
    "table": (
        lambda x: mil.conv(
            x,
            mil.constexpr_lut_to_dense(
                mil.const(np.random.default_rng(0).integers(0, 16, (64, 64, 1, 1)).astype(np.uint8), "uint4"),
                normal_halves(1, (1, 1, 1, 1, 16, 1), SMALL),
            ),
        ),
        [(1, 64, 16, 16)],
    ),
    "scales": (
        lambda x: mil.conv(
            x,
            mil.constexpr_affine_dequantize(
                np.random.default_rng(0).integers(-127, 128, (64, 64, 1, 1)).astype(np.int8), SMALL / 64
            ),
        ),
        [(1, 64, 16, 16)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_loss_of_every_operation(case: str) -> None:
    define, shapes = CASES[case]
    (found,) = sums(define, *shapes, activations=0.02)
    assert found.severity == "inexact"
    error = observed(define, *(normal_halves(2 + i, shape, 0.02) for i, shape in enumerate(shapes)))
    np.testing.assert_allclose(foretold(found.reason, "off by"), error, rtol=0.05)


def attend(q: mil.Tensor, k: mil.Tensor, v: mil.Tensor) -> mil.Tensor:
    return mil.matmul(mil.softmax(mil.mul(mil.matmul(q, k, transpose_y=True), 1 / 8)), v)


@pytest.mark.parametrize("define", [attend, mil.scaled_dot_product_attention])
def test_attention_over_many_keys_is_inexact(define: Callable[..., Any]) -> None:
    shapes = [(1, 64, 64), (1, 4096, 64), (1, 4096, 64)]
    (found,) = sums(define, *shapes)
    assert "and 0.0004 after softmax" in found.reason
    error = observed(define, *(normal_halves(i, shape) for i, shape in enumerate(shapes)))
    np.testing.assert_allclose(foretold(found.reason, "off by"), error, rtol=0.2)
    assert sums(define, (1, 64, 64), (1, 256, 64), (1, 256, 64)) == []


def test_ordinary_layers_are_quiet() -> None:
    for channels in (64, 512):
        w = normal_halves(1, (channels, channels, 1, 1), channels**-0.5)
        assert sums(lambda x, w=w: mil.conv(x, w), (1, channels, 1, 64)) == []
    assert sums(lambda x, y: mil.matmul(x, y), (64, 256), (256, 64)) == []


def test_sums_that_overflow() -> None:
    w = normal_halves(1, (64, 512))
    (found,) = sums(lambda x: mil.linear(x, w), (64, 512), activations=1200)
    assert found.severity == "wrong numbers"
    x = normal_halves(2, (64, 512), 1200)
    (got,) = run(build(lambda x: mil.linear(x, w), x).compile(opened()), x)
    np.testing.assert_allclose(foretold(found.reason, "up to"), np.isinf(got).mean(), rtol=0.1)

    divisor = int(re.findall(r"Multiply weight by 1/(\d+) and the result by \1,", found.remedy)[0])
    (got,) = run(build(lambda x: mil.linear(x, w / np.float16(divisor)), x).compile(opened()), x)
    assert np.isfinite(got).all()


LOUD = normal_halves(1, (64, 256)) * np.where(np.arange(64) % 32 == 5, 8, 1)[:, None].astype(np.float16)
OVERFLOWS: dict[str, tuple[Callable[[mil.Tensor], mil.Tensor], tuple[int, ...]]] = {
    "linear": (lambda x: mil.linear(x, LOUD), (64, 256)),
    "conv": (lambda x: mil.conv(x, LOUD[:, :, None, None]), (1, 256, 8, 8)),
    "conv_transpose": (
        lambda x: mil.conv_transpose(
            x, LOUD.reshape(2, 32, 256).swapaxes(1, 2).reshape(512, 32, 1, 1), groups=2
        ),
        (1, 512, 8, 8),
    ),
    "x": (lambda x: mil.matmul(LOUD, x), (256, 64)),
    "x transposed": (lambda x: mil.matmul(LOUD.T, x, transpose_x=True), (256, 64)),
    "y": (lambda x: mil.matmul(x, LOUD.T), (64, 256)),
    "y transposed": (lambda x: mil.matmul(x, LOUD, transpose_y=True), (64, 256)),
    "first value": (lambda x: mil.einsum([LOUD[None, :, None], x]), (1, 256, 1, 64)),
    "second value": (lambda x: mil.einsum([x, LOUD.T[None, :, None]]), (1, 64, 1, 256)),
}


@pytest.mark.parametrize("case", OVERFLOWS)
def test_the_output_channels_that_overflow(case: str) -> None:
    define, shape = OVERFLOWS[case]
    (found,) = sums(define, shape, activations=256)
    x = normal_halves(2, shape, 256)
    (got,) = run(build(define, x).compile(opened()), x)
    np.testing.assert_allclose(foretold(found.reason, "up to"), np.isinf(got).mean(), rtol=0.3)


def test_figures_of_100_and_more_are_written_out() -> None:
    w = np.full((8, 8), 2.0**-8, np.float16)
    (found,) = sums(lambda x: mil.linear(x, w), (8, 8), activations=2.0**-16)
    assert "100 % of its products are dropped" in found.reason
    (found,) = sums(lambda x: mil.linear(x, 128 * w), (8, 8), activations=30000)
    assert found.reason.endswith("if no activation exceeds 8200")


def test_the_largest_activation_without_overflow() -> None:
    w = normal_halves(1, (8, 512))
    (found,) = sums(lambda x: mil.linear(x, w), (8, 512), activations=1000)
    most = float(re.findall(r"no activation exceeds ([\d.]+)", found.reason)[0])
    for factor, overflows in ((0.9, False), (1.1, True)):
        x = (np.sign(w) * most * factor).astype(np.float16)  # the worst signs for each output
        (got,) = run(build(lambda x: mil.linear(x, w), x).compile(opened()), x)
        assert np.isinf(np.diag(got)).any() == overflows


def test_a_bias_takes_its_part_of_the_range() -> None:
    w, bias = normal_halves(1, (64, 64, 1, 1)), np.full(64, 32000, np.float16)
    assert sums(lambda x: mil.conv(x, w), (1, 64, 8, 8), activations=30) == []
    assert sums(lambda x: mil.conv(x, w, bias), (1, 64, 8, 8)) == []
    (found,) = sums(lambda x: mil.conv(x, w, bias), (1, 64, 8, 8), activations=30)
    assert found.severity == "wrong numbers"
    assert "Multiply weight and bias by 1/2 and the result by 2" in found.remedy


def test_what_no_scale_mends() -> None:
    w = np.full((8, 8), 2.0**-14, np.float16)
    w[0, 0] = 60000  # times 2^-15 it still overflows
    (found,) = sums(lambda x: mil.linear(x, w), (8, 8), activations=30000)
    assert found.remedy == "Use other activations: no scale of weight mends it"
    (found,) = sums(lambda x: mil.matmul(x, x), (8, 8), activations=60000)
    assert found.remedy == "Use other activations: no scale of y mends it"


def test_unknown_and_absent_weights_are_left_out() -> None:
    w = normal_halves(1, (64, 64), 1e-4)
    built = program(lambda x: mil.linear(x, w), (64, 64))
    assert [each.severity for each in aneperf.lint(built)] == ["inexact"]
    assert aneperf.lint(built.text) == []
    assert sums(lambda x: mil.linear(x, np.zeros((64, 64), np.float16)), (64, 64)) == []

    builder = mil.Builder(opset="ios16")
    packed = mil.constexpr_lut_to_dense(np.zeros(32, np.uint8), w[0, :16], shape=[1, 64, 1, 1])
    builder.output("y", mil.conv(builder.input("x", (1, 64, 1, 64)), packed))
    assert aneperf.lint(builder.build()) == []
    assert sums(lambda x: mil.linear(x, w), (64, 64), chip="none") == []


def test_products_of_8_bits_lose_nothing() -> None:
    weight = mil.constexpr_affine_dequantize(np.ones((64, 64, 1, 1), np.int8), 1e-5)

    def define(x: mil.Tensor) -> mil.Tensor:
        return mil.conv(mil.dequantize(mil.quantize(x, 2.0**-7), 2.0**-7), weight)

    assert sums(define, (1, 64, 8, 8), chip="M4") == []
    assert [each.severity for each in sums(define, (1, 64, 8, 8), chip="M1")] == ["inexact"]


def test_products_of_8_bits_with_fp16_lose_as_others_do() -> None:
    weight = normal_halves(1, (64, 64), 1e-5)

    def define(x: mil.Tensor) -> mil.Tensor:
        return mil.linear(mil.dequantize(mil.quantize(x, 2.0**-7), 2.0**-7), weight)

    assert [each.severity for each in sums(define, (64, 64), chip="M4")] == ["inexact"]


def test_a_refused_program_loses_nothing() -> None:
    text = program(lambda x: mil.linear(x, normal_halves(1, (64, 64), 1e-4)), (64, 64)).text
    found = aneperf.lint(text.replace("tensor<fp16, [64, 64]> x0", "tensor<fp16, [64, 7]> x0"))
    assert [each.severity for each in found if each.op == "linear"] == ["fails"]


@pytest.mark.parametrize("activations", [0, -1, float("nan"), float("inf"), "1"])
def test_activations_that_are_no_deviation(activations: Any) -> None:
    with pytest.raises(aneperf.ArgumentError, match="activations must be a positive, finite number"):
        aneperf.lint("", activations=activations)


@pytest.mark.parametrize("activations", [1e-300, 1e300])
def test_any_deviation_is_taken(activations: float) -> None:
    w = normal_halves(1, (64, 64), 1e-4)
    sums(lambda x: mil.linear(x, w), (64, 64), activations=activations)
    sums(lambda x: mil.matmul(x, x), (64, 64), activations=activations)
