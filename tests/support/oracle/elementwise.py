"""Functions of single elements: arithmetic, activations, elementary functions."""

import math

import numpy as np
from numpy.typing import NDArray

from .rounding import ELEMENTARY, POWER, UNIT, Array, Expected, doubles


def add(x: Array, y: Array) -> Array:
    return np.add(x, y)


def sub(x: Array, y: Array) -> Array:
    return np.subtract(x, y)


def mul(x: Array, y: Array) -> Array:
    return np.multiply(x, y)


def real_div(x: Array, y: Array) -> Array:
    return np.divide(x, y)


def maximum(x: Array, y: Array) -> Array:
    """Return NaN if either is, and -0 < +0 (IEEE 754-2019)."""
    return np.where((x == 0) & (y == 0), x + y, np.maximum(x, y))


def minimum(x: Array, y: Array) -> Array:
    return -maximum(-x, -y)


def relu(x: Array) -> Array:
    return maximum(x, np.float64(0.0))


def sign(x: Array) -> Array:
    return np.where(x == 0, 0.0, np.sign(x))


def leaky_relu(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * x, x)


def clamped_relu(x: Array, alpha: float, beta: float) -> Array:
    return minimum(leaky_relu(x, alpha), np.float64(beta))


def clip(x: Array, alpha: float, beta: float) -> Array:
    return minimum(maximum(x, np.float64(alpha)), np.float64(beta))


def threshold(x: Array, alpha: float) -> Array:
    return maximum(x, np.float64(alpha))


def thresholded_relu(x: Array, alpha: float) -> Array:
    return np.where(x < alpha, 0.0, x)


EXACT_BINARY = {f.__name__: f for f in (add, sub, mul, real_div, maximum, minimum)}
EXACT_UNARY = {
    "abs": np.abs,
    "ceil": np.ceil,
    "floor": np.floor,
    "relu": relu,
    "relu6": lambda x: clip(x, 0, 6),
    "sign": sign,
    "sqrt": np.sqrt,
    "square": np.square,
}
EXACT_WITH_SCALARS = {f.__name__: f for f in (leaky_relu, clamped_relu, clip, threshold, thresholded_relu)}
# Scalars to try. With the first ones the function rises everywhere, and fp16 holds them.
SCALARS = {
    "leaky_relu": [(0.25,), (0.01,), (-3.0,)],
    "threshold": [(0.25,), (0.0,), (-7.5,)],
    "thresholded_relu": [(0.25,), (1.0,), (-2.0,)],
    "clamped_relu": [(0.5, 3.0), (0.1, 6.0), (-2.0, 100.0)],
    "clip": [(-1.5, 2.0), (-1.0, 1.0), (0.25, 65504.0)],
    "elu": [(0.75,), (1.0,), (0.3,)],
    "linear_activation": [(1.5, -0.25), (2.0, 1.0), (0.1, -30.0)],
    "sigmoid_hard": [(0.25, 0.5), (0.2, 0.5), (-1.0, 0.0)],
    "scaled_tanh": [(1.5, 0.5), (1.7159, 0.6667), (300.0, 1e-3)],
    "inverse": [(1e-4,), (0.0,), (0.5,)],
}
COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")


@np.errstate(all="ignore")
def exact(op: str, *operands: NDArray) -> Array:
    """Compute an operation of the EXACT tables: rounded to fp32 and then to fp16 it is as if rounded once,
    since fp32 has more than twice the bits."""
    return {**EXACT_BINARY, **EXACT_UNARY, **EXACT_WITH_SCALARS}[op](*doubles(*operands))


@np.errstate(all="ignore")
def floor_div(x: NDArray, y: NDArray) -> Array:
    """Round the quotient to fp32, then down."""
    return np.floor(np.divide(x, y, dtype=np.float32)).astype(np.float64)


# Element by element: elementary functions


def sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def silu(x: Array) -> Array:
    return np.where(x == -np.inf, -0.0, x * sigmoid(x))


