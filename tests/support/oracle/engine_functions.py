"""The Neural Engine's fp16: how it rounds, its functions of one number, its sums, softmax and norms.

Everything is float64, or integers where that is not exact: exact up to a rounding by `engine_rounded`.
"""

import functools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .engine import decode as decoded
from .rounding import OVERFLOW, REDUCTION_OVERFLOW, Array, Halves, rounded

INFINITE = 65536.0
CHUNK = 316  # terms of a long sum that are added before a rounding


def engine_rounded(value: Array, overflow: float = OVERFLOW) -> Halves:
    """Round once, ties away from zero; a zero is positive."""
    return rounded(value, ties_away=True, overflow=overflow) + np.float16(0)


def step(value: Array) -> Array:
    """Round a value on the way, and read it again."""
    return decoded(engine_rounded(value))


@functools.cache
def points(function: Callable[[float], float], low: float, high: float, count: int = 33) -> Array:
    return (
        np.array([function(x) for x in np.linspace(low, high, count)]).astype(np.float16).astype(np.float64)
    )


def between(y: Array, low: float, high: float, x: Array) -> Array:
    """Interpolate between evenly spaced points."""
    place = (x - low) * ((len(y) - 1) / (high - low))
    first = np.clip(np.floor(place), 0, len(y) - 2).astype(int)
    return y[first] + (place - first) * (y[first + 1] - y[first])


def engine_sigmoid(x: Array) -> Array:
    y = points(lambda v: 1 / (1 + math.exp(-v)), -8, 8)
    low, high = y[0] * (x + 9.9375) / 1.9375, y[-1] + (1 - y[-1]) * (x - 8) / 0.3203125
    inside = np.where(x < -8, np.maximum(low, 0), np.where(x < 8, between(y, -8, 8, x), high))
    return np.minimum(inside, 1)


def engine_tanh(x: Array) -> Array:
    a = np.abs(x)
    return np.sign(x) * np.where(a < 4, between(points(math.tanh, 0, 4), 0, 4, a), 1)


def engine_erf(x: Array) -> Array:
    a, y = np.abs(x), points(math.erf, 0, 2)
    tail = np.minimum(y[-1] + (1 - y[-1]) * (a - 2) / 0.375, 1)
    return np.sign(x) * np.where(a < 2, between(y, 0, 2, a), tail)


def engine_sine(x: Array, quarters: int = 0) -> Array:
    quarter = 102943 / 65536
    turns = np.floor(x / quarter)
    rest, turn = x - turns * quarter, (turns.astype(int) + quarters) % 4
    y = between(points(math.sin, 0, quarter), 0, quarter, np.where(turn % 2, quarter - rest, rest))
    return np.where(np.abs(x) >= INFINITE, 0, np.where(turn >= 2, -y, y))


def engine_exp2(x: Array) -> Array:
    whole = np.floor(x)
    fraction = between(points(lambda v: 2**v, 0, 1), 0, 1, x - whole)
    return np.ldexp(fraction, np.clip(whole, -100, 100).astype(int))


def engine_exp(x: Array) -> Array:
    return engine_exp2(step(x * 1.4423828125))


@np.errstate(all="ignore")
def engine_log(x: Array) -> Array:
    significand, exponent = np.frexp(x)
    r = step(between(points(math.log2, 0.5, 1), 0.5, 1, significand))
    log2 = np.where(x == 0, -INFINITE, step(exponent + r))
    return np.where((x < 0) | (x >= INFINITE), 0, log2 * 0.693359375)


def engine_inverse(x: Array) -> Array:
    significand, exponent = np.frexp(np.abs(x))
    y = np.ldexp(between(points(lambda v: 1 / v, 0.5, 1), 0.5, 1, significand), -exponent)
    return np.where(x == 0, INFINITE, np.where(np.abs(x) >= INFINITE, 0, np.sign(x) * y))


