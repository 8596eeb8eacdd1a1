"""Operations that move elements: shapes, slices, parts."""

from __future__ import annotations

from collections.abc import Sequence

from .apply import apply, apply_one
from .graph import Operand, Tensor


def reshape(x: Tensor, shape: Sequence[int], *, name: str | None = None) -> Tensor:
    """The same elements, row by row, as `shape`; one axis may be -1."""
    return apply_one("reshape", name, x=x, shape=shape)


def transpose(x: Tensor, perm: Sequence[int], *, name: str | None = None) -> Tensor:
    """Axis i of the result is axis perm[i] of x."""
    return apply_one("transpose", name, x=x, perm=perm)


def expand_dims(x: Tensor, axes: Sequence[int], *, name: str | None = None) -> Tensor:
    """Add an axis of size 1 at each of the result's `axes`."""
    return apply_one("expand_dims", name, x=x, axes=axes)


def squeeze(x: Tensor, axes: Sequence[int] | None = None, *, name: str | None = None) -> Tensor:
    """Drop `axes`, which must have size 1; every such axis if none is named."""
    return apply_one("squeeze", name, x=x, axes=axes)


def slice_by_size(x: Tensor, begin: Sequence[int], size: Sequence[int], *, name: str | None = None) -> Tensor:
    """Take `size` elements from `begin` on, for each axis; size -1 reaches to the end."""
    return apply_one("slice_by_size", name, x=x, begin=begin, size=size)


def slice_by_index(
    x: Tensor,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
    *,
    name: str | None = None,
) -> Tensor:
    """Slice each axis as begin:end:stride.

    Where a mask is true, begin_mask and end_mask ignore the bound; squeeze_mask takes begin alone and drops
    the axis.
    """
    return apply_one(
        "slice_by_index",
        name,
        x=x,
        begin=begin,
        end=end,
        stride=stride,
        begin_mask=begin_mask,
        end_mask=end_mask,
        squeeze_mask=squeeze_mask,
    )


def concat(
    values: Sequence[Operand], axis: int, interleave: bool = False, *, name: str | None = None
) -> Tensor:
    """Tensors joined along `axis`; interleaved, they take turns, one index each."""
    return apply_one("concat", name, values=values, axis=axis, interleave=interleave)


def split(x: Tensor, num_splits: int, axis: int, *, name: str | None = None) -> tuple[Tensor, ...]:
    """Cut x into `num_splits` equal parts along `axis`."""
    return apply("split", name, x=x, num_splits=num_splits, axis=axis)
