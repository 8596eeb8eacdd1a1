"""Compute element by element: activations, roundings, arithmetic, comparisons."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .operation import Reference, weights

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


OPERATIONS: dict[str, Reference] = {
    "add": Reference(lambda x, y: x + y),
    "sub": Reference(lambda x, y: x - y),
    "mul": Reference(lambda x, y: x * y),
    "real_div": Reference(lambda x, y: x / y, values="positive"),
    "floor_div": Reference(lambda x, y: np.floor(x / y), {"y": 0.5}, values="grid", exact=True),
    "maximum": Reference(lambda x, y: np.maximum(x, y), exact=True),
    "minimum": Reference(lambda x, y: np.minimum(x, y), exact=True),
    "pow": Reference(lambda x, y: np.power(x, y), values="positive"),
    "equal": Reference(lambda x, y: x == y, values="grid", exact=True),
    "not_equal": Reference(lambda x, y: x != y, values="grid", exact=True),
    "greater": Reference(lambda x, y: x > y, values="grid", exact=True),
    "greater_equal": Reference(lambda x, y: x >= y, values="grid", exact=True),
    "less": Reference(lambda x, y: x < y, values="grid", exact=True),
    "less_equal": Reference(lambda x, y: x <= y, values="grid", exact=True),
    "logical_and": Reference(lambda x, y: x & y, exact=True),
    "logical_or": Reference(lambda x, y: x | y, exact=True),
    "logical_xor": Reference(lambda x, y: x ^ y, exact=True),
    "logical_not": Reference(lambda x: ~x, exact=True),
    "select": Reference(lambda cond, a, b: np.where(cond, a, b), exact=True),
    "abs": Reference(lambda x: np.abs(x), exact=True),
    "atan": Reference(lambda x: np.arctan(x), values="large", measured=0.019),
    "ceil": Reference(lambda x: np.ceil(x), values="grid", exact=True),
    "clamped_relu": Reference(
        lambda x, alpha, beta: np.minimum(np.where(x < 0, alpha * x, x), beta),
        {"alpha": 0.25, "beta": 2.0},
        exact=True,
    ),
    "clip": Reference(
        lambda x, alpha, beta: np.clip(x, alpha, beta), {"alpha": -0.5, "beta": 1.5}, exact=True
    ),
    "cos": Reference(lambda x: np.cos(x), values="grid"),
    "elu": Reference(lambda x, alpha: np.where(x < 0, alpha * np.expm1(x), x), {"alpha": 0.75}),
    "erf": Reference(lambda x: _erf(x), measured=7e-4),
    "exp": Reference(lambda x: np.exp(x), measured=4.7e-3),
    "exp2": Reference(lambda x: np.exp2(x)),
    "floor": Reference(lambda x: np.floor(x), values="grid", exact=True),
    "gelu": Reference(_gelu, values="grid", measured=2.4e-3),
    "inverse": Reference(lambda x, epsilon: 1 / (x + epsilon), values="positive"),
    "leaky_relu": Reference(lambda x, alpha: np.where(x < 0, alpha * x, x), {"alpha": 0.125}, exact=True),
    "linear_activation": Reference(lambda x, alpha, beta: alpha * x + beta, {"alpha": 1.5, "beta": 0.25}),
    "log": Reference(lambda x, epsilon: np.log(x + epsilon), values="positive", measured=8e-4),
    "prelu": Reference(
        lambda x, alpha: np.where(x < 0, _over_channels(alpha, x.ndim) * x, x), {"alpha": weights(32)}
    ),
    "relu": Reference(lambda x: np.maximum(x, 0), exact=True),
    "relu6": Reference(lambda x: np.clip(x, 0, 6), values="large", exact=True),
    "round": Reference(lambda x: np.copysign(np.floor(np.abs(x) + 0.5), x), values="grid", exact=True),
    "rsqrt": Reference(lambda x, epsilon: 1 / np.sqrt(x + epsilon), values="positive", measured=1e-3),
    "scaled_tanh": Reference(
        lambda x, alpha, beta: alpha * np.tanh(beta * x), {"alpha": 1.75, "beta": 0.5}, measured=1.3e-3
    ),
    "sigmoid": Reference(_sigmoid, measured=3.8e-3),
    "sigmoid_hard": Reference(
        lambda x, alpha, beta: np.clip(alpha * x + beta, 0, 1), {"alpha": 0.25, "beta": 0.5}
    ),
    "sign": Reference(lambda x: np.sign(x), exact=True),
    "silu": Reference(lambda x: x * _sigmoid(x), measured=0.01),
    "sin": Reference(lambda x: np.sin(x), values="grid"),
    "softplus": Reference(lambda x: np.logaddexp(0, x), values="grid", measured=6e-3),
    "softsign": Reference(lambda x: x / (1 + np.abs(x)), values="large", measured=1e-3),
    "sqrt": Reference(lambda x: np.sqrt(x), values="positive"),
    "square": Reference(lambda x: np.square(x)),
    "tanh": Reference(lambda x: np.tanh(x), values="large", measured=1.3e-3),
    "threshold": Reference(lambda x, alpha: np.maximum(x, alpha), {"alpha": 0.5}, exact=True),
    "thresholded_relu": Reference(lambda x, alpha: np.where(x >= alpha, x, 0.0), {"alpha": 0.5}, exact=True),
}
