"""Inputs of a program: drawn at random, or read from an .npz file."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..bounds import ARRAY_FILES, check_memory
from ..errors import AneError, ProgramError, ResultFileError
from ..files import LONGEST_QUOTE, Input, one_line
from ..kinds import Kind
from ..mil import TensorType
from ..mil.types import numpy_dtype

Types = Mapping[str, TensorType]
_SUFFIX = ".npy"
_WIDEST = 8  # times the bytes of a port: of another dtype, which is named
_BESIDE_BYTES = 1 << 20  # of headers and names


def draw(types: Types, seed: int = 0) -> dict[str, NDArray[Any]]:
    """Draw standard normal values for each port, the same for a port of that name in every process."""
    return {name: _normal(type, (seed, zlib.crc32(name.encode()))) for name, type in types.items()}


def _normal(type: TensorType, seed: tuple[int, int]) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(type.shape, np.float32).astype(numpy_dtype(type.dtype))


def check_arrays(arrays: Mapping[str, NDArray[Any]], types: Types) -> None:
    """Raise ProgramError unless there is an array of each port's dtype and shape, and no other."""
    _check_names(arrays.keys(), types)
    for name, type in types.items():
        array = np.asarray(arrays[name])
        _check_type(name, array.dtype, array.shape, type)


def read_arrays(path: str | os.PathLike[str], types: Types) -> dict[str, NDArray[Any]]:
    """Read an array for each port from an .npz file. No pickle is read, and nothing that fits no port.

    Raises ResultFileError, ProgramError.
    """
    with Input(path, Kind.ARRAYS) as file:
        most = _WIDEST * sum(type.bytes for type in types.values()) + _BESIDE_BYTES * (1 + len(types))
        if file.size > most:  # a directory of many names takes long to read
            raise ProgramError(
                f"{path}: has {file.size} bytes, more than arrays of the inputs take: it holds others"
            )
    try:
        with zipfile.ZipFile(path) as archive:
            if len(archive.namelist()) > ARRAY_FILES:
                raise ProgramError(f"holds more than {ARRAY_FILES} arrays")
            files = {file.removesuffix(_SUFFIX): file for file in archive.namelist()}
            _check_names(files, types)
            check_memory(str(path), sum(type.bytes for type in types.values()), "free some")
            return {name: _read(archive, files[name], name, type) for name, type in types.items()}
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None
    except AneError:
        raise
    except Exception as error:  # zipfile, what decompresses and numpy raise many kinds for a damaged file
        raise ResultFileError(f"{path}: cannot read: {one_line(error, LONGEST_QUOTE)}") from None


def _read(archive: zipfile.ZipFile, member: str, name: str, type: TensorType) -> NDArray[Any]:
    """Read one array, whose header is compared with the port before anything is allocated."""
    with archive.open(member) as file:
        version = npy.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise ProgramError(f"{name} is of version {version}: save it with numpy.savez")
        read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, is_fortran, dtype = read_header(file)
        _check_type(name, dtype, shape, type)
        content = file.read(type.elements * dtype.itemsize + 1)
        if len(content) != type.elements * dtype.itemsize:
            raise ProgramError(f"{name} does not have the bytes of its shape")
        flat = np.frombuffer(content, dtype)
        return flat.reshape(shape, order="F" if is_fortran else "C")


def _check_names(found: Iterable[str], types: Types) -> None:
    found = set(found)
    if missing := [name for name in types if name not in found]:
        raise ProgramError(f"holds no array {missing[0]!r}, which the program takes as {types[missing[0]]}")
    if unknown := sorted(found.difference(types)):
        has = ", ".join(types)
        raise ProgramError(f"holds {one_line(unknown[0], 60)!r}, and the program has the inputs {has}")


def _check_type(name: str, dtype: np.dtype[Any], shape: tuple[int, ...], type: TensorType) -> None:
    if (dtype, shape) != (numpy_dtype(type.dtype), type.shape):
        raise ProgramError(f"{name} is {dtype} {list(shape)}, and the program takes {type}")
