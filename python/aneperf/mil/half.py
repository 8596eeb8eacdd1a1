"""Convert programs that compute in fp32 to fp16, the arithmetic of the engine.

Constants are rounded to nearest even. Values beyond fp16 become its largest, and infinities, as masks have
them, stay. Ports stay fp32, with a cast next to them, where the engine casts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _ane_native as native
from ..chips import profile_of
from ..errors import ArgumentError
from .builder import Program
from .graph import Argument, Graph, Operation, Tensor
from .text import first_line, parse, write
from .types import DType, TensorType
from .weights import write_weights

_LARGEST, _SMALLEST = 65504.0, 2.0**-24
_WITH_BLOCKS = ("cond", "while_loop")
_SHOWN = 3  # names of constants in a report
CONVERT = "Convert the program to fp16: --fp16, or mil.to_fp16"


def computes_in_fp32(refusal: str) -> bool:
    """Tell from the compiler's reason that an operand is fp32, so that the conversion may help."""
    return "is fp32, must be" in refusal


@dataclass
class Fp16Changes:
    """Changes of a conversion. Constants are named, with the number of their values."""

    operations: int = 0  # that computed in fp32
    constants: int = 0
    casts_added: int = 0
    casts_removed: int = 0
    clamped: dict[str, int] = field(default_factory=dict)  # beyond fp16, now 65,504 or -65,504
    vanished: dict[str, int] = field(default_factory=dict)  # too small, now 0; a scalar the smallest above 0
    ports: list[str] = field(default_factory=list)  # now fp16

    def __str__(self) -> str:
        said = [
            f"{self.operations} operations and {self.constants} constants to fp16",
            f"{self.casts_added} casts added and {self.casts_removed} removed",
        ]
        if self.clamped:
            said.append(f"{_counted(self.clamped)} beyond fp16 became 65504 or -65504")
        if self.vanished:
            said.append(f"{_counted(self.vanished)} too small for fp16 became 0, or 2^-24 for a scalar")
        if self.ports:
            said.append(f"fp16 ports now: {', '.join(self.ports)}")
        return "; ".join(said)


@dataclass(frozen=True)
class Fp16Program(Program):
    """A program in fp16, with a report of its conversion."""

    changes: Fp16Changes = field(kw_only=True)
    # By lines of `text`, the line of the program before.
    origins: dict[int, int] = field(kw_only=True, repr=False)


def to_fp16(program: Program, chip: str = "h16") -> Fp16Program:
    """Return the program with its fp32 operations and constants in fp16.

    Ports of fp32 stay, with a cast inside, if the engine of `chip` casts; else they become fp16. Raises
    CompileError and ArgumentError as `parse` does, and ArgumentError for control flow.
    """
    if not isinstance(program, Program):
        raise ArgumentError(f"to_fp16 takes a mil.Program, not {program!r}: mil.read makes one of a file")
    keeps_ports = bool(native.chip_profile(profile_of(chip))["casts_fp32"])
    conversion = _Conversion(parse(program.text, program.weights), keeps_ports)
    graph = conversion.convert()
    weights, blobs = write_weights(graph.statements)
    lines = [*(port.line for port in graph.inputs[:1]), *conversion.lines]
    origins = {first_line(graph) - 1 + i: line for i, line in enumerate(lines) if line is not None}
    return Fp16Program(
        {tensor.name: tensor.type for tensor in graph.inputs},
        {tensor.name: tensor.type for tensor in graph.outputs},
        write(replace(graph, blobs=blobs)),
        weights,
        changes=conversion.changes,
        origins=origins,
    )


