"""Count the work of a program: its arithmetic, and the bytes that it has to move.

Products count a multiply-add as two, as published figures do, and nothing for a bias. A pool counts every
element of its windows. Other operations count one for each element of their largest operand or result,
however much they do to it; those that only move or convert elements count none. The compiler evaluates
operations of constants, so these count none either.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .call import OPERATIONS
from .graph import Graph, Operation, Tensor

_CONVERSIONS = ("cast", "constexpr_cast")


@dataclass(frozen=True)
class Work:
    """The arithmetic operations, and the bytes of every operand and result, weights as they are stored."""

    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes)


def work_of(graph: Graph) -> dict[Operation, Work]:
    """Return the work of each operation, in the order of the text."""
    stored = stored_constants(graph)
    work: dict[Operation, Work] = {}
    for operation in graph.statements:
        if isinstance(operation, Tensor):
            continue
        if operation.results[0] in stored:
            work[operation] = Work()
        else:
            read = sum(stored.get(tensor, _bytes(tensor)) for _, tensor in operation.operands())
            work[operation] = Work(_flops(operation), read + sum(map(_bytes, operation.results)))
    return work


def stored_constants(graph: Graph) -> dict[Tensor, int]:
    """Return the bytes of constants as they are stored, also of those that the compiler computes."""
    known = [*graph.blobs, *(s for s in graph.statements if isinstance(s, Tensor))]
    stored = {tensor: _bytes(tensor) for tensor in known}
    for operation in graph.statements:
        if isinstance(operation, Tensor):
            continue
        operands = [tensor for _, tensor in operation.operands()]
        if all(tensor.constant is not None or tensor in stored for tensor in operands):
            read = sum(stored.get(tensor, _bytes(tensor)) for tensor in operands)
            is_compressed = operation.op.startswith("constexpr_")
            stored.update((result, read if is_compressed else _bytes(result)) for result in operation.results)
    return stored


def _bytes(tensor: Tensor) -> int:
    return 0 if tensor.dtype == "string" else tensor.type.bytes


def _flops(operation: Operation) -> int:
    family = OPERATIONS[operation.op].family if operation.op in OPERATIONS else "elementwise"
    if family == "product":
        return 2 * _products(operation)
    if family == "movement" or operation.op in _CONVERSIONS:
        return 0
    results = sum(result.type.elements for result in operation.results)
    window = operation.arguments.get("kernel_sizes")
    if isinstance(window, Tensor) and window.constant is not None:
        return results * math.prod(int(size) for size in np.ravel(window.constant))
    return max([results, *(tensor.type.elements for _, tensor in operation.operands())])


def _products(operation: Operation) -> int:
    """Return the multiply-adds of an operation of the family "product"."""
    shapes = {name: value.shape for name, value in operation.arguments.items() if isinstance(value, Tensor)}
    result = operation.results[0].type
    match operation.op:
        case "conv":
            return result.elements * math.prod(shapes["weight"][1:])
        case "conv_transpose":
            return math.prod(shapes["x"]) * math.prod(shapes["weight"][1:])
        case "linear":
            return result.elements * shapes["weight"][-1]
        case "matmul":
            transposed = operation.arguments.get("transpose_x")
            is_transposed = isinstance(transposed, Tensor) and bool(np.any(transposed.constant))
            return result.elements * shapes["x"][-2 if is_transposed else -1]
        case "scaled_dot_product_attention":
            query, key = shapes["query"], shapes["key"]
            return math.prod(query[:-1]) * key[-2] * (query[-1] + shapes["value"][-1])
        case _:
            return _einsum(operation)


def _einsum(operation: Operation) -> int:
    """Multiply the extents of all letters."""
    equation, values = operation.arguments["equation"], operation.arguments["values"]
    assert isinstance(equation, Tensor)
    assert isinstance(values, tuple)
    letters = str(equation.constant).replace(" ", "").partition("->")[0].split(",")
    extents = {
        letter: size
        for operand, tensor in zip(letters, values, strict=True)
        for letter, size in zip(operand, tensor.shape, strict=True)
    }
    return math.prod(extents.values())
