"""Call an operation: Python values become constants, the checker sees it, and the builder takes it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np

from .. import _ane_native as native
from .._ane_native import ArgumentError
from .graph import Argument, Operand, Operation, Tensor, check_identifier
from .types import DType, check_dtype, make_constant

OPERATIONS = native.operations()

# The defaults of windows, for each axis behind batch and channels. The engine's compiler gets them written.
PER_AXIS = {"strides": (1,), "dilations": (1,), "pad": (0, 0)}

P = ParamSpec("P")
R = TypeVar("R")


def operation(function: Callable[P, R]) -> Callable[P, R]:
    """Turn a function without a body into the MIL operation of its name.

    The signature and the docstring stay; `apply` gets the arguments by their names.
    """
    op, signature = function.__name__, inspect.signature(function)
    has_one_result = OPERATIONS[op].results == 1

    @functools.wraps(function)
    def call(*positional: P.args, **named: P.kwargs) -> R:
        try:
            bound = signature.bind(*positional, **named)
        except TypeError as error:
            raise TypeError(f"{op}: {error}") from None
        bound.apply_defaults()
        results = apply(op, **{argument_name(op, key): value for key, value in bound.arguments.items()})
        return cast(R, results[0] if has_one_result else results)

    return call


def argument_name(op: str, parameter: str) -> str:
    """Return MIL's name of a function's parameter: `quantize` and `dequantize` call x their input."""
    return "input" if parameter == "x" and "x" not in OPERATIONS[op].parameters else parameter


def apply(op: str, *, name: str | None = None, **arguments: object) -> tuple[Tensor, ...]:
    """Check an operation and add it to the builder of its operands. Arguments that are None are left out.

    Raises CompileError for an operation that the engine does not take, ArgumentError for values that cannot
    be constants, for names in use and for operands of different builders.
    """
    axes = len(x.shape) - 2 if isinstance(x := arguments.get("x"), Tensor) else 0
    given = {
        argument: default if value is None else value
        for argument, value in arguments.items()
        if (default := PER_AXIS.get(argument, ()) * axes) or value is not None
    }
    operation = Operation(op, _operands(op, given))
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


def const(value: object, dtype: DType | None = None, *, name: str | None = None) -> Tensor:
    """Make a constant from a number, a string, an array or a sequence of numbers, for use in any builder.

    Without a dtype, floats become fp16 and 64-bit integers int32. A program defines the constant once,
    however often it is used. Raises ArgumentError for NaN, infinities, overflow and changes of kind.
    """
    if name is not None:
        check_identifier(name)
    type, stored = make_constant(value, dtype)
    return Tensor(name or "", type, constant=stored)


def _binary(op: str, x: Operand, y: Operand) -> Tensor:
    return apply(op, x=x, y=y)[0]


Tensor.binary = _binary


def _operands(op: str, given: Mapping[str, object]) -> dict[str, Argument]:
    """Convert arguments to tensors: values become constants of the dtypes in the table of operations."""
    # A constant that may have several dtypes is stored like the quantized result, or like the first operand.
    like = given.get("output_dtype")
    operands: dict[str, Argument] = {}
    for argument, value in given.items():
        where, parameter = f"{op}: {argument}", OPERATIONS[op].parameters[argument]
        if parameter.role == "tuple":
            if not isinstance(value, (list, tuple)) or not value:
                raise ArgumentError(f"{where}: {value!r} is not a list of tensors")
            operands[argument] = tuple(_operand(where, element, parameter, like) for element in value)
        else:
            operand = _operand(where, value, parameter, like if operands else None)
            operands[argument], like = operand, like or operand.dtype
    return operands


def _operand(where: str, value: Any, parameter: native.Parameter, like: object) -> Tensor:
    """Return the given tensor, or the given value as a constant for `parameter`."""
    if isinstance(value, Tensor):
        return value
    dtype = _dtype(parameter, like)
    if parameter.role != "constant":
        if isinstance(value, (np.generic, np.ndarray)) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, (int, float, np.ndarray)):
            raise ArgumentError(f"{where}: {value!r} is not a tensor, a number or a numpy array")
    # An array of integers given as a weight or next to floats keeps its kind, and the checker refuses it.
    is_data = parameter.role != "constant" or len(parameter.dtypes) > 1
    if is_data and isinstance(value, np.ndarray) and parameter.name != "transform_matrix" and like != "bool":
        dtype = dtype if (value.dtype.kind == "f") == (dtype in ("fp16", "fp32")) else None
    type, stored = make_constant(value, dtype, where)
    return Tensor("", type, constant=stored)


def _dtype(parameter: native.Parameter, like: object) -> DType | None:
    """Choose the dtype of a constant for `parameter`. None leaves it to the value."""
    if parameter.name == "mask":  # packed in bytes only if given as such
        return "uint1"
    if len(parameter.dtypes) == 1:
        return parameter.dtypes[0]
    if like is not None and check_dtype(like) in parameter.dtypes:
        return check_dtype(like)
    return "fp32" if "fp32" in parameter.dtypes else None
