"""Rules about one operation. docs/lint.md lists them with their sources."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..mil import Operation
from ..stalls import WITHOUT_STALLS, describe_stall, parts_without_stall, stalls
from .context import INTEGER_ENGINES, Context, argument, integers
from .finding import Problem
from .sums import inexact_sums

_Check = Callable[[Operation, Context], Iterator[Problem]]
_TO_INTEGERS = {"floor", "ceil", "round"}
_NONLINEARITIES = {
    *("atan", "elu", "erf", "exp", "exp2", "gelu", "log", "relu", "rsqrt", "sigmoid", "silu", "softmax"),
    *("softplus", "softsign", "sqrt", "tanh"),
}
_REWRITTEN_WIDTHS = range(9, 17)  # of kernels, which the compiler rewrites with strides of 2


def _last_axis_slice(operation: Operation, context: Context) -> Iterator[Problem]:
    x, limit = argument(operation, "x"), context.profile["slice_limit"]
    begin = integers(operation, "crop_width" if operation.op == "crop" else "begin")
    if x is None or not begin or not math.isfinite(limit):
        return
    masks = integers(operation, "begin_mask")
    first = begin[0] if operation.op == "crop" else begin[-1]
    if (masks and masks[-1]) or first in (0, -x.width):
        return
    yield (
        "wrong numbers",
        f"it starts inside the last axis: {context.generation} makes magnitudes above {limit:.0f} infinite",
        "Slice another axis, or keep the values smaller",
    )


def _run_time_weights(operation: Operation, context: Context) -> Iterator[Problem]:
    x, weight = argument(operation, "x"), argument(operation, "weight")
    if x is None or weight is None or context.is_constant(weight):
        return
    if x.shape[0] > 1:
        yield "fails", "weights computed at run time need a batch of 1", "Use matmul"
    else:
        yield "wrong numbers", "run-time weights are reportedly ignored on M3 Max", "Use matmul"


def _tile(operation: Operation, context: Context) -> Iterator[Problem]:
    reason = "at run time it reportedly corrupts every later evaluation of the process on M3 Max"
    yield "wrong numbers", reason, "Use concat, or repeat before the input"


def _attention_mask(operation: Operation, context: Context) -> Iterator[Problem]:
    if context.profile["ignores_attention_mask"] and "attn_mask" in operation.arguments:
        yield "wrong numbers", "attn_mask is ignored", "Add the mask to the scores of a decomposed attention"


def _scaled_integers(operation: Operation, context: Context) -> Iterator[Problem]:
    operands = [tensor for _, tensor in operation.operands()]
    rounding = {context.producer(tensor) for tensor in operands} & _TO_INTEGERS
    scalar = any(context.is_constant(tensor) and tensor.type.elements == 1 for tensor in operands)
    if rounding and scalar:
        reason = f"a multiplication by a scalar right after {rounding.pop()} is dropped"
        yield "wrong numbers", reason, "Multiply by a constant of the full shape"


def _reduction_times_zero(operation: Operation, context: Context) -> Iterator[Problem]:
    operands = [tensor for _, tensor in operation.operands()]
    reduced = any(context.producer(tensor).startswith("reduce_") for tensor in operands)
    constants = [t.constant for t in operands if t.constant is not None and not isinstance(t.constant, str)]
    if reduced and any(not np.any(constant) for constant in constants):
        yield "fails", "a reduction times 0 does not compile", "Omit the product: it is 0"


def _square(operation: Operation, context: Context) -> Iterator[Problem]:
    result = operation.results[0]
    after = {user.op for user in context.consumers.get(result, [])} & _NONLINEARITIES
    if after and result.width % 128 > 64:
        reason = f"square fused with {min(after)} does not compile for a width of {result.width}"
        yield "fails", reason, "Write mul(x, x)"


def _matmul_by_constant(operation: Operation, context: Context) -> Iterator[Problem]:
    y = argument(operation, "y")
    if y is not None and context.is_constant(y):
        reason = "a 1x1 convolution computes the product with a constant matrix about 3 times as fast"
        yield "slow", reason, "Use conv with tokens along the last axis"


def _stalled_weights(operation: Operation, context: Context) -> Iterator[Problem]:
    if context.generation in WITHOUT_STALLS:
        return
    weight = argument(operation, "y" if operation.op == "matmul" else "weight")
    # Decompressed weights reach the engine in another form, and those of groups lie on fewer cores.
    if weight is None or not context.is_constant(weight) or context.producer(weight).startswith("constexpr_"):
        return
    if weight.rank < 2 or integers(operation, "groups") not in ([], [1]):
        return
    shape = weight.shape
    if operation.op == "matmul":
        *batch, rows, columns = (1, *shape)
        if math.prod(batch) != 1 or any(integers(operation, "transpose_x")):
            return
        shape = (rows, columns) if any(integers(operation, "transpose_y")) else (columns, rows)
    if stalls(shape):
        reason = f"{describe_stall(shape)}; on M4 it took twice the time"
        remedy = "Split the input channels and add the products, or change their number"
        if parts := parts_without_stall(shape):
            remedy = f"Split the input channels into {parts} and add the products, or change their number"
        yield "slow", reason, remedy


def _product_of_scales(operation: Operation, context: Context) -> Iterator[Problem]:
    if context.generation not in INTEGER_ENGINES:
        return
    given = [context.producers.get(tensor) for _, tensor in operation.operands()]
    dequantized = [producer for producer in given if producer and producer.op == "dequantize"]
    users = context.consumers.get(operation.results[0], [])
    scales = {_scale(each) for each in (*dequantized, *(user for user in users if user.op == "quantize"))}
    if dequantized and len(scales) > 1:
        reason = (
            "a dequantized operand takes the scale of the other one, or of the quantized result, on M5 Pro"
        )
        remedy = "Clip the product to the range of its quantized result, or use one scale"
        yield "wrong numbers", reason, remedy


def _grouped_scales(operation: Operation, context: Context) -> Iterator[Problem]:
    weight = argument(operation, "weight")
    producer = context.producers.get(weight) if weight else None
    scale = (
        argument(producer, "scale") if producer and producer.op.endswith("_blockwise_shift_scale") else None
    )
    if scale is not None and any(size > 1 for size in scale.shape[1:]):
        reason = (
            "its weight has several scales for one output; the engine's compiler takes one a tensor or output"
        )
        yield "fails", reason, "Use one scale for each output channel, or a lookup table"


def _scale(operation: Operation) -> bytes | str | None:
    """Return the scale, as one number where all of its numbers are alike."""
    scale = argument(operation, "scale")
    if scale is None or scale.constant is None or isinstance(scale.constant, str):
        return None if scale is None else scale.constant_data
    return np.unique(scale.constant).tobytes()


def _rewritten_kernel(operation: Operation, context: Context) -> Iterator[Problem]:
    weight = argument(operation, "weight")
    if weight is None or weight.rank < 3 or weight.width not in _REWRITTEN_WIDTHS:
        return
    reason = "a kernel that is 9 or more wide is computed in parts, with about twice the weights, on M6"
    if weight.shape[-2:] == (16, 16):
        reason += "; for 16 x 16 the compiler took 229 s and 11.7 GB on M4"
    yield "slow", reason, "Use several narrower kernels"


OPERATION_RULES: dict[str, tuple[_Check, ...]] = {
    "slice_by_size": (_last_axis_slice,),
    "slice_by_index": (_last_axis_slice,),
    "crop": (_last_axis_slice,),
    "conv": (
        _run_time_weights,
        _stalled_weights,
        _grouped_scales,
        _rewritten_kernel,
        inexact_sums,
    ),
    "conv_transpose": (inexact_sums,),
    "tile": (_tile,),
    "scaled_dot_product_attention": (_attention_mask, inexact_sums),
    "mul": (
        _scaled_integers,
        _reduction_times_zero,
        _product_of_scales,
    ),
    "square": (_square,),
    "matmul": (
        _matmul_by_constant,
        _stalled_weights,
        inexact_sums,
    ),
    "einsum": (inexact_sums,),
    "linear": (
        _stalled_weights,
        _grouped_scales,
        inexact_sums,
    ),
}
