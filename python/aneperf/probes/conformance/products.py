"""Cases of the multiply-accumulate: conv, linear and matmul, which sum products in fixed point."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ... import mil
from ...errors import REFUSALS, CompileBudgetError
from .model import Words, dot, words_of
from .rules import STUDY, Answers, Experiment, Recorded, Refused, Rule, Run, halves, published, spell, words

_TERMS = 96  # of every sum: shorter ones have zeros behind
_BIAS = "bias"
_ONE = 0x3C00


class _Case(NamedTuple):
    """A sum of products: words of both sides, a word of the bias."""

    x: Sequence[int]
    w: Sequence[int]
    bias: int = 0
    engines: Sequence[str] = ()
    result: int | None = None  # published

    def __str__(self) -> str:
        terms = [f"{spell(x)} * {spell(w)}" for x, w in zip(self.x, self.w, strict=True) if x and w]
        more = f" + {len(terms) - 3} more" if len(terms) > 3 else ""
        bias = f" + bias {spell(self.bias)}" if self.bias else ""
        return " + ".join(terms[:3]) + more + bias


@dataclass(frozen=True)
class _Batch:
    """Cases of several rules, and the experiments that answer them all at once.

    An experiment multiplies every left side by every right one; a case has a place in each.
    """

    rules: Sequence[str]
    cases: Sequence[_Case]
    expected: Words
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    experiments: Mapping[str, Experiment]

    def ask(self, run: Run, rule: str) -> Sequence[Answers | Refused]:
        """Return each operation's answers. Raises the refusal of the last one if all were refused."""
        places = [place for place, name in enumerate(self.rules) if name == rule]
        cases = [self.cases[place] for place in places]
        measured = {i: case.engines for i, case in enumerate(cases) if case.engines}
        left, right = self.left[places], self.right[places]
        parts: list[Answers | Refused] = []
        for op, experiment in self.experiments.items():
            try:
                y = run(experiment)["y"]
            except CompileBudgetError:
                raise
            except REFUSALS as refusal:
                parts.append(Refused(op, str(refusal)))
                if all(isinstance(part, Refused) for part in parts) and len(parts) == len(self.experiments):
                    raise
                continue
            is_conv = op == "conv"
            got = words(y[0, right, 0, left] if is_conv else y[0, 0, left, right])
            # The published results are those of convolutions.
            known = measured if is_conv else {}
            parts.append(Answers(op, got, self.expected[places], lambda i: str(cases[i]), known))
        return parts


def _words(*values: float) -> tuple[int, ...]:
    return tuple(words_of(values).tolist())


def _product(x: float, w: float) -> _Case:
    return _Case(_words(x), _words(w))


def _sum(*terms: float) -> _Case:
    return _Case(_words(*terms), (_ONE,) * len(terms))


def _exponents() -> Iterator[_Case]:
    for word in (0x7C00, 0x7C01, 0x7DFF, 0x7E00, 0x7FFE, 0x7FFF):
        for w in (2.0**-1, 2.0**-4, -0.0625, 2.0**-14, 2.0**-24, -0.10003662109375, 0.2998046875):
            yield _Case((word,), _words(w))
            yield _Case((word | 0x8000,), _words(w))
    yield _Case((0x7C00, 0xFC00), _words(0.25, 0.25))
    yield _Case((0x7FFF, 0xFFFF, 0x3C00), _words(0.125, 0.125, 1))


def _dropped() -> Iterator[_Case]:
    """Yield products with exponents around the largest that is dropped, small and large significands."""
    significands = ((1, 1), (1.5, 1), (1.9990234375, 1), (1.5, 1.5), (1.9990234375, 1.9990234375))
    for exponent in range(-20, -13):
        for left in range(max(-14, exponent - 15), min(15, exponent + 14) + 1):
            for a, b in significands:
                x, w = np.ldexp(a, left), np.ldexp(b, exponent - left)
                yield _product(x, -w if left % 2 else w)
        for subnormal in (1, 511, 1023):  # whose exponent counts as -14
            for w in (1.0, 1.9990234375):
                yield _product(np.ldexp(subnormal, -24), np.ldexp(w, exponent + 14))


