"""Cases of reductions: short sums, and probes that show in which order long ones are added."""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray

from ... import mil
from ...errors import CompileError
from .model import Words, decode, round_real, words_of
from .rules import Answers, Experiment, Recorded, Rule, Run, halves, published, spell, words

_SHORT = 8
_LONG = 4096


@cache
def _program(shape: tuple[int, ...]) -> mil.Program:
    b = mil.Builder()
    b.output("y", mil.reduce_sum(b.input("x", shape), [-1], keep_dims=True))
    return b.build()


@cache
def _short_sums() -> tuple[Experiment, Words]:
    """Return sums that no order of additions changes: of two numbers, and of integers up to 2048."""
    random = np.random.default_rng(0)
    rows = []
    for exponent in range(-13, 15):
        for significand in (1024, 1025, 2047):
            large = np.ldexp(significand, exponent - 10)
            rows += [(large, np.ldexp(half, exponent - 11)) for half in (0.5, 1, 1.5)]
            rows.append((-large, -np.ldexp(1, exponent - 11)))
    rows += [(32752, 16), (32768, 32736), (-65504, 0), (65504, -65504), (16384, 16384)]
    values = np.zeros((len(rows) + 64, _SHORT))
    for row, terms in enumerate(rows):
        # Two numbers at any distance meet without another in between.
        values[row, 0], values[row, 1 + row % (_SHORT - 1)] = terms
    values[len(rows) :] = random.integers(-256, 257, (64, _SHORT))
    known = [vector.x for vector in published("reductions/8 terms")]
    x = np.concatenate([np.array(known, np.uint16), words_of(values)])
    shape = (1, 1, *x.shape)
    return Experiment(_program(shape), lambda: {"x": halves(x.reshape(shape))}), x


def _short(run: Run, profile: str | None) -> Sequence[Answers]:
    experiment, x = _short_sums()
    expected = round_real(decode(x).sum(-1))
    measured = {}
    for place, vector in enumerate(published("reductions/8 terms")):
        expected[place], measured[place] = vector.result, vector.engines

    def describe(case: int) -> str:
        return " + ".join(spell(word) for word in x[case] if word)

    return [Answers("reduce_sum", words(run(experiment)["y"]), expected, describe, measured)]


# Places of the large number, and for three numbers also of the first 1: around powers of two, and in between.
_PLACES = (0, 1, 15, 16, 100, 255, 256, 1000, 2048, 4095)
_SECOND = (
    (0, 1),
    (0, 2),
    (0, 16),
    (0, 100),
    (0, 300),
    (0, 400),
    (0, 1000),
    (0, 2048),
    (2048, 0),
    (4095, 4094),
)


def _one_hot(large: float, place: int, others: Sequence[int]) -> NDArray[np.float16]:
    """Return rows with `large` at one place, 1 at some others, and 1 at the row's own place."""
    x = np.eye(_LONG, dtype=np.float16)
    x[:, list(others)] = 1
    x[:, place] = large
    return x


def _growing() -> NDArray[np.float16]:
    """Return rows with 4096 and then as many ones as rows stand above."""
    x = np.tri(_LONG, dtype=np.float16)
    x[:, 0] = 4096
    return x


def _random() -> NDArray[np.float16]:
    """Return ANEForge's 256 rows of normal numbers, and zeros below them."""
    x = np.zeros((_LONG, _LONG), np.float16)
    x[:256] = np.random.default_rng(11).standard_normal((256, _LONG)).astype(np.float32)
    return x


_PROBES: Mapping[str, Mapping[str, Callable[[], NDArray[np.float16]]]] = {
    "pairs": {f"2048 at {i}": partial(_one_hot, 2048, i, ()) for i in _PLACES},
    "triples": {f"4096 at {i}, 1 at {j}": partial(_one_hot, 4096, i, (j,)) for i, j in _SECOND},
    "growing": {"4096 at 0, then ones": _growing},
    "random": {"256 rows": _random},
}


def _record(rule: str, run: Run, profile: str | None) -> Recorded:
    """Sum rows of a tensor of rank 2, as for ANEForge's unexplained errors; of rank 4, if that is refused."""
    try:
        return _record_rows(rule, run, (_LONG, _LONG))
    except CompileError:
        return _record_rows(rule, run, (1, 1, _LONG, _LONG))


def _record_rows(rule: str, run: Run, shape: tuple[int, ...]) -> Recorded:
    def answer(make: Callable[[], NDArray[np.float16]]) -> Words:
        return words(run(Experiment(_program(shape), lambda: {"x": make().reshape(shape)}))["y"])

    answers = {name: answer(make) for name, make in _PROBES[rule].items()}
    return Recorded(answers, " x ".join(map(str, shape)))


_OPEN = "nobody knows in which order long sums are added"
SUMS: Mapping[str, Rule] = {
    "reductions/8 terms": Rule(
        "Are short sums exact, and rounded once with ties away from zero?",
        "ANEForge",
        ("h13", "h14", "h16", "h17", "h18g"),
        _short,
    ),
    "reductions/pairs": Rule(
        "What is the sum of 4096 numbers that are 0 but for 2048 and a 1, at each place?",
        _OPEN,
        (),
        partial(_record, "pairs"),
    ),
    "reductions/triples": Rule(
        "What is the sum of 4096 numbers that are 0 but for 4096, a 1, and another 1 at each place?",
        _OPEN,
        (),
        partial(_record, "triples"),
    ),
    "reductions/growing": Rule(
        "What is the sum of 4096 and a number of ones behind it, up to 4095?",
        _OPEN,
        (),
        partial(_record, "growing"),
    ),
    "reductions/random": Rule(
        "What are the sums of ANEForge's 256 rows of 4096 normal numbers?",
        "ANEForge published their error: 8.0792e-4 on M4 Pro, M5 and M6, and 7.2242e-4 on M1 and M2 Max",
        (),
        partial(_record, "random"),
    ),
}
