"""Hold what rules look at: the program around an operation, and the engine's generation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..mil import Graph, Operation, Tensor

INTEGER_ENGINES = ("h16", "h17", "h18", "h18g", "h19")  # which compute on quantized operands as they are


class Context:
    """The program around an operation, the profile of the engine's generation, and what is assumed."""

    def __init__(
        self,
        graph: Graph,
        generation: str,
        profile: dict[str, Any],
        macos: int,
        activations: float,
        refused: bool,
    ) -> None:
        self.graph = graph
        self.generation = generation
        self.profile = profile
        self.macos = macos
        self.activations = activations  # their standard deviation
        self.refused = refused
        self.operations = [s for s in graph.statements if isinstance(s, Operation)]
        self.producers = {result: o for o in self.operations for result in o.results}
        self.consumers: dict[Tensor, list[Operation]] = {}
        # The results of operations whose operands are all constant are constants too.
        self.constants = {s for s in graph.statements if isinstance(s, Tensor)} | set(graph.blobs)
        for operation in self.operations:
            operands = [tensor for _, tensor in operation.operands()]
            for tensor in operands:
                self.consumers.setdefault(tensor, []).append(operation)
            if all(map(self.is_constant, operands)):
                self.constants.update(operation.results)

    def is_constant(self, tensor: Tensor) -> bool:
        """Tell whether the compiler knows the value."""
        return tensor.constant is not None or tensor in self.constants

    def producer(self, tensor: Tensor) -> str:
        """Return the name of the operation that computes `tensor`; empty if none does."""
        operation = self.producers.get(tensor)
        return "" if operation is None else operation.op


def argument(operation: Operation, name: str) -> Tensor | None:
    """Return an argument that is one tensor."""
    value = operation.arguments.get(name)
    return value if isinstance(value, Tensor) else None


def integers(operation: Operation, name: str) -> list[int]:
    """Return the value of an argument of constant integers; empty if it is none."""
    tensor = argument(operation, name)
    if tensor is None or tensor.constant is None or isinstance(tensor.constant, str):
        return []
    return [int(value) for value in np.ravel(tensor.constant)]
