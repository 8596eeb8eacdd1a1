"""From text files to a file of tokens, and the sample text that comes with the package."""

from __future__ import annotations

import os
import re
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
_SPACES = re.compile(r"\s+")
_TRIES = 50  # runs of spaces at which to try to cut
_CONTEXT = 100  # characters on either side, more than a word has


def write_tokens(
    texts: Sequence[str | os.PathLike[str]],
    tokenizer: Tokenizer,
    output: str | os.PathLike[str],
    *,
    replace: bool = False,
) -> int:
    """Write the tokens of text files, in this order, with their vocabulary; return their number.

    Text is encoded in chunks of at most 1 MiB, to bound the memory. Their tokens are those of the whole text,
    but for a few at the end of a chunk that has no place to cut near its end, such as one without spaces.
    Raises ArgumentError for text that is not UTF-8, and ResultFileError where `output` cannot be written or,
    without `replace`, is there. It is written whole or not at all.
    """
    inputs = {f"text {number}": text for number, text in enumerate(texts, 1)}
    check_output(output, Kind.TOKENS, inputs, replace=replace)
    count = 0
    with token_writer(output, tokenizer.vocabulary) as add:
        for text in texts:
            for chunk in _chunks(text, tokenizer):
                tokens = tokenizer.encode(chunk, whole=False)
                add(tokens)
                count += len(tokens)
        if not count:
            raise ArgumentError(f"{', '.join(map(str, texts))}: there is no text in them")
    return count


def _chunks(path: str | os.PathLike[str], tokenizer: Tokenizer) -> Iterator[str]:
    with Input(path, Kind.TEXT, ArgumentError) as file:
        position = 0
        while position < file.size:
            block = file.read(position, min(_TEXT_BLOCK, file.size - position))
            is_last = position + len(block) == file.size
            text = _decoded(block if is_last else block[: _end_of_characters(block)], path, position)
            end, begin = (len(text), len(text)) if is_last else _cut(text, tokenizer)
            yield text[:end]
            position += len(text[:begin].encode())


def _cut(text: str, tokenizer: Tokenizer) -> tuple[int, int]:
    """Return the end of a chunk and the beginning of the next, near the end of a text that goes on.

    Most tokenizers divide a text into words before anything else, and some put a space before each text. So
    a chunk ends after, before, within or instead of spaces or a line's end, where the tokens around stay the
    same.
    """
    context = min(_CONTEXT, len(text) // 4)
    runs = [spaces.span() for spaces in _SPACES.finditer(text, 1, len(text) - context)]
    for start, stop in runs[: -_TRIES - 1 : -1]:
        inside = dict.fromkeys((stop, start, stop - 1))
        for end, begin in (*((place, place) for place in inside), (start, start + 1), (stop - 1, stop)):
            first, last = max(0, end - context), begin + context
            parts = [tokenizer.encode(part, whole=False) for part in (text[first:end], text[begin:last])]
            if [*parts[0], *parts[1]] == list(tokenizer.encode(text[first:last], whole=False)):
                return end, begin
    end = runs[-1][1] if runs else len(text)
    return end, end


def _end_of_characters(block: bytes) -> int:
    """Return the end of the last whole character."""
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