class _Conversion:
    """Makes the statements of the new function, in order. Constants are defined where they are first used."""

    def __init__(self, graph: Graph, keeps_ports: bool) -> None:
        self._graph, self._keeps_ports = graph, keeps_ports
        self._table = native.operations()
        self._statements: list[Tensor | Operation] = []
        self._new: dict[Tensor, Tensor] = {}  # the tensor that stands for one of the program
        self._ports: dict[Tensor, Tensor] = {}  # an output that stands for one of the program
        self._halves: dict[Tensor, Tensor] = {}  # the fp16 form of a constant
        self._defined: dict[str, Tensor] = {}  # constants
        self._results: set[Tensor] = set()
        self._names = {tensor.name for tensor in _tensors(graph)}
        self.lines: list[int | None] = []  # of the statements, in the program's text
        self.changes = Fp16Changes()

    def convert(self) -> Graph:
        """Return the graph in fp16."""
        inputs = tuple(map(self._input, self._graph.inputs))
        for statement in self._graph.statements:
            if isinstance(statement, Operation):
                self._operation(statement)
        outputs = tuple(self._ports.get(t, self._new.get(t, t)) for t in self._graph.outputs)
        return replace(
            self._graph, inputs=inputs, statements=tuple(self._statements), outputs=outputs, blobs={}
        )

    def _input(self, port: Tensor) -> Tensor:
        if port.dtype != "fp32":
            return port
        if not self._keeps_ports:
            self.changes.ports.append(port.name)
            self._new[port] = Tensor(port.name, _half(port.type), line=port.line)
            return self._new[port]
        users = [s for s in self._graph.statements if isinstance(s, Operation) and port in _operands(s)]
        if users:
            casts = [user for user in users if _is_cast(user, "fp16")]
            self.changes.casts_added += not casts
            self.changes.casts_removed -= bool(casts)  # the first is counted as removed below, and stays
            name = self._free_name(f"{port.name}_fp16")
            self._new[port] = self._cast(port, name, "fp16", (casts or users)[0].line)
        return port

    def _operation(self, old: Operation) -> None:
        if old.op in _WITH_BLOCKS:  # which a parsed operation does not hold
            raise ArgumentError(f"line {old.line}: {old.op}: programs with control flow cannot be converted")
        first = old.results[0]
        if old.op == "constexpr_cast" and first.dtype == "fp32":
            source = old.arguments["source_val"]
            assert isinstance(source, Tensor)
            named = Tensor(first.name, source.type, constant=source.constant, line=old.line)
            self._new[first] = source if source.name else named
            self.changes.casts_removed += 1
            return
        arguments = {name: self._argument(old.op, name, value) for name, value in old.arguments.items()}
        x = arguments.get("x")
        if old.op == "cast" and isinstance(x, Tensor) and x.dtype == "fp16" and _is_cast(old):
            self._replace_cast(old, x)
            return
        if _is_cast(old, "fp32"):
            arguments["dtype"] = _string("fp16")
        elif any(result.dtype == "fp32" for result in old.results):
            self.changes.operations += 1
        results = tuple(map(self._result, old.results))
        self._append(Operation(old.op, arguments, results), old.line)
        self._results.update(results)
        for result, new in zip(old.results, results, strict=True):
            self._new[result] = new
            if result in self._graph.outputs and result.dtype == "fp32":
                if self._keeps_ports:
                    self._ports[result] = self._cast(new, result.name, "fp32", old.line)
                    self.changes.casts_added += 1
                else:
                    self.changes.ports.append(result.name)

    def _replace_cast(self, old: Operation, x: Tensor) -> None:
        """Put `x`, of fp16, in the place of a cast between fp16 and fp32, unless it makes an output."""
        (result,) = old.results
        self._new[result] = x
        if result not in self._graph.outputs:
            self.changes.casts_removed += 1
        elif result.dtype == "fp32" and self._keeps_ports:
            self._ports[result] = self._cast(x, result.name, "fp32", old.line)
        else:
            if result.dtype == "fp32":
                self.changes.ports.append(result.name)
            self._ports[result] = self._named(x, result.name, old.line)

    def _named(self, x: Tensor, name: str, line: int | None) -> Tensor:
        """Return an output called `name` with the value of `x`."""
        if x not in self._results or x.name in {port.name for port in self._graph.outputs}:
            return self._cast(x, name, "fp16", line)
        x.name = name
        self.changes.casts_removed += 1
        return x

    def _result(self, old: Tensor) -> Tensor:
        if old.dtype != "fp32":
            return Tensor(old.name, old.type)
        is_cast_to_port = self._keeps_ports and old in self._graph.outputs
        return Tensor(self._free_name(f"{old.name}_fp16") if is_cast_to_port else old.name, _half(old.type))

    def _argument(self, op: str, name: str, value: Argument) -> Argument:
        if isinstance(value, tuple):
            return tuple(self._operand(op, name, element) for element in value)
        return self._operand(op, name, value)

    def _operand(self, op: str, name: str, old: Tensor) -> Tensor:
        new = self._new.get(old, old)
        if new.constant is None:
            return new
        if new.dtype == "fp32" and not self._needs_fp32(op, name):
            if new not in self._halves:
                self._halves[new] = self._half_constant(new, f"{op}'s {name}")
            new = self._halves[new]
        if new.name and self._defined.get(new.name) is not new:
            if new.name in self._defined:
                new.name = self._free_name(f"{new.name}_{new.dtype}")
            self._defined[new.name] = new
            self._append(new, new.line)
        return new

    def _needs_fp32(self, op: str, name: str) -> bool:
        """Tell whether the engine takes a parameter in fp32 and not in fp16, as the factors of upsampling."""
        parameter = self._table[op].parameters.get(name) if op in self._table else None
        return parameter is not None and "fp32" in parameter.dtypes and "fp16" not in parameter.dtypes

    def _half_constant(self, old: Tensor, place: str) -> Tensor:
        assert isinstance(old.constant, np.ndarray)
        half, clamped, vanished = round_to_half(old.constant)
        self.changes.constants += 1
        for counts, count in ((self.changes.clamped, clamped), (self.changes.vanished, vanished)):
            if count:
                counts[old.name or place] = counts.get(old.name or place, 0) + count
        return Tensor(old.name, _half(old.type), constant=half, line=old.line)

    def _cast(self, x: Tensor, name: str, dtype: DType, line: int | None) -> Tensor:
        result = Tensor(name, TensorType(dtype, x.shape))
        self._append(Operation("cast", {"x": x, "dtype": _string(dtype)}, (result,)), line)
        return result

    def _append(self, statement: Tensor | Operation, line: int | None) -> None:
        self._statements.append(statement)
        self.lines.append(line)

    def _free_name(self, name: str) -> str:
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name


