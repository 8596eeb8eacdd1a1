"""From text to the sequences of steps: files of uint16 tokens, and random tokens.

A sequence depends on the seed and the step alone. So an interrupted run, or a worker's successor, reads the
same sequences again.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..files import Input
from ..kinds import Kind
from ..outputs import check_output, whole_file
from .tokenizer import Tokenizer

SYNTHETIC = "synthetic"  # the source of random tokens
LARGEST_VOCAB = 1 << 16  # of uint16
_TEXT_BLOCK = 1 << 20  # bytes of text in memory at a time
_TOKEN_BLOCK = 1 << 22  # tokens to check at a time


class Data(Protocol):
    """A source of sequences."""

    @property
    def description(self) -> str:
        """Describe the tokens, independent of where they are kept."""
        ...

    @property
    def unigram_entropy(self) -> float:
        """Return the entropy of the token frequencies in nats, the least loss of a model of these alone."""
        ...

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Return the tokens of a step, and the targets one position later: [seq + 1]."""


class SyntheticTokens:
    """Uniform random tokens, to time training: there is nothing to learn."""

    description = "synthetic"

    def __init__(self, vocab: int, seq: int, seed: int) -> None:
        self._vocab, self._seq, self._seed = vocab, seq, seed
        self.unigram_entropy = math.log(vocab)

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Draw the tokens of a step: [seq + 1]."""
        return np.random.default_rng((self._seed, step)).integers(0, self._vocab, self._seq + 1)


class TokenFile:
    """Little-endian uint16 tokens in a file; each step reads at a uniform random position.

    Raises ArgumentError for a file that is too short, ends within a token, or has tokens outside the
    vocabulary. So does each step once the file was changed: what was checked, and what `description` tells,
    would not be true.
    """

    def __init__(self, path: str | os.PathLike[str], vocab: int, seq: int, seed: int) -> None:
        self._path, self._seq, self._seed = path, seq, seed
        self._file = Input(path, Kind.TOKENS, ArgumentError)
        if self._file.size % 2:
            raise ArgumentError(
                f"{path} has {self._file.size} bytes, an odd number: it does not hold uint16 tokens"
            )
        if len(self) <= seq:
            raise ArgumentError(f"{path} has {len(self)} tokens; sequences of {seq} need at least {seq + 1}")
        self._scan(vocab)

    def __len__(self) -> int:
        return self._file.size // 2

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Read the tokens of a step: [seq + 1]."""
        return self.window(int(np.random.default_rng((self._seed, step)).integers(0, len(self) - self._seq)))

    def window(self, begin: int) -> NDArray[np.int64]:
        """Read the tokens from a position on: [seq + 1]."""
        return self._read(begin, self._seq + 1).astype(np.int64)

    def _read(self, begin: int, count: int) -> NDArray[np.uint16]:
        tokens = np.frombuffer(self._file.read(2 * begin, 2 * count), "<u2")
        self._file.check_unchanged()
        return tokens

    def _scan(self, vocab: int) -> None:
        """Check every token, and compute the entropy and the digest."""
        digest, counts = hashlib.sha256(), np.zeros(vocab, np.int64)
        for begin in range(0, len(self), _TOKEN_BLOCK):
            block = self._read(begin, min(_TOKEN_BLOCK, len(self) - begin))
            digest.update(block.data)
            if block.max() >= vocab:
                index = int(np.argmax(block >= vocab))
                raise ArgumentError(
                    f"{self._path}: token {begin + index} is {block[index]}; "
                    f"the model's vocabulary has {vocab}"
                )
            counts += np.bincount(block, minlength=vocab)
        shares = counts[counts > 0] / len(self)
        self.unigram_entropy = float(-(shares * np.log(shares)).sum())
        self.description = f"{len(self)} tokens, SHA-256 {digest.hexdigest()[:16]}"


def open_data(source: str | os.PathLike[str], vocab: int, seq: int, seed: int) -> Data:
    """Open a token file, or the source "synthetic"."""
    if source == SYNTHETIC:
        return SyntheticTokens(vocab, seq, seed)
    return TokenFile(source, vocab, seq, seed)


def write_tokens(
    texts: Sequence[str | os.PathLike[str]], tokenizer: Tokenizer, output: str | os.PathLike[str]
) -> int:
    """Write the tokens of text files as little-endian uint16, in this order, and return their number.

    Text is encoded in chunks of at most 1 MiB that end with a line or a word, to bound the memory. Raises
    ArgumentError for text that is not UTF-8 and for a token over 65,535, and ResultFileError where
    `output` cannot be written, which is written whole or not at all.
    """
    if tokenizer.vocab > LARGEST_VOCAB:
        raise _too_large(tokenizer.vocab - 1)
    count = 0
    check_output(output, Kind.TOKENS, {f"text {number}": text for number, text in enumerate(texts, 1)})
    with whole_file(output, Kind.TOKENS) as file:
        for text in texts:
            for chunk in _chunks(text):
                tokens = tokenizer.encode(chunk, whole=False)
                if (greatest := max(tokens, default=0)) >= LARGEST_VOCAB:
                    raise _too_large(greatest)
                file.write(np.array(tokens, "<u2").tobytes())
                count += len(tokens)
        if not count:
            raise ArgumentError(f"{', '.join(map(str, texts))}: there is no text in them")
    return count


def _too_large(token: int) -> ArgumentError:
    return ArgumentError(
        f"the tokenizer has token {token}; a file of uint16 holds numbers up to {LARGEST_VOCAB - 1}"
    )


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
