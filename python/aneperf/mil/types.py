"""Define element types and tensor types, and convert Python values to constants."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from .._ane_native import ArgumentError

DType = Literal[
    "fp16", "fp32", "int8", "uint8", "int16", "uint16", "int32", "uint32", "uint64",
    "bool", "string", "int4", "uint6", "uint4", "uint3", "uint2", "uint1",
]  # fmt: skip

PadType = Literal["valid", "custom", "same", "same_lower"]

_NUMPY: dict[str, np.dtype[Any]] = {
    "fp16": np.dtype("<f2"),
    "fp32": np.dtype("<f4"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "int16": np.dtype("<i2"),
    "uint16": np.dtype("<u2"),
    "int32": np.dtype("<i4"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype("?"),
    "int4": np.dtype("i1"),
    "uint6": np.dtype("u1"),
    "uint4": np.dtype("u1"),
    "uint3": np.dtype("u1"),
    "uint2": np.dtype("u1"),
    "uint1": np.dtype("u1"),
}
_BITS = {"int4": 4, "uint6": 6, "uint4": 4, "uint3": 3, "uint2": 2, "uint1": 1}
# The dtypes of numpy arrays by default: the engine computes in fp16 and has no int64.
_DEFAULTS: dict[np.dtype[Any], DType] = {
    **{_NUMPY[name]: name for name in get_args(DType) if name in _NUMPY and name not in _BITS},
    np.dtype("i8"): "int32",
    **{np.dtype(kind): "fp16" for kind in (np.float32, np.float64, np.longdouble)},
}


def check_dtype(dtype: object) -> DType:
    """Return `dtype` if it is the name of an element type. Raises ArgumentError."""
    if not isinstance(dtype, str) or dtype not in get_args(DType):
        raise ArgumentError(f"unknown dtype {dtype!r}; choose one of {', '.join(get_args(DType))}")
    return cast(DType, dtype)


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """Return the numpy type that holds `dtype`. An element of fewer than 8 bits takes a byte of its own."""
    if dtype == "string":
        raise ArgumentError("a string has no numpy dtype")
    return _NUMPY[check_dtype(dtype)]


def dtype_bits(dtype: DType) -> int:
    """Return the bits of one packed element."""
    return _BITS.get(dtype) or 8 * numpy_dtype(dtype).itemsize


def integer_range(dtype: DType) -> tuple[int, int]:
    """Return the least and the greatest integer of `dtype`."""
    bits = dtype_bits(dtype)
    low = -(1 << bits - 1) if numpy_dtype(dtype).kind == "i" else 0
    return low, low + (1 << bits) - 1


@dataclass(frozen=True)
class TensorType:
    """An element type and a shape; a scalar has shape (). Every axis is at least 1."""

    dtype: DType
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        if isinstance(self.shape, str) or not isinstance(self.shape, Sequence):
            raise ArgumentError(f"shape {self.shape!r} is not a sequence of integers")
        try:
            shape = tuple(operator.index(size) for size in self.shape)
        except TypeError:
            raise ArgumentError(f"shape {self.shape!r} holds something that is not an integer") from None
        if any(size < 1 for size in shape) or any(isinstance(size, bool) for size in self.shape):
            raise ArgumentError(f"shape {tuple(self.shape)} has an axis that is not a size of at least 1")
        object.__setattr__(self, "shape", shape)

    @property
    def elements(self) -> int:
        """Return the number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count

    @property
    def bytes(self) -> int:
        """Return the packed size, rounded up to whole bytes."""
        return -(-self.elements * dtype_bits(self.dtype) // 8)

    def __str__(self) -> str:
        return f"tensor<{self.dtype}, {list(self.shape)}>" if self.shape else self.dtype


Constant = NDArray[Any] | str


def make_constant(
    value: object, dtype: DType | None = None, where: str = "const"
) -> tuple[TensorType, Constant]:
    """Return the type and the stored value of a scalar, a string, an array or a sequence of numbers.

    Without a dtype, floats become fp16 and 64-bit integers int32; other types stay. Floats are rounded to
    nearest even. Raises ArgumentError for what cannot be held: NaN, infinities, overflow, a scalar that would
    vanish, and any change between boolean, integer and float except integers given for a float dtype.
    """
    if dtype is not None:
        check_dtype(dtype)
    if isinstance(value, str):
        if dtype not in (None, "string"):
            raise ArgumentError(f"{where}: {value!r} is a string, not {dtype}")
        return TensorType("string"), value
    try:
        array = np.asarray(value)
    except ValueError:
        raise ArgumentError(f"{where}: the rows of {value!r} differ in length") from None
    if array.size == 0:
        raise ArgumentError(f"{where}: is empty; it needs at least one element")
    if array.dtype.kind not in "fiub" or dtype == "string":
        expected = "a string" if dtype == "string" else "a number or an array of numbers"
        raise ArgumentError(f"{where}: {_shown(value)} is not {expected}")
    target = dtype or _DEFAULTS[array.dtype.newbyteorder("=")]
    if array.dtype.kind not in {"f": "fiu", "b": "b"}.get(numpy_dtype(target).kind, "iu"):
        raise ArgumentError(f"{where}: {_shown(value)} is {array.dtype}, not {target}; convert it first")
    convert = _round if numpy_dtype(target).kind == "f" else _narrow
    stored = convert(array, target, where)
    stored.flags.writeable = False
    return TensorType(target, array.shape), stored


def _shown(value: object) -> str:
    return f"an array {list(value.shape)}" if isinstance(value, np.ndarray) and value.ndim else repr(value)


def _offender(array: NDArray[Any], good: NDArray[np.bool_]) -> str:
    """Describe the first element that is not good, with its position."""
    at = np.unravel_index(int(np.argmin(good)), array.shape)
    return f"{array[at]}" + (f" at {[int(i) for i in at]}" if at else "")


def _round(array: NDArray[Any], dtype: DType, where: str) -> NDArray[Any]:
    finite = np.isfinite(array)
    if not finite.all():
        raise ArgumentError(f"{where}: {_offender(array, finite)} is not finite (a mask may use -65504)")
    if array.dtype == numpy_dtype(dtype):
        return array.copy()
    with np.errstate(over="ignore", under="ignore"):
        rounded = array.astype(numpy_dtype(dtype))
    finite = np.isfinite(rounded)
    if not finite.all():
        limit = f"{dtype}, whose largest is {float(np.finfo(numpy_dtype(dtype)).max):g}"
        raise ArgumentError(f"{where}: {_offender(array, finite)} overflows {limit}; scale it")
    if array.ndim == 0 and array != 0 and rounded == 0:
        limit = f"{dtype}, whose smallest is {float(np.finfo(numpy_dtype(dtype)).smallest_subnormal):.3g}"
        raise ArgumentError(f"{where}: {array} becomes 0 in {limit}; give a larger value or 0")
    return rounded


def _narrow(array: NDArray[Any], dtype: DType, where: str) -> NDArray[Any]:
    if dtype != "bool":
        low, high = integer_range(dtype)
        inside = (array >= low) & (array <= high)
        if not inside.all():
            limit = f"{dtype}, which holds {low} to {high}"
            raise ArgumentError(f"{where}: {_offender(array, inside)} is outside {limit}")
    return array.astype(numpy_dtype(dtype))


def pack(array: NDArray[Any], dtype: DType) -> bytes:
    """Return row-major, little-endian bytes. Elements of fewer than 8 bits are packed, low bit first."""
    flat = np.ascontiguousarray(array, numpy_dtype(dtype)).reshape(-1)
    if dtype not in _BITS:
        return flat.tobytes()
    bits = np.unpackbits(flat.view(np.uint8)[:, None], axis=1, count=_BITS[dtype], bitorder="little")
    return np.packbits(bits, bitorder="little").tobytes()


def unpack(data: bytes, type: TensorType) -> NDArray[Any]:
    """Return the array that `pack` wrote. Raises ArgumentError if the size is not the type's."""
    if len(data) != type.bytes:
        raise ArgumentError(f"{len(data)} bytes given for {type}, which takes {type.bytes}")
    dtype = numpy_dtype(type.dtype)
    if type.dtype not in _BITS:
        return np.frombuffer(data, dtype).reshape(type.shape)
    width = _BITS[type.dtype]
    stored = np.frombuffer(data, np.uint8)
    bits = np.unpackbits(stored, count=type.elements * width, bitorder="little").reshape(-1, width)
    flat: NDArray[Any] = np.packbits(bits, axis=1, bitorder="little").reshape(type.shape)
    return (flat << 8 - width).view(dtype) >> 8 - width if dtype.kind == "i" else flat  # spreads the sign
