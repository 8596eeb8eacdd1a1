"""A straight line through measured times, and whether they leave it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError
from . import Estimate

# Student's t at 97.5 % by degrees of freedom; beyond the table, a value that is 1 % too large at most.
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)
_LEAST_SIDE = 3  # points on either side of a change: a line through two fits anything
_SIGNIFICANCE = 0.01
_NOTABLE = 1.25  # slopes that differ by less are no change worth a name
_SIMULATIONS = 2000


@dataclass(frozen=True)
class Line:
    """intercept + slope x, with 95 % intervals (None for two points)."""

    intercept: Estimate
    slope: Estimate

    def at(self, x: float) -> float:
        """Its value at x."""
        return self.intercept.value + self.slope.value * x


@dataclass(frozen=True)
class Change:
    """Where times leave the line: `low` and `high` hold the change's place, `factor` is slope over slope.

    `jumps`: beyond it, all of x is paid for at the second slope, as when what fitted a cache no longer does;
    otherwise only what lies beyond.
    """

    low: float
    high: float
    factor: float
    jumps: bool
    chance: float  # of as large a deviation, were the times on one line


def fit_line(x: ArrayLike, y: ArrayLike) -> Line:
    """The line through times y > 0 at x, their noise being a share of them: relative least squares.

    Intervals are Student's, from the scatter around the line. Raises ArgumentError for fewer than two x.
    """
    xs, ys = _points(x, y)
    weights = _weights(xs, ys)
    design = np.stack([np.ones_like(xs), xs], axis=1) * weights[:, None]
    solution, *_ = np.linalg.lstsq(design, ys * weights, rcond=None)
    freedom = len(xs) - 2
    if freedom == 0:
        return Line(*(Estimate(float(value), None, None) for value in solution))
    residuals = ys * weights - design @ solution
    covariance = np.linalg.inv(design.T @ design) * float(residuals @ residuals) / freedom
    halves = _T[min(freedom, len(_T)) - 1] * np.sqrt(np.diag(covariance))
    return Line(
        *(
            Estimate(float(value), float(value - half), float(value + half))
            for value, half in zip(solution, halves, strict=True)
        )
    )


def find_change(x: ArrayLike, y: ArrayLike) -> Change | None:
    """Where the slope of times y > 0 over x grows; None if a line explains them, or of fewer than six.

    Both a jump and a bend are tried at every place with three points on either side. The best one's gain over
    a single line is compared with the gains that noise gives in 2,000 simulations of points on a line, which
    accounts for the search; it counts at 1 %, and if the slopes differ by 25 %.
    """
    xs, ys = _points(x, y)
    n = len(xs)
    if n < 2 * _LEAST_SIDE:
        return None
    weights = _weights(xs, ys)
    one = _basis(np.stack([np.ones_like(xs), xs], axis=1) * weights[:, None])
    designs: list[tuple[int, bool, NDArray[np.float64]]] = []
    for below in range(_LEAST_SIDE, n - _LEAST_SIDE + 1):
        beyond = np.arange(n) >= below
        columns = [np.ones_like(xs), xs]
        designs.append((below, True, np.stack([*columns, xs * beyond], axis=1)))
        for knot in (xs[below - 1], (xs[below - 1] + xs[below]) / 2):
            designs.append((below, False, np.stack([*columns, np.maximum(0, xs - knot)], axis=1)))
    bases = [_basis(design * weights[:, None]) for _, _, design in designs]
    observed = _gains(ys * weights, one, bases)
    growing = [place for place, design in enumerate(designs) if _factor(design[2], ys, weights) >= _NOTABLE]
    if not growing:
        return None
    best = max(growing, key=lambda place: float(observed[place]))
    noise = np.random.default_rng(0).standard_normal((n, _SIMULATIONS))
    chance = float(np.mean(_gains(noise, one, bases).max(axis=0) >= observed[best]))
    if chance > _SIGNIFICANCE:
        return None
    below, jumps, design = designs[best]
    # Places that explain the times nearly as well: their residue is within F(1, n - 4) at 95 % of the best.
    slack = _T[min(n - 4, len(_T)) - 1] ** 2 / (n - 4)
    near = [
        designs[place][0] for place in growing if (1 + observed[best]) / (1 + observed[place]) <= 1 + slack
    ]
    return Change(
        low=float(xs[min(near) - 1]),
        high=float(xs[max(near)]),
        factor=_factor(design, ys, weights),
        jumps=jumps,
        chance=chance,
    )


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
    """1 / the times' level. Weighting by the times themselves would prefer those that came out small."""
    design = np.stack([np.ones_like(xs), xs], axis=1)
    level = ys
    for _ in range(2):
        solution, *_ = np.linalg.lstsq(design / level[:, None], ys / level, rcond=None)
        level = np.maximum(design @ solution, ys.min() / 2)
    return 1 / level


def _basis(design: NDArray[np.float64]) -> NDArray[np.float64]:
    """Orthonormal columns [n, k] that span a design's."""
    return np.linalg.qr(design)[0]


def _gains(
    values: NDArray[np.float64], one: NDArray[np.float64], bases: list[NDArray[np.float64]]
) -> NDArray[np.float64]:
    """How much smaller each basis's residue is than the line's, over its own: [bases, ...]."""
    total = (values**2).sum(axis=0)

    def residue(basis: NDArray[np.float64]) -> NDArray[np.float64]:
        left = total - ((basis.T @ values) ** 2).sum(axis=0)
        return np.asarray(np.maximum(left, 1e-12 * total))

    line = residue(one)
    return np.array([line / residue(basis) - 1 for basis in bases])


def _factor(design: NDArray[np.float64], ys: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The slope beyond the change over the slope before it; 0 if that one is not positive."""
    (_, before, more), *_ = np.linalg.lstsq(design * weights[:, None], ys * weights, rcond=None)
    return float((before + more) / before) if before > 0 else 0.0
