"""Every operation in float64, and how near to it a result in fp16 must be.

Functions take arrays of any float dtype and compute in float64. Those whose fp32 arithmetic may err return an
Expected, for `assert_within`. The others return the exact value, or one that rounds to the same fp16: it is
rounded with `rounded` and compared bit for bit.
"""

import math
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Halves = NDArray[np.float16]

UNIT = 2.0**-24  # the relative error of one fp32 rounding
ELEMENTARY = 8 * UNIT  # of an elementary function in fp32
POWER = 16 * UNIT  # of pow, whose argument to exp2 is large

OVERFLOW = 65520.0  # what is nearer to 65536 than to 65504 is infinite
PRODUCT_OVERFLOW = 32760.0  # the engine's convolutions and matrix products: what rounds to 32768
REDUCTION_OVERFLOW = 65504.004  # the engine's reductions: anything past 65504


class Expected(NamedTuple):
    """The true value, and a bound on the error of computing it in fp32."""

    value: Array
    error: Array


def spacing(x: Array) -> Array:
    """The distance between neighbouring fp16 numbers at |x|; that of subnormals is the least normals'."""
    _, exponent = np.frexp(np.where(np.isfinite(x), x, 0.0))
    return np.ldexp(1.0, np.maximum(exponent - 1, -14) - 10)


@np.errstate(all="ignore")
def rounded(
    value: Array, *, ties_away: bool = False, overflow: float = OVERFLOW, has_nan: bool = False
) -> Halves:
    """The nearest fp16; without NaN, what is undefined is +0."""
    value = np.asarray(value, np.float64)
    step = spacing(value)
    count = np.abs(value) / step
    whole, rest = np.floor(count), count - np.floor(count)
    up = (rest > 0.5) | ((rest == 0.5) & (ties_away | (whole % 2 == 1)))
    magnitude = np.where(np.abs(value) >= overflow, np.inf, (whole + up) * step)
    undefined = np.nan if has_nan else 0.0
    return np.where(np.isnan(value), undefined, np.copysign(magnitude, value)).astype(np.float16)


def assert_same(got: Halves, expected: Halves) -> None:
    """The same bits; a NaN is a NaN."""
    assert got.dtype == expected.dtype
    assert got.shape == expected.shape
    canonical = [np.where(np.isnan(a), np.float16(np.nan), a) for a in (got, expected)]
    np.testing.assert_array_equal(*(a.view(np.uint16) for a in canonical))


@np.errstate(all="ignore")
def assert_within(
    got: Halves, expected: Expected, *, overflow: float = OVERFLOW, has_nan: bool = False
) -> None:
    """What one rounding to fp16 allows, to even or away.

    Let t be the true value, f the fp32 result with |f - t| <= e, and g the fp16 nearest to f. Then g and f
    are at most half a spacing of fp16 at f apart; the spacing grows with |f|, which is at most |t| + e. So

        |g - t| <= spacing(|t| + e) / 2 + e,

    and g is infinite if |f| reaches `overflow`: surely if |t| - e does, possibly if |t| + e does.
    """
    true, error = np.broadcast_arrays(np.asarray(expected.value), np.asarray(expected.error))
    assert got.shape == true.shape
    assert got.dtype == np.float16
    error = np.where(np.isfinite(true), error, 0.0)
    assert np.isfinite(error).all(), "no bound is known"
    g, size = got.astype(np.float64), np.abs(true)
    near = (np.abs(g - true) <= spacing(size + error) / 2 + error) & (size - error < overflow)
    infinite = (g == np.copysign(np.inf, true)) & (size + error >= overflow)
    undefined = np.isnan(g) if has_nan else (g == 0)
    good = np.where(np.isnan(true), undefined, near | infinite)
    if not good.all():
        at = np.unravel_index(int(np.argmin(good)), good.shape)
        raise AssertionError(
            f"{np.count_nonzero(~good)} of {good.size} elements are wrong; at {[int(i) for i in at]}: "
            f"got {g[at]!r}, true value {true[at]!r}, fp32 error {error[at]!r}"
        )


def _doubles(*arrays: NDArray) -> list[Array]:
    return [np.asarray(array, np.float64) for array in arrays]


# Element by element: exact


def add(x: Array, y: Array) -> Array:
    return np.add(x, y)


def sub(x: Array, y: Array) -> Array:
    return np.subtract(x, y)


def mul(x: Array, y: Array) -> Array:
    return np.multiply(x, y)


def real_div(x: Array, y: Array) -> Array:
    return np.divide(x, y)


def maximum(x: Array, y: Array) -> Array:
    """IEEE 754-2019: NaN if either is, and -0 < +0."""
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
COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")


@np.errstate(all="ignore")
def exact(op: str, *operands: NDArray) -> Array:
    """An operation of the EXACT tables: rounded to fp32 and then to fp16 it is as if rounded once,
    since fp32 has more than twice the bits."""
    return {**EXACT_BINARY, **EXACT_UNARY, **EXACT_WITH_SCALARS}[op](*_doubles(*operands))


