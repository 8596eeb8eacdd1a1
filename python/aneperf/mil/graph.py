"""Hold a MIL function as data: the builder makes it, the writer spells it and the parser returns it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol, cast, get_args

from numpy.typing import NDArray

from .. import _ane_native as native
from .._ane_native import ArgumentError
from .types import Constant, DType, TensorType, pack

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
_RESERVED = {"BLOBFILE", "buildInfo", "const", "dict", "false", "func", "program", "tensor", "true"}


def check_identifier(name: object) -> None:
    """Raise ArgumentError unless `name` can name a value in MIL text."""
    if not isinstance(name, str) or not _IDENTIFIER.fullmatch(name):
        raise ArgumentError(f"{name!r} is not a name: use up to 200 letters, digits and _, not a digit first")
    if name in _RESERVED or name in get_args(DType):
        raise ArgumentError(f"{name!r} is a word of MIL and cannot be a name")


class Owner(Protocol):
    """The part of a builder that its tensors and their operations use."""

    @property
    def opset(self) -> str:
        """Return the opset whose rules operations are checked against."""

    def append(
        self, operation: Operation, types: Sequence[TensorType], name: str | None
    ) -> tuple[Tensor, ...]:
        """Add a checked operation with results of `types`, and return the results."""


@dataclass(eq=False, repr=False)
class Tensor:
    """A value of a program: an input, a constant, or the result of an operation.

    A constant, or an expression of constants, belongs to no builder, and several builders may use it.
    """

    name: str  # empty for a literal written as an argument, and for a constant not yet used
    type: TensorType
    builder: Owner | None = None
    constant: Constant | None = None
    expression: Operation | None = None
    line: int | None = None  # in the parsed text
    in_file: bool = False  # a constant that goes to a weight file even if it is short

    # Adds the operation of an operator. Set by call.py, which builds on this module.
    binary: ClassVar[Callable[[str, Operand, Operand], Tensor]]
    # Makes numpy arrays leave the operators below to the tensor.
    __array_ufunc__ = None

    @property
    def dtype(self) -> DType:
        """Return the element type."""
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the sizes of the axes."""
        return self.type.shape

    @property
    def rank(self) -> int:
        """Return the number of axes."""
        return len(self.shape)

    @property
    def channels(self) -> int:
        """Return the size of axis 1."""
        if self.rank < 2:
            raise ArgumentError(f"{self!r} has no channel axis; channels are axis 1")
        return self.shape[1]

    @property
    def width(self) -> int:
        """Return the size of the last axis, 1 for a scalar."""
        return self.shape[-1] if self.shape else 1

    @property
    def constant_data(self) -> str | bytes | None:
        """Return a constant's value as the native core takes it."""
        if self.constant is None or isinstance(self.constant, str):
            return self.constant
        return pack(self.constant, self.dtype)

    def __repr__(self) -> str:
        return f"<{self.name or 'constant'}: {self.type}>"

    def __add__(self, other: Operand) -> Tensor:
        return Tensor.binary("add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return Tensor.binary("add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return Tensor.binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return Tensor.binary("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return Tensor.binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return Tensor.binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return Tensor.binary("real_div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return Tensor.binary("real_div", other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return Tensor.binary("matmul", self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return Tensor.binary("matmul", other, self)


Operand = Tensor | float | NDArray[Any]

Argument = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation, its arguments in the order of the text."""

    op: str
    arguments: dict[str, Argument]
    results: tuple[Tensor, ...] = ()
    line: int | None = None  # in the parsed text

    def operands(self) -> list[tuple[str, Tensor]]:
        """List (argument, tensor) pairs, the elements of tuples one by one."""
        pairs: list[tuple[str, Tensor]] = []
        for name, value in self.arguments.items():
            pairs += [(name, element) for element in (value if isinstance(value, tuple) else (value,))]
        return pairs

    def infer(self, opset: str) -> list[TensorType]:
        """Check against the engine's rules and return the results' types. Raises CompileError."""
        arguments = {
            name: [_signature(element) for element in value]
            if isinstance(value, tuple)
            else _signature(value)
            for name, value in self.arguments.items()
        }
        types = native.infer(self.op, arguments, opset)
        return [TensorType(cast(DType, dtype), tuple(shape)) for dtype, shape in types]


def _signature(tensor: Tensor) -> tuple[object, ...]:
    data = tensor.constant_data
    return (tensor.dtype, tensor.shape) if data is None else (tensor.dtype, tensor.shape, data)


@dataclass(frozen=True)
class BlobReference:
    """A weight's file and the offset of its chunk header."""

    path: str
    offset: int


@dataclass(frozen=True)
class Dialect:
    """A way to spell a program."""

    version: str
    opset: str
    build_info: tuple[tuple[str, str], ...]
    rank0_scalars: bool  # scalars as tensors of rank 0: tensor<int32, []>(1) for int32(1)


@dataclass(frozen=True, eq=False)
class Graph:
    """One function. A tensor among the statements defines a constant."""

    dialect: Dialect
    inputs: tuple[Tensor, ...]
    statements: tuple[Tensor | Operation, ...]
    outputs: tuple[Tensor, ...]
    blobs: dict[Tensor, BlobReference] = field(default_factory=dict)
    name: str = "main"
