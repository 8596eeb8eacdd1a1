"""A MIL function as data: what the builder makes, the writer spells and the parser returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import NDArray

from .. import _ane_native as native
from .._ane_native import ArgumentError
from .types import Constant, DType, TensorType, pack

if TYPE_CHECKING:
    from .builder import Builder


@dataclass(eq=False, repr=False)
class Tensor:
    """A value of a program: computed, an input, or a constant. Made by a builder or an operation.

    A constant, or an expression of constants, belongs to no builder and may be used in several.
    """

    name: str  # empty for a literal written as an argument, and for a constant not yet used
    type: TensorType
    builder: Builder | None = None
    constant: Constant | None = None
    expression: Operation | None = None
    line: int | None = None  # of the text it was parsed from

    # numpy arrays leave the operators below to the tensor.
    __array_ufunc__ = None

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self.type.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.type.shape

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def channels(self) -> int:
        """The size of axis 1."""
        if self.rank < 2:
            raise ArgumentError(f"{self!r} has no channel axis; channels are axis 1")
        return self.shape[1]

    @property
    def width(self) -> int:
        """The size of the last axis."""
        return self.shape[-1] if self.shape else 1

    @property
    def constant_data(self) -> str | bytes | None:
        """A constant's value as the native core takes it."""
        if self.constant is None or isinstance(self.constant, str):
            return self.constant
        return pack(self.constant, self.dtype)

    def __repr__(self) -> str:
        return f"<{self.name or 'constant'}: {self.type}>"

    def __add__(self, other: Operand) -> Tensor:
        return _binary("add", self, other)

    def __radd__(self, other: Operand) -> Tensor:
        return _binary("add", other, self)

    def __sub__(self, other: Operand) -> Tensor:
        return _binary("sub", self, other)

    def __rsub__(self, other: Operand) -> Tensor:
        return _binary("sub", other, self)

    def __mul__(self, other: Operand) -> Tensor:
        return _binary("mul", self, other)

    def __rmul__(self, other: Operand) -> Tensor:
        return _binary("mul", other, self)

    def __truediv__(self, other: Operand) -> Tensor:
        return _binary("real_div", self, other)

    def __rtruediv__(self, other: Operand) -> Tensor:
        return _binary("real_div", other, self)

    def __matmul__(self, other: Operand) -> Tensor:
        return _binary("matmul", self, other)

    def __rmatmul__(self, other: Operand) -> Tensor:
        return _binary("matmul", other, self)


Operand = Tensor | float | NDArray[Any]


def _binary(op: str, x: Operand, y: Operand) -> Tensor:
    from .call import apply_one

    return apply_one(op, None, x=x, y=y)


Argument = Tensor | tuple[Tensor, ...]


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation; arguments in the order they are written."""

    op: str
    arguments: dict[str, Argument]
    results: tuple[Tensor, ...] = ()
    line: int | None = None  # of the text it was parsed from

    def operands(self) -> list[tuple[str, Tensor]]:
        """Each argument's name and tensor, the elements of tuples one by one."""
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
    """How a program is spelled."""

    version: str
    opset: str
    build_info: tuple[tuple[str, str], ...]
    rank0_scalars: bool  # scalars as tensors of rank 0: tensor<int32, []>(1) for int32(1)


@dataclass(frozen=True, eq=False)
class Graph:
    """One function. A tensor among the statements is the definition of a constant."""

    dialect: Dialect
    inputs: tuple[Tensor, ...]
    statements: tuple[Tensor | Operation, ...]
    outputs: tuple[Tensor, ...]
    blobs: dict[Tensor, BlobReference] = field(default_factory=dict)
    name: str = "main"