def _rounded() -> Iterator[_Case]:
    """Yield products that are ties between two multiples of 2^-16, and the nearest to ties on either side."""
    w = np.arange(1024, 2048)
    for exponent in range(-16, 4):
        right = 4 - exponent  # places that a product of significands has below 2^-16
        left = max(-14, exponent // 2)
        for x in (np.arange(1024, 1536)[:, None], np.arange(1536, 2048)[:, None]):
            distance = (x * w) % (1 << right) - (1 << (right - 1))
            far = 1 << right
            for wanted in (
                np.where(distance < 0, -distance, far),
                np.abs(distance),
                np.where(distance > 0, distance, far),
            ):
                row, column = np.unravel_index(np.argmin(wanted), wanted.shape)
                a, b = np.ldexp(x[row, 0], left - 10), np.ldexp(w[column], exponent - left - 10)
                yield _product(a, b)
                yield _product(-a, b)


def _sums() -> Iterator[_Case]:
    """Yield sums whose terms cancel, and long ones of random terms."""
    for large in (1024.0, 16384.0, 32752.0):
        for small in (1.0, 2.0**-8, 2.0**-16, 1.5 * 2.0**-16, 2.0**-17, 2.0**-18):
            yield _sum(large, small, -large)
    random = np.random.default_rng(0)
    for scale in (2.0**-7, 2.0**-4, 1.0, 16.0):
        for _ in range(24):
            x, w = (random.standard_normal(_TERMS) * side for side in (scale, 0.5))
            yield _Case(words_of(x.astype(np.float16)).tolist(), words_of(w.astype(np.float16)).tolist())
    yield _Case(_words(*[2.0**-8] * _TERMS), _words(*[2.0**-9] * _TERMS))  # every term is a tie


def _overflows() -> Iterator[_Case]:
    for sign in (1, -1):
        for terms in (
            (32752, 8), (32752, 15.984375), (32752, 15.984375, 0.015609741), (32752, 16), (32768,),
            (16384, 16376), (16384, 16384), (65504,), (1000.0,) * 32, (1000.0,) * 33, (32752, 2.0**-5),
        ):  # fmt: skip
            yield _sum(*(sign * float(np.float16(term)) for term in terms))
        for x, w in (
            (128, 256),
            (127.9375, 256),
            (181, 181),
            (181.125, 181),
            (2048, 16),
            (2047, 16),
            (65504, 0.5),
        ):
            yield _product(sign * x, w)
        yield _Case(_words(*[sign * 181.0] * 2), _words(181.0, 0.0390625))


def _biases() -> Iterator[_Case]:
    for bias in (2.0**-16, 2.0**-17, 1.4990234375 * 2.0**-14, 2.0**-18, 3 * 2.0**-18, 2.0**-24, 5 * 2.0**-17):
        for x in (0.0, 2.0**-16, -1.0, 2.0**-17):
            yield _Case(_words(x), (_ONE,), _words(bias)[0])
            yield _Case(_words(x), (_ONE,), _words(-bias)[0])
    for bias, x in (
        (32752, 16),
        (32752, 8),
        (32768, 0),
        (-32768, 0),
        (32752, -16),
        (2048, 1),
        (2048, 1 / 1024),
    ):
        yield _Case(_words(x), (_ONE,), _words(bias)[0])


def _outputs() -> Iterator[_Case]:
    """Yield sums that are ties between two numbers of fp16, and a grid step to either side."""
    for exponent in range(-5, 15):
        half = np.ldexp(0.5, exponent - 10)
        for significand in (1024, 1025, 2047):
            large = np.ldexp(significand, exponent - 10)
            for small in (0.0, 2.0**-16, -(2.0**-16)):
                yield _sum(large, half, small)
                yield _sum(-large, -half, small)


_SOURCE = f"{STUDY}; errors published by ANEForge and MiniMax-H3-Swift"
_ENGINES = ("h13", "h14", "h15", "h16", "h17", "h18g")

# Name: cases, question, and the engines on which the rule was measured, or found in published errors.
_RULES = {
    "exponent 31": (_exponents, "Is exponent 31 one more exponent, and no infinity?", ("h17", "h18g")),
    "dropped products": (_dropped, "Are products below 2^-16 dropped by their exponents?", _ENGINES),
    "product rounding": (_rounded, "Are products rounded to 2^-16, ties away from zero?", _ENGINES),
    "sum": (_sums, "Are sums exact in units of 2^-16?", _ENGINES),
    "overflow": (_overflows, "Is a sum that reaches 32768 infinite?", ("h13", "h14", "h16", "h17", "h18g")),
    _BIAS: (_biases, "Is the bias where the sum starts?", ("h18g",)),
    "output rounding": (_outputs, "Are sums rounded to fp16, ties away from zero?", _ENGINES),
}


@cache
def _batch(has_bias: bool) -> _Batch:
    rules, cases = [], []
    for rule, (make, _, _) in _RULES.items():
        if (rule == _BIAS) != has_bias:
            continue
        found = [
            _Case(v.x, v.w * len(v.x) if len(v.w) == 1 else v.w, v.bias, v.engines, v.result)
            for v in published(f"products/{rule}")
        ]
        known = {(tuple(case.x), tuple(case.w), case.bias) for case in found}
        for case in make():
            if (key := (tuple(case.x), tuple(case.w), case.bias)) not in known:
                known.add(key)
                found.append(case)
        rules += [rule] * len(found)
        cases += found
    x, w = (np.zeros((len(cases), _TERMS), np.uint16) for _ in "xw")
    for row, case in enumerate(cases):
        x[row, : len(case.x)], w[row, : len(case.w)] = case.x, case.w
    bias = np.array([case.bias for case in cases], np.uint16)
    results = dot(x, w, bias)
    for row, case in enumerate(cases):
        if case.result is not None:
            results[row] = case.result
    lefts, left = np.unique(x, axis=0, return_inverse=True)
    rights, right = np.unique(np.column_stack([w, bias]), axis=0, return_inverse=True)
    experiments = _experiments(
        halves(lefts), halves(rights[:, :_TERMS]), halves(rights[:, _TERMS]) if has_bias else None
    )
    return _Batch(rules, cases, results, left.reshape(-1), right.reshape(-1), dict(experiments))


def _experiments(
    x: NDArray[np.float16], w: NDArray[np.float16], bias: NDArray[np.float16] | None
) -> Iterator[tuple[str, Experiment]]:
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", (1, _TERMS, 1, len(x))), w[:, :, None, None], bias))
    yield "conv", _experiment(b, x=x.T[None, :, None])
    b = mil.Builder()
    b.output("y", mil.linear(b.input("x", (1, 1, len(x), _TERMS)), w, bias))
    yield "linear", _experiment(b, x=x[None, None])
    if bias is None:
        b = mil.Builder()
        left, right = b.input("x", (1, 1, len(x), _TERMS)), b.input("z", (1, 1, _TERMS, len(w)))
        b.output("y", mil.matmul(left, right))
        yield "matmul", _experiment(b, x=x[None, None], z=w.T[None, None])


def _experiment(builder: mil.Builder, **inputs: NDArray[np.float16]) -> Experiment:
    arrays = {name: np.ascontiguousarray(a) for name, a in inputs.items()}
    return Experiment(builder.build(), lambda: arrays)


def _ask(rule: str, run: Run, profile: str | None) -> Sequence[Answers | Refused]:
    return _batch(rule == _BIAS).ask(run, rule)


def _opposites(run: Run, profile: str | None) -> Recorded:
    """Sum terms that overflow in both directions, or in some orders."""
    terms = [
        np.tile([32768.0, -32768.0, 1, 0], 16),
        np.tile([-32768.0, 32768.0, 1, 0], 16),
        np.repeat([32768.0, -32768.0, 1, 0], 16),
        np.repeat([32768.0, -32768.0], [17, 15]),
        np.repeat([32768.0, -32768.0], [1, 63]),
        np.concatenate([[32768.0], np.zeros(31), [-32768.0], np.ones(31)]),
        np.concatenate([[16384.0, 16384.0], np.zeros(30), [-16384.0, -16384.0], np.ones(30)]),
        np.array([-1024.0, 32768.0]),
        np.array([32768.0, -1024.0]),
    ]
    x = np.zeros((16, 64), np.float16)
    for row, line in enumerate(terms):
        x[row, : len(line)] = line
    b = mil.Builder()
    b.output("y", mil.matmul(b.input("x", (1, 1, 16, 64)), b.input("z", (1, 1, 64, 16))))
    answers = run(_experiment(b, x=x[None, None], z=np.ones((1, 1, 64, 16), np.float16)))
    return Recorded({"matmul": words(answers["y"][0, 0, : len(terms), 0])}, "1 x 1 x 16 x 64")


PRODUCTS: Mapping[str, Rule] = {
    **{
        f"products/{rule}": Rule(question, _SOURCE, engines, partial(_ask, rule))
        for rule, (_, question, engines) in _RULES.items()
    },
    "products/both overflows": Rule(
        "What is a sum whose terms overflow in both directions, or in some orders?",
        "MiniMax-H3-Swift: 0 on h15g",
        (),
        _opposites,
    ),
}
