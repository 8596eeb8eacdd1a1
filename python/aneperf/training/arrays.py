"""Arrays by name that are read or made when asked for: a large model does not fit in memory twice."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels import Floats


class Arrays(Mapping[str, Floats]):
    """The arrays that `make` returns for these names. Nothing is kept."""

    def __init__(self, names: Iterable[str], make: Callable[[str], Floats]) -> None:
        self._names, self._make = dict.fromkeys(names), make

    def __getitem__(self, name: str) -> Floats:
        if name not in self._names:
            raise KeyError(name)
        return self._make(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def empty(shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """Return an array in memory of its own, which the system gets back with the array.

    malloc keeps what is freed between other objects: a good part of a model that is freed array by array.
    """
    size = math.prod(shape)
    length = max(1, size * np.dtype(dtype).itemsize)
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANON)
    return np.frombuffer(memory, dtype, size).reshape(shape)


def handed_over(arrays: Mapping[str, Floats]) -> Arrays:
    """Return arrays for someone who copies each and asks for it once. A dict is left without them."""
    return Arrays(arrays, arrays.pop if isinstance(arrays, dict) else arrays.__getitem__)
