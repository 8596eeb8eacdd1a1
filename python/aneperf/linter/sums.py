"""Find sums of products that lose more than fp16 does, or overflow. docs/lint.md says how."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..mil import Operation, Tensor
from ..reference import OPERATIONS
from .context import INTEGER_ENGINES, Context, argument, integers
from .finding import Problem
from .loss import Loss, Shares, given, loss, normal

_LIMIT = 32768.0  # of a sum
_ROUNDING = 2.08e-4  # relative error of normal values as fp16, root mean square (ANEForge's relu: 2.078e-4)
_REPORTED = 2.0**-10  # one step of fp16, 4.7 times as much
_INFINITE = 1e-3  # infinite outputs of an evaluation
_LARGEST = 65504.0
_SOFTMAX = math.sqrt(math.e)  # root mean square of a softmax of standard normal scores, times their number


@dataclass(frozen=True)
class _Sums:
    """The sums of products of one operation, of an operand that is normal and of one that may be constant."""

    operand: str  # the argument to scale
    deviation: float
    other: NDArray[Any] | float  # constants in a row for each output channel, or a deviation
    terms: int
    bias: float = 0.0  # the largest

    @cached_property
    def shares(self) -> Shares:
        return normal(self.other) if isinstance(self.other, float) else given(self.other)

    @cached_property
    def largest(self) -> float:
        """Return the other operand's largest magnitude, or one that is larger than almost all."""
        return 6 * self.other if isinstance(self.other, float) else float(np.abs(self.other).max())

    @cached_property
    def spread(self) -> list[float]:
        """Return the standard deviation of each output channel's sums."""
        if isinstance(self.other, float):
            return [math.sqrt(self.terms) * self.other * self.deviation]
        return [float(np.linalg.norm(row.astype(np.float32))) * self.deviation for row in self.other]

    def loss(self, scale: int = 0) -> Loss | None:
        """Return the loss with the other operand times 2^scale; None where all products are 0."""
        return loss(self.deviation, self.shares, scale)

    def infinite(self, scale: int = 0) -> float:
        """Return the share of sums that reach the limit on their way: twice that of those that end there."""
        room = _LIMIT * 2.0**-scale - self.bias
        if math.sqrt(self.terms) * self.largest * self.deviation * 32 < room:
            return 0.0  # which spares the sums over the constants
        return float(
            np.mean([min(1.0, 2 * math.erfc(room / (each or 1.0) / math.sqrt(2))) for each in self.spread])
        )

    def scale(self, outputs: int) -> int | None:
        """Return the exponent of the least scale whose error is below the results' own rounding to fp16.

        If there is none it is the best scale; None if all overflow.
        """
        best, least = None, math.inf
        for scale in sorted(range(-15, 30), key=abs):
            if self.largest * 2.0**scale > _LARGEST or self.infinite(scale) * outputs >= _INFINITE:
                continue
            found = self.loss(scale)
            if found is not None and found.error < least:
                best, least = scale, found.error
            if least <= _ROUNDING:
                break
        return best


def inexact_sums(operation: Operation, context: Context) -> Iterator[Problem]:
    """Find sums that lose more than fp16 does, and sums that overflow, in a program that compiles."""
    if context.refused:
        return
    outputs = operation.results[0].type.elements
    for sums in _sums(operation, context):
        found, infinite = sums.loss(), sums.infinite()
        overflows = infinite * outputs >= _INFINITE
        if found is None or not (overflows or found.error > _REPORTED):
            continue
        reason = f"assuming normal activations of standard deviation {context.activations:g}"
        small = min(each for each in (sums.deviation, sums.other) if isinstance(each, float))
        if small != context.activations:
            reason += f", and {small:.2g} after softmax"
        if overflows:
            reason += f", up to {_percent(infinite)} of its sums reach 32,768 and are infinite"
            if not isinstance(sums.other, float):
                most = max(float(np.abs(row).sum(dtype=np.float64)) for row in sums.other)
                reason += (
                    f"; none does if no activation exceeds {_rounded(max(_LIMIT - sums.bias, 0) / most)}"
                )
        else:
            dropped, energy, error = map(_percent, found)
            reason += (
                f", {dropped} of its products are dropped, {energy} by squares, and with the rounding of the "
            )
            reason += f"others its result is off by {error}"
        remedy = _remedy(sums, outputs, "bias" in operation.arguments)
        yield ("wrong numbers" if overflows else "inexact"), reason, remedy


