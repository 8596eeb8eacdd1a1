"""llama2.c's tokenizer.bin: byte pairs that are merged by score.

The file has the length of the longest token, then each token as score, length and bytes, in order.
Source: github.com/karpathy/llama2.c, tokenizer.py (export) and run.c (encode, decode).
"""

from __future__ import annotations

import heapq
import math
import os
import re
import struct
from collections.abc import Sequence

from ..bounds import JSON_BYTES, MODEL
from ..errors import ArgumentError
from ..files import read_input
from ..kinds import Kind
from .vocabulary import Vocabulary, file_name

_TOKEN = struct.Struct("<fI")  # score, length
_BEGIN, _END = 1, 2  # of a text
_FIRST_BYTE = 3  # of the tokens that stand for one byte each
_BYTE = re.compile(rb"<0x([0-9A-F]{2})>")
_REMEMBERED = 1 << 17  # units of text


class Llama2cTokenizer:
    """Encodes as llama2.c does: the pair with the best score is merged first, of equals the leftmost.

    Raises ArgumentError for a damaged file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = path
        self._pieces: list[bytes] = []
        self._scores: list[float] = []
        self._read(read_input(path, Kind.LLAMA2C_TOKENIZER, JSON_BYTES, ArgumentError))
        self.vocabulary = self._described()
        self._ids = {piece: id for id, piece in reversed(list(enumerate(self._pieces)))}
        # No merge crosses the end of a word that no token extends beyond, so equal words have equal tokens.
        crossing = any(re.search(rb"[^ ] ", piece) for piece in self._ids)
        self._unit = re.compile(r".+" if crossing else r" *[^ ]+| +", re.DOTALL)
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str, *, whole: bool) -> Sequence[int]:
        """Return the tokens of a text after a space; a `whole` one gets the token that begins texts."""
        tokens = [_BEGIN] if whole else []
        for unit in self._unit.findall(f" {text}" if text else ""):
            found = self._known.get(unit)
            if found is None:
                if len(self._known) == _REMEMBERED:
                    self._known.clear()
                found = self._known[unit] = self._merged(self._characters(unit))
            tokens += found
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens, without the tokens that begin and end one, and the space before it."""
        content = b"".join(self._bytes(token) for token in tokens if token not in (_BEGIN, _END))
        return content.removeprefix(b" ").decode(errors="replace")

    def _read(self, content: bytes) -> None:
        if len(content) <= 4:
            raise ArgumentError(f"{self._path}: is no tokenizer.bin of llama2.c: it has {len(content)} bytes")
        longest, position = int.from_bytes(content[:4], "little"), 4
        while position < len(content):
            if position + _TOKEN.size > len(content):
                raise ArgumentError(f"{self._path}: ends within token {len(self._pieces)}")
            score, length = _TOKEN.unpack_from(content, position)
            position += _TOKEN.size
            if length > longest or position + length > len(content) or not math.isfinite(score):
                raise ArgumentError(
                    f"{self._path}: token {len(self._pieces)} has {length} bytes and the score {score:g}; "
                    f"the longest has {longest}, and the file {len(content) - position} more: it is damaged"
                )
            self._pieces.append(content[position : position + length])
            self._scores.append(score)
            position += length
            if len(self._pieces) > MODEL["vocab"]:
                raise ArgumentError(f"{self._path}: has more than {MODEL['vocab']} tokens")

    def _described(self) -> Vocabulary:
        tokens: dict[int, str | bytes] = dict(enumerate(self._pieces))
        ends = tokens.keys() & {_BEGIN, _END}
        for token in ends:  # llama2.c puts them on lines of their own
            tokens[token] = self._pieces[token].strip(b"\n")
        return Vocabulary.of("llama2c", file_name(self._path), tokens, ends)

    def _bytes(self, token: int) -> bytes:
        if not 0 <= token < self.vocabulary.size:
            raise ArgumentError(
                f"{self._path}: has {self.vocabulary.size} tokens, and none of number {token}"
            )
        piece = self._pieces[token]
        byte = _BYTE.fullmatch(piece)
        return piece if byte is None else bytes.fromhex(byte[1].decode())

    def _characters(self, text: str) -> list[int]:
        """Return a token for each character, or for each of its bytes where the vocabulary lacks it."""
        tokens: list[int] = []
        for character in text:
            encoded = character.encode()
            token = self._ids.get(encoded)
            tokens += [byte + _FIRST_BYTE for byte in encoded] if token is None else [token]
        if max(tokens, default=0) >= self.vocabulary.size:
            raise ArgumentError(
                f"{self._path}: has {self.vocabulary.size} tokens, and none for bytes of {text[:20]!r}"
            )
        return tokens

    def _merged(self, tokens: list[int]) -> list[int]:
        """Merge neighbors until none make a token."""
        after = [*range(1, len(tokens)), -1]
        before = list(range(-1, len(tokens) - 1))
        merges: list[
            tuple[float, int, int, int, int]
        ] = []  # minus score, place, token, and both as they were

        def consider(left: int) -> None:
            right = after[left] if left >= 0 else -1
            if right < 0:
                return
            token = self._ids.get(self._pieces[tokens[left]] + self._pieces[tokens[right]])
            if token is not None:
                heapq.heappush(merges, (-self._scores[token], left, token, tokens[left], tokens[right]))

        for place in range(len(tokens) - 1):
            consider(place)
        while merges:
            _, left, token, was, follower = heapq.heappop(merges)
            right = after[left]
            if tokens[left] != was or right < 0 or tokens[right] != follower:
                continue  # one of them was merged meanwhile
            tokens[left], tokens[right] = token, -1
            after[left] = after[right]
            if after[right] >= 0:
                before[after[right]] = left
            consider(left)
            consider(before[left])
        return [token for token in tokens if token >= 0]
