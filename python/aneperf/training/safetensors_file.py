"""Read safetensors files: the length of a header, the header as JSON, then the tensors.

The library safetensors writes these files, but reads them through a mapping, which ends the process with a
signal if a file is cut meanwhile, and its NumPy part lacks bf16. Source: github.com/huggingface/safetensors.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ..bounds import TENSORS_HEADER_BYTES
from ..errors import AneError
from ..files import LONGEST_QUOTE, Input, one_line
from ..kinds import Kind
from .arrays import empty
from .strict_json import decode_strictly

DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}  # bf16 as the upper half of an fp32
_METADATA = "__metadata__"
_LENGTH_BYTES = 8
_BLOCK = 1 << 24  # bytes to hash at a time

_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 53)]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tensor, as the header describes it."""

    dtype: Annotated[str, msgspec.Meta(max_length=16)]
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=8)]
    data_offsets: tuple[_Size, _Size]


class Safetensors:
    """An open file. Its `entries` by name cover its data without a gap, as the format demands.

    The data are the bytes of `file` from `begin` on. Raises `error`.
    """

    def __init__(
        self, path: str | os.PathLike[str], error: type[AneError], kind: Kind = Kind.SAFETENSORS
    ) -> None:
        self.path, self._error = path, error
        self.file = Input(path, kind, error)
        try:
            self.begin = _LENGTH_BYTES + int.from_bytes(self.file.read(0, _LENGTH_BYTES), "little")
            self.metadata: Mapping[str, str] = {}
            self.entries: Mapping[str, Entry] = self._entries()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Safetensors:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def read(self, name: str) -> NDArray[np.float32]:
        """Read a tensor, whose dtype is one of DTYPES, as fp32."""
        entry = self.entries[name]
        stored = empty(entry.shape, DTYPES[entry.dtype])
        self.file.fill(self.begin + entry.data_offsets[0], stored)
        if entry.dtype == "F32":
            return stored
        values = empty(entry.shape, DTYPES["F32"])
        if entry.dtype == "BF16":
            np.left_shift(stored, 16, out=values.view(np.uint32), dtype=np.uint32)
        else:
            values[:] = stored
        return values

    def sha256(self) -> str:
        """Compute the checksum of the file."""
        digest = hashlib.sha256()
        for begin in range(0, self.file.size, _BLOCK):
            digest.update(self.file.read(begin, min(_BLOCK, self.file.size - begin)))
        return digest.hexdigest()

    def check_unchanged(self) -> None:
        """Check that nobody wrote to the file since it was opened."""
        self.file.check_unchanged()

    def _entries(self) -> dict[str, Entry]:
        length = self.begin - _LENGTH_BYTES
        if length > min(TENSORS_HEADER_BYTES, self.file.size - _LENGTH_BYTES):
            raise self._error(
                f"{self.path}: is damaged: its header takes {length} bytes, in a file of {self.file.size} "
                f"and at most {TENSORS_HEADER_BYTES}"
            )
        try:
            raw = decode_strictly(self.file.read(_LENGTH_BYTES, length), dict[str, msgspec.Raw])
            self.metadata = msgspec.json.decode(raw.pop(_METADATA, msgspec.Raw(b"{}")), type=dict[str, str])
            entries = {name: msgspec.json.decode(entry, type=Entry) for name, entry in raw.items()}
            _check_coverage(entries, self.file.size - self.begin)
        except (msgspec.MsgspecError, ValueError) as error:
            raise self._error(f"{self.path}: is damaged: {one_line(error, LONGEST_QUOTE)}") from None
        return entries


def write_safetensors(path: Path, tensors: Mapping[str, NDArray[np.float32]], like: Path) -> None:
    """Write a file with the permissions of another one, since the library gives them to the owner alone.

    Raises OSError.
    """
    try:
        save_file(dict(tensors), path, metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(errno.EIO, one_line(error)) from error
    shutil.copymode(like, path)


def _check_coverage(entries: Mapping[str, Entry], size: int) -> None:
    """Raise ValueError unless the tensors follow each other from the first byte of the data to the last."""
    position = 0
    for name, entry in sorted(entries.items(), key=lambda item: item[1].data_offsets):
        begin, end = entry.data_offsets
        if begin != position or end < begin:
            raise ValueError(f"{name!r} takes the bytes from {begin} to {end}, and {position} would be next")
        if entry.dtype in DTYPES and end - begin != math.prod(entry.shape) * _bytes(entry.dtype):
            raise ValueError(f"{name!r}, {entry.dtype}{list(entry.shape)}, has {end - begin} bytes")
        position = end
    if position != size:
        raise ValueError(f"its tensors take {position} bytes, and it has {size}")


def _bytes(dtype: str) -> int:
    return np.dtype(DTYPES[dtype]).itemsize
