"""The tokens of a tokenizer: their number, a digest of them all, and those that end a text.

A file of tokens carries this, so that training can tell whether the model has the same tokens. The digest is
of the tokens, not of the file they were read from: a SentencePiece model, the tokenizer.bin that llama2.c
makes of it and the tokenizer.json of transformers have the same one.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..bounds import ENDS, MODEL
from ..checks import count, shown
from ..errors import ArgumentError
from ..files import LONGEST_QUOTE, one_line

Library = Literal["bytes", "llama2c", "sentencepiece", "tokenizers"]

_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_NAME = 255
_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"  # of SentencePiece
# Names under which published tokenizers (of Llama 1 to 3, Qwen, Gemma and GPT-2) begin and end texts. What
# begins a text ends the one before: llama2.c's models separate stories so.
_ENDS = frozenset(
    (
        *("<s>", "</s>", "<bos>", "<eos>", "<|endoftext|>", "<|im_end|>", "<|begin_of_text|>"),
        *("<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>"),
    )
)


class Vocabulary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The tokens of a tokenizer. Raises ArgumentError for what no tokenizer can have."""

    library: Library  # that reads the tokenizer
    name: str  # of its file
    size: int  # the greatest number of a token and 1
    sha256: str
    ends: tuple[int, ...]  # those after which a text has ended

    def __post_init__(self) -> None:
        count("the size of a vocabulary", self.size, 1, MODEL["vocab"])
        if len(self.name) > _LONGEST_NAME or not self.name.isprintable():
            raise ArgumentError(f"{shown(self.name)} is no name of a tokenizer")
        if not _SHA256.fullmatch(self.sha256):
            raise ArgumentError(f"sha256 must be 64 hexadecimal digits, not {shown(self.sha256)}")
        if len(self.ends) > ENDS:
            raise ArgumentError(f"has {len(self.ends)} tokens that end a text: {ENDS} are taken")
        for token in self.ends:
            count("a token that ends a text", token, 0, self.size - 1)

    @classmethod
    def of(
        cls, library: Library, name: str, tokens: Mapping[int, str | bytes], ends: Iterable[int] = ()
    ) -> Vocabulary:
        """Describe tokens by number, and those that end a text."""
        return cls(
            library=library,
            name=name,
            size=max(tokens, default=-1) + 1,
            sha256=_digest(tokens),
            ends=tuple(sorted(set(ends))),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.size} tokens, SHA-256 {self.sha256[:12]})"


def file_name(path: str | os.PathLike[str]) -> str:
    """Return the name of a tokenizer's file, whatever it may hold, as text to print."""
    name = Path(os.fsdecode(path)).name
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)[:_LONGEST_NAME]


def _digest(tokens: Mapping[int, str | bytes]) -> str:
    digest = hashlib.sha256()
    for number, token in sorted(tokens.items()):
        text = token.replace(_SPACE, " ").encode(errors="surrogatepass") if isinstance(token, str) else token
        digest.update(b"%d %d " % (number, len(text)) + text)
    return digest.hexdigest()


class _Added(msgspec.Struct):
    id: int
    content: str
    special: bool = False


class _Model(msgspec.Struct):
    vocab: dict[str, int] | list[tuple[str, float]]


class _TokenizerJson(msgspec.Struct):
    model: _Model
    added_tokens: list[_Added] = []


def vocabulary_of_json(content: bytes, name: str = "tokenizer.json") -> Vocabulary:
    """Describe the tokens of a tokenizer.json without its library. Raises ArgumentError."""
    try:
        found = msgspec.json.decode(content, type=_TokenizerJson)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        reason = one_line(error, LONGEST_QUOTE)
        raise ArgumentError(f"its tokens cannot be listed: {reason}") from None
    vocab: Any = found.model.vocab
    pieces = vocab.items() if isinstance(vocab, dict) else ((text, n) for n, (text, _) in enumerate(vocab))
    tokens = {number: text for text, number in pieces}
    tokens |= {added.id: added.content for added in found.added_tokens}
    ends = {added.content: added.id for added in found.added_tokens if added.special}
    return Vocabulary.of("tokenizers", name, tokens, [ends[text] for text in ends.keys() & _ENDS])
