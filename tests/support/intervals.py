"""Enclosures: for every element of every value of a program, the interval that the result lies in.

An operation's true range over its operands' intervals is widened by the fp32 error that the oracle grants it,
and its ends are rounded to fp16. Rounding never swaps two numbers, so what is enclosed before is enclosed
after: the bound is rigorous however many operations follow each other, and no wider than they make it. What
is known exactly stays known to the bit through operations that round once. Where nothing is known, as after
a division by what may be zero, the interval is everything.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from support import oracle
from support.oracle.rounding import ELEMENTARY, OVERFLOW, POWER, REDUCTION_OVERFLOW, UNIT, Array, Expected


class Interval(NamedTuple):
    """Ends are fp16 numbers, held in float64; those of bools are 0 and 1."""

    low: Array
    high: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return self.low.shape

    @property
    def size(self) -> Array:
        return np.maximum(np.abs(self.low), np.abs(self.high))

    @property
    def middle(self) -> Array:
        return (self.low + self.high) / 2

    @property
    def radius(self) -> Array:
        return (self.high - self.low) / 2

    @property
    def sharp(self) -> NDArray[np.bool_]:
        """Tell which elements are known to 1 % or 0.001: a wrong operand or lost element errs by far more."""
        with np.errstate(invalid="ignore"):
            return np.where(self.low == self.high, True, self.high - self.low <= 0.001 + 0.01 * self.size)

    def contains(self, got: NDArray) -> NDArray[np.bool_]:
        got = np.asarray(got, np.float64)
        return (self.low <= got) & (got <= self.high) | (
            np.isinf(self.low) & np.isinf(self.high) & np.isnan(got)
        )


def point(x: NDArray) -> Interval:
    x = np.asarray(x, np.float64)
    return Interval(x, x)


@np.errstate(all="ignore")
def rounded(low: Array, high: Array) -> Interval:
    """Round to fp16. Elements and reductions overflow at different numbers; if in doubt, to infinity."""
    low, high = np.broadcast_arrays(np.asarray(low, np.float64), np.asarray(high, np.float64))
    ends = [
        oracle.rounded(end, overflow=np.where(outward, REDUCTION_OVERFLOW, OVERFLOW)).astype(np.float64)
        for end, outward in ((low, low < 0), (high, high > 0))
    ]
    unknown = np.isnan(low) | np.isnan(high)
    return Interval(np.where(unknown, -np.inf, ends[0]), np.where(unknown, np.inf, ends[1]))


def within(value: Array, error: Array) -> Interval:
    return rounded(value - error, value + error)


Point = Callable[..., "Array | Expected"]


def _expected(result: Array | Expected) -> Expected:
    return result if isinstance(result, Expected) else Expected(np.asarray(result), np.float64(0.0))


@np.errstate(all="ignore")
def rising(f: Point, *operands: Interval) -> Interval:
    """Bound a function that no growing operand makes smaller, nor its error less than proportionally."""
    low, high = (_expected(f(*ends)) for ends in zip(*operands, strict=True))
    return rounded(low.value - low.error, high.value + high.error)


@np.errstate(all="ignore")
def falling(f: Point, x: Interval) -> Interval:
    low, high = _expected(f(x.high)), _expected(f(x.low))
    return rounded(low.value - low.error, high.value + high.error)


@np.errstate(all="ignore")
def smooth(f: Point, x: Interval, slope: float) -> Interval:
    """Bound a function whose slope is nowhere larger than `slope`."""
    value, error = _expected(f(x.middle))
    spread = slope * x.radius
    return within(value, spread + error + ELEMENTARY * spread)


@np.errstate(all="ignore")
def moved(f: Callable[..., NDArray], *operands: Interval) -> Interval:
    """Bound a function that only moves elements."""
    return Interval(*(f(*ends) for ends in zip(*operands, strict=True)))


@np.errstate(all="ignore")
def extremes(f: Point, x: Interval, y: Interval) -> Interval:
    """Bound a function that is monotone in each operand: its extremes lie at corners."""
    corners = [_expected(f(a, b)) for a in x for b in y]
    least, most = ([c.value + sign * c.error for c in corners] for sign in (-1, 1))
    return rounded(np.min(np.broadcast_arrays(*least), 0), np.max(np.broadcast_arrays(*most), 0))


def subtract(x: Interval, y: Interval) -> Interval:
    return rising(np.add, x, Interval(-y.high, -y.low))


@np.errstate(all="ignore")
def divide(x: Interval, y: Interval, f: Point = np.divide) -> Interval:
    result = extremes(f, x, y)
    unknown = np.broadcast_to((y.low <= 0) & (y.high >= 0), result.shape)
    return Interval(np.where(unknown, -np.inf, result.low), np.where(unknown, np.inf, result.high))


def magnitude(x: Interval) -> Interval:
    return Interval(np.maximum(0.0, np.maximum(x.low, -x.high)), x.size)


def less(x: Interval, y: Interval) -> Interval:
    return Interval((x.high < y.low).astype(float), (x.low < y.high).astype(float))


def equal(x: Interval, y: Interval) -> Interval:
    surely = (x.low == x.high) & (y.low == y.high) & (x.low == y.low)
    return Interval(surely.astype(float), ((x.low <= y.high) & (y.low <= x.high)).astype(float))


def opposite(truth: Interval) -> Interval:
    return Interval(1 - truth.high, 1 - truth.low)


@np.errstate(all="ignore")
def softplus(x: Interval) -> Interval:
    """Compute the engine's softplus, which is 0 from 11.09 on, where its exponential overflows."""
    limit = 11.09
    below = Interval(np.minimum(x.low, limit), np.minimum(x.high, limit))
    result = rising(lambda a: oracle.elementary("softplus", a), below)
    return Interval(np.where(x.high >= limit, 0.0, result.low), np.where(x.low >= limit, 0.0, result.high))


