# mypy: disable-error-code=empty-body
"""Reduce and normalize along axes: reductions, softmax, norms.

Negative axes count from the end. Without `axes`, an operation is along every axis.
"""

from __future__ import annotations

from collections.abc import Sequence

from .call import operation
from .graph import Operand, Tensor

__all__ = [
    "batch_norm",
    "instance_norm",
    "l2_norm",
    "layer_norm",
    "local_response_norm",
    "reduce_l1_norm",
    "reduce_l2_norm",
    "reduce_log_sum",
    "reduce_log_sum_exp",
    "reduce_max",
    "reduce_mean",
    "reduce_min",
    "reduce_sum",
    "reduce_sum_square",
    "softmax",
]


@operation
def softmax(x: Tensor, axis: int = -1, *, name: str | None = None) -> Tensor:
    """Divide exp(x - max(x)) by its sum along `axis`."""


@operation
def reduce_sum(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Sum x over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_mean(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Average x over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_max(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Return the maximum of x over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_min(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Return the minimum of x over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_l1_norm(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Sum |x| over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_l2_norm(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Return sqrt(sum(x^2)) over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_log_sum(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Return log(sum(x)) over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_log_sum_exp(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Return log(sum(exp(x))) over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def reduce_sum_square(
    x: Tensor, axes: Sequence[int] | None = None, keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """Sum x^2 over `axes`, which stay with size 1 unless `keep_dims` is false."""


@operation
def layer_norm(
    x: Tensor,
    axes: Sequence[int] | None = None,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *,
    name: str | None = None,
) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) over `axes`, times gamma, plus beta.

    gamma and beta have the sizes of the axes. (Ba, Kiros & Hinton 2016)
    """


@operation
def batch_norm(
    x: Tensor,
    mean: Operand,
    variance: Operand,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *,
    name: str | None = None,
) -> Tensor:
    """Return (x - mean) / sqrt(variance + epsilon) with constants for each channel, times gamma, plus beta.

    x is [N, C, ...] of 3 to 5 axes, each constant [C]. (Ioffe & Szegedy 2015)
    """


@operation
def instance_norm(
    x: Tensor,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *,
    name: str | None = None,
) -> Tensor:
    """Normalize each channel by its own mean and variance, times gamma, plus beta.

    x is [N, C, ...] of 3 or 4 axes, gamma and beta [C]. (Ulyanov et al. 2016)
    """


@operation
def l2_norm(x: Tensor, epsilon: float = 1e-6, *, name: str | None = None) -> Tensor:
    """Divide x by sqrt(sum(x^2) + epsilon), summed over its last three axes."""


@operation
def local_response_norm(
    x: Tensor,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    name: str | None = None,
) -> Tensor:
    """Divide x by (k + alpha / size sum(x^2))^beta, summed over `size` channels around each.

    x is [N, C, ...] of 3 or 4 axes; `size` is odd. (Krizhevsky et al. 2012)
    """
