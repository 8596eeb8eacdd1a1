"""Reduce and normalize along axes: reductions, softmax, norms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from .operation import Reference, weights

Array: TypeAlias = Any  # a numpy array; numpy's own types make every reduction of one Any


def _reduction(reduce: Callable[[Array, tuple[int, ...]], Array]) -> Callable[..., Array]:
    """Make an operation of `reduce`, which keeps the axes, that drops them unless `keep_dims` is true."""

    def operation(x: Array, axes: Sequence[int] | None = None, keep_dims: Any = False) -> Array:
        along = tuple(range(x.ndim) if axes is None else map(int, axes))
        result = reduce(x, along)
        return result if keep_dims else result.squeeze(along)

    return operation


def _log_sum_exp(x: Array, axes: tuple[int, ...]) -> Array:
    largest = x.max(axes, keepdims=True)
    return largest + np.log(np.exp(x - largest).sum(axes, keepdims=True))


def softmax(x: Array, axis: Any) -> Array:
    """Divide exp(x - max(x)) by its sum."""
    powers = np.exp(x - x.max(int(axis), keepdims=True))
    return powers / powers.sum(int(axis), keepdims=True)


def _normal(x: Array, axes: Sequence[int], epsilon: Any) -> Array:
    along = tuple(int(axis) for axis in axes)
    variance = x.var(along, keepdims=True)
    return (x - x.mean(along, keepdims=True)) / np.sqrt(variance + epsilon)


def _affine(x: Array, gamma: Array | None, beta: Array | None, shape: Sequence[int]) -> Array:
    scaled = x if gamma is None else x * gamma.reshape(shape)
    return scaled if beta is None else scaled + beta.reshape(shape)


def layer_norm(
    x: Array,
    axes: Sequence[int] | None = None,
    epsilon: Any = 1e-5,
    gamma: Array | None = None,
    beta: Array | None = None,
) -> Array:
    """Return (x - mean) / sqrt(variance + epsilon) over `axes`, times gamma, plus beta."""
    axes = range(x.ndim) if axes is None else axes
    along = {int(axis) % x.ndim for axis in axes}
    shape = [size if axis in along else 1 for axis, size in enumerate(x.shape)]
    return _affine(_normal(x, axes, epsilon), gamma, beta, shape)


def batch_norm(
    x: Array,
    mean: Array,
    variance: Array,
    epsilon: Any,
    gamma: Array | None = None,
    beta: Array | None = None,
) -> Array:
    """Return (x - mean) / sqrt(variance + epsilon) with constants by channel, times gamma, plus beta."""
    shape = [-1, *[1] * (x.ndim - 2)]
    normal = (x - mean.reshape(shape)) / np.sqrt(variance.reshape(shape) + epsilon)
    return _affine(normal, gamma, beta, shape)


def instance_norm(x: Array, epsilon: Any, gamma: Array | None = None, beta: Array | None = None) -> Array:
    """Normalize each channel by its own mean and variance, times gamma, plus beta."""
    return _affine(_normal(x, range(2, x.ndim), epsilon), gamma, beta, [-1, *[1] * (x.ndim - 2)])


def l2_norm(x: Array, epsilon: Any) -> Array:
    """Divide x by sqrt(sum(x^2) + epsilon), summed over its last three axes."""
    return x / np.sqrt((x**2).sum((-3, -2, -1), keepdims=True) + epsilon)


def local_response_norm(x: Array, size: Any, alpha: Any, beta: Any, k: Any) -> Array:
    """Divide x by (k + alpha / size sum(x^2))^beta, summed over `size` channels around each."""
    reach = int(size) // 2
    squares = np.pad(x**2, [(0, 0), (reach, reach), *[(0, 0)] * (x.ndim - 2)])
    sums = np.lib.stride_tricks.sliding_window_view(squares, int(size), 1).sum(-1)
    return x / (k + alpha / size * sums) ** beta


OPERATIONS: dict[str, Reference] = {
    "reduce_sum": Reference(_reduction(lambda x, axes: x.sum(axes, keepdims=True)), {"axes": [1]}),
    "reduce_mean": Reference(_reduction(lambda x, axes: x.mean(axes, keepdims=True)), {"axes": [1]}),
    "reduce_max": Reference(
        _reduction(lambda x, axes: x.max(axes, keepdims=True)), {"axes": [1]}, exact=True
    ),
    "reduce_min": Reference(
        _reduction(lambda x, axes: x.min(axes, keepdims=True)), {"axes": [1]}, exact=True
    ),
    "reduce_l1_norm": Reference(
        _reduction(lambda x, axes: np.abs(x).sum(axes, keepdims=True)), {"axes": [1]}
    ),
    "reduce_l2_norm": Reference(
        _reduction(lambda x, axes: np.sqrt((x**2).sum(axes, keepdims=True))), {"axes": [1]}
    ),
    "reduce_log_sum": Reference(
        _reduction(lambda x, axes: np.log(x.sum(axes, keepdims=True))), {"axes": [1]}, values="positive"
    ),
    "reduce_log_sum_exp": Reference(_reduction(_log_sum_exp), {"axes": [1]}),
    "reduce_sum_square": Reference(
        _reduction(lambda x, axes: (x**2).sum(axes, keepdims=True)), {"axes": [1]}
    ),
    "softmax": Reference(softmax),
    "layer_norm": Reference(layer_norm, {"axes": [3], "gamma": weights(32), "beta": weights(32)}),
    "batch_norm": Reference(
        batch_norm,
        {
            "mean": weights(32),
            "variance": np.abs(weights(32)) + 0.5,
            "gamma": weights(32),
            "beta": weights(32),
        },
    ),
    "instance_norm": Reference(instance_norm, {"gamma": weights(32), "beta": weights(32)}, measured=1e-3),
    "l2_norm": Reference(l2_norm),
    "local_response_norm": Reference(local_response_norm, {"size": 5, "alpha": 0.5}),
}
