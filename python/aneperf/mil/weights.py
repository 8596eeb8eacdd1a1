"""Write and read weight files: a 64-byte file header, then chunks of a 64-byte header and a payload.

All constants of a program share one file: macOS 27 refuses a program with several (source: Epistates/pmetal).
Layout: coremltools, mlmodel/src/MILBlob/Blob/StorageFormat.hpp and BlobDataType.hpp. All little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .._ane_native import ArgumentError
from ..kinds import HEAD_BYTES, Kind, refusal
from .graph import BlobReference, Operation, Tensor
from .types import DType, TensorType, check_dtype, dtype_bits, integer_range, numpy_dtype, pack, unpack

WEIGHT_FILE = "@model_path/weights/weight.bin"
_ALIGNMENT = 64
_OFFSETS = 2**32  # payload offsets act as 32 bits (source: notes of a Qwen port, M5 Max)
CODES: dict[DType, int] = {
    "fp16": 1,
    "fp32": 2,
    "uint8": 3,
    "int8": 4,
    "int16": 6,
    "uint16": 7,
    "int4": 8,
    "uint1": 9,
    "uint2": 10,
    "uint4": 11,
    "uint3": 12,
    "uint6": 13,
    "int32": 14,
    "uint32": 15,
}
_FILE_HEADER = struct.Struct("<II56x")  # count of chunks, version
_CHUNK_HEADER = struct.Struct("<IIQQQ32x")  # sentinel, dtype, payload bytes, payload offset, padding bits
_VERSION = 2
_SENTINEL = 0xDEADBEEF
_INLINE_ELEMENTS = 16
_BY_NUMPY = {numpy_dtype(dtype): dtype for dtype in CODES if dtype_bits(dtype) >= 8}


class BlobWriter:
    """A weight file under construction."""

    def __init__(self) -> None:
        self._parts: list[bytes | memoryview] = []
        self._size = _FILE_HEADER.size
        self._count = 0

    def add(self, array: NDArray[Any], dtype: DType | None = None, *, copy: bool = True) -> int:
        """Append a chunk and return the offset of its header, which BLOBFILE names.

        Elements are stored as they are. A dtype of fewer than 8 bits takes an array of integers in range and
        must be named. Without `copy`, `bytes` reads the array, which must not change before.
        """
        given = np.asarray(array)
        dtype = dtype or _BY_NUMPY.get(given.dtype.newbyteorder("="))
        if dtype is None or check_dtype(dtype) not in CODES:
            held = ", ".join(CODES)
            raise ArgumentError(f"a weight file cannot hold {dtype or given.dtype}; it holds {held}")
        if given.size == 0:
            raise ArgumentError(f"an array of shape {list(given.shape)} has no elements to store")
        if dtype_bits(dtype) >= 8:
            if given.dtype.newbyteorder("=") != numpy_dtype(dtype):
                raise ArgumentError(f"the array is {given.dtype}, not {dtype}; convert it first")
        else:
            low, high = integer_range(dtype)
            if given.dtype.kind not in "iu" or given.min() < low or given.max() > high:
                raise ArgumentError(f"{dtype} takes integers from {low} to {high}")
        payload = pack(given, dtype) if copy or dtype_bits(dtype) < 8 else _view(given, dtype)
        offset = self._size
        padding = 8 * len(payload) - given.size * dtype_bits(dtype)
        start = offset + _CHUNK_HEADER.size
        if start >= _OFFSETS:
            raise ArgumentError(
                f"a constant would begin at byte {start} of the weight file, and the engine reads offsets "
                f"below {_OFFSETS}: make several programs of it, or store its weights in fewer bits"
            )
        header = _CHUNK_HEADER.pack(_SENTINEL, CODES[dtype], len(payload), start, padding)
        self._parts += [header, payload, bytes(-len(payload) % _ALIGNMENT)]
        self._size += sum(map(len, self._parts[-3:]))
        self._count += 1
        return offset

    def bytes(self) -> bytes:
        """Return the file with the chunks added so far."""
        return b"".join([_FILE_HEADER.pack(self._count, _VERSION), *self._parts])


def _view(array: NDArray[Any], dtype: DType) -> memoryview:
    """Return what `pack` returns for a dtype of whole bytes, without a copy where the array is in order."""
    return np.ascontiguousarray(array, numpy_dtype(dtype)).data.cast("B")


def write_blob(arrays: Iterable[NDArray[Any]]) -> tuple[bytes, list[int]]:
    """Return a weight file of `arrays` and the offset of each chunk."""
    writer = BlobWriter()
    offsets = [writer.add(array, copy=False) for array in arrays]
    return writer.bytes(), offsets


def read_blob(data: bytes, offset: int, type: TensorType) -> NDArray[Any]:
    """Return the array of the chunk at `offset`. Raises ArgumentError unless it is a `type`."""
    if len(data) < _FILE_HEADER.size or _FILE_HEADER.unpack_from(data)[1] != _VERSION:
        reason = refusal(bytes(data[:HEAD_BYTES]), len(data), Kind.WEIGHTS)
        raise ArgumentError(reason or "not a weight file of version 2")
    if not _FILE_HEADER.size <= offset <= len(data) - _CHUNK_HEADER.size:
        raise ArgumentError(f"no chunk header fits at offset {offset} of a weight file of {len(data)} bytes")
    sentinel, code, size, start, _ = cast(tuple[int, ...], _CHUNK_HEADER.unpack_from(data, offset))
    if sentinel != _SENTINEL:
        raise ArgumentError(f"no chunk starts at {offset}: found {sentinel:#010x}, not {_SENTINEL:#010x}")
    if code != CODES.get(type.dtype) or size != type.bytes:
        raise ArgumentError(f"the chunk at {offset} (dtype code {code}, {size} bytes) does not hold {type}")
    if start < offset + _CHUNK_HEADER.size:
        raise ArgumentError(
            f"the chunk at {offset} has its payload at {start}, which is not behind its header"
        )
    if start > len(data) - size:
        raise ArgumentError(f"{size} bytes at {start} lie outside a weight file of {len(data)} bytes")
    return unpack(data[start : start + size], type)


def goes_to_file(tensor: Tensor) -> bool:
    """Return whether a constant is stored in a weight file; short ones stay legible in the text."""
    return tensor.dtype in CODES and (tensor.in_file or tensor.type.elements > _INLINE_ELEMENTS)


def write_weights(
    statements: Iterable[Tensor | Operation], single_file: bool = True
) -> tuple[dict[str, bytes], dict[Tensor, BlobReference]]:
    """Return weight files by path, one for all stored constants or one for each, and the place of each.

    Constants lie in the order of their statements, so that equal programs have equal files.
    """
    contents: dict[str, list[Tensor]] = {}
    stems: set[str] = set()
    for stem, tensor in stored(statements):
        # Apple's file systems do not tell W.bin from w.bin.
        while stem.lower() in stems:
            stem += "_"
        stems.add(stem.lower())
        path = WEIGHT_FILE if single_file else f"@model_path/weights/{stem}.bin"
        contents.setdefault(path, []).append(tensor)
    files: dict[str, bytes] = {}
    blobs: dict[Tensor, BlobReference] = {}
    for path, tensors in contents.items():
        writer = BlobWriter()
        for tensor in tensors:
            offset = writer.add(cast(NDArray[Any], tensor.constant), tensor.dtype, copy=False)
            blobs[tensor] = BlobReference(path, offset)
        files[path] = writer.bytes()
    return files, blobs


def stored(statements: Iterable[Tensor | Operation]) -> Iterator[tuple[str, Tensor]]:
    """Yield the constants that go to weight files, each with a name, in order."""
    for statement in statements:
        if isinstance(statement, Tensor):
            if goes_to_file(statement):
                yield statement.name, statement
            continue
        for argument, tensor in statement.operands():
            if not tensor.name and goes_to_file(tensor):
                yield f"{statement.results[0].name}_{argument}", tensor
