"""What a program should compute: its operations in float64, in numpy, without the engine's departures.

Inputs and weights are taken as they are, fp16 as a rule; nothing between is rounded, but by `cast`, `round`,
`quantize` and the like, whose purpose it is. Integers and booleans stay what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from ..errors import ArgumentError
from . import elementwise, movement, product, reduction, storage, window

__all__ = ["OPERATIONS", "evaluate"]

Function = Callable[..., Any]

# By the name in MIL; arguments are passed by their names there.
OPERATIONS: dict[str, Function] = {
    **elementwise.OPERATIONS,
    **product.OPERATIONS,
    **reduction.OPERATIONS,
    **movement.OPERATIONS,
    **storage.OPERATIONS,
    **window.OPERATIONS,
}


@np.errstate(all="ignore")
def evaluate(program: mil.Program, **inputs: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The outputs of `program` by name, in float64, for an array for each of its inputs.

    Raises ArgumentError for missing inputs and others' names and shapes.
    """
    graph = mil.parse(program.text, program.weights)
    values: dict[mil.Tensor, NDArray[Any]] = {}
    if strangers := sorted(inputs.keys() - {tensor.name for tensor in graph.inputs}):
        raise ArgumentError(f"the program has no input {strangers[0]!r}")
    for tensor in graph.inputs:
        if tensor.name not in inputs:
            raise ArgumentError(f"input {tensor.name!r} is missing: pass an array of {tensor.type}")
        array = np.asarray(inputs[tensor.name])
        if array.shape != tensor.shape:
            raise ArgumentError(f"input {tensor.name!r} is {tensor.type}, the array {list(array.shape)}")
        values[tensor] = _widened(array)

    def value(argument: mil.Tensor | tuple[mil.Tensor, ...]) -> Any:
        if isinstance(argument, tuple):
            return [value(element) for element in argument]
        if argument in values or argument.constant is None:
            return values[argument]
        return argument.constant if isinstance(argument.constant, str) else _widened(argument.constant)

    for statement in graph.statements:
        if isinstance(statement, mil.Tensor):
            continue
        arguments = {name: value(argument) for name, argument in statement.arguments.items()}
        found = OPERATIONS[statement.op](**arguments)
        results = found if isinstance(found, (tuple, list)) else (found,)
        values.update(zip(statement.results, results, strict=True))
    return {tensor.name: values[tensor].astype(np.float64) for tensor in graph.outputs}


def _widened(array: NDArray[Any]) -> NDArray[Any]:
    return array.astype(np.float64) if array.dtype.kind == "f" else array