@np.errstate(all="ignore")
def select(condition: Interval, a: Interval, b: Interval) -> Interval:
    surely, possibly = condition.low == 1, condition.high == 1
    low, high = np.minimum(a.low, b.low), np.maximum(a.high, b.high)
    return Interval(
        np.where(surely, a.low, np.where(possibly, low, b.low)),
        np.where(surely, a.high, np.where(possibly, high, b.high)),
    )


@np.errstate(all="ignore")
def sums(f: Callable[[Array], Expected], x: Interval) -> Interval:
    """Bound sums with weights that are not negative, and errors that grow with their terms' sizes."""
    error = f(x.size).error
    return rounded(f(x.low).value - error, f(x.high).value + error)


@np.errstate(all="ignore")
def product(f: Callable[[Array, Array], Expected], x: Interval, y: Interval) -> Interval:
    """Bound a sum of products: |x y - m n| <= (|m| + r) (|n| + s) - |m| |n|, m and n being middles."""
    value = f(x.middle, y.middle).value
    spread = f(np.abs(x.middle) + x.radius, np.abs(y.middle) + y.radius).value
    spread = spread - f(np.abs(x.middle), np.abs(y.middle)).value
    return within(value, spread + f(x.size, y.size).error)


@np.errstate(all="ignore")
def _weights(low: Array, high: Array, axis: int) -> tuple[Array, Array]:
    """Bound softmax: an element is largest where it is itself largest and the others are smallest."""
    top = high.max(axis, keepdims=True)
    least, most = np.exp(low - top), np.exp(high - top)
    others_most = most.sum(axis, keepdims=True) - most
    others_least = least.sum(axis, keepdims=True) - least
    # A difference of sums may lose what an addition would keep.
    slack = 1e-14 * most.sum(axis, keepdims=True)
    return least / (least + others_most + slack), most / (most + np.maximum(others_least - slack, 0.0))


@np.errstate(all="ignore")
def softmax(x: Interval, axis: int) -> Interval:
    low, high = _weights(x.low, x.high, axis)
    depth = x.high.max(axis, keepdims=True) - x.low
    relative = UNIT * depth + (x.shape[axis] + 2) * UNIT + 2 * ELEMENTARY
    return rounded(low * (1 - relative), high * (1 + relative))