def _root(function: Callable[[float], float], x: Array, power: int) -> Array:
    significand, exponent = np.frexp(np.abs(x))
    odd = exponent % 2
    y = between(points(function, 0.5, 2, 25), 0.5, 2, np.ldexp(significand, odd))
    return np.ldexp(y, power * (exponent - odd) // 2)


def engine_sqrt(x: Array) -> Array:
    return np.where(x <= 0, 0, np.where(x < INFINITE, _root(math.sqrt, x, 1), INFINITE))


def engine_rsqrt(x: Array) -> Array:
    y = np.where((x < 0) | (x >= INFINITE), 0, _root(lambda v: v**-0.5, x, -1))
    return np.where(x == 0, INFINITE, y)


@functools.cache
def fitted(function: Callable[[float], float], limit: float, zeros: int) -> Array:
    """Fit lines between 33 points to a function at every normal fp16, and some times at 0.

    This is the derivation of the points that the emulator has.
    """
    numbers = decoded(np.arange(0x0400, 0x7C00, dtype=np.uint16).view(np.float16))
    numbers = numbers[numbers <= limit]
    x = np.concatenate([numbers, -numbers, np.zeros(zeros)])
    place = (x + limit) * (16 / limit)
    first = np.minimum(np.floor(place), 31).astype(int)
    matrix, rows = np.zeros((len(x), 33)), np.arange(len(x))
    matrix[rows, first], matrix[rows, first + 1] = 1 - (place - first), place - first
    y = np.linalg.lstsq(matrix, np.array([function(v) for v in x]), rcond=None)[0]
    return y.astype(np.float16).astype(np.float64)


def _gelu(x: float) -> float:
    return x * math.erfc(-x / math.sqrt(2)) / 2


def _silu(x: float) -> float:
    return x / (1 + math.exp(-x))


def engine_gelu(x: Array) -> Array:
    return np.where(x < -4, 0, np.where(x < 4, between(fitted(_gelu, 4, 76), -4, 4, x), x))


def engine_silu(x: Array) -> Array:
    tail = np.minimum(-0.002351 * (x + 10.203125) / 2.203125, 0)
    return np.where(x < -8, tail, np.where(x < 8, between(fitted(_silu, 8, 65), -8, 8, x), x))


def engine_round(x: Array) -> Array:
    return np.copysign(np.floor(step(np.abs(x) + 0.5)), x)


ENGINE_UNARY = {
    "abs": np.abs,
    "ceil": np.ceil,
    "cos": lambda x: engine_sine(x, 1),
    "erf": engine_erf,
    "exp": engine_exp,
    "exp2": engine_exp2,
    "floor": np.floor,
    "gelu": engine_gelu,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "round": engine_round,
    "sigmoid": engine_sigmoid,
    "sign": np.sign,
    "silu": engine_silu,
    "sin": engine_sine,
    "softplus": lambda x: engine_log(step(1 + step(engine_exp(x)))),
    "softsign": lambda x: x * step(engine_inverse(step(1 + np.abs(x)))),
    "sqrt": engine_sqrt,
    "square": np.square,
    "tanh": engine_tanh,
}


ENGINE_WITH_SCALARS: dict[str, Callable[..., Array]] = {
    "clamped_relu": lambda x, alpha, beta: np.minimum(np.where(x < 0, alpha * x, x), beta),
    "clip": np.clip,
    "inverse": lambda x, epsilon: engine_inverse(x + epsilon),
    "leaky_relu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "linear_activation": lambda x, alpha, beta: alpha * x + beta,
    "log": lambda x, epsilon: engine_log(x + epsilon),
    "rsqrt": lambda x, epsilon: engine_rsqrt(x + epsilon),
    "scaled_tanh": lambda x, alpha, beta: alpha * step(engine_tanh(step(beta * x))),
    "sigmoid_hard": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "threshold": np.maximum,
    "thresholded_relu": lambda x, alpha: np.where(x < alpha, 0, x),
}


def engine_real_div(x: Array, y: Array) -> Array:
    return x * step(engine_inverse(y))


ENGINE_BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": engine_real_div,
    "maximum": np.maximum,
    "minimum": np.minimum,
}


def engine_unary(op: str, x: Halves) -> Halves:
    return engine_rounded(ENGINE_UNARY[op](decoded(x)))


def engine_binary(op: str, x: Halves, y: Halves) -> Halves:
    return engine_rounded(ENGINE_BINARY[op](decoded(x), decoded(y)))


def engine_quotient(sums: NDArray[np.int64], divisor: int) -> Halves:
    """Round sums in units of 2^-24 over a divisor, by integers alone."""
    words = np.empty(sums.shape, np.uint16)
    for at, total in np.ndenumerate(sums):
        numerator, sign = abs(int(total)), 0x8000 if total < 0 else 0
        shift = max(0, (numerator // divisor).bit_length() - 11)
        unit = divisor << shift
        word = (shift << 10) + (2 * numerator + unit) // (2 * unit)
        large = numerator > 65504 * 2**24 * divisor
        words[at] = 0 if word == 0 else sign | (0x7C00 if large else word)
    return words.view(np.float16)


def engine_units(x: Array, axes: tuple[int, ...]) -> NDArray[np.int64]:
    return (x * 2.0**24).astype(np.int64).sum(axes, keepdims=True)


def engine_sum(x: Array, axes: tuple[int, ...]) -> Halves:
    """Sum exactly, with one rounding."""
    return engine_quotient(engine_units(x, axes), 1)


def engine_mean(x: Array, axes: tuple[int, ...]) -> Halves:
    return engine_quotient(engine_units(x, axes), math.prod(x.shape[axis] for axis in axes))


def engine_long_sum(x: Array) -> Halves:
    """Sum along the last axis by the emulator's stand-in for the engine's unknown order."""
    total = np.zeros((*x.shape[:-1], 1))
    for first in range(0, x.shape[-1], CHUNK):
        part = decoded(engine_sum(x[..., first : first + CHUNK], (-1,)))
        total = step(total + part)
    return engine_rounded(total, REDUCTION_OVERFLOW)


def engine_softmax(x: Array, axis: int, longest: int = 384) -> Halves:
    powers = step(engine_exp(step(x - x.max(axis, keepdims=True))))
    is_long = axis % x.ndim == x.ndim - 1 and x.shape[axis] > longest
    total = decoded(engine_long_sum(powers) if is_long else engine_sum(powers, (axis,)))
    return engine_rounded(powers * step(engine_inverse(total)))


def engine_layer_norm(
    x: Array, axes: tuple[int, ...], gamma: Array | None, beta: Array | None, epsilon: float
) -> Halves:
    centred = step(x - decoded(engine_mean(x, axes)))
    variance = step((centred**2).mean(axes, keepdims=True))
    y = step(centred * step(engine_rsqrt(variance + epsilon)))
    if gamma is not None:
        y = step(y * gamma)
    if beta is not None:
        y = step(y + beta)
    return engine_rounded(y)
