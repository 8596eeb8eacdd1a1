"""Spell a Core ML model, a protobuf that coremltools writes, as MIL text in the form of Apple's compiler."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from .. import _ane_native as native
from .._ane_native import ArgumentError
from .graph import check_identifier
from .text import DIALECTS, elements, quoted
from .types import TensorType, check_dtype, unpack

_OPSETS = {"CoreML5": "ios15", "CoreML6": "ios16", "CoreML7": "ios17", "CoreML8": "ios18", "CoreML9": "ios26"}
_DTYPES = {
    "BOOL": "bool",
    "STRING": "string",
    "FLOAT16": "fp16",
    "FLOAT32": "fp32",
    "FLOAT64": "fp64",
    "BFLOAT16": "bf16",
    "FLOAT8E4M3FN": "fp8e4m3fn",
    "FLOAT8E5M2": "fp8e5m2",
}  # the integers have the same name in lower case
_MISSING = "reading a Core ML model needs coremltools: pip install '.[coreml]' in a checkout of aneperf"

# Messages of the protobuf, whose classes coremltools makes when it is imported.
Message = Any


def spell_model(content: bytes) -> str:
    """Return the text of a serialized ML program. Raises ArgumentError for others, or without coremltools."""
    model = _decode(content)
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        found = "no model" if kind is None else f"a model of the type {kind}"
        raise ArgumentError(
            f"holds {found}, not an ML program: convert it with coremltools for iOS15 or later"
        )
    functions = [_Speller(name, function) for name, function in sorted(model.mlProgram.functions.items())]
    rank0 = all(function.rank0 for function in functions)
    dialect, string = DIALECTS["ios16" if rank0 else "ios18"], _string_type(rank0)
    info = ", ".join(f"{{{quoted(key)}, {quoted(value)}}}" for key, value in dialect.build_info)
    lines = [
        f"program({dialect.version})",
        f"[buildInfo = dict<{string}, {string}>({{{info}}})]",
        "{",
        *(line for function in functions for line in function.lines()),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _decode(content: bytes) -> Message:
    with _quiet():
        try:
            from coremltools.proto import Model_pb2
        except ImportError:
            raise ArgumentError(_MISSING) from None
        from google.protobuf.message import DecodeError
    model = Model_pb2.Model()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise ArgumentError("holds a damaged or truncated Core ML model") from None
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what coremltools says of the packages beside it from standard error."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


class _Speller:
    """Spells one function."""

    def __init__(self, name: str, function: Message) -> None:
        self._name, self._function = name, function
        if function.opset not in function.block_specializations:
            raise ArgumentError(f"function {name!r} holds no block for its opset {function.opset!r}")
        self._opset = _OPSETS.get(function.opset, function.opset)
        # Apple's compiler spells scalars as tensors of rank 0 for these targets.
        self.rank0 = self._opset in ("ios15", "ios16")
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._tuples = {
            (op, name)
            for op, spec in native.operations().items()
            for name, parameter in spec.parameters.items()
            if parameter.role == "tuple"
        }

    def lines(self) -> Iterator[str]:
        """Yield the lines of the function."""
        block = self._function.block_specializations[self._function.opset]
        inputs = ", ".join(map(self._declared, self._function.inputs))
        yield f"    func {self._named(self._name)}<{self._opset}>({inputs}) {{"
        yield from self._operations(block.operations, "        ")
        yield f"    }} -> ({', '.join(map(self._named, block.outputs))});"

    def _operations(self, operations: Sequence[Message], indent: str) -> Iterator[str]:
        for operation in operations:
            results = ", ".join(map(self._declared, operation.outputs))
            arguments = ", ".join(
                f"{key} = {self._argument(value, (operation.type, key) in self._tuples)}"
                for key, value in sorted(operation.inputs.items())
            )
            attributes = ", ".join(
                f"{key} = {self._value(value)}" for key, value in sorted(operation.attributes.items())
            )
            call = f"{indent}{results}{' = ' if results else ''}{operation.type}({arguments})"
            call += f"[{attributes}]" if attributes else ""
            for block in operation.blocks:
                yield f"{call} {{"
                yield from self._operations(block.operations, indent + "    ")
                call = f"{indent}}} -> ({', '.join(map(self._named, block.outputs))})"
            yield f"{call};"

    def _declared(self, value: Message) -> str:
        return f"{self._type(value.type)} {self._named(value.name)}"

    def _argument(self, argument: Message, is_tuple: bool) -> str:
        spelled = [
            self._named(each.name) if each.WhichOneof("binding") == "name" else self._value(each.value)
            for each in argument.arguments
        ]
        return f"({', '.join(spelled)})" if is_tuple or len(spelled) != 1 else spelled[0]

    def _named(self, name: str) -> str:
        """Return a name of MIL text for a name of the model, the same at each use."""
        if name not in self._names:
            spelled = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)[:200]
            while not _is_identifier(spelled) or spelled in self._taken:
                spelled = f"{'' if spelled[:1].isalpha() else '_'}{spelled[:199]}_"
            self._taken.add(spelled)
            self._names[name] = spelled
        return self._names[name]

    def _type(self, type: Message) -> str:
        kind = type.WhichOneof("type")
        if kind == "tensorType":
            dtype, extents = _dtype(type.tensorType), _dimensions(type.tensorType)
            return f"tensor<{dtype}, [{extents}]>" if extents or self.rank0 else dtype
        if kind == "stateType":
            return f"state<{self._type(type.stateType.wrappedType)}>"
        if kind == "listType":
            length = _extent(type.listType.length)
            return f"list<{self._type(type.listType.type)}, {'?' if length < 0 else length}>"
        if kind == "tupleType":
            return f"tuple<{', '.join(map(self._type, type.tupleType.types))}>"
        if kind == "dictionaryType":
            pair = type.dictionaryType
            return f"dict<{self._type(pair.keyType)}, {self._type(pair.valueType)}>"
        raise ArgumentError("holds a value without a type")

    def _value(self, value: Message) -> str:
        type = self._type(value.type)
        if value.WhichOneof("value") == "blobFileValue":
            return self._blob(type, value.blobFileValue.fileName, value.blobFileValue.offset)
        return f"{type}({self._immediate(value, type)})"

    def _blob(self, type: str, path: str, offset: int) -> str:
        number = "tensor<uint64, []>" if self.rank0 else "uint64"
        string = _string_type(self.rank0)
        return f"{type}(BLOBFILE(path = {string}({quoted(path)}), offset = {number}({offset})))"

    def _immediate(self, value: Message, type: str) -> str:
        immediate = value.immediateValue
        kind = immediate.WhichOneof("value")
        if kind in ("tuple", "list"):
            return f"({', '.join(map(self._value, getattr(immediate, kind).values))})"
        if kind == "dictionary":
            pairs = (f"{{{self._value(p.key)}, {self._value(p.value)}}}" for p in immediate.dictionary.values)
            return f"{{{', '.join(pairs)}}}"
        if kind != "tensor":
            raise ArgumentError(f"holds a {type} without a value")
        return _literal(value.type.tensorType, immediate.tensor)


def _literal(type: Message, tensor: Message) -> str:
    dtype, shape, kind = _dtype(type), _shape(type), tensor.WhichOneof("value")
    if -1 in shape:
        raise ArgumentError(f"holds a value of the flexible shape {list(shape)}")
    values: Any = getattr(tensor, kind).values if kind else ()
    if kind == "strings":
        text = ", ".join(map(quoted, values))
        return f"[{text}]" if shape else text
    if kind == "bytes":  # packed, as in a weight file
        return elements(unpack(values, TensorType(check_dtype(dtype), shape)).tolist())
    if len(values) != math.prod(shape):
        raise ArgumentError(f"holds {len(values)} values where tensor<{dtype}, {list(shape)}> is declared")
    return elements(np.asarray(values).reshape(shape).tolist())


def _dtype(type: Message) -> str:
    names = type.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number
    name = names[type.dataType].name if type.dataType in names else f"dtype_{type.dataType}"
    return _DTYPES.get(name, name.lower())


def _shape(type: Message) -> tuple[int, ...]:
    """Return the extents, -1 for a flexible one."""
    return tuple(map(_extent, type.dimensions))


def _extent(dimension: Message) -> int:
    return dimension.constant.size if dimension.WhichOneof("dimension") == "constant" else -1


def _dimensions(type: Message) -> str:
    return ", ".join("?" if extent < 0 else str(extent) for extent in _shape(type))


def _string_type(rank0: bool) -> str:
    return "tensor<string, []>" if rank0 else "string"


def _is_identifier(name: str) -> bool:
    try:
        check_identifier(name)
    except ArgumentError:
        return False
    return True
