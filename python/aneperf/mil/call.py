"""Calling an operation: Python values become constants, the rules are checked, the builder takes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import numpy as np

from .._ane_native import ArgumentError
from .builder import check_identifier
from .graph import Operation, Tensor
from .types import DType, make_constant

# Arguments that are constants of a fixed dtype. Other constants take the dtype of the tensor beside them.
_ATTRIBUTES: dict[str, DType] = {
    **dict.fromkeys(("axes", "axis", "begin", "dilations", "end", "groups", "kernel_sizes"), "int32"),
    **dict.fromkeys(("num_splits", "pad", "perm", "shape", "size", "stride", "strides"), "int32"),
    **dict.fromkeys(("begin_mask", "end_mask", "squeeze_mask"), "bool"),
    **dict.fromkeys(("ceil_mode", "cond", "exclude_padding_from_average"), "bool"),
    **dict.fromkeys(("interleave", "keep_dims", "transpose_x", "transpose_y"), "bool"),
    **dict.fromkeys(("dtype", "mode", "output_dtype", "pad_type"), "string"),
    **dict.fromkeys(("a", "b", "constant_val", "lut", "scale", "transform_matrix"), "fp16"),
    **dict.fromkeys(("scale_factor_height", "scale_factor_width"), "fp32"),
    **dict.fromkeys(("block_size", "crop_height", "crop_width", "downscale_factor", "reps"), "int32"),
    **dict.fromkeys(("target_size_height", "target_size_width", "upscale_factor", "vector_axis"), "int32"),
    **dict.fromkeys(("block_shape", "crops", "paddings", "output_shape"), "int32"),
    **dict.fromkeys(("output_height", "output_width"), "int32"),
    **dict.fromkeys(("align_corners", "ascending"), "bool"),
    **dict.fromkeys(("coordinates_mode", "equation", "output_indices_dtype"), "string"),
    **dict.fromkeys(("padding_mode", "sampling_mode"), "string"),
    "mask": "uint1",
}
_TUPLES = {"values"}


def apply(op: str, name: str | None = None, **arguments: object) -> tuple[Tensor, ...]:
    """Check an operation and add it to the builder of its operands; arguments that are None are left out.

    Raises CompileError for what the engine does not take, ArgumentError for values that cannot be constants,
    names that are taken and operands of different builders.
    """
    given = {argument: value for argument, value in arguments.items() if value is not None}
    beside = next((tensor.dtype for value in given.values() for tensor in _tensors(value)), None)
    fixed = {**_ATTRIBUTES, "zero_point": given.get("output_dtype", beside)}
    if op == "topk":  # a number of elements; that of local_response_norm is a factor
        fixed["k"] = "int32"
    operation = Operation(
        op,
        {
            argument: _tuple(f"{op}: {argument}", value, beside)
            if argument in _TUPLES
            else _operand(f"{op}: {argument}", value, cast(DType | None, fixed.get(argument)), beside)
            for argument, value in given.items()
        },
    )
    owned = [tensor for _, tensor in operation.operands() if tensor.builder is not None]
    for tensor in owned:
        if tensor.builder is not owned[0].builder:
            raise ArgumentError(f"{op}: {owned[0]!r} and {tensor!r} belong to different builders")
    builder = owned[0].builder if owned else None
    if builder is None and not op.startswith("constexpr_"):
        raise ArgumentError(f"{op}: every operand is a constant; one must come from Builder.input")
    if name is not None:
        check_identifier(name)
    types = operation.infer("ios18" if builder is None else builder.opset)
    if builder is not None:
        return builder.append(operation, types, name)
    # The compiler evaluates it: its constants are written inside it, not defined before it.
    literals = {a: Tensor("", tensor.type, constant=tensor.constant) for a, tensor in operation.operands()}
    return (Tensor(name or "", types[0], expression=Operation(op, dict(literals))),)


def apply_one(op: str, name: str | None, **arguments: object) -> Tensor:
    """`apply` for an operation with one result."""
    return apply(op, name, **arguments)[0]


def const(value: object, dtype: DType | None = None, *, name: str | None = None) -> Tensor:
    """A constant from a number, a string, an array or a sequence of numbers, for use in any builder.

    Floats become fp16 and 64-bit integers int32 unless a dtype is given. A program defines it once, however
    often it is used. Raises ArgumentError for NaN, infinities, overflow and changes of kind.
    """
    if name is not None:
        check_identifier(name)
    type, stored = make_constant(value, dtype)
    return Tensor(name or "", type, constant=stored)


def _tensors(value: object) -> Iterator[Tensor]:
    for element in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(element, Tensor):
            yield element


def _tuple(where: str, value: object, beside: DType | None) -> tuple[Tensor, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ArgumentError(f"{where}: {value!r} is not a list of tensors")
    return tuple(_operand(where, element, None, beside) for element in value)


def _operand(where: str, value: Any, fixed: DType | None, beside: DType | None) -> Tensor:
    """The tensor given, or a constant: of a fixed dtype, or going by the tensor beside it."""
    if isinstance(value, Tensor):
        return value
    dtype = fixed
    if dtype is None:
        if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, (int, float, np.ndarray)):
            raise ArgumentError(f"{where}: {value!r} is not a tensor, a number or a numpy array")
        # An integer array beside floats, or the reverse, keeps its kind, for the checker to refuse.
        is_float = isinstance(value, np.ndarray) and value.dtype.kind == "f"
        if not isinstance(value, np.ndarray) or is_float == (beside in ("fp16", "fp32")):
            dtype = beside
    type, stored = make_constant(value, dtype, where)
    return Tensor("", type, constant=stored)
