"""Tokenizers: bytes, the files of llama2.c, and those that a library reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Protocol

from ..files import file_kind
from ..kinds import Kind
from .llama2c_tokenizer import Llama2cTokenizer
from .tokenizer_library import LibraryTokenizer
from .vocabulary import Vocabulary


class Tokenizer(Protocol):
    """Converts text to tokens and back."""

    vocabulary: Vocabulary

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """Return the tokens of a text; a `whole` text also gets the tokens that begin and end one, if any."""
        ...

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        ...


BYTES = "bytes"  # names the tokenizer that needs no file


class Bytes:
    """Makes each byte of UTF-8 a token."""

    vocabulary = Vocabulary.of("bytes", BYTES, {byte: bytes([byte]) for byte in range(256)})

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text; tokens that are no byte, and bytes that are not UTF-8, become U+FFFD."""
        return b"".join(bytes([t]) if t < 256 else b"\xff" for t in tokens).decode(errors="replace")


def open_tokenizer(name: str | os.PathLike[str]) -> Tokenizer:
    """Open the tokenizer "bytes", or that of a file. Raises ArgumentError.

    The file is a tokenizer's JSON, a SentencePiece model, or a tokenizer.bin of llama2.c.
    """
    if name == BYTES:
        return Bytes()
    kind = file_kind(name)
    if kind is Kind.LLAMA2C_TOKENIZER:
        return Llama2cTokenizer(name)
    return LibraryTokenizer(name, Kind.SENTENCEPIECE if kind is Kind.SENTENCEPIECE else Kind.TOKENIZER)