def _remedy(sums: _Sums, outputs: int, has_bias: bool) -> str:
    scale = sums.scale(outputs)
    left = sums.loss(scale) if scale else None
    if not scale or left is None:
        return f"Use other activations: no scale of {sums.operand} mends it"
    by, back = f"{2 ** abs(scale)}", f"1/{2 ** abs(scale)}"
    by, back = (by, back) if scale > 0 else (back, by)
    scaled = f"{sums.operand} and bias" if has_bias else sums.operand
    return f"Multiply {scaled} by {by} and the result by {back}, which leaves {_percent(left.error)}"


def _percent(share: float) -> str:
    return f"{_rounded(100 * share)} %"


def _rounded(number: float) -> str:
    """Return two digits, of which .2g alone would make 1e+02 for 100."""
    return f"{float(f'{number:.2g}'):g}"


def _sums(operation: Operation, context: Context) -> Iterator[_Sums]:
    """Yield the sums of an operation whose operands are known."""
    if operation.op == "scaled_dot_product_attention":
        query, key = argument(operation, "query"), argument(operation, "key")
        if query and key:
            yield _Sums("query", context.activations, context.activations, query.width)
            keys = key.shape[-2]
            yield _Sums("value", _SOFTMAX / keys, context.activations, keys)
        return
    first, second = {"matmul": ("x", "y"), "einsum": ("values", "values")}.get(operation.op, ("x", "weight"))
    (x, *_), (*_, y) = ([t for name, t in operation.operands() if name == by] for by in (first, second))
    is_of_bytes = context.producer(x) == "dequantize" and context.producer(y) == "constexpr_affine_dequantize"
    if context.generation in INTEGER_ENGINES and is_of_bytes:
        return  # these products are exact
    bias = argument(operation, "bias")
    largest = 0.0 if bias is None or bias.constant is None else float(np.abs(np.asarray(bias.constant)).max())
    if context.is_constant(y):
        name, normal_one, rows = second, x, _rows(operation, _values(y, context), 1)
    elif context.is_constant(x):
        name, normal_one, rows = first, y, _rows(operation, _values(x, context), 0)
    else:
        terms = math.prod(y.shape[1:]) if operation.op == "conv" else x.shape[_summed(operation, 0)]
        yield _Sums(second, _deviation(x, context), _deviation(y, context), terms, largest)
        return
    if rows is not None:
        yield _Sums(name, _deviation(normal_one, context), rows, rows.shape[1], largest)


def _deviation(tensor: Tensor, context: Context) -> float:
    """Return the deviation that is assumed of an operand; after softmax it falls with the elements."""
    producer = context.producers.get(tensor)
    if producer is None or producer.op != "softmax":
        return context.activations
    return _SOFTMAX / tensor.shape[(integers(producer, "axis") or [-1])[0]]


def _values(tensor: Tensor, context: Context) -> NDArray[np.float16] | None:
    """Return a constant in fp16; None if it is unknown."""
    value, producer = tensor.constant, context.producers.get(tensor)
    if producer and producer.op.startswith("constexpr_"):
        stored = {name: operand.constant for name, operand in producer.operands()}
        if "shape" not in stored and all(each is not None for each in stored.values()):
            with np.errstate(over="ignore"):
                value = OPERATIONS[producer.op].compute(**stored).astype(np.float16)
    return value if isinstance(value, np.ndarray) and value.dtype == np.float16 else None


def _summed(operation: Operation, at: int) -> int:
    """Return the axis of a matrix product's operand that is summed."""
    if operation.op == "einsum":
        return (-1, -3)[at]
    transposed = any(integers(operation, ("transpose_x", "transpose_y")[at]))
    return -1 if transposed == bool(at) else -2


def _rows(operation: Operation, array: NDArray[Any] | None, at: int) -> NDArray[Any] | None:
    """Return the terms of a sum along the last axis, and a row for each output channel."""
    if array is None or operation.op in ("conv", "linear"):
        return None if array is None else array.reshape(len(array), -1)
    if operation.op == "conv_transpose":
        groups = (integers(operation, "groups") or [1])[0]
        split = array.reshape(groups, len(array) // groups, array.shape[1], -1)
        return split.swapaxes(1, 2).reshape(groups * array.shape[1], -1)
    axis = _summed(operation, at)
    return np.moveaxis(array, axis, -1).reshape(-1, array.shape[axis])
