"""A straight line through measured times, and the place where they leave it."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from .estimate import Estimate
from .statistics import CONFIDENCE
from .student import student_quantile

_LEAST_SIDE = 3  # points on either side of a change: a line through two fits always
_SIGNIFICANCE = 0.01
_NOTABLE = 1.25  # slopes that differ by less are no change worth a name
_SIMULATIONS = 2000


@dataclass(frozen=True)
class Line:
    """A line, intercept + slope x, with 95 % intervals (None for two points)."""

    intercept: Estimate
    slope: Estimate

    def at(self, x: float) -> float:
        """Return the line's value at x."""
        return self.intercept.value + self.slope.value * x


@dataclass(frozen=True)
class Change:
    """The change of a line, between `low` and `high`; `factor` is the slope after it over the slope before.

    If it `jumps`, all of x costs the second slope beyond it, as when data no longer fits a cache. Otherwise
    only the part beyond the change does.
    """

    low: float
    high: float
    factor: float
    jumps: bool
    chance: float  # of so large a gain if the times lie on one line


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """Fit a line through times y > 0 at x by relative least squares: noise is a share of the time.

    Intervals are Student's, from the scatter around the line. Raises ArgumentError for fewer than two x.
    """
    xs, ys = _points(x, y)
    weights = _weights(xs, ys)
    design = _line_design(xs) * weights[:, None]
    solution, *_ = np.linalg.lstsq(design, ys * weights, rcond=None)
    freedom = len(xs) - 2
    if freedom == 0:
        return Line(*(Estimate(float(value), None, None) for value in solution))
    residuals = ys * weights - design @ solution
    covariance = np.linalg.inv(design.T @ design) * float(residuals @ residuals) / freedom
    halves = student_quantile(CONFIDENCE, freedom) * np.sqrt(np.diag(covariance))
    return Line(
        *(
            Estimate(float(value), float(value - half), float(value + half))
            for value, half in zip(solution, halves, strict=True)
        )
    )


def find_change(x: ArrayLike, y: ArrayLike) -> Change | None:
    """Find where the slope of times y > 0 over x grows; None if a line explains them, or for fewer than six.

    A jump and a bend are tried at every place with three points on either side. The best one's gain over a
    single line is compared with the gains that noise gives in 2,000 simulations of points on a line, which
    accounts for the search. It counts at 1 %, and if the slopes differ by 25 %.
    """
    xs, ys = _points(x, y)
    n = len(xs)
    if n < 2 * _LEAST_SIDE:
        return None
    weights = _weights(xs, ys)
    models = _changed_lines(xs)
    one = _basis(_line_design(xs) * weights[:, None])
    bases = [_basis(model.design * weights[:, None]) for model in models]
    gains = _gains(ys * weights, one, bases)
    growing = [place for place, model in enumerate(models) if _factor(model.design, ys, weights) >= _NOTABLE]
    if not growing:
        return None
    best = max(growing, key=lambda place: float(gains[place]))
    noise = np.random.default_rng(0).standard_normal((n, _SIMULATIONS))
    chance = float(np.mean(_gains(noise, one, bases).max(axis=0) >= gains[best]))
    if chance > _SIGNIFICANCE:
        return None
    # Places that explain the times nearly as well: their residue is within F(1, n - 4) at 95 % of the best.
    slack = student_quantile(CONFIDENCE, n - 4) ** 2 / (n - 4)
    near = [models[place].below for place in growing if (1 + gains[best]) / (1 + gains[place]) <= 1 + slack]
    return Change(
        low=float(xs[min(near) - 1]),
        high=float(xs[max(near)]),
        factor=_factor(models[best].design, ys, weights),
        jumps=models[best].jumps,
        chance=chance,
    )


class _ChangedLine(NamedTuple):
    """A line that changes after `below` points; the design's columns are 1, x, and what comes on top."""

    below: int
    jumps: bool
    design: NDArray[np.float64]


def _changed_lines(xs: NDArray[np.float64]) -> list[_ChangedLine]:
    """Return a jump and two bends, at a point and between points, for every place of a change."""
    models = []
    for below in range(_LEAST_SIDE, len(xs) - _LEAST_SIDE + 1):
        extras = [(True, xs * (np.arange(len(xs)) >= below))]
        for knot in (xs[below - 1], (xs[below - 1] + xs[below]) / 2):
            extras.append((False, np.maximum(0, xs - knot)))
        for jumps, extra in extras:
            models.append(_ChangedLine(below, jumps, np.column_stack([_line_design(xs), extra])))
    return models


def _line_design(xs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the columns 1 and x of a line's design [n, 2]."""
    return np.stack([np.ones_like(xs), xs], axis=1)


def _points(x: ArrayLike, y: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if xs.ndim != 1 or xs.shape != ys.shape:
        raise ArgumentError(f"x and y must be vectors of one length, not {xs.shape} and {ys.shape}")
    if not (np.isfinite(xs).all() and np.isfinite(ys).all() and (ys > 0).all()):
        raise ArgumentError("x must be finite, and y finite and positive")
    if len(set(xs.tolist())) < 2:
        raise ArgumentError("a line needs times at two different x")
    order = np.argsort(xs, kind="stable")
    return xs[order], ys[order]


def _weights(xs: NDArray[np.float64], ys: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 / the times' level. The times themselves as weights would favor those that came out small."""
    design = _line_design(xs)
    level = ys
    for _ in range(2):
        solution, *_ = np.linalg.lstsq(design / level[:, None], ys / level, rcond=None)
        level = np.maximum(design @ solution, ys.min() / 2)
    return 1 / level


def _basis(design: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal columns [n, k] that span a design's columns."""
    return np.linalg.qr(design)[0]


def _gains(
    values: NDArray[np.float64], one: NDArray[np.float64], bases: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """Return (line's residue - basis's residue) / basis's residue, for each basis: [bases, ...]."""
    total = (values**2).sum(axis=0)

    def residue(basis: NDArray[np.float64]) -> NDArray[np.float64]:
        left = total - ((basis.T @ values) ** 2).sum(axis=0)
        return np.asarray(np.maximum(left, 1e-12 * total))

    line = residue(one)
    return np.array([line / residue(basis) - 1 for basis in bases])


def _factor(design: NDArray[np.float64], ys: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the slope after the change over the slope before it; 0 if the latter is not positive."""
    (_, before, more), *_ = np.linalg.lstsq(design * weights[:, None], ys * weights, rcond=None)
    return float((before + more) / before) if before > 0 else 0.0