@np.errstate(all="ignore")
def attention(query: Interval, key: Interval, value: Interval) -> Interval:
    features, length = query.shape[-1], key.shape[-2]
    scale = 1 / math.sqrt(features)
    turned = Interval(key.middle.swapaxes(-1, -2), key.radius.swapaxes(-1, -2))
    middle = query.middle @ turned[0] * scale
    sizes = (np.abs(query.middle) + query.radius) @ (np.abs(turned[0]) + turned[1]) * scale
    error = sizes - np.abs(query.middle) @ np.abs(turned[0]) * scale + (features + 6) * UNIT * sizes
    low, high = _weights(middle - error, middle + error, -1)
    relative = UNIT * 2 * sizes.max(-1, keepdims=True) + (length + 2) * UNIT + 2 * ELEMENTARY
    weights = Interval(low * (1 - relative), high * (1 + relative))
    return product(oracle.matmul, weights, value)


@np.errstate(all="ignore")
def layer_norm(x: Interval, axes: Sequence[int], gamma: Array, beta: Array, epsilon: float) -> Interval:
    """Normalize as oracle.layer_norm does, x - mean(x) erring by its interval too."""
    axes = tuple(axes)
    n = math.prod(x.shape[axis] for axis in axes)

    def mean(values: Array) -> Array:
        return values.mean(axes, keepdims=True)

    centred = x.middle - mean(x.middle)
    deviation = np.sqrt(mean(centred**2) + epsilon)
    e = (n + 2) * UNIT * mean(x.size) + UNIT * np.abs(centred) + x.radius + mean(x.radius)
    spread = mean(2 * np.abs(centred) * e + e**2) + (n + 4) * UNIT * mean((np.abs(centred) + e) ** 2)
    least = np.sqrt(np.maximum(mean(centred**2) - spread, 0.0) + epsilon)
    most = np.sqrt(mean(centred**2) + spread + epsilon)
    size, shift = np.abs(gamma), np.abs(centred) + e
    # Either |centred| + e over the least deviation, or |centred| - e over the largest.
    quotient = np.maximum(
        shift / least - np.abs(centred) / deviation, np.abs(centred) / deviation - (shift - 2 * e) / most
    )
    # instance_norm rounds twice more.
    error = size * quotient + 8 * UNIT * (size * shift / least + np.abs(beta))
    return within(centred / deviation * gamma + beta, error)


@np.errstate(all="ignore")
def l2_norm(x: Interval, epsilon: float) -> Interval:
    """Bound x / sqrt(x^2 + o), o being epsilon and the others' squares: it rises with x and falls with o."""
    axes = (-3, -2, -1)
    squares = Interval(magnitude(x).low ** 2, x.size**2)
    # A difference of sums may lose what an addition would keep.
    slack = 1e-14 * squares.high.sum(axes, keepdims=True)
    few, many = (s.sum(axes, keepdims=True) - s for s in squares)
    few, many = np.maximum(few - slack, 0.0) + epsilon, many + slack + epsilon
    relative = (math.prod(x.shape[-3:]) + 4) * UNIT
    return _quotients(x, lambda a, others: a / np.sqrt(a**2 + others), Interval(few, many), relative)


@np.errstate(all="ignore")
def local_response_norm(x: Interval, size: int, alpha: float, beta: float, k: float) -> Interval:
    def sums(a: Array) -> Array:
        windows = (a[:, max(0, c - size // 2) : c + size // 2 + 1] for c in range(x.shape[1]))
        return k + alpha / size * np.stack([window.sum(1) for window in windows], 1)

    divisor = Interval(sums(magnitude(x).low ** 2) ** beta, sums(x.size**2) ** beta)
    return _quotients(x, np.divide, divisor, (size + 4) * abs(beta) * UNIT + 2 * POWER)


def _quotients(
    x: Interval, f: Callable[[Array, Array], Array], divisor: Interval, relative: float
) -> Interval:
    """Bound a function that rises with x, whose size falls with the divisor, and whose error is relative."""
    low = f(x.low, np.where(x.low < 0, divisor.low, divisor.high))
    high = f(x.high, np.where(x.high < 0, divisor.high, divisor.low))
    return rounded(low - relative * np.abs(low), high + relative * np.abs(high))
