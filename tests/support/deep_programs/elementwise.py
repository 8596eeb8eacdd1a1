"""Functions of single elements: activations, arithmetic with broadcasting, comparisons."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from aneperf import mil
from support import intervals as iv
from support import oracle
from support.intervals import Interval

from .maker import Family, Maker

Bounds = Callable[[Interval], Interval]


def _exact(name: str, *scalars: float) -> Bounds:
    halves = [np.float16(scalar) for scalar in scalars]
    return lambda x: iv.rising(lambda a: oracle.exact(name, a, *halves), x)


def _elementary(name: str) -> Bounds:
    return lambda x: iv.rising(lambda a: oracle.elementary(name, a), x)


def _rising(point: Callable[..., Any], *scalars: float) -> Bounds:
    return lambda x: iv.rising(lambda a: point(a, *scalars), x)


def _smooth(point: Callable[..., Any], slope: float) -> Bounds:
    return lambda x: iv.smooth(point, x, slope)


# The operation, its options, and the function that encloses the result. Scalars are fp16 numbers.
_ANY: list[tuple[str, tuple[Any, ...], Bounds]] = [
    *((name, (), _exact(name)) for name in ("ceil", "floor", "relu", "relu6", "sign")),
    ("round", (), _rising(np.rint)),
    *((f, (), _elementary(f)) for f in ("atan", "erf", "exp", "exp2", "sigmoid", "softsign", "tanh")),
    ("softplus", (), lambda x: iv.softplus(x)),
    ("silu", (), _smooth(partial(oracle.elementary, "silu"), 1.1)),
    ("gelu", (), _smooth(partial(oracle.elementary, "gelu_exact"), 1.2)),
    ("gelu", ("TANH_APPROXIMATION",), _smooth(partial(oracle.elementary, "gelu_tanh"), 1.2)),
    ("gelu", ("SIGMOID_APPROXIMATION",), _smooth(partial(oracle.elementary, "gelu_sigmoid"), 1.2)),
    ("sin", (), _smooth(partial(oracle.sine, "sin"), 1.0)),
    ("cos", (), _smooth(partial(oracle.sine, "cos"), 1.0)),
    ("scaled_tanh", (1.5, 0.5), _smooth(lambda a: oracle.scaled_tanh(a, 1.5, 0.5), 0.75)),
    *((f, oracle.SCALARS[f][0], _exact(f, *oracle.SCALARS[f][0])) for f in oracle.EXACT_WITH_SCALARS),
    *(
        (f, oracle.SCALARS[f][0], _rising(getattr(oracle, f), *oracle.SCALARS[f][0]))
        for f in ("elu", "linear_activation", "sigmoid_hard")
    ),
    ("abs", (), iv.magnitude),
    ("square", (), lambda x: iv.rising(np.square, iv.magnitude(x))),
]
_POSITIVE: list[tuple[str, tuple[Any, ...], Bounds]] = [
    ("sqrt", (), _exact("sqrt")),
    ("log", (0.5,), _rising(oracle.log, 0.5)),
    ("inverse", (0.25,), lambda x: iv.falling(lambda a: oracle.inverse(a, 0.25), x)),
    ("rsqrt", (0.25,), lambda x: iv.falling(lambda a: oracle.rsqrt(a, 0.25), x)),
]


def _unary(m: Maker, name: str) -> None:
    of_any = [case for case in _ANY if case[0] == name]
    x = m.operand() if of_any else m.positive()
    _, options, bounds = m.choice(of_any or [case for case in _POSITIVE if case[0] == name])
    m.add(getattr(mil, name)(x.tensor, *options), bounds(x.bounds))


def _prelu(m: Maker, name: str) -> None:
    x = m.channels(5)
    alpha = np.abs(m.halves(x.shape[1:2]))
    slopes = oracle.along(alpha, 1, x.rank)
    m.add(mil.prelu(x.tensor, alpha), iv.rising(lambda a: np.where(a < 0, slopes * a, a), x.bounds))


_BINARY: dict[str, Callable[[Interval, Interval], Interval]] = {
    "add": lambda x, y: iv.rising(np.add, x, y),
    "sub": iv.subtract,
    "mul": lambda x, y: iv.extremes(np.multiply, x, y),
    "real_div": iv.divide,
    "floor_div": lambda x, y: iv.divide(x, y, oracle.floor_div),
    "maximum": lambda x, y: iv.rising(np.maximum, x, y),
    "minimum": lambda x, y: iv.rising(np.minimum, x, y),
}


def _binary(m: Maker, name: str) -> None:
    x, y = m.pair()
    if m.integer(0, 3):
        m.add(getattr(mil, name)(x.tensor, y.tensor), _BINARY[name](x.bounds, y.bounds))
    else:
        c = m.halves(x.shape[-1:])
        m.add(getattr(mil, name)(x.tensor, c), _BINARY[name](x.bounds, iv.point(c)))


def _pow(m: Maker, name: str) -> None:
    x, exponents = m.positive(), m.halves(m.operand().shape[-1:])
    if x.shape[-1] != len(exponents):
        exponents = exponents[:1]
    m.add(mil.pow(x.tensor, exponents), iv.extremes(oracle.pow, x.bounds, iv.point(exponents)))


_COMPARISONS: dict[str, Callable[[Interval, Interval], Interval]] = {
    "less": iv.less,
    "less_equal": lambda x, y: iv.opposite(iv.less(y, x)),
    "greater": lambda x, y: iv.less(y, x),
    "greater_equal": lambda x, y: iv.opposite(iv.less(x, y)),
    "equal": iv.equal,
    "not_equal": lambda x, y: iv.opposite(iv.equal(x, y)),
}


def _comparison(m: Maker, name: str) -> None:
    x, y = m.pair()
    condition, known = getattr(mil, name)(x.tensor, y.tensor), _COMPARISONS[name](x.bounds, y.bounds)
    m.add(mil.cast(condition, "fp16"), known)


_LOGICAL: dict[str, Callable[[Interval, Interval], Interval]] = {
    "logical_and": lambda x, y: iv.extremes(np.minimum, x, y),
    "logical_or": lambda x, y: iv.extremes(np.maximum, x, y),
    "logical_xor": lambda x, y: iv.extremes(lambda a, b: np.abs(a - b), x, y),
}


def _select(m: Maker, name: str) -> None:
    x, y = m.pair()
    comparison = m.choice(_COMPARISONS)
    condition = getattr(mil, comparison)(x.tensor, y.tensor)
    known = _COMPARISONS[comparison](x.bounds, y.bounds)
    if name == "logical_not":
        condition, known = mil.logical_not(condition), iv.opposite(known)
    elif name in _LOGICAL:
        other = getattr(mil, name)(condition, mil.less(y.tensor, x.tensor))
        condition, known = other, _LOGICAL[name](known, iv.less(y.bounds, x.bounds))
    m.add(mil.select(condition, x.tensor, y.tensor), iv.select(known, x.bounds, y.bounds))


OPERATIONS: dict[str, Family] = {
    **{name: _unary for name, _, _ in (*_ANY, *_POSITIVE)},
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_COMPARISONS, _comparison),
    "prelu": _prelu,
    "pow": _pow,
    "select": _select,
    "logical_not": _select,
    **dict.fromkeys(_LOGICAL, _select),
}
