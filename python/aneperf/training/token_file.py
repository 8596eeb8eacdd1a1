"""Files of tokens: a safetensors file that describes their vocabulary, or plain numbers of 16 bits.

`aneperf data` writes the first: one tensor of 16 bits a token, or of 32 for a larger vocabulary. The second
is llama2.c's and maderix/ANE's; it is what follows the header of the first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..files import Input, file_kind
from ..kinds import Kind
from ..outputs import AnyPath, whole_file
from .safetensors_file import Safetensors
from .strict_json import decode_strictly
from .vocabulary import Vocabulary

_DTYPES: dict[str, np.dtype[Any]] = {"U16": np.dtype("<u2"), "U32": np.dtype("<u4")}
_PLAIN = "U16"
_TOKENS, _VOCABULARY = "tokens", "vocabulary"
_ALIGNMENT = 64  # of the tokens in the file
_MOST = 1 << 53  # the largest number that a header holds

TokenArray = NDArray[np.unsignedinteger[Any]]


class Tokens:
    """An open file of tokens; `vocabulary` is None where it does not tell. Raises ArgumentError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self.vocabulary: Vocabulary | None = None
        self._begin, self._dtype = 0, _DTYPES[_PLAIN]
        if file_kind(path) is Kind.TOKENS:
            self._describe(Safetensors(path, ArgumentError, Kind.TOKENS))
            return
        self._file = Input(path, Kind.TOKENS, ArgumentError)
        self._size = self._file.size
        if self._size % self._dtype.itemsize:
            raise ArgumentError(
                f"{path} has {self._size} bytes, an odd number: it does not hold uint16 tokens"
            )

    def __len__(self) -> int:
        return self._size // self._dtype.itemsize

    def read(self, begin: int, count: int) -> TokenArray:
        """Read tokens from a position on; also check that nobody wrote to the file since it was opened."""
        item = self._dtype.itemsize
        tokens = np.frombuffer(self._file.read(self._begin + item * begin, item * count), self._dtype)
        self._file.check_unchanged()
        return tokens

    def _describe(self, file: Safetensors) -> None:
        self._file, self._begin = file.file, file.begin
        entry = file.entries.get(_TOKENS)
        try:
            if entry is None or len(file.entries) > 1 or entry.dtype not in _DTYPES:
                raise ValueError(f"its one tensor must be {_TOKENS}, of {' or '.join(_DTYPES)}")
            self._dtype, self._size = _DTYPES[entry.dtype], entry.data_offsets[1]
            if entry.shape != (len(self),) or self._size % self._dtype.itemsize:
                raise ValueError(f"{_TOKENS}, {entry.dtype}{list(entry.shape)}, has {self._size} bytes")
            self.vocabulary = decode_strictly(file.metadata.get(_VOCABULARY, "").encode(), Vocabulary)
        except ValueError as error:
            raise ArgumentError(f"{self._path}: is damaged: {error}") from None


@contextlib.contextmanager
def token_writer(output: AnyPath, vocabulary: Vocabulary) -> Iterator[Callable[[Sequence[int]], None]]:
    """Yield what adds tokens to a new file, which takes the place of `output` on leaving the block."""
    name = _PLAIN if vocabulary.size <= 1 << 16 else "U32"
    dtype, count = _DTYPES[name], 0
    with whole_file(output, Kind.TOKENS) as file:
        begin = len(_header(vocabulary, name, _MOST))
        file.seek(begin)

        def add(tokens: Sequence[int]) -> None:
            nonlocal count
            if max(tokens, default=0) >= vocabulary.size:
                raise ArgumentError(f"{vocabulary} made the token {max(tokens)} of a text: it is damaged")
            file.write(np.array(tokens, dtype).tobytes())
            count += len(tokens)

        yield add
        file.seek(0)
        file.write(_header(vocabulary, name, count, begin))


def _header(vocabulary: Vocabulary, dtype: str, count: int, size: int = 0) -> bytes:
    """Return the start of a file, padded to a multiple of the alignment and to at least `size` bytes."""
    entry = {"dtype": dtype, "shape": [count], "data_offsets": [0, count * _DTYPES[dtype].itemsize]}
    described = {"aneperf": _TOKENS, _VOCABULARY: msgspec.json.encode(vocabulary).decode()}
    text = msgspec.json.encode({"__metadata__": described, _TOKENS: entry})  # kinds.py knows its beginning
    size = max(size, -(-(8 + len(text)) // _ALIGNMENT) * _ALIGNMENT) - 8
    return size.to_bytes(8, "little") + text.ljust(size)