@np.errstate(all="ignore")
def floor_div(x: NDArray, y: NDArray) -> Array:
    """The quotient is rounded to fp32 before it is rounded down."""
    return np.floor(np.divide(x, y, dtype=np.float32)).astype(np.float64)


@np.errstate(all="ignore")
def round_by_adding_half(x: NDArray) -> Array:
    """floor(|x| + 0.5) with the sum in fp16, ties away from zero, and the sign of x."""
    sums = rounded(np.abs(np.asarray(x, np.float64)) + 0.5, ties_away=True)
    return np.copysign(np.floor(sums.astype(np.float64)), x)


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
    x, y = np.broadcast_arrays(*_doubles(x, y))
    # Of one exponent of 1/2 for all elements numpy would make a square root, for which -inf is undefined.
    value = np.power(x, y.copy())
    return Expected(value, POWER * np.abs(value))


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
def pool(
    op: str,
    x: NDArray,
    kernel: Sequence[int],
    strides: Sequence[int],
    pad: Sequence[int],
    ceil_mode: bool = False,
    exclude_padding: bool = False,
) -> Expected:
    x = np.asarray(x, np.float64)
    positions = []
    for axis in range(2):
        extent, before, after = x.shape[2 + axis], pad[2 * axis], pad[2 * axis + 1]
        free = extent + before + after - kernel[axis]
        count = (-(-free // strides[axis]) if ceil_mode else free // strides[axis]) + 1
        positions.append(count - (ceil_mode and (count - 1) * strides[axis] >= extent + before))
    value, error = np.zeros((*x.shape[:2], *positions)), np.zeros((*x.shape[:2], *positions))
    for row, column in product(*map(range, positions)):
        first = [row * strides[0] - pad[0], column * strides[1] - pad[2]]
        inside = [slice(max(0, f), f + k) for f, k in zip(first, kernel, strict=True)]
        window = x[:, :, inside[0], inside[1]]
        full = math.prod(
            min(f + k, x.shape[2 + axis] + pad[2 * axis + 1]) - f
            for axis, (f, k) in enumerate(zip(first, kernel, strict=True))
        )
        count = math.prod(window.shape[2:]) if exclude_padding else full
        size = math.prod(window.shape[2:]) + 2
        if op == "max_pool":
            value[:, :, row, column] = window.max((2, 3))
        elif op == "avg_pool":
            value[:, :, row, column] = window.sum((2, 3)) / count
            error[:, :, row, column] = size * UNIT * np.abs(window).sum((2, 3)) / count
        else:
            value[:, :, row, column] = np.sqrt((window**2).sum((2, 3)))
            error[:, :, row, column] = size * UNIT * value[:, :, row, column]
    return Expected(value, error)


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


# Products


@np.errstate(all="ignore")
def matmul(x: NDArray, y: NDArray, transpose_x: bool = False, transpose_y: bool = False) -> Expected:
    x, y = _doubles(x, y)
    x, y = x.swapaxes(-1, -2) if transpose_x else x, y.swapaxes(-1, -2) if transpose_y else y
    return Expected(x @ y, x.shape[-1] * UNIT * (np.abs(x) @ np.abs(y)))


@np.errstate(all="ignore")
def linear(x: NDArray, weight: NDArray, bias: NDArray | None = None) -> Expected:
    value, error = matmul(x, weight, transpose_y=True)
    offset = np.zeros(weight.shape[0]) if bias is None else np.asarray(bias, np.float64)
    return Expected(value + offset, error + UNIT * (np.abs(value) + np.abs(offset) + error))


def same_padding(
    extents: Sequence[int], kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> list[int]:
    """pad_type "same": ceil(extent / stride) positions, the odd element of padding last."""
    pad = []
    for extent, taps, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        reach = (-(-extent // stride) - 1) * stride + (taps - 1) * dilation + 1
        total = max(0, reach - extent)
        pad += [total // 2, total - total // 2]
    return pad


@np.errstate(all="ignore")
def conv(
    x: NDArray,
    weight: NDArray,
    strides: Sequence[int] = (1, 1),
    pad: Sequence[int] = (0, 0, 0, 0),
    dilations: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Expected:
    x, weight = _doubles(x, weight)
    padded = np.pad(x, ((0, 0), (0, 0), tuple(pad[:2]), tuple(pad[2:])))
    out_channels, in_channels, *kernel = weight.shape
    positions = [
        (padded.shape[2 + i] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1 for i in range(2)
    ]
    value = np.zeros((x.shape[0], out_channels, *positions))
    size = np.zeros_like(value)
    for tap in product(*map(range, kernel)):
        first = [tap[i] * dilations[i] for i in range(2)]
        rows, columns = (
            slice(first[i], first[i] + (positions[i] - 1) * strides[i] + 1, strides[i]) for i in range(2)
        )
        for group in range(groups):
            channels = slice(group * in_channels, (group + 1) * in_channels)
            outs = slice(group * out_channels // groups, (group + 1) * out_channels // groups)
            seen, factors = padded[:, channels, rows, columns], weight[outs, :, tap[0], tap[1]]
            value[:, outs] += np.einsum("nchw,oc->nohw", seen, factors)
            size[:, outs] += np.einsum("nchw,oc->nohw", np.abs(seen), np.abs(factors))
    return Expected(value, in_channels * math.prod(kernel) * UNIT * size)


@np.errstate(all="ignore")
def attention(query: NDArray, key: NDArray, value: NDArray, mask: NDArray | None = None) -> Expected:
    query, key, value = _doubles(query, key, value)
    features, length = query.shape[-1], key.shape[-2]
    offset = np.zeros(()) if mask is None else np.asarray(mask, np.float64)
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(features) + offset
    sizes = np.abs(query) @ np.abs(key).swapaxes(-1, -2) / math.sqrt(features) + np.abs(offset)
    below = scores - scores.max(-1, keepdims=True)
    powers = np.exp(below)
    weights = powers / powers.sum(-1, keepdims=True)
    # A score that errs by e changes its weight by a factor of exp(e), and all weights by their sum's at most.
    wrong = np.where(weights > 0, (features + 6) * UNIT * sizes - UNIT * below, 0.0)
    wrong = wrong + wrong.max(-1, keepdims=True) + (length + 2) * UNIT + 2 * ELEMENTARY
    size = (weights * np.exp(wrong)) @ np.abs(value)
    return Expected(weights @ value, (weights * np.expm1(wrong)) @ np.abs(value) + length * UNIT * size)


# Moving elements


def slice_by_index(
    x: NDArray,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int],
    begin_mask: Sequence[bool],
    end_mask: Sequence[bool],
    squeeze_mask: Sequence[bool],
) -> NDArray:
    index: list[int | slice] = []
    for first, last, step, from_start, to_end, drop in zip(
        begin, end, stride, begin_mask, end_mask, squeeze_mask, strict=True
    ):
        first = 0 if from_start else first
        index.append(first if drop else slice(first, None if to_end else last, step))
    return x[tuple(index)]


def slice_by_size(x: NDArray, begin: Sequence[int], size: Sequence[int]) -> NDArray:
    ends = [None if count == -1 else first + count for first, count in zip(begin, size, strict=True)]
    return x[tuple(slice(first, end) for first, end in zip(begin, ends, strict=True))]


def concat(values: Sequence[NDArray], axis: int, interleave: bool = False) -> NDArray:
    if not interleave:
        return np.concatenate(values, axis)
    axis %= values[0].ndim
    shape = list(values[0].shape)
    shape[axis] *= len(values)
    return np.stack(values, axis + 1).reshape(shape)


def bilinear(x: NDArray, points: Sequence[Array]) -> Expected:
    """The last two axes sampled at `points`, which lie inside them."""
    x = np.asarray(x, np.float64)
    size = np.abs(x).max((-2, -1), keepdims=True)
    for axis, at in zip((-2, -1), points, strict=True):
        at = np.clip(at, 0, x.shape[axis] - 1)
        first = np.floor(at).astype(int)
        second = np.minimum(first + 1, x.shape[axis] - 1)
        fraction = (at - first).reshape([-1, 1] if axis == -2 else [-1])
        x = np.take(x, first, axis) * (1 - fraction) + np.take(x, second, axis) * fraction
    return Expected(x, np.broadcast_to(12 * UNIT * size, x.shape))


def grid(size: int, count: int, mode: str) -> Array:
    """Where an axis is sampled, as coremltools documents it."""
    i = np.arange(count, dtype=np.float64)
    if mode == "DEFAULT":
        return i * size / count
    if mode == "OFFSET_CORNERS":
        return (i + 0.5) * max(1, size - 1) / count
    if mode == "UNALIGN_CORNERS":
        return (i + 0.5) * size / count - 0.5
    if count == 1:
        return np.array([(size - 1) / 2 if mode == "ALIGN_CORNERS" else 0.0])
    return i * (size - 1) / (count - 1)


# Quantization


def along(parameter: NDArray | float, axis: int | None, rank: int) -> Array:
    """One element for each index of `axis`, shaped so that it broadcasts."""
    parameter = np.asarray(parameter, np.float64)
    if parameter.ndim == 0:
        return parameter
    assert axis is not None
    return parameter.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


@np.errstate(all="ignore")
def quantize(
    x: NDArray, scale: NDArray | float, zero_point: NDArray | float, dtype: str, axis: int | None
) -> Array:
    x = np.asarray(x, np.float64)
    quotient = x / along(scale, axis, x.ndim)
    nearest = np.copysign(np.floor(np.abs(quotient) + 0.5), quotient)  # half away from zero
    limits = np.iinfo(dtype)
    return np.clip(nearest + along(zero_point, axis, x.ndim), limits.min, limits.max)


def dequantize(q: NDArray, scale: NDArray | float, zero_point: NDArray | float, axis: int | None) -> Array:
    q = np.asarray(q, np.float64)
    return (q - along(zero_point, axis, q.ndim)) * along(scale, axis, q.ndim)


def to_integers(x: NDArray, dtype: str) -> Array:
    """Convert as cast does: towards zero, clamped."""
    limits = np.iinfo(dtype)
    return np.clip(np.trunc(np.asarray(x, np.float64)), limits.min, limits.max)
