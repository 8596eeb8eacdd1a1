"""Functions along axes: reductions, softmax, norms."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .rounding import ELEMENTARY, POWER, UNIT, Array, Expected

# Sums of k products or terms: in any order, each passes at most k roundings, so the error is at most
# k * UNIT * sum(|terms|); one or two more roundings are added where an operation has them.


@np.errstate(all="ignore")
def reduce_sum(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    x = np.asarray(x, np.float64)
    total = x.sum(tuple(axes), keepdims=keep_dims)
    terms = x.size // max(total.size, 1)
    return Expected(total, terms * UNIT * np.abs(x).sum(tuple(axes), keepdims=keep_dims))


@np.errstate(all="ignore")
def reduce_mean(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    total, error = reduce_sum(x, axes, keep_dims)
    terms = np.asarray(x).size // max(total.size, 1)
    return Expected(total / terms, error / terms + UNIT * np.abs(total / terms))


def reduce_max(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    return Expected(np.asarray(x, np.float64).max(tuple(axes), keepdims=keep_dims), np.float64(0.0))


def reduce_min(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    return Expected(np.asarray(x, np.float64).min(tuple(axes), keepdims=keep_dims), np.float64(0.0))


@np.errstate(all="ignore")
def reduce_l1_norm(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    return reduce_sum(np.abs(x), axes, keep_dims)


@np.errstate(all="ignore")
def reduce_sum_square(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    return reduce_sum(np.asarray(x, np.float64) ** 2, axes, keep_dims)


@np.errstate(all="ignore")
def reduce_l2_norm(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    total, error = reduce_sum_square(x, axes, keep_dims)
    value = np.sqrt(total)
    return Expected(value, np.sqrt(total + error) - value + UNIT * value)


@np.errstate(all="ignore")
def _log(total: Expected) -> Expected:
    value = np.log(total.value)
    return Expected(value, np.abs(total.error / total.value) * 2 + ELEMENTARY * np.abs(value))


@np.errstate(all="ignore")
def reduce_log_sum(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    return _log(reduce_sum(x, axes, keep_dims))


@np.errstate(all="ignore")
def reduce_log_sum_exp(x: NDArray, axes: Sequence[int], keep_dims: bool = True) -> Expected:
    x = np.asarray(x, np.float64)
    largest = x.max(tuple(axes), keepdims=True)
    below = x - largest
    total, error = reduce_sum(np.exp(below), axes, keep_dims)
    # The rounding of x - max matters as much as the term it belongs to.
    error = error + ((ELEMENTARY - UNIT * below) * np.exp(below)).sum(tuple(axes), keepdims=keep_dims)
    value, error = _log(Expected(total, error))
    result = value + largest.reshape(value.shape)
    return Expected(result, error + UNIT * np.abs(result))


def over_channels(parameter: NDArray | None, rank: int, default: float) -> Array:
    if parameter is None:
        return np.float64(default)
    return np.asarray(parameter, np.float64).reshape(-1, *[1] * (rank - 2))


@np.errstate(all="ignore")
def batch_norm(
    x: NDArray,
    mean: NDArray,
    variance: NDArray,
    gamma: NDArray | None,
    beta: NDArray | None,
    epsilon: float,
) -> Expected:
    x = np.asarray(x, np.float64)
    mean, variance = (over_channels(parameter, x.ndim, 0.0) for parameter in (mean, variance))
    scaled = (x - mean) / np.sqrt(variance + epsilon) * over_channels(gamma, x.ndim, 1.0)
    value = scaled + over_channels(beta, x.ndim, 0.0)
    return Expected(value, 6 * UNIT * np.abs(scaled) + UNIT * np.abs(value))


def instance_norm(x: NDArray, gamma: NDArray | None, beta: NDArray | None, epsilon: float) -> Expected:
    axes = range(2, x.ndim)
    value, error = layer_norm(x, axes, None, None, epsilon)
    scale, offset = over_channels(gamma, x.ndim, 1.0), over_channels(beta, x.ndim, 0.0)
    result = value * scale + offset
    return Expected(result, error * np.abs(scale) + 2 * UNIT * (np.abs(value * scale) + np.abs(offset)))


@np.errstate(all="ignore")
def l2_norm(x: NDArray, epsilon: float) -> Expected:
    x = np.asarray(x, np.float64)
    value = x / np.sqrt((x**2).sum((-3, -2, -1), keepdims=True) + epsilon)
    return Expected(value, (math.prod(x.shape[-3:]) + 4) * UNIT * np.abs(value))


@np.errstate(all="ignore")
def local_response_norm(x: NDArray, size: int, alpha: float, beta: float, k: float) -> Expected:
    x = np.asarray(x, np.float64)
    channels = x.shape[1]
    sums = np.stack(
        [(x[:, max(0, c - size // 2) : c + size // 2 + 1] ** 2).sum(1) for c in range(channels)],
        1,
    )
    value = x / (k + alpha / size * sums) ** beta
    # The argument of pow is no fp16 here, so its logarithm carries the argument's rounding.
    return Expected(value, ((size + 4) * abs(beta) * UNIT + 2 * POWER) * np.abs(value))


@np.errstate(all="ignore")
def softmax(x: NDArray, axis: int) -> Expected:
    x = np.asarray(x, np.float64)
    below = x - x.max(axis, keepdims=True)
    powers = np.exp(below)
    value = powers / powers.sum(axis, keepdims=True)
    # The rounding of x - max, the largest sum's, those of exp and of the quotient.
    relative = np.where(value > 0, UNIT * -below, 0.0) + (x.shape[axis] + 2) * UNIT + 2 * ELEMENTARY
    return Expected(value, relative * value)


@np.errstate(all="ignore")
def layer_norm(
    x: NDArray, axes: Sequence[int], gamma: NDArray | None, beta: NDArray | None, epsilon: float
) -> Expected:
    x, axes = np.asarray(x, np.float64), tuple(sorted(axis % x.ndim for axis in axes))
    shape = [x.shape[axis] if axis in axes else 1 for axis in range(x.ndim)]
    scale, offset = (
        default if given is None else np.asarray(given, np.float64).reshape(shape)
        for given, default in ((gamma, np.float64(1.0)), (beta, np.float64(0.0)))
    )
    n = math.prod(shape)

    def mean(values: Array) -> Array:
        return values.mean(axes, keepdims=True)

    centred = x - mean(x)
    deviation = np.sqrt(mean(centred**2) + epsilon)
    value = centred / deviation * scale + offset
    # x - mean errs by e; the mean of its squares by that of 2 |x - mean| e + e^2, and by the sum's roundings.
    e = (n + 2) * UNIT * mean(np.abs(x)) + UNIT * np.abs(centred)
    spread = mean(2 * np.abs(centred) * e + e**2) + (n + 4) * UNIT * mean((np.abs(centred) + e) ** 2)
    least = np.sqrt(np.maximum(mean(centred**2) - spread, 0.0) + epsilon)
    quotient = (np.abs(centred) + e) / least - np.abs(centred) / deviation
    error = np.abs(scale) * quotient + 6 * UNIT * (np.abs(centred * scale) / least + np.abs(offset))
    return Expected(value, error)