def round_to_half(array: NDArray[Any]) -> tuple[NDArray[np.float16], int, int]:
    """Round to fp16: finite values stay finite, and a scalar that is not 0 stays so.

    Returns how many values were beyond fp16, and how many too small for it.
    """
    with np.errstate(over="ignore", under="ignore"):
        half = array.astype(np.float16)
    beyond = np.isinf(half) & np.isfinite(array)
    vanished = (half == 0) & (array != 0)
    half = np.where(beyond, np.copysign(np.float16(_LARGEST), half), half)
    if array.size == 1:
        half = np.where(vanished, np.copysign(np.float16(_SMALLEST), half), half)
    return half, int(beyond.sum()), int(vanished.sum())


def _half(type: TensorType) -> TensorType:
    return TensorType("fp16", type.shape)


def _string(text: str) -> Tensor:
    return Tensor("", TensorType("string"), constant=text)


def _operands(operation: Operation) -> set[Tensor]:
    return {tensor for _, tensor in operation.operands()}


def _is_cast(operation: Operation, *dtypes: str) -> bool:
    """Tell whether an operation casts to fp16 or fp32, or to one of `dtypes`."""
    return operation.op == "cast" and operation.results[0].dtype in (dtypes or ("fp16", "fp32"))


def _tensors(graph: Graph) -> Iterator[Tensor]:
    yield from graph.inputs
    for statement in graph.statements:
        yield from (statement,) if isinstance(statement, Tensor) else statement.results


def _counted(values: dict[str, int]) -> str:
    """Say how many values of which constants: 3 values (w, v and 2 more)."""
    names = ", ".join(list(values)[:_SHOWN])
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    count = sum(values.values())
    return f"{count} value{'s' if count > 1 else ''} ({names}{more})"
