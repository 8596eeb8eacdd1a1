"""Text to tokens and back: bytes, or a tokenizer that the tokenizers library reads; and files of tokens."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from .._ane_native import ArgumentError
from ..files import one_line, whole_file

LARGEST_VOCAB = 1 << 16  # of uint16
_BLOCK = 1 << 20  # bytes of text that are in memory at a time


class Tokenizer(Protocol):
    """What turns text into tokens and back."""

    vocab: int

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """The tokens of a text; of a `whole` one with those that begin and end it, if it has such."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of tokens."""
        ...


class Bytes:
    """A token is a byte of UTF-8."""

    vocab = 256

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """As many tokens as bytes."""
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        """What is no UTF-8, and no byte, becomes replacement characters."""
        return b"".join(bytes([t]) if t < 256 else b"\xff" for t in tokens).decode(errors="replace")


class Library:
    """A tokenizer's JSON file, read by the tokenizers library."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            from tokenizers import Tokenizer as Reader
        except ImportError:
            raise ArgumentError(f"{path} needs the tokenizers library: pip install 'aneperf[data]'") from None
        try:
            self._tokenizer = Reader.from_file(os.fspath(path))
        except Exception as error:  # the library raises nothing narrower
            raise ArgumentError(f"{path} is no tokenizer: {one_line(error)}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.vocab = int(self._tokenizer.get_vocab_size())

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """As the library does."""
        return list(self._tokenizer.encode(text, add_special_tokens=whole).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """As the library does; special tokens are left out."""
        return str(self._tokenizer.decode(list(tokens)))


def open_tokenizer(name: str | os.PathLike[str]) -> Tokenizer:
    """The tokenizer "bytes", or that of a JSON file. Raises ArgumentError."""
    return Bytes() if name == "bytes" else Library(name)


def write_tokens(
    texts: Sequence[str | os.PathLike[str]], tokenizer: Tokenizer, output: str | os.PathLike[str]
) -> int:
    """Write the tokens of text files, one after the other, as little-endian uint16; how many they are.

    A text is encoded in stretches of at most 1 MiB that end with a line or a word, so that memory does not
    grow with it. Raises ArgumentError for text that is not UTF-8 and for a vocabulary over 65,536, and
    ResultFileError where `output` cannot be written; it is written whole or not at all.
    """
    if tokenizer.vocab > LARGEST_VOCAB:
        raise ArgumentError(
            f"the tokenizer has {tokenizer.vocab} tokens; a file of uint16 holds {LARGEST_VOCAB} of them"
        )
    count = 0
    with whole_file(output) as file:
        for text in texts:
            for stretch in _stretches(Path(text)):
                tokens = tokenizer.encode(stretch, whole=False)
                file.write(np.array(tokens, "<u2").tobytes())
                count += len(tokens)
        if not count:
            raise ArgumentError(f"{', '.join(map(str, texts))}: there is no text in them")
    return count


def _stretches(path: Path) -> Iterator[str]:
    position, rest = 0, b""
    try:
        if path.exists() and not path.is_file():
            raise ArgumentError(f"{path} is not a file of text")
        with path.open("rb") as file:
            while block := file.read(_BLOCK - len(rest)):
                rest += block
                if len(rest) == _BLOCK:
                    end = _end_of_words(rest)
                    yield _decoded(rest[:end], path, position)
                    position, rest = position + end, rest[end:]
        if rest:
            yield _decoded(rest, path, position)
    except OSError as error:
        raise ArgumentError(f"{path} cannot be read: {error.strerror}") from error


def _end_of_words(block: bytes) -> int:
    """Behind the last line of a block, or before its last word; in one endless word, between characters."""
    end = block.rfind(b"\n") + 1 or block.rfind(b" ")
    if end > 0:
        return end
    end = len(block)
    while end > len(block) - 3 and block[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if block[end - 1] >= 0xC0 else len(block)


def _decoded(text: bytes, path: Path, position: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ArgumentError(
            f"{path} is not UTF-8 text: byte {position + error.start} is 0x{text[error.start]:02x}"
        ) from None
