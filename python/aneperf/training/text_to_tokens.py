"""From text files to a file of tokens, and the sample text that comes with the package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import ArgumentError
from ..files import Input
from ..kinds import Kind
from ..outputs import check_output
from .token_file import token_writer
from .tokenizer import Tokenizer

SAMPLE = Path(__file__).with_name("sample.txt")  # sonnets of William Shakespeare (1609), in the public domain
_TEXT_BLOCK = 1 << 20  # bytes of text in memory at a time


def write_tokens(
    texts: Sequence[str | os.PathLike[str]],
    tokenizer: Tokenizer,
    output: str | os.PathLike[str],
    *,
    replace: bool = False,
) -> int:
    """Write the tokens of text files, in this order, with their vocabulary; return their number.

    Text is encoded in chunks of at most 1 MiB that end with a line or a word, to bound the memory. Raises
    ArgumentError for text that is not UTF-8, and ResultFileError where `output` cannot be written or, without
    `replace`, is there. It is written whole or not at all.
    """
    inputs = {f"text {number}": text for number, text in enumerate(texts, 1)}
    check_output(output, Kind.TOKENS, inputs, replace=replace)
    count = 0
    with token_writer(output, tokenizer.vocabulary) as add:
        for text in texts:
            for chunk in _chunks(text):
                tokens = tokenizer.encode(chunk, whole=False)
                add(tokens)
                count += len(tokens)
        if not count:
            raise ArgumentError(f"{', '.join(map(str, texts))}: there is no text in them")
    return count


def _chunks(path: str | os.PathLike[str]) -> Iterator[str]:
    with Input(path, Kind.TEXT, ArgumentError) as file:
        position = 0
        while position < file.size:
            block = file.read(position, min(_TEXT_BLOCK, file.size - position))
            end = len(block) if position + len(block) == file.size else _end_of_words(block)
            yield _decoded(block[:end], path, position)
            position += end


def _end_of_words(block: bytes) -> int:
    """Return the end of the last line, or else the start of the last word, or else of a character."""
    end = block.rfind(b"\n") + 1 or block.rfind(b" ")
    if end > 0:
        return end
    end = len(block)
    while end > len(block) - 3 and block[end - 1] & 0xC0 == 0x80:
        end -= 1
    return end - 1 if block[end - 1] >= 0xC0 else len(block)


def _decoded(text: bytes, path: str | os.PathLike[str], position: int) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise ArgumentError(
            f"{path} is not UTF-8 text: byte {position + error.start} is 0x{text[error.start]:02x}"
        ) from None
