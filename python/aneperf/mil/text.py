"""Write and parse MIL text, in the dialects that the engine's compiler reads.

"ios18" is program(1.3) with short scalars; "ios16" is program(1.0), the form known from the M1 and M2.
"""

from __future__ import annotations

import contextlib
import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .. import _ane_native as native
from .._ane_native import ArgumentError
from .graph import Argument, BlobReference, Dialect, Graph, Operation, Tensor
from .types import Constant, TensorType, unpack
from .weights import read_blob

DIALECTS = {
    "ios18": Dialect(
        "1.3",
        "ios18",
        (
            ("coremlc-component-MIL", "3510.2.1"),
            ("coremlc-version", "3505.4.1"),
            ("coremltools-component-milinternal", ""),
            ("coremltools-version", "9.0"),
        ),
        rank0_scalars=False,
    ),
    "ios16": Dialect("1.0", "ios16", (("coremlc-version", "3505.4.1"),), rank0_scalars=True),
}


def write(graph: Graph) -> str:
    """Return the text of `graph`. Raises ArgumentError for a value that MIL text cannot spell."""
    writer = _Writer(graph)
    info = ", ".join(f"{{{quoted(key)}, {quoted(value)}}}" for key, value in graph.dialect.build_info)
    string = writer.type(TensorType("string"))
    lines = [
        f"program({graph.dialect.version})",
        *([f"[buildInfo = dict<{string}, {string}>({{{info}}})]"] if info else []),
        "{",
        f"    func {graph.name}<{graph.dialect.opset}>({', '.join(map(writer.declared, graph.inputs))}) {{",
        *("        " + writer.statement(statement) for statement in graph.statements),
        f"    }} -> ({', '.join(output.name for output in graph.outputs)});",
        "}",
    ]
    return "\n".join(lines) + "\n"


def first_line(graph: Graph) -> int:
    """Return the line of the first statement in what `write` returns; each statement takes one."""
    return 5 if graph.dialect.build_info else 4


class _Writer:
    def __init__(self, graph: Graph) -> None:
        self._rank0 = graph.dialect.rank0_scalars
        self._blobs = graph.blobs

    def type(self, type: TensorType) -> str:
        return f"tensor<{type.dtype}, []>" if self._rank0 and not type.shape else str(type)

    def declared(self, tensor: Tensor) -> str:
        return f"{self.type(tensor.type)} {tensor.name}"

    def statement(self, statement: Tensor | Operation) -> str:
        if isinstance(statement, Tensor):
            attributes = {"name": self._string(statement.name), "val": self._value(statement)}
            return f"{self.declared(statement)} = const(){_attributes(attributes)};"
        arguments = {name: self._argument(value) for name, value in statement.arguments.items()}
        attributes = {"name": self._string(statement.results[0].name)}
        # Constant expressions are evaluated by the compiler and carry their literals as attributes.
        named = any(tensor.name for _, tensor in statement.operands())
        if statement.op.startswith("constexpr_") and not named:
            arguments, attributes = {}, dict(sorted({**attributes, **arguments}.items()))
        results = ", ".join(map(self.declared, statement.results))
        passed = ", ".join(f"{name} = {value}" for name, value in arguments.items())
        return f"{results} = {statement.op}({passed}){_attributes(attributes)};"

    def _argument(self, value: Argument) -> str:
        if isinstance(value, tuple):
            return f"({', '.join(map(self._argument, value))})"
        return value.name or self._value(value)

    def _string(self, text: str) -> str:
        return self._literal(TensorType("string"), text)

    def _value(self, tensor: Tensor) -> str:
        blob = self._blobs.get(tensor)
        if blob is not None:
            offset = f"{self.type(TensorType('uint64'))}({blob.offset})"
            return f"{self.type(tensor.type)}(BLOBFILE(path = {self._string(blob.path)}, offset = {offset}))"
        if tensor.constant is None:
            raise ArgumentError(f"{tensor!r} is neither named nor a constant, so it cannot be written")
        return self._literal(tensor.type, tensor.constant)

    def _literal(self, type: TensorType, value: Constant) -> str:
        text = quoted(value) if isinstance(value, str) else elements(value.tolist())
        return f"{self.type(type)}({text})"


def _attributes(attributes: Mapping[str, str]) -> str:
    return f"[{', '.join(f'{name} = {value}' for name, value in attributes.items())}]"


