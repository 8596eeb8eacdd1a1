"""Build a small program for each operation, from the example of its reference.

The examples avoid inputs for which generations of engines differ by design: overflow, products past 32,767,
arguments where `softplus` or `round` are known to deviate. What remains is the precision of the operation.
"""

from __future__ import annotations

import inspect
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import mil
from .._ane_native import Parameter
from ..mil.call import OPERATIONS, argument_name
from ..reference import OPERATIONS as REFERENCES
from ..reference import Reference

_SHAPE = (1, 32, 4, 32)


@dataclass(frozen=True)
class OperationCase:
    """A program for one operation, with fp16 inputs x0, x1, ... and fp16 outputs y0, y1, ..."""

    name: str
    reference: Reference

    @property
    def tolerance(self) -> float:
        """Return the largest error that is no fault, relative to the largest result."""
        return self.reference.tolerance

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Return the shapes of the inputs."""
        count = sum(2 if operand.role == "tuple" else 1 for operand in self._operands().values())
        return self.reference.shapes or (_SHAPE,) * max(1, count)

    def define(self, builder: mil.Builder) -> None:
        """Add the program to `builder`."""
        inputs = [builder.input(f"x{i}", shape) for i, shape in enumerate(self.shapes)]
        rest, arguments = iter(inputs), dict(self.reference.arguments)
        for parameter, operand in self._operands().items():
            is_tuple = operand.role == "tuple"
            arguments[parameter] = [next(rest), next(rest)] if is_tuple else _converted(next(rest), operand)
        results = getattr(mil, self.name)(**arguments)
        for i, result in enumerate(results if isinstance(results, tuple) else (results,)):
            builder.output(f"y{i}", _as_fp16(result, inputs[0]))

    def build(self) -> mil.Program:
        """Return the program."""
        builder = mil.Builder()
        self.define(builder)
        return builder.build()

    def inputs(self, draw: int = 0) -> dict[str, NDArray[Any]]:
        """Return an array for each input; those of a draw are the same in every process."""
        random = np.random.default_rng((zlib.crc32(self.name.encode()), draw))
        return {f"x{i}": self._draw(random, shape) for i, shape in enumerate(self.shapes)}

    def _operands(self) -> dict[str, Parameter]:
        """Return the required parameters that the example leaves to inputs."""
        signature = inspect.signature(getattr(mil, self.name))
        return {
            parameter.name: OPERATIONS[self.name].parameters[argument_name(self.name, parameter.name)]
            for parameter in signature.parameters.values()
            if parameter.default is parameter.empty and parameter.name not in self.reference.arguments
        }

    def _draw(self, random: np.random.Generator, shape: tuple[int, ...]) -> NDArray[Any]:
        if self.reference.values == "grid":
            return (random.integers(-64, 65, shape) / 8).astype(np.float16)
        if self.reference.values == "positive":
            return random.uniform(0.25, 4, shape).astype(np.float16)
        scale = 16 if self.reference.values == "large" else 1
        return (np.clip(random.standard_normal(shape), -4, 4) * scale).astype(np.float16)


CASES = {name: OperationCase(name, reference) for name, reference in REFERENCES.items()}


def _converted(x: mil.Tensor, operand: Parameter) -> mil.Tensor:
    """Convert an fp16 input to a type that the operand takes."""
    if "fp16" in operand.dtypes:
        return x
    return mil.less(x, 0.5) if "bool" in operand.dtypes else mil.quantize(x, 0.0625)


def _as_fp16(result: mil.Tensor, x: mil.Tensor) -> mil.Tensor:
    """Return a result as an fp16 tensor that depends on an input."""
    if result.builder is None:
        return mil.conv(x, result)
    if result.dtype == "bool":
        return mil.select(result, 1.0, 0.0) + 0.0 * x
    return result if result.dtype == "fp16" else mil.cast(result, "fp16") + 0.0
