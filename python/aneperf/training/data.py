"""Where sequences come from: a flat file of uint16 tokens, or seeded random ones.

Each step's sequence depends on the seed and the step alone, so that a run that is interrupted, or whose
worker dies, goes on with the same data.
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .._ane_native import ArgumentError

_SCAN = 1 << 22  # tokens


class Data(Protocol):
    """A source of sequences."""

    @property
    def description(self) -> str:
        """The same for the same tokens, wherever they are kept."""
        ...

    @property
    def unigram_entropy(self) -> float:
        """In nats: the least loss of a model that knows how frequent tokens are, and nothing else."""
        ...

    def sequence(self, step: int) -> NDArray[np.int64]:
        """The tokens of a step and, one further, its targets: [seq + 1]."""


class SyntheticTokens:
    """Tokens drawn evenly from the vocabulary, for timing: there is nothing to learn."""

    description = "synthetic"

    def __init__(self, vocab: int, seq: int, seed: int) -> None:
        self._vocab, self._seq, self._seed = vocab, seq, seed
        self.unigram_entropy = math.log(vocab)

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Of this step, whatever came before."""
        return np.random.default_rng((self._seed, step)).integers(0, self._vocab, self._seq + 1)


class TokenFile:
    """Little-endian uint16 tokens, memory-mapped; each step reads from a place drawn evenly.

    Raises ArgumentError for a file that is too short, cut in the middle of a token, or has tokens that are
    not in the vocabulary.
    """

    def __init__(self, path: str | os.PathLike[str], vocab: int, seq: int, seed: int) -> None:
        self._path, self._seq, self._seed = Path(path), seq, seed
        try:
            size = self._path.stat().st_size
            if size % 2:
                raise ArgumentError(f"{path} has {size} bytes, an odd number: it does not hold uint16 tokens")
            if size < 2 * (seq + 1):
                raise ArgumentError(
                    f"{path} has {size // 2} tokens; sequences of {seq} need at least {seq + 1}"
                )
            self._tokens = np.memmap(self._path, "<u2", mode="r")
        except (OSError, ValueError) as error:
            raise ArgumentError(f"{path} cannot be read: {error}") from error
        digest, counts = hashlib.sha256(), np.zeros(vocab, np.int64)
        for begin in range(0, len(self._tokens), _SCAN):
            part = self._tokens[begin : begin + _SCAN]
            digest.update(part.data)
            if part.max() >= vocab:
                index = begin + int(np.argmax(part >= vocab))
                raise ArgumentError(
                    f"{path}: token {index} is {self._tokens[index]}; the model's vocabulary has {vocab}"
                )
            counts += np.bincount(part, minlength=vocab)
        shares = counts[counts > 0] / len(self._tokens)
        self.unigram_entropy = float(-(shares * np.log(shares)).sum())
        self.description = f"{len(self._tokens)} tokens, SHA-256 {digest.hexdigest()[:16]}"

    def __len__(self) -> int:
        return len(self._tokens)

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Of this step, whatever came before."""
        begin = int(np.random.default_rng((self._seed, step)).integers(0, len(self._tokens) - self._seq))
        return self._tokens[begin : begin + self._seq + 1].astype(np.int64)


def open_data(source: str | os.PathLike[str], vocab: int, seq: int, seed: int) -> Data:
    """The source "synthetic", or a token file."""
    if source == "synthetic":
        return SyntheticTokens(vocab, seq, seed)
    return TokenFile(source, vocab, seq, seed)
