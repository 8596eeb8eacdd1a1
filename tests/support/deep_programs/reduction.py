"""Functions along axes: reductions, softmax, norms."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from aneperf import mil
from support import intervals as iv
from support import oracle

from .maker import Family, Maker

_RISING = ("reduce_max", "reduce_min", "reduce_log_sum_exp")
_OF_SIZES = ("reduce_l1_norm", "reduce_l2_norm", "reduce_sum_square")
_SUMS = ("reduce_sum", "reduce_mean")
_EPSILON = 0.0078125


def _reduction(m: Maker, name: str) -> None:
    x = m.positive() if name == "reduce_log_sum" else m.operand()
    axes = sorted(m.draw(st.sets(st.integers(0, x.rank - 1), min_size=1)))
    keep = m.boolean() or len(axes) == x.rank
    point = getattr(oracle, name)
    if name in (*_RISING, "reduce_log_sum"):
        bounds = iv.rising(lambda a: point(a, axes, keep), x.bounds)
    else:
        terms = iv.magnitude(x.bounds) if name in _OF_SIZES else x.bounds
        bounds = iv.sums(lambda a: point(a, axes, keep), terms)
    m.add(getattr(mil, name)(x.tensor, axes, keep), bounds)


def _softmax(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    m.add(mil.softmax(x.tensor, axis), iv.softmax(x.bounds, axis))


def _layer_norm(m: Maker, name: str) -> None:
    x = m.operand()
    axis = m.integer(0, x.rank - 1)
    gamma, beta = (m.halves((x.shape[axis],)) for _ in range(2))
    scale, offset = (oracle.along(a, axis, x.rank) for a in (gamma, beta))
    bounds = iv.layer_norm(x.bounds, (axis,), scale, offset, _EPSILON)
    m.add(mil.layer_norm(x.tensor, [axis], gamma, beta, _EPSILON), bounds)


def _instance_norm(m: Maker, name: str) -> None:
    x = m.channels(4)
    gamma, beta = (m.halves(x.shape[1:2]) for _ in range(2))
    scale, offset = (oracle.along(a, 1, x.rank) for a in (gamma, beta))
    bounds = iv.layer_norm(x.bounds, range(2, x.rank), scale, offset, _EPSILON)
    m.add(mil.instance_norm(x.tensor, gamma, beta, _EPSILON), bounds)


def _batch_norm(m: Maker, name: str) -> None:
    x = m.channels(5)
    mean, variance, gamma, beta = (m.halves(x.shape[1:2]) for _ in range(4))
    variance = np.abs(variance) + np.float16(0.5)
    # A falling function of x is a rising one of -x.
    signs = np.where(oracle.along(gamma, 1, x.rank) < 0, -1.0, 1.0)
    ends = x.bounds.low * signs, x.bounds.high * signs
    bounds = iv.rising(
        lambda a: oracle.batch_norm(a * signs, mean, variance, gamma, beta, _EPSILON),
        iv.Interval(np.minimum(*ends), np.maximum(*ends)),
    )
    m.add(mil.batch_norm(x.tensor, mean, variance, gamma, beta, _EPSILON), bounds)


def _l2_norm(m: Maker, name: str) -> None:
    x = m.channels(5)
    m.add(mil.l2_norm(x.tensor, _EPSILON), iv.l2_norm(x.bounds, _EPSILON))


def _local_response_norm(m: Maker, name: str) -> None:
    x = m.channels(4)
    size, options = m.choice((1, 3, 5)), (0.125, 0.75, 2.0)
    bounds = iv.local_response_norm(x.bounds, size, *options)
    m.add(mil.local_response_norm(x.tensor, size, *options), bounds)


OPERATIONS: dict[str, Family] = {
    **dict.fromkeys((*_RISING, *_OF_SIZES, *_SUMS, "reduce_log_sum"), _reduction),
    "softmax": _softmax,
    "layer_norm": _layer_norm,
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "l2_norm": _l2_norm,
    "local_response_norm": _local_response_norm,
}
