"""Compute what a program should compute: each operation in float64, without the engine's deviations.

Inputs and weights keep their values. Nothing else is rounded, except by `cast`, `round`, `quantize` and the
like. Integers and booleans keep their types.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import operations
from ..errors import ArgumentError
from . import elementwise, movement, product, reduction, storage, window
from .operation import Reference
from .precision import ROUNDING

__all__ = ["OPERATIONS", "Reference", "evaluate", "evaluate_disturbed"]

_DEVIATIONS = 4  # of normal errors: the largest of some 10,000
Disturb = Callable[[mil.Operation | None, NDArray[Any]], NDArray[Any]]  # of an operation, or of an input

# By the name in MIL.
OPERATIONS: dict[str, Reference] = {
    **elementwise.OPERATIONS,
    **product.OPERATIONS,
    **reduction.OPERATIONS,
    **movement.OPERATIONS,
    **storage.OPERATIONS,
    **window.OPERATIONS,
}


def evaluate(program: mil.Program, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return the outputs of `program` by name, in float64, for an array for each of its inputs.

    Raises ArgumentError for missing inputs, unknown names and wrong shapes.
    """
    return _evaluate(program, inputs, lambda operation, result: result)


def evaluate_disturbed(
    program: mil.Program, inputs: Mapping[str, NDArray[Any]], sign: Literal[1, -1] = 1
) -> dict[str, NDArray[Any]]:
    """Return the outputs if every operation errs as far as its `tolerance` allows, at random.

    Errors are normal, with the tolerance, which bounds the largest one, at four standard deviations. Inputs
    err by their rounding, relative to each value. `sign` gives every error the opposite sign. How far the
    outputs are from those of `evaluate` tells how the program carries errors on.
    """
    random = np.random.default_rng(0)

    def disturb(operation: mil.Operation | None, result: NDArray[Any]) -> NDArray[Any]:
        tolerance = ROUNDING if operation is None else OPERATIONS[operation.op].tolerance
        is_constant = operation is not None and operation.op.startswith("constexpr_")
        if not tolerance or result.dtype.kind != "f" or is_constant:
            return result
        size = np.abs(result) if operation is None else np.abs(result).max()
        noise = random.standard_normal(result.shape) * (sign * tolerance / _DEVIATIONS)
        disturbed: NDArray[Any] = result + size * noise
        return disturbed

    return _evaluate(program, inputs, disturb)


@np.errstate(all="ignore")
def _evaluate(
    program: mil.Program, inputs: Mapping[str, NDArray[Any]], disturb: Disturb
) -> dict[str, NDArray[Any]]:
    graph = mil.parse(program.text, program.weights)
    values: dict[mil.Tensor, NDArray[Any]] = {}
    if unknown := sorted(inputs.keys() - {tensor.name for tensor in graph.inputs}):
        raise ArgumentError(f"the program has no input {unknown[0]!r}")
    for tensor in graph.inputs:
        if tensor.name not in inputs:
            raise ArgumentError(f"input {tensor.name!r} is missing: pass an array of {tensor.type}")
        array = np.asarray(inputs[tensor.name])
        if array.shape != tensor.shape:
            raise ArgumentError(f"input {tensor.name!r} is {tensor.type}, the array {list(array.shape)}")
        values[tensor] = disturb(None, _widened(array))

    def value(argument: mil.Tensor | tuple[mil.Tensor, ...]) -> Any:
        if isinstance(argument, tuple):
            return [value(element) for element in argument]
        if argument in values or argument.constant is None:
            return values[argument]
        return argument.constant if isinstance(argument.constant, str) else _widened(argument.constant)

    for statement in graph.statements:
        if isinstance(statement, mil.Tensor):
            continue
        if statement.op not in OPERATIONS:
            raise ArgumentError(f"{statement.op} has no reference")
        arguments = {name: value(argument) for name, argument in statement.arguments.items()}
        found = OPERATIONS[statement.op].compute(**{**_defaults(statement.op), **arguments})
        results = found if isinstance(found, (tuple, list)) else (found,)
        disturbed = (disturb(statement, np.asarray(result)) for result in results)
        values.update(zip(statement.results, disturbed, strict=True))
    return {tensor.name: values[tensor].astype(np.float64) for tensor in graph.outputs}


@functools.cache
def _defaults(op: str) -> dict[str, Any]:
    """Return the values of arguments that MIL text may leave out."""
    taken = inspect.signature(OPERATIONS[op].compute).parameters
    parameters = operations()[op].parameters.values()
    return {p.name: p.default for p in parameters if p.default is not None and p.name in taken}


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
