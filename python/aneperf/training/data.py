"""The sequences of steps, from files of tokens or at random.

A sequence depends on the seed and the step alone. So an interrupted run, or a worker's successor, reads the
same sequences again.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from .token_file import Tokens
from .vocabulary import Vocabulary

SYNTHETIC = "synthetic"  # the source of random tokens
_TOKEN_BLOCK = 1 << 22  # tokens to check at a time
# Models have more tokens than their tokenizer, to round the number up: Qwen3 151,936 for 151,669, GPT-NeoX
# 50,432 for 50,277, phi-2 51,200 for 50,295. This is the largest share of such tokens that is taken for that.
_PADDING = 0.02


class Data(Protocol):
    """A source of sequences."""

    @property
    def description(self) -> str:
        """Describe the tokens, independent of where they are kept."""
        ...

    @property
    def vocabulary(self) -> Vocabulary | None:
        """Return the vocabulary of the tokens, if they tell."""
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
    vocabulary = None

    def __init__(self, vocab: int, seq: int, seed: int) -> None:
        self._vocab, self._seq, self._seed = vocab, seq, seed
        self.unigram_entropy = math.log(vocab)

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Draw the tokens of a step: [seq + 1]."""
        return np.random.default_rng((self._seed, step)).integers(0, self._vocab, self._seq + 1)


class TokenFile:
    """The tokens of a file; each step reads at a uniform random position.

    Raises ArgumentError for a file that is too short, ends within a token, has tokens outside the vocabulary,
    or tokens of another vocabulary than the model that was `trained_with` one. So does each step once the
    file was changed: what was checked, and what `description` tells, would not be true.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        vocab: int,
        seq: int,
        seed: int,
        trained_with: Callable[[], Vocabulary | None] = lambda: None,
    ) -> None:
        self.seq = seq
        self._path, self._seed = path, seed
        self._numbered: NDArray[np.int64] | None = None
        self._tokens = Tokens(path)
        self.vocabulary = self._tokens.vocabulary
        if self.vocabulary is not None:
            _check_vocabulary(f"{path}", self.vocabulary, vocab, trained_with())
        if len(self) <= seq:
            raise ArgumentError(f"{path} has {len(self)} tokens; sequences of {seq} need at least {seq + 1}")
        self._scan(vocab)

    def __len__(self) -> int:
        return len(self._tokens)

    def sequence(self, step: int) -> NDArray[np.int64]:
        """Read the tokens of a step: [seq + 1]."""
        return self.window(int(np.random.default_rng((self._seed, step)).integers(0, len(self) - self.seq)))

    def window(self, begin: int) -> NDArray[np.int64]:
        """Read the tokens from a position on: [seq + 1]."""
        tokens = self._tokens.read(begin, self.seq + 1).astype(np.int64)
        return tokens if self._numbered is None else np.searchsorted(self._numbered, tokens)

    def renumber(self, tokens: NDArray[np.int64]) -> None:
        """Return a token's place in `tokens`, which are ascending, instead of its number from now on.

        Raises ArgumentError if others occur.
        """
        if (others := np.setdiff1d(self.used, tokens)).size:
            raise ArgumentError(
                f"{self._path}: the token {others[0]} does not occur in the data that is trained on, and "
                "compact_vocabulary (--compact-vocabulary) leaves such tokens out"
            )
        self._numbered = tokens

    def _scan(self, vocab: int) -> None:
        """Check every token, and compute the entropy and the digest."""
        digest, counts = hashlib.sha256(), np.zeros(vocab, np.int64)
        for begin in range(0, len(self), _TOKEN_BLOCK):
            block = self._tokens.read(begin, min(_TOKEN_BLOCK, len(self) - begin))
            digest.update(block.data)
            if block.max() >= vocab:
                index = int(np.argmax(block >= vocab))
                raise ArgumentError(
                    f"{self._path}: token {begin + index} is {block[index]}; "
                    f"the model's vocabulary has {vocab}"
                )
            counts += np.bincount(block, minlength=vocab)
        self.used = np.flatnonzero(counts)  # the tokens that occur
        shares = counts[self.used] / len(self)
        self.unigram_entropy = float((shares * np.log(1 / shares)).sum())
        self.description = f"{len(self)} tokens, SHA-256 {digest.hexdigest()[:16]}"


def open_data(
    source: str | os.PathLike[str],
    vocab: int,
    seq: int,
    seed: int,
    trained_with: Callable[[], Vocabulary | None] = lambda: None,
) -> Data:
    """Open a token file, or the source "synthetic". `trained_with` tells the vocabulary of the weights."""
    if source == SYNTHETIC:
        return SyntheticTokens(vocab, seq, seed)
    return TokenFile(source, vocab, seq, seed, trained_with)


def _check_vocabulary(path: str, found: Vocabulary, vocab: int, trained_with: Vocabulary | None) -> None:
    """Raise ArgumentError if tokens mean something else to the model."""
    if trained_with is not None and found.sha256 != trained_with.sha256:
        raise ArgumentError(
            f"{path} has tokens of {found}, and the model was trained with {trained_with}: convert the text "
            "with the model's tokenizer"
        )
    if trained_with is None and not found.size <= vocab <= found.size * (1 + _PADDING):
        raise ArgumentError(
            f"{path} has tokens of {found}, and the model's vocabulary has {vocab}: convert the text with "
            f"the model's tokenizer, or train random weights with --vocab {found.size}"
        )