def gelu_exact(x: Array) -> Array:
    normal = np.array([math.erfc(-v / math.sqrt(2)) / 2 for v in x.ravel()]).reshape(x.shape)
    return np.where(x == -np.inf, -0.0, x * normal)


def gelu_tanh(x: Array) -> Array:
    # (1 + tanh u) / 2 = sigmoid(2 u), without the cancellation.
    u = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return np.where(x == -np.inf, -0.0, x * sigmoid(2 * u))


def gelu_sigmoid(x: Array) -> Array:
    return np.where(x == -np.inf, -0.0, x * sigmoid(1.702 * x))


def erf(x: Array) -> Array:
    return np.array([math.erf(v) for v in x.ravel()]).reshape(x.shape)


ELEMENTARY_UNARY = {
    "atan": np.arctan,
    "erf": erf,
    "exp": np.exp,
    "exp2": np.exp2,
    "softplus": lambda x: np.logaddexp(0, x),
    "softsign": lambda x: np.where(np.isinf(x), np.sign(x), x / (1 + np.abs(x))),
    "sigmoid": sigmoid,
    "silu": silu,
    "tanh": np.tanh,
    "gelu_exact": gelu_exact,
    "gelu_sigmoid": gelu_sigmoid,
    "gelu_tanh": gelu_tanh,
}


@np.errstate(all="ignore")
def elementary(op: str, x: NDArray) -> Expected:
    value = ELEMENTARY_UNARY[op](np.asarray(x, np.float64))
    return Expected(value, ELEMENTARY * np.abs(value))


@np.errstate(all="ignore")
def sine(op: str, x: NDArray) -> Expected:
    # Beside the polynomial's error, that of bringing large arguments near zero.
    value = {"sin": np.sin, "cos": np.cos}[op](np.asarray(x, np.float64))
    return Expected(value, ELEMENTARY * np.abs(value) + 2.0**-31)


@np.errstate(all="ignore")
def inverse(x: NDArray, epsilon: float) -> Expected:
    value = 1 / (np.asarray(x, np.float64) + epsilon)
    return Expected(value, ELEMENTARY * np.abs(value))


@np.errstate(all="ignore")
def elu(x: NDArray, alpha: float) -> Expected:
    x = np.asarray(x, np.float64)
    value = np.where(x < 0, alpha * np.expm1(x), x)
    return Expected(value, ELEMENTARY * np.abs(value))


@np.errstate(all="ignore")
def scaled_tanh(x: NDArray, alpha: float, beta: float) -> Expected:
    value = alpha * np.tanh(beta * np.asarray(x, np.float64))
    return Expected(value, ELEMENTARY * np.abs(value))


@np.errstate(all="ignore")
def linear_activation(x: NDArray, alpha: float, beta: float) -> Expected:
    value = alpha * np.asarray(x, np.float64) + beta
    return Expected(value, UNIT * np.abs(value))


def sigmoid_hard(x: NDArray, alpha: float, beta: float) -> Expected:
    value, error = linear_activation(x, alpha, beta)
    return Expected(np.clip(value, 0, 1), np.where(np.isfinite(error), error, 0.0))


@np.errstate(all="ignore")
def log(x: NDArray, epsilon: float = 0.0) -> Expected:
    # Rounding x + epsilon moves the logarithm by as much as it moves the argument, relatively.
    value = np.log(np.asarray(x, np.float64) + epsilon)
    return Expected(value, ELEMENTARY * np.abs(value) + (UNIT if epsilon else 0.0))


@np.errstate(all="ignore")
def rsqrt(x: NDArray, epsilon: float = 0.0) -> Expected:
    value = 1 / np.sqrt(np.asarray(x, np.float64) + epsilon)
    return Expected(value, ELEMENTARY * np.abs(value))


@np.errstate(all="ignore")
def pow(x: NDArray, y: NDArray) -> Expected:
    x, y = np.broadcast_arrays(*doubles(x, y))
    # For one exponent of 1/2 numpy takes the square root, which is undefined for -inf.
    value = np.power(x, y.copy())
    return Expected(value, POWER * np.abs(value))
