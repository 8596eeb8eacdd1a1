"""Tokenizers of the libraries tokenizers and sentencepiece, in a child process.

A file can make either library panic, abort, hang or take all memory. In a child with limits each is an error.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from ..bounds import JSON_BYTES, address_space
from ..errors import ArgumentError
from ..files import LONGEST_QUOTE, one_line, read_input
from ..kinds import Kind
from ..runner.child import Child, ChildLost
from ..runner.child_process import Parent
from .vocabulary import Vocabulary, file_name, vocabulary_of_json

_LIMIT_S = 60.0  # for any answer: about a second is usual for 1 MiB of text
_MEMORY_BYTES = 2 << 30  # more than at its start; a vocabulary of 256,000 tokens takes some 0.5 GiB


class Load(msgspec.Struct, frozen=True, tag="load"):
    """Asks for a tokenizer from the content of its file, which has this name."""

    library: Literal["tokenizers", "sentencepiece"]
    content: bytes
    name: str


class Encode(msgspec.Struct, frozen=True, tag="encode"):
    """Asks for the tokens of a text."""

    text: str
    whole: bool


class Decode(msgspec.Struct, frozen=True, tag="decode"):
    """Asks for the text of tokens."""

    tokens: list[int]


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """Describes the tokens."""

    vocabulary: Vocabulary


class Encoded(msgspec.Struct, frozen=True, tag="encoded"):
    """Holds the tokens of a text."""

    tokens: list[int]


class Decoded(msgspec.Struct, frozen=True, tag="decoded"):
    """Holds the text of tokens."""

    text: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Tells why a library refuses; `missing` if it is not installed."""

    reason: str
    missing: bool = False


Question = Load | Encode | Decode
Answer = Loaded | Encoded | Decoded | Refused


class LibraryTokenizer:
    """Reads a tokenizer's JSON file or a SentencePiece model with its library. Raises ArgumentError."""

    def __init__(self, path: str | os.PathLike[str], kind: Kind) -> None:
        self._path = path
        content = read_input(path, kind, JSON_BYTES, ArgumentError)
        self._child = Child(f"{__name__}:serve", msgspec.json.Decoder(Answer))
        weakref.finalize(self, self._child.stop)
        library: Literal["tokenizers", "sentencepiece"] = "tokenizers"
        if kind is Kind.SENTENCEPIECE:
            library = "sentencepiece"
        loaded = self._ask(Load(library, content, file_name(path)), "is no tokenizer")
        assert isinstance(loaded, Loaded)
        self.vocabulary = loaded.vocabulary

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """Return the tokens of a text; special tokens only in a `whole` one."""
        encoded = self._ask(Encode(text, whole), "cannot encode the text")
        assert isinstance(encoded, Encoded)
        return encoded.tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without special tokens."""
        decoded = self._ask(Decode(list(tokens)), "cannot decode tokens")
        assert isinstance(decoded, Decoded)
        return decoded.text

    def _ask(self, question: Question, failure: str) -> Answer:
        try:
            self._child.send(question)
            answer: Answer = self._child.receive(_LIMIT_S)
        except ChildLost as lost:
            raise ArgumentError(f"{self._path}: {failure}: {one_line(lost, LONGEST_QUOTE)}") from None
        except TimeoutError:
            raise ArgumentError(f"{self._path}: {failure}: no answer in {_LIMIT_S:g} s") from None
        if isinstance(answer, Refused):
            reason = one_line(answer.reason, LONGEST_QUOTE)
            raise ArgumentError(f"{self._path}: {reason if answer.missing else f'{failure}: {reason}'}")
        return answer


def serve(parent: Parent) -> None:
    """Answer questions, in the child."""
    _limit()
    questions, tokenizer = msgspec.json.Decoder(Question), None
    while True:
        question = parent.receive(questions)
        try:
            if isinstance(question, Load):
                tokenizer = _LIBRARIES[question.library](question.content)
                parent.send(Loaded(tokenizer.vocabulary(question.name)))
            elif tokenizer is not None and isinstance(question, Encode):
                parent.send(Encoded(tokenizer.encode(question.text, question.whole)))
            elif tokenizer is not None and isinstance(question, Decode):
                parent.send(Decoded(tokenizer.decode(question.tokens)))
        except ImportError as error:
            install = "pip install '.[data]' in a checkout of aneperf"
            parent.send(Refused(f"needs {error.name or 'a library'}: {install}", missing=True))
        except (
            BaseException
        ) as error:  # a panic of tokenizers is no Exception, and it raises nothing narrower
            parent.send(Refused(str(error) or type(error).__name__))


def _limit() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError, KeyError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        most = address_space() + _MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


class _Tokenizers:
    """A tokenizer's JSON file."""

    def __init__(self, content: bytes) -> None:
        from tokenizers import Tokenizer

        self._tokenizer: Any = Tokenizer.from_buffer(content)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._content = content

    def vocabulary(self, name: str) -> Vocabulary:
        return vocabulary_of_json(self._content, name)

    def encode(self, text: str, whole: bool) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=whole).ids)

    def decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens))


class _SentencePiece:
    """A SentencePiece model; a whole text begins with the token that it has for that."""

    def __init__(self, content: bytes) -> None:
        from sentencepiece import SentencePieceProcessor

        self._processor: Any = SentencePieceProcessor()
        self._processor.LoadFromSerializedProto(content)

    def vocabulary(self, name: str) -> Vocabulary:
        processor = self._processor
        tokens = {token: str(processor.id_to_piece(token)) for token in range(processor.vocab_size())}
        ends = [token for token in (processor.bos_id(), processor.eos_id()) if token >= 0]
        return Vocabulary.of("sentencepiece", name, tokens, ends)

    def encode(self, text: str, whole: bool) -> list[int]:
        begin = self._processor.bos_id()
        return [*([begin] if whole and begin >= 0 else []), *self._processor.encode(text)]

    def decode(self, tokens: list[int]) -> str:
        return str(self._processor.decode(tokens))


_LIBRARIES: dict[str, type[_Tokenizers] | type[_SentencePiece]] = {
    "tokenizers": _Tokenizers,
    "sentencepiece": _SentencePiece,
}
