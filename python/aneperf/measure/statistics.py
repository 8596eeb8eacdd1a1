"""Statistics of durations: the median and its interval, honest about calls that resemble each other."""

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError

CONFIDENCE = 0.95
ENOUGH = 100  # independent calls: with fewer, the blocks that tell their number are too short to trust
LEAST_FOR_INTERVAL = 6  # values: the range of fewer covers their median in less than 95 %
LEAST_FOR_CORRELATION = 20  # calls: fewer tell nothing of how alike neighbours are
LEAST_FOR_BLOCKS = 40  # calls: the blocks of fewer are too short to tell more than neighbours do
_SHORT = 200  # calls: fewer make half as many blocks, which so stay longer
# Blocks, and Student's t of so many degrees less one for the normal's, squared: so few are a guess.
_SHORT_BLOCKS, _BLOCKS = (10, (2.262 / 1.960) ** 2), (20, (2.093 / 1.960) ** 2)
_CAUTION = 0.5  # standard errors added to the correlation of neighbours


@dataclass(frozen=True)
class Statistics:
    """Of n durations, in their unit, worth `effective` independent ones.

    `ci_low`, `ci_high`: 95 % interval of the median, None where the durations are worth fewer than 6.
    """

    n: int
    effective: int
    median: float
    mean: float
    p05: float
    p95: float
    ci_low: float | None
    ci_high: float | None

    def fields(self) -> dict[str, int | float | None]:
        """Return the fields that a result's row keeps: all but `effective`."""
        return {name: value for name, value in vars(self).items() if name != "effective"}

    @property
    def relative_half_width(self) -> float | None:
        """The interval's larger half over the median; None where there is no interval."""
        if self.ci_low is None or self.ci_high is None or self.median == 0:
            return None
        return max(self.ci_high - self.median, self.median - self.ci_low) / self.median


def summarise(durations: ArrayLike) -> Statistics:
    """Statistics of durations [n], finite and not negative, in the order they were measured.

    The interval of the median lies between two order statistics chosen by the binomial distribution, so
    that it assumes nothing about the distribution of durations (Conover, Practical Nonparametric
    Statistics, 3.2). Successive calls are not independent, though: n calls can be worth fewer
    (`effective_count`), and none at all say where the median is if that is fewer than six.
    Raises ArgumentError for an empty, negative or non-finite trace.
    """
    trace = np.asarray(durations, dtype=np.float64)
    if trace.ndim != 1 or trace.size == 0:
        raise ArgumentError(f"durations must be a non-empty vector, not of shape {trace.shape}")
    if not np.isfinite(trace).all() or (trace < 0).any():
        raise ArgumentError("durations must be finite and not negative")
    ordered = np.sort(trace)
    effective = effective_count(trace)
    rank = interval_rank(trace.size, effective)
    p05, median, p95 = np.percentile(ordered, [5, 50, 95])
    return Statistics(
        n=trace.size,
        effective=effective,
        median=float(median),
        mean=float(trace.mean()),
        p05=float(p05),
        p95=float(p95),
        ci_low=float(ordered[rank - 1]) if rank else None,
        ci_high=float(ordered[trace.size - rank]) if rank else None,
    )


def effective_count(trace: NDArray[np.float64]) -> int:
    """How many independent calls a trace [n] is worth for its median.

    The median's variance follows that of the share of calls above it, which correlation inflates. The
    inflation is the larger of two estimates. One is that of a first-order process with the correlation of
    neighbouring ranks, to which half a standard error is added. The other is from the means of 20 blocks of
    that share, or of 10 for fewer than 200 calls (Schmeiser 1982), with Student's t for so few blocks, and
    with a first-order correction for neighbouring blocks that still are alike: it sees a slow wander below
    the noise of single calls, up to a memory of about a tenth of the trace. Fewer than 40 calls have no
    blocks, and fewer than 20 are taken for independent.
    """
    n = trace.size
    above = trace > np.median(trace)
    share = above - above.mean()
    variance = float(share.var())
    if n < LEAST_FOR_CORRELATION or variance == 0:
        return n
    inflation = max(1.0, _first_order_inflation(mean_ranks(trace), _CAUTION))
    if n < LEAST_FOR_BLOCKS:
        return max(1, math.floor(n / inflation))
    blocks, penalty = _SHORT_BLOCKS if n < _SHORT else _BLOCKS
    length = n // blocks
    means = share[: length * blocks].reshape(blocks, length).mean(axis=1)
    by_blocks = length * float(means.var(ddof=1)) / variance
    by_blocks *= max(1.0, _first_order_inflation(means, 0))
    return max(1, math.floor(n / (max(inflation, by_blocks) * penalty)))


def _first_order_inflation(series: NDArray[np.float64], caution: float) -> float:
    """(1 + r) / (1 - r), r being the correlation of neighbours and `caution` of its standard errors.

    The estimate of r is corrected for its bias (Kendall 1954).
    """
    n = series.size
    centred = series - series.mean()
    spread = float(centred @ centred)
    alike = float(centred[1:] @ centred[:-1]) / spread if spread else 0.0
    alike += (1 + 3 * alike) / n + caution * math.sqrt(max(0.0, 1 - alike**2) / n)
    alike = min(alike, 1 - 1 / n)
    return (1 + alike) / (1 - alike)


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rank of each of the values [n], from 0.5 to n - 0.5; equal ones share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[places], dtype=np.float64)


def interval_rank(n: int, effective: int) -> int:
    """The r whose r-th smallest and r-th largest of n values bound the median's 95 % interval; 0 for none.

    With fewer effective than actual values, the rank keeps its place in proportion.
    """
    return (n + 1) * _independent_rank(effective) // (effective + 1)


@lru_cache(maxsize=1024)
def _independent_rank(n: int) -> int:
    """The largest r with P(Binomial(n, 1/2) < r) <= 2.5 %."""
    if n > 1000:  # the normal approximation is within one rank of exact from here on
        deviation = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(n) / 2
        return math.floor((n + 1) / 2 - deviation)
    limit = (1 - CONFIDENCE) / 2 * 2**n
    tails = accumulate(math.comb(n, k) for k in range(n + 1))
    return next(rank for rank, tail in enumerate(tails) if tail > limit)