def elements(value: Any) -> str:
    """Return a value, or nested lists of values, as a literal."""
    if isinstance(value, list):
        return f"[{', '.join(map(elements, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _float(value) if isinstance(value, float) else str(value)


def _float(value: float) -> str:
    """Return the exact C99 hexadecimal form, as printf's %a writes it: 0.125 is 0x1p-3."""
    if not math.isfinite(value):
        return str(value)  # inf, -inf or nan
    mantissa, _, exponent = value.hex().partition("p")
    return f"{mantissa.rstrip('0').rstrip('.')}p{exponent}"


def quoted(text: str) -> str:
    """Return a string literal. Raises ArgumentError for a character that MIL text cannot spell."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    if not escaped.isprintable():
        raise ArgumentError(f"{text!r} holds a character that MIL text cannot spell")
    return f'"{escaped}"'


def parse(text: str, weights: Mapping[str, bytes] | None = None) -> Graph:
    """Return the graph of a program with one function.

    Types are taken as declared; compiling checks them. With `weights` (path to bytes), constants in weight
    files are read; without, they stay references, which `write` spells again. Raises CompileError with line
    and column, ArgumentError for a weight file that is missing or does not hold what the text declares.
    """
    with without_collection():
        return _parse(text, weights)


def _parse(text: str, weights: Mapping[str, bytes] | None) -> Graph:
    program = native.parse(text)
    functions, version = program["functions"], program["version"]
    if len(functions) != 1:
        names = ", ".join(function["name"] for function in functions)
        raise ArgumentError(f"the program has {len(functions)} functions ({names}); give each as a program")
    function = functions[0]
    dialect = Dialect(version, function["opset"], tuple(program["build_info"]), version == "1.0")

    tensors, blobs = _tensors(function["values"], weights)
    # Ids count definitions, so they give the order of constants and operations among each other.
    statements: dict[int, Tensor | Operation] = {
        index: tensor
        for index, tensor in enumerate(tensors)
        if tensor.name and (tensor.constant is not None or tensor in blobs)
    }
    for operation in function["operations"]:
        arguments: dict[str, Argument] = {
            name: tuple(tensors[i] for i in ids) if is_tuple else tensors[ids[0]]
            for name, ids, is_tuple in operation["arguments"]
        }
        results = tuple(tensors[i] for i in operation["results"])
        if not results:
            raise ArgumentError(f"line {operation['line']}: {operation['op']}: has no result to compute")
        statements[operation["results"][0]] = Operation(
            operation["op"], arguments, results, operation["line"]
        )

    return Graph(
        dialect,
        tuple(tensors[i] for i in function["inputs"]),
        tuple(statements[index] for index in sorted(statements)),
        tuple(tensors[i] for i in function["outputs"]),
        blobs,
        function["name"],
    )


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Pause the search for cycles, which takes most of the time where millions of objects are made."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _tensors(
    values: Sequence[Any], weights: Mapping[str, bytes] | None
) -> tuple[list[Tensor], dict[Tensor, BlobReference]]:
    """Return the parsed values as tensors, and the places of those that lie in weight files."""
    tensors: list[Tensor] = []
    blobs: dict[Tensor, BlobReference] = {}
    types: dict[tuple[str, tuple[int, ...]], TensorType] = {}  # a program has few
    for value in values:
        key = value["dtype"], value["shape"]
        if key not in types:
            types[key] = TensorType(*key)
        tensor = Tensor(value["name"], types[key], line=value["line"])
        if value["blob"] is not None:
            blobs[tensor] = BlobReference(*value["blob"])
            tensor.constant = _read(blobs[tensor], tensor, weights)
        elif value["constant"] is not None:
            data = value["constant"]
            tensor.constant = data if isinstance(data, str) else unpack(data, tensor.type)
        tensors.append(tensor)
    return tensors, blobs


def _read(blob: BlobReference, tensor: Tensor, weights: Mapping[str, bytes] | None) -> Constant | None:
    if weights is None:
        return None
    if blob.path not in weights:
        raise ArgumentError(f"{tensor!r}: the weights hold no file {blob.path!r}")
    try:
        return read_blob(weights[blob.path], blob.offset, tensor.type)
    except ArgumentError as error:
        raise ArgumentError(f"{tensor!r} in {blob.path!r}: {error}") from None
