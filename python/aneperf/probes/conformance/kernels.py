"""Cases of whole kernels: published errors, 3-wide kernels, sums of int8, weights with a scale."""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ... import mil
from .model import INFINITY, Words, convolve, convolve_by_tiles, decode, dot, round_real, words_of
from .rules import STUDY, Answers, Experiment, Figure, Rule, Run, words

_SINCE_M5 = ("h17", "h18", "h18g", "h19")

_CONV_ERRORS = {
    "directly": (0.0003671660721200675, ("h13", "h14", "h16")),
    "by Winograd": (0.0005162338465671137, ("h17", "h18g")),
}
_CHANNELS, _SIDE, _BATCH = 64, 64, 8
_ROWS = 4  # of the first image, compared to the bit


@cache
def _convolution() -> tuple[Experiment, NDArray[np.float64], Mapping[str, Words]]:
    """Return ANEForge's layer of 3x3 kernels, an image in float64, and its first rows by both rules."""
    random = np.random.default_rng(1)
    x = random.standard_normal((_BATCH, _CHANNELS, _SIDE, _SIDE), np.float64).astype(np.float32)
    weight = random.standard_normal((_CHANNELS, _CHANNELS, 3, 3)).astype(np.float32)
    weight = weight * np.sqrt(2 / (9 * _CHANNELS))
    half_x, half_weight = x.astype(np.float16), weight.astype(np.float16)
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", x.shape), half_weight, pad_type="custom", pad=(1, 1, 1, 1)))
    padded = np.pad(x[0].astype(np.float64), ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    exact = np.tensordot(weight, windows, axes=((1, 2, 3), (0, 3, 4)))
    rows = np.pad(half_x[0], ((0, 0), (1, 1), (1, 1)))[:, : _ROWS + 2].view(np.uint16)
    bits = half_weight.view(np.uint16)
    expected = {
        "directly": convolve(rows, bits).reshape(-1),
        "by Winograd": convolve_by_tiles(rows, bits).reshape(-1),
    }
    return Experiment(b.build(), lambda: {"x": half_x}), exact, expected


def _three_wide(run: Run, profile: str | None) -> Sequence[Answers]:
    experiment, exact, expected = _convolution()
    rule = "by Winograd" if profile in _SINCE_M5 else "directly"

    def describe(case: int) -> str:
        channel, row, column = np.unravel_index(case, (_CHANNELS, _ROWS, _SIDE))
        return f"output channel {channel}, row {row}, column {column}"

    answer = run(experiment)["y"]
    got = words(answer[0, :, :_ROWS])
    error = Figure(_error(answer[0], exact), *_CONV_ERRORS[rule])
    return [Answers("conv", got, expected[rule], describe, others=expected, figure=error)]


def _error(answer: NDArray[np.float16], exact: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(answer.astype(np.float64) - exact) / np.linalg.norm(exact))


_SIZE, _MEASURED_ROWS, _COMPARED_ROWS = 512, 256, 16


@cache
def _layer() -> tuple[Experiment, NDArray[np.float64], Words]:
    """Return ANEForge's linear layer, some rows in float64, and the first of them by the model."""
    random = np.random.default_rng(0)
    x, weight = (
        random.standard_normal((_SIZE, _SIZE)).astype(np.float32) / np.float32(np.sqrt(_SIZE)) for _ in "xw"
    )
    half_x, half_weight = x.astype(np.float16), weight.astype(np.float16)
    b = mil.Builder()
    b.output("y", mil.linear(b.input("x", (1, 1, *x.shape)), half_weight))
    exact = x[:_MEASURED_ROWS].astype(np.float64) @ weight.T.astype(np.float64)
    expected = dot(half_x[:_COMPARED_ROWS, None].view(np.uint16), half_weight.view(np.uint16))
    return Experiment(b.build(), lambda: {"x": half_x[None, None]}), exact, expected.reshape(-1)


def _linear(run: Run, profile: str | None) -> Sequence[Answers]:
    experiment, exact, expected = _layer()
    answer = run(experiment)["y"][0, 0]
    error = Figure(
        _error(answer[:_MEASURED_ROWS], exact), 0.00257800397023792, ("h13", "h14", "h16", "h17", "h18g")
    )

    def describe(case: int) -> str:
        return f"row {case // _SIZE}, column {case % _SIZE}"

    return [Answers("linear", words(answer[:_COMPARED_ROWS]), expected, describe, figure=error)]


# Terms, scale of each side as a power of 1/2, value of both sides, and the result that M6 gave: 751K.
_INTEGER_RESULTS = (
    (2048, 7, 127, 2016), (2082, 7, 127, 2050), (4096, 7, 127, 4032), (8192, 7, 127, 8064),
    (16384, 7, 127, 16128), (4096, 6, 127, 16128), (8192, 6, 127, 32256), (8320, 6, 127, 32768),
    (8330, 6, 127, 32800), (9000, 6, 127, 35424), (12000, 6, 127, 47264), (16384, 6, 127, 64512),
    (32768, 8, 127, 8064), (65536, 8, 127, 16128), (65536, 8, -128, 16384), (131072, 8, -128, np.inf),
    (65536, 9, -128, 4096), (131072, 9, -128, np.inf), (147456, 9, -128, np.inf),
)  # fmt: skip
_LONG, _HIGH = 16384, 9  # channels and rows of one kernel, in which the terms of every sum lie
_INPUT_PLACES = 6  # the inputs' scale is 2^-6
_RANDOM_ROWS = 8
_TIE = 2**24 + 2**13  # of two fp16; fp32 cannot tell it from its neighbors
_TOTALS = (*(sign * (_TIE + more) for sign in (1, -1) for more in (-1, 0, 1)), 2**31 - 1, 2**31, 1 - 2**31)
_COLUMNS = ("all 127", "all -128", "random", "all -128 but for a last 1")


def _weights_of(total: int, terms: int) -> NDArray[np.int8]:
    """Return weights of inputs of -128, and one of an input of 1 behind them, that sum up to `total`."""
    weight = np.zeros(terms, np.int64)
    sign, most = np.sign(total), 128 if total > 0 else 127
    count, rest = divmod(abs(total), 128 * most)
    weight[:count], weight[count], weight[-1] = -sign * most, -sign * (rest // 128), sign * (rest % 128)
    return weight.astype(np.int8)


@cache
def _integers() -> tuple[Experiment, Mapping[str, Words], NDArray[np.bool_]]:
    """Return a convolution of int8, its results by two rules, and which of them are no overflow downwards.

    The rows of the weight sum numbers of terms, random ones, and up to _TOTALS.
    """
    random = np.random.default_rng(0)
    terms, rows = _LONG * _HIGH, len(_INTEGER_RESULTS) + 1 + _RANDOM_ROWS + len(_TOTALS)
    weight, places = np.zeros((rows, terms), np.int8), np.full(rows, 2 * 8)
    for row, (number, place, value, _) in enumerate(_INTEGER_RESULTS):
        weight[row, :number], places[row] = value, 2 * place
    weight[len(_INTEGER_RESULTS), :16384] = np.repeat([127, -127], 8192)
    first = len(_INTEGER_RESULTS) + 1
    weight[first : first + _RANDOM_ROWS] = random.integers(-128, 128, (_RANDOM_ROWS, terms))
    weight[-len(_TOTALS) :] = [_weights_of(total, terms) for total in _TOTALS]
    low = np.full(terms, -128)
    x = np.stack([np.full(terms, 127), low, random.integers(-128, 128, terms), low], -1)
    x[-1, -1] = 1

    b = mil.Builder()
    port = b.input("x", (1, _LONG, _HIGH, x.shape[1]))
    scale = 2.0**-_INPUT_PLACES
    scales = np.exp2(_INPUT_PLACES - places).astype(np.float16)
    stored = mil.constexpr_affine_dequantize(weight.reshape(rows, _LONG, _HIGH, 1), scales)
    b.output("y", mil.conv(mil.dequantize(mil.quantize(port, scale), scale), stored))
    values = (x * scale).astype(np.float16).reshape(port.shape)

    sums = weight.astype(np.int64) @ x
    known, results = sums > -(1 << 31), {}
    for rule, rounded in (("rounded once", np.float64), ("rounded to fp32 first", np.float32)):
        answers = round_real(np.ldexp(sums.astype(rounded).astype(np.float64), -places[:, None]))
        answers[sums >= 1 << 31] = INFINITY
        for row, (_, _, value, result) in enumerate(_INTEGER_RESULTS):
            answers[row, int(value < 0)] = words_of(result)
        results[rule] = answers[known]
    return Experiment(b.build(), lambda: {"x": values}), results, known.reshape(-1)


def _int8(run: Run, profile: str | None) -> Sequence[Answers]:
    experiment, expected, known = _integers()
    got, places = words(run(experiment)["y"]), np.flatnonzero(known)

    def describe(case: int) -> str:
        row, column = divmod(int(places[case]), len(_COLUMNS))
        if row >= len(_INTEGER_RESULTS):
            return f"row {row}, inputs {_COLUMNS[column]}"
        number, place, value, _ = _INTEGER_RESULTS[row]
        return f"{number} weights of {value}, scales 2^-{place}, inputs {_COLUMNS[column]}"

    first = {int(place): number for number, place in enumerate(places)}
    measured = {
        first[len(_COLUMNS) * row + int(value < 0)]: ("h18g",)
        for row, (_, _, value, _) in enumerate(_INTEGER_RESULTS)
    }
    return [Answers("conv", got[places], expected["rounded once"], describe, measured, expected)]


# An attention head's weights and inputs on an M5 Pro, of cadamcat/llms-on-apple-neural-engine.
_SCALE = 0.007476806640625
_CODES = "2 -2 4 -7 1 0 -6 -3 3 1 -6 0 -2 -6 -6 1 5 5 5 6 7 3 -8 -1 1 2 -3 4 -2 0 2 -7"
_INPUTS = (
    "-42 -7 5 25 -2 6 18 6 -34 10 -7 6 8 28 10 1 7 7 -17 -7 -27 -83 60 -7 -8 -24 15 -16 -9 18 3 42"  # / 256
)


@cache
def _codes() -> tuple[Experiment, Mapping[str, Words]]:
    random = np.random.default_rng(0)
    codes, x = random.integers(-8, 8, (16, 32)), random.integers(-84, 85, (64, 32)) / 256
    codes[0], x[0] = np.array(_CODES.split(), int), np.array(_INPUTS.split(), int) / 256
    b = mil.Builder()
    stored = mil.const(codes.astype(np.int8)[:, :, None, None], "int4")
    weight = mil.constexpr_blockwise_shift_scale(stored, np.full((16, 1, 1, 1), _SCALE, np.float16))
    b.output("y", mil.conv(b.input("x", (1, 32, 1, 64)), weight))
    half_x = x.astype(np.float16)
    sums = dot(half_x.view(np.uint16), words_of(codes)[:, None])
    folded = (codes * _SCALE).astype(np.float16).view(np.uint16)
    expected = {
        "codes first": round_real(decode(sums) * _SCALE).reshape(-1),
        "weights decoded first": dot(half_x.view(np.uint16), folded[:, None]).reshape(-1),
    }
    return Experiment(b.build(), lambda: {"x": half_x.T[None, :, None].copy()}), expected


def _scaled(run: Run, profile: str | None) -> Sequence[Answers]:
    experiment, expected = _codes()

    def describe(case: int) -> str:
        return f"row {case // 64} of codes, inputs {case % 64}"

    got = words(run(experiment)["y"])
    rule = "codes first" if profile in _SINCE_M5 else "weights decoded first"
    return [Answers("conv", got, expected[rule], describe, {0: ("h17",)}, expected)]


KERNELS: Mapping[str, Rule] = {
    "products/linear layer": Rule(
        "Has a linear layer of 512 x 512 the published error?",
        f"{STUDY}; the error is ANEForge's",
        ("h13", "h14", "h16", "h17", "h18g"),
        _linear,
    ),
    "products/3-wide kernels": Rule(
        "Are 3-wide kernels computed by Winograd's transform from M5 on, and directly before?",
        "the errors are ANEForge's",
        ("h13", "h14", "h16", "h17", "h18g"),
        _three_wide,
    ),
    "products/int8": Rule(
        "Are products of int8 summed exactly, infinite from 2^31 on, and rounded once?",
        STUDY,
        ("h18g",),
        _int8,
    ),
    "products/scaled codes": Rule(
        "Is the sum of a weight's codes rounded to fp16 and then scaled from M5 on, and not before?",
        "inferred from one result on M5 Pro (cadamcat/llms-on-apple-neural-engine), and from M1 (ane-guide)",
        (),
        _scaled,
    ),
}
