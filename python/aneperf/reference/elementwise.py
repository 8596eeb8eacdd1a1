"""Element by element: arithmetic, comparisons, activations, roundings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_erf = np.vectorize(math.erf, otypes=[np.float64])
_erfc = np.vectorize(math.erfc, otypes=[np.float64])


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu(x: Array, mode: str) -> Array:
    if mode == "TANH_APPROXIMATION":
        return x * _sigmoid(2 * math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return x * (_sigmoid(1.702 * x) if mode == "SIGMOID_APPROXIMATION" else _erfc(-x / math.sqrt(2)) / 2)


def _over_channels(parameter: Array, rank: int) -> Array:
    return parameter.reshape(-1, *[1] * (rank - 2))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "real_div": lambda x, y: x / y,
    "floor_div": lambda x, y: np.floor(x / y),
    "maximum": lambda x, y: np.maximum(x, y),
    "minimum": lambda x, y: np.minimum(x, y),
    "pow": lambda x, y: np.power(x, y),
    "equal": lambda x, y: x == y,
    "not_equal": lambda x, y: x != y,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "less": lambda x, y: x < y,
    "less_equal": lambda x, y: x <= y,
    "logical_not": lambda x: ~x,
    "select": lambda cond, a, b: np.where(cond, a, b),
    "abs": lambda x: np.abs(x),
    "atan": lambda x: np.arctan(x),
    "ceil": lambda x: np.ceil(x),
    "clamped_relu": lambda x, alpha, beta: np.minimum(np.where(x < 0, alpha * x, x), beta),
    "clip": lambda x, alpha, beta: np.clip(x, alpha, beta),
    "cos": lambda x: np.cos(x),
    "elu": lambda x, alpha: np.where(x < 0, alpha * np.expm1(x), x),
    "erf": lambda x: _erf(x),
    "exp": lambda x: np.exp(x),
    "exp2": lambda x: np.exp2(x),
    "floor": lambda x: np.floor(x),
    "gelu": _gelu,
    "inverse": lambda x, epsilon: 1 / (x + epsilon),
    "leaky_relu": lambda x, alpha: np.where(x < 0, alpha * x, x),
    "linear_activation": lambda x, alpha, beta: alpha * x + beta,
    "log": lambda x, epsilon: np.log(x + epsilon),
    "prelu": lambda x, alpha: np.where(x < 0, _over_channels(alpha, x.ndim) * x, x),
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "round": lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x),
    "rsqrt": lambda x, epsilon: 1 / np.sqrt(x + epsilon),
    "scaled_tanh": lambda x, alpha, beta: alpha * np.tanh(beta * x),
    "sigmoid": _sigmoid,
    "sigmoid_hard": lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1),
    "sign": lambda x: np.sign(x),
    "silu": lambda x: x * _sigmoid(x),
    "sin": lambda x: np.sin(x),
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": lambda x: np.sqrt(x),
    "square": lambda x: np.square(x),
    "tanh": lambda x: np.tanh(x),
    "threshold": lambda x, alpha: np.maximum(x, alpha),
    "thresholded_relu": lambda x, alpha: np.where(x >= alpha, x, 0.0),
}
