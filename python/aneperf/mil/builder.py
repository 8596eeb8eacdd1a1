"""Build a MIL program: inputs, operations checked one by one, outputs, then text and weight files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast

from .. import _ane_native as native
from .._ane_native import ArgumentError
from .graph import Argument, Graph, Operation, Tensor, check_identifier
from .text import DIALECTS, write
from .types import DType, TensorType
from .weights import goes_to_file, stored, write_weights

_PORT_DTYPES = ("fp16", "fp32")


@dataclass(frozen=True)
class Program:
    """MIL text with its weight files. Inputs and outputs are in the order of their declaration."""

    inputs: dict[str, TensorType]
    outputs: dict[str, TensorType]
    text: str = field(repr=False)
    weights: dict[str, bytes] = field(repr=False)

    def compile(
        self, device: native.Device, *, lenient_weights: bool = False, qos: int = 21, strict: bool = True
    ) -> native.Program:
        """Compile and load the program on `device`; `Device.compile` documents the options.

        Raises CompileError, CompileBudgetError.
        """
        return device.compile(
            self.text, self.weights, lenient_weights=lenient_weights, qos=qos, strict=strict
        )


class Builder:
    """The program under construction.

        b = Builder()
        x = b.input("x", (1, 64, 1, 64))
        b.output("y", mil.relu(mil.conv(x, weight)))
        program = b.build()

    The functions of aneperf.mil are the operations. Each call is checked at once; a refused one leaves the
    builder unchanged.
    """

    def __init__(self, opset: Literal["ios18", "ios16"] = "ios18") -> None:
        _check_choice("opset", opset, DIALECTS)
        self.opset = opset
        self._names: dict[str, str] = {}  # each name in use, with a description of its value
        self._counts: Counter[str] = Counter()
        self._inputs: list[Tensor] = []
        self._outputs: list[Tensor] = []
        self._statements: list[Tensor | Operation] = []
        self._defined: dict[object, Tensor] = {}  # constants; short ones by argument and value

    def input(self, name: str, shape: Sequence[int], dtype: DType = "fp16") -> Tensor:
        """Declare an input of fp16 or fp32, usually [1, C, 1, W] or [1, C, H, W]."""
        tensor = Tensor(name, TensorType(dtype, cast(tuple[int, ...], shape)), self)
        _check_port(name, tensor.type)
        self._claim([name], "an input")
        self._inputs.append(tensor)
        return tensor

    def output(self, name: str, tensor: Tensor) -> None:
        """Make the result of an operation an output called `name`, of fp16 or fp32."""
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"output {name!r}: {tensor!r} is not a tensor; write output(name, tensor)")
        if tensor.builder is None:
            raise ArgumentError(f"output {name!r} is a constant; an output must be computed from an input")
        if tensor.builder is not self:
            raise ArgumentError(f"output {name!r}: {tensor!r} belongs to another builder")
        if tensor in self._inputs:
            raise ArgumentError(f"output {name!r} is the input {tensor.name!r}; give mul(x, 1.0) of it")
        if tensor in self._outputs:
            raise ArgumentError(f"output {name!r} is already the output {tensor.name!r}; read that one")
        _check_port(name, tensor.type)
        if name != tensor.name:
            self._claim([name], self._names[tensor.name])
            del self._names[tensor.name]
            tensor.name = name
        self._outputs.append(tensor)

    def build(
        self,
        dialect: Literal["ios18", "ios16"] | None = None,
        weight_files: Literal["single", "separate"] = "single",
    ) -> Program:
        """Return the program as text and weight files: one for all weights, or one for each.

        macOS 27 refuses several files.
        The dialect defaults to the builder's opset; every operation must exist in it.
        """
        chosen = self.opset if dialect is None else dialect
        _check_choice("dialect", chosen, DIALECTS)
        _check_choice("weight_files", weight_files, ("single", "separate"))
        if not self._outputs:
            raise ArgumentError("the program has no outputs; name at least one with output(name, tensor)")
        if chosen != self.opset:
            for statement in self._statements:
                if isinstance(statement, Operation):
                    statement.infer(chosen)
        weights, blobs = write_weights(self._statements, single_file=weight_files == "single")
        inputs, statements, outputs = tuple(self._inputs), tuple(self._statements), tuple(self._outputs)
        return Program(
            {tensor.name: tensor.type for tensor in inputs},
            {tensor.name: tensor.type for tensor in outputs},
            write(Graph(DIALECTS[chosen], inputs, statements, outputs, blobs)),
            weights,
        )

    def stored(self) -> list[Tensor]:
        """List the constants that `build` puts into the weight file, in their order there."""
        return [tensor for _, tensor in stored(self._statements)]

    def append(
        self, operation: Operation, types: Sequence[TensorType], name: str | None
    ) -> tuple[Tensor, ...]:
        """Add a checked operation with results of `types`, and return the results.

        Its constants are defined just before it.
        """
        results = self._free_names(operation.op, len(types)) if name is None else _numbered(name, len(types))
        operands = dict.fromkeys(tensor for _, tensor in operation.operands())
        for tensor in operands:
            if tensor.expression is not None:
                tensor.expression.infer(self.opset)
        named = [t.name for t in operands if t.name and t.builder is None and t not in self._defined]
        self._check_free([*results, *named])
        self._claim(results, f"the result of {operation.op}")
        defined: dict[str, Argument] = {
            argument: tuple(self._define(argument, element) for element in value)
            if isinstance(value, tuple)
            else self._define(argument, value)
            for argument, value in operation.arguments.items()
        }
        tensors = tuple(Tensor(each, type, self) for each, type in zip(results, types, strict=True))
        self._statements.append(Operation(operation.op, defined, tensors))
        return tensors

    def _define(self, argument: str, tensor: Tensor) -> Tensor:
        """Return the tensor, or this builder's definition of a constant; equal short ones share it."""
        if tensor.builder is self:
            return tensor
        by_value = not tensor.name and tensor.constant is not None and not goes_to_file(tensor)
        key: object = (argument, tensor.type, tensor.constant_data) if by_value else tensor
        if key not in self._defined:
            base = argument if tensor.expression is None else tensor.expression.op
            names = [tensor.name] if tensor.name else self._free_names(base, 1)
            self._claim(names, "a constant")
            local = Tensor(names[0], tensor.type, self, tensor.constant, in_file=tensor.in_file)
            self._defined[key] = local
            self._statements.append(
                local
                if tensor.expression is None
                else Operation(tensor.expression.op, tensor.expression.arguments, (local,))
            )
        return self._defined[key]

    def _check_free(self, names: Sequence[str]) -> None:
        for name, count in Counter(names).items():
            check_identifier(name)
            if name in self._names or count > 1:
                value = self._names.get(name, "another value of this operation")
                raise ArgumentError(f"the name {name!r} is taken by {value}; choose another")

    def _claim(self, names: Sequence[str], value: str) -> None:
        self._check_free(names)
        self._names.update(dict.fromkeys(names, value))

    def _free_names(self, base: str, count: int) -> list[str]:
        """Return base_N, or base_N_0, base_N_1, ... for several, with the first N that is free."""
        while True:
            names = _numbered(f"{base}_{self._counts[base]}", count)
            if self._names.keys().isdisjoint(names):
                return names
            self._counts[base] += 1


def _check_choice(what: str, value: object, choices: Collection[str]) -> None:
    if value not in list(choices):
        raise ArgumentError(f"{what} {value!r} is unknown; choose {' or '.join(map(repr, choices))}")


def _check_port(name: object, type: TensorType) -> None:
    if type.dtype not in _PORT_DTYPES:
        raise ArgumentError(f"port {name!r} is {type.dtype}; ports are fp16 or fp32: cast inside the program")


def _numbered(stem: str, count: int) -> list[str]:
    return [stem] if count == 1 else [f"{stem}_{i}" for i in range(count)]
