"""Cases of element-wise arithmetic, of functions that are tables on the engine, and of rounding."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np

from ... import mil
from .model import INFINITY, Reals, Words, decode, round_real
from .rules import STUDY, Answers, Experiment, Rule, Run, halves, published, spell, words
from .tables import FUNCTIONS as TABLES

_PAIRS = (1, 64, 1, 192)  # of numbers, for arithmetic
_WORDS = np.arange(1 << 16).astype(np.uint16)
_ALL = (1, 64, 1, len(_WORDS) // 64)

_ARITHMETIC: Mapping[str, tuple[str, Callable[[Reals, Reals], Reals]]] = {
    "add": ("+", np.add),
    "sub": ("-", np.subtract),
    "mul": ("*", np.multiply),
}


@cache
def _pairs() -> tuple[Experiment, Words, Words]:
    """Return one program of all three operations, and its operands: random words, and near ones."""
    random = np.random.default_rng(0)
    size = np.prod(_PAIRS)
    x, y = (random.integers(0, 1 << 16, size).astype(np.uint16) for _ in "xy")
    near = slice(size // 2, None)  # numbers of similar size, whose sums are often ties
    y[near] = (x[near].astype(np.int64) + random.integers(-12 << 10, 1 << 10, size - size // 2)) & 0x7FFF
    ties = slice(0, size // 4)  # products of short significands are
    x[ties] &= 0xFFE0
    y[ties] &= 0xFF80
    known = [vector for name in _ARITHMETIC for vector in published(f"arithmetic/{name}")]
    x[: len(known)] = [vector.x[0] for vector in known]
    y[: len(known)] = [vector.w[0] for vector in known]
    b = mil.Builder()
    left, right = b.input("a", _PAIRS), b.input("b", _PAIRS)
    for name in _ARITHMETIC:
        b.output(name, getattr(mil, name)(left, right))
    inputs = {"a": halves(x.reshape(_PAIRS)), "b": halves(y.reshape(_PAIRS))}
    return Experiment(b.build(), lambda: inputs), x, y


def _arithmetic(name: str, run: Run, profile: str | None) -> Sequence[Answers]:
    experiment, x, y = _pairs()
    sign, function = _ARITHMETIC[name]
    expected = round_real(function(decode(x), decode(y)))
    measured = {}
    for vector in published(f"arithmetic/{name}"):
        (place, *_) = np.flatnonzero((x == vector.x[0]) & (y == vector.w[0]))
        expected[place], measured[int(place)] = vector.result, vector.engines

    def describe(case: int) -> str:
        return f"{spell(x[case])} {sign} {spell(y[case])}"

    return [Answers(name, words(run(experiment)[name]), expected, describe, measured)]


def _function(
    name: str, build: Callable[[mil.Tensor], mil.Tensor], expect: Callable[[Words], tuple[Words, Words]]
) -> Callable[[Run, str | None], Sequence[Answers]]:
    """Return how to ask about a function of every word; the answers are recorded even where they agree.

    `expect` returns the words for which something is expected, and what.
    """

    @cache
    def experiment() -> Experiment:
        b = mil.Builder()
        b.output("y", build(b.input("x", _ALL)))
        return Experiment(b.build(), lambda: {"x": halves(_WORDS.reshape(_ALL))})

    def ask(run: Run, profile: str | None) -> Sequence[Answers]:
        answers = words(run(experiment())["y"])
        x, expected = expect(_WORDS[_WORDS & INFINITY != INFINITY])
        measured = {}
        for vector in published(f"functions/{name}"):
            place = int(np.searchsorted(x, vector.x[0]))
            expected[place], measured[place] = vector.result, vector.engines
        return [Answers(name, answers[x], expected, lambda case: spell(x[case]), measured, recorded=answers)]

    return ask


def _table(name: str) -> Callable[[Words], tuple[Words, Words]]:
    def expect(x: Words) -> tuple[Words, Words]:
        covered = TABLES[name].covers(x)
        return covered, TABLES[name](covered)

    return expect


def _rounded(x: Words) -> tuple[Words, Words]:
    """Add 0.5 in fp16, ties away from zero, and cut the fraction off."""
    value = decode(x)
    sums = decode(round_real(np.abs(value) + 0.5))
    return x, round_real(np.copysign(np.floor(sums), value))


def _quantized(x: Words) -> tuple[Words, Words]:
    value = decode(x)
    return x, round_real(np.clip(np.copysign(np.floor(np.abs(value) + 0.5), value), -128, 127))


# Those whose arguments are not the operand alone.
_CALLS: Mapping[str, Callable[[mil.Tensor], mil.Tensor]] = {
    "inverse": lambda x: mil.inverse(x, 0.0),
}
_SAMPLED = "Are values on straight lines between 33 rounded ones?"
_FITTED = "Are values those of our fit? Its knots are right to about one step of fp16."

FUNCTIONS: Mapping[str, Rule] = {
    **{
        f"arithmetic/{name}": Rule(
            "Is the exact result rounded once, ties away from zero?",
            STUDY,
            ("h18g",),
            partial(_arithmetic, name),
        )
        for name in _ARITHMETIC
    },
    **{
        f"functions/{name}": Rule(
            _FITTED if table.is_fit else _SAMPLED,
            f"{STUDY}, ane-guide; knots: {'derived' if table.is_fit else 'inferred'}",
            () if table.is_fit else ("h18g",),
            _function(name, _CALLS.get(name, getattr(mil, name)), _table(name)),
        )
        for name, table in TABLES.items()
    },
    "functions/round": Rule(
        "Does round add 0.5 in fp16, ties away from zero?",
        "ANEForge",
        ("h17",),
        _function("round", mil.round, _rounded),
    ),
    "functions/quantize": Rule(
        "Does quantize round ties away from zero, and clamp?",
        "cadamcat/llms-on-apple-neural-engine",
        ("h17",),
        _function("quantize", lambda x: mil.dequantize(mil.quantize(x, 1.0), 1.0), _quantized),
    ),
}
