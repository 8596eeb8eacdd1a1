"""The parts of a rule: its experiments on the device, and what their answers are compared with."""

import base64
import csv
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import mil
from ...errors import ArgumentError
from .model import Words, decode

Arrays = Mapping[str, NDArray[Any]]

_MOST_BYTES = 1 << 20  # of the answers of an experiment
STUDY = "751K/Apple-Neural-Engine-Microarchitecture-Study-M6"


@dataclass(frozen=True, eq=False)
class Experiment:
    """A program, and what makes one evaluation's inputs. Rules that share an experiment share its answers."""

    program: mil.Program
    inputs: Callable[[], Arrays]


Run = Callable[[Experiment], Arrays]


class Figure(NamedTuple):
    """A relative error, and the one that was published for some engines."""

    found: float
    published: float
    engines: Sequence[str]


@dataclass(frozen=True)
class Answers:
    """Hold an operation's answers to a rule's cases, and those that the model expects.

    `published` has the engines for which a case's result was published, by the case's number. `others` are
    the answers by rules that other engines obey. `recorded` are the answers to more inputs than the cases.
    """

    op: str
    got: Words
    expected: Words
    describe: Callable[[int], str]
    published: Mapping[int, Sequence[str]] = field(default_factory=dict)
    others: Mapping[str, Words] = field(default_factory=dict)
    figure: Figure | None = None
    recorded: Words | None = None


class Refused(NamedTuple):
    """An operation that the device refused, and why."""

    op: str
    reason: str


class Recorded(NamedTuple):
    """Answers that no model expects: words by the evaluations' names, and the operand's shape."""

    answers: Mapping[str, Words]
    shape: str


@dataclass(frozen=True)
class Rule:
    """A rule, and how to ask a device about it. The device's profile is None if nobody knows it.

    `engines` are those on which the rule was measured; elsewhere it is a prediction.
    """

    question: str
    source: str
    engines: tuple[str, ...]
    ask: Callable[[Run, str | None], Sequence[Answers | Refused] | Recorded]


class Vector(NamedTuple):
    """A published result."""

    engines: tuple[str, ...]
    x: tuple[int, ...]
    w: tuple[int, ...]
    bias: int
    result: int


@cache
def _vectors() -> Mapping[str, Sequence[Vector]]:
    found: dict[str, list[Vector]] = {}
    text = files(__package__).joinpath("vectors.csv").read_text(encoding="utf-8")
    for line in csv.DictReader(text.splitlines()):
        x, w, bias, (result,) = (
            tuple(int(word, 16) for word in line[name].split()) for name in ("x", "w", "bias", "result")
        )
        vector = Vector(tuple(line["engines"].split()), x, w, sum(bias), result)
        found.setdefault(line["rule"], []).append(vector)
    return found


def published(rule: str) -> Sequence[Vector]:
    """Return the published results of a rule."""
    return _vectors().get(rule, ())


def halves(words: Words) -> NDArray[np.float16]:
    """Return words as an input of a program; numpy reads exponent 31 otherwise than the engine."""
    return np.ascontiguousarray(words, np.uint16).view(np.float16)


def words(array: NDArray[Any]) -> Words:
    """Return the words of an output, in order."""
    return np.ascontiguousarray(array, np.float16).view(np.uint16).reshape(-1)


def spell(word: int) -> str:
    """Write a word with its value as an operand, in which exponent 31 is one more exponent."""
    return f"0x{word:04X} ({float(decode(np.array(word, np.uint16))):.8g})"


def spell_result(word: int) -> str:
    """Write a word with its value as a result, in which exponent 31 is infinity or NaN."""
    return f"0x{word:04X} ({float(np.array(word, np.uint16).view(np.float16)):.8g})"


def pack(answers: Words) -> str:
    """Write words as text: base64 of zlib of two bytes each, the lower one first."""
    return base64.b64encode(zlib.compress(answers.astype("<u2").tobytes(), 9)).decode()


def unpack(text: str) -> Words:
    """Return the words that `pack` wrote. Raises ArgumentError for another text, or too long a one."""
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(base64.b64decode(text, validate=True), _MOST_BYTES)
    except (zlib.error, ValueError) as error:
        raise ArgumentError(f"the answers are damaged: {error}") from None
    if not unpacker.eof or unpacker.unused_data or len(content) % 2:
        raise ArgumentError(f"the answers are damaged, or more than {_MOST_BYTES // 2} words")
    return np.frombuffer(content, "<u2").astype(np.uint16)
