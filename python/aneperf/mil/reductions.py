"""Operations along axes: reductions, softmax, normalisation. Negative axes count from the end."""

from __future__ import annotations

from collections.abc import Sequence

from .apply import apply_one
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
