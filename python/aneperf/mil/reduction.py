"""Operations along axes: reductions, softmax, normalisation. Negative axes count from the end."""

from __future__ import annotations

from collections.abc import Sequence

from .call import apply_one
from .graph import Operand, Tensor


def softmax(x: Tensor, axis: int = -1, *, name: str | None = None) -> Tensor:
    """Softmax along `axis`: exp(x - max(x)) divided by its sum."""
    return apply_one("softmax", name, x=x, axis=axis)


def reduce_sum(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The sum over `axes`, which stay as 1 or go."""
    return apply_one("reduce_sum", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_mean(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The mean over `axes`, which stay as 1 or go."""
    return apply_one("reduce_mean", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_max(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The maximum over `axes`, which stay as 1 or go."""
    return apply_one("reduce_max", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_min(x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None) -> Tensor:
    """The minimum over `axes`, which stay as 1 or go."""
    return apply_one("reduce_min", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_l1_norm(
    x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """The sum of |x| over `axes`, which stay as 1 or go."""
    return apply_one("reduce_l1_norm", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_l2_norm(
    x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """The square root of the sum of x^2 over `axes`, which stay as 1 or go."""
    return apply_one("reduce_l2_norm", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_log_sum(
    x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """The logarithm of the sum over `axes`, which stay as 1 or go."""
    return apply_one("reduce_log_sum", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_log_sum_exp(
    x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """The logarithm of the sum of exp(x) over `axes`, which stay as 1 or go."""
    return apply_one("reduce_log_sum_exp", name, x=x, axes=axes, keep_dims=keep_dims)


def reduce_sum_square(
    x: Tensor, axes: Sequence[int], keep_dims: bool = True, *, name: str | None = None
) -> Tensor:
    """The sum of x^2 over `axes`, which stay as 1 or go."""
    return apply_one("reduce_sum_square", name, x=x, axes=axes, keep_dims=keep_dims)


def layer_norm(
    x: Tensor,
    axes: Sequence[int],
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *,
    name: str | None = None,
) -> Tensor:
    """Layer normalisation: (x - mean) / sqrt(variance + epsilon) over `axes`, times gamma, plus beta.

    gamma and beta have the sizes of the axes. (Ba, Kiros & Hinton 2016)
    """
    return apply_one("layer_norm", name, x=x, axes=axes, gamma=gamma, beta=beta, epsilon=epsilon)


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
    """Normalisation by constants: (x - mean) / sqrt(variance + epsilon), times gamma, plus beta.

    x [N, C, ...] of 3 to 5 axes, the constants [C]. (Ioffe & Szegedy 2015)
    """
    return apply_one(
        "batch_norm", name, x=x, mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=epsilon
    )


def instance_norm(
    x: Tensor,
    gamma: Operand | None = None,
    beta: Operand | None = None,
    epsilon: float = 1e-5,
    *,
    name: str | None = None,
) -> Tensor:
    """Normalisation of each channel by its own mean and variance, times gamma, plus beta.

    x [N, C, ...] of 3 or 4 axes, gamma and beta [C]. (Ulyanov et al. 2016)
    """
    return apply_one("instance_norm", name, x=x, gamma=gamma, beta=beta, epsilon=epsilon)


def l2_norm(x: Tensor, epsilon: float = 1e-6, *, name: str | None = None) -> Tensor:
    """Divide x by sqrt(sum(x^2) + epsilon), the sum over its last three axes."""
    return apply_one("l2_norm", name, x=x, epsilon=epsilon)


def local_response_norm(
    x: Tensor,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    *,
    name: str | None = None,
) -> Tensor:
    """Divide x by (k + alpha / size sum(x^2))^beta, the sum over `size` channels around each.

    x [N, C, ...] of 3 or 4 axes; `size` is odd. (Krizhevsky et al. 2012)
    """
    return apply_one("local_response_norm", name, x=x, size=size, alpha=alpha, beta=beta, k=k)
