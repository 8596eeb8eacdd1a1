"""End a program early: the same text up to an operation, with what later ones need as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .. import _ane_native as native
from .builder import Program
from .graph import Operation, Tensor
from .text import parse, write
from .types import TensorType

_PORT_DTYPES = ("fp16", "fp32")


class Truncated:
    """A program's operations in the order of its text, and the programs that end after each.

    Operations of constants do not count: the compiler evaluates them.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._graph = parse(program.text)
        known = {s for s in self._graph.statements if isinstance(s, Tensor)} | set(self._graph.blobs)
        self.operations: list[Operation] = []
        for statement in self._graph.statements:
            if isinstance(statement, Tensor):
                continue
            if all(tensor.constant is not None or tensor in known for _, tensor in statement.operands()):
                known.update(statement.results)
            else:
                self.operations.append(statement)

    def program(self, count: int) -> Program | None:
        """Return the program that ends after `count` operations, or None if none can end there.

        Its outputs are the values of these operations that a later one takes, or that the whole program
        gives. Those that no port can hold are converted to fp16.
        """
        if count == len(self.operations):
            return self._program
        outputs = self._frontier(count)
        needed = self._needed(outputs, self.operations[count:])
        converted = [_converted(output) for output in outputs]
        casts = [cast for cast in converted if isinstance(cast, Operation)]
        ports = [c.results[0] if isinstance(c, Operation) else c for c in converted]
        graph = replace(
            self._graph,
            inputs=tuple(tensor for tensor in self._graph.inputs if tensor in needed),
            statements=(*(s for s in self._graph.statements if _is_in(s, needed)), *casts),
            outputs=tuple(ports),
            blobs={tensor: blob for tensor, blob in self._graph.blobs.items() if tensor in needed},
        )
        text = write(graph)
        if not ports or native.check(text):
            return None
        inputs = {tensor.name: tensor.type for tensor in graph.inputs}
        return Program(inputs, {port.name: port.type for port in ports}, text, self._program.weights)

    def _frontier(self, count: int) -> list[Tensor]:
        later = {tensor for operation in self.operations[count:] for _, tensor in operation.operands()}
        later.update(self._graph.outputs)
        computed = (result for operation in self.operations[:count] for result in operation.results)
        return [result for result in computed if result in later]

    def _needed(self, outputs: Sequence[Tensor], without: Sequence[Operation]) -> set[Tensor]:
        """Return the outputs and everything that they are computed from."""
        needed = set(outputs)
        left_out = set(without)
        for statement in reversed(self._graph.statements):
            if isinstance(statement, Operation) and statement not in left_out and _is_in(statement, needed):
                needed.update(tensor for _, tensor in statement.operands())
                needed.update(statement.results)
        return needed


def _is_in(statement: Tensor | Operation, needed: set[Tensor]) -> bool:
    if isinstance(statement, Tensor):
        return statement in needed
    return any(result in needed for result in statement.results)


def _converted(output: Tensor) -> Tensor | Operation:
    """Return the output, or its conversion to fp16 if no port holds its type."""
    if output.dtype in _PORT_DTYPES:
        return output
    dtype = Tensor("", TensorType("string"), constant="fp16")
    port = Tensor(f"{output.name}_as_fp16", TensorType("fp16", output.shape))
    return Operation("cast", {"x": output, "dtype": dtype}, (port,))
