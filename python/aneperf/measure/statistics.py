"""Order statistics of durations, and an interval of their median that holds for correlated calls too.

Successive calls resemble each other: the frequency, the cache and other processes change more slowly than a
call. An interval that takes n calls for independent is then far too narrow: where neighboring calls have a
correlation of 0.9, it misses the median in 60 % of runs. So the number of independent calls that a trace is
worth is estimated first, by two estimators with different blind spots, and the smaller number counts.

The constants trade two failures, an interval that misses the median and no interval at all. Simulations of
log-normal calls with correlations of 0 to 0.98 (benchmarks/interval_coverage.py, docs/measurement.md) chose
them: the 95 % interval misses in at most 5 % of runs, of any length from 20 calls.
"""

import math
import statistics
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import ArgumentError

CONFIDENCE = 0.95  # of every interval
# The measuring loop needs this many independent calls. With fewer, the blocks below are too short to trust.
ENOUGH = 100
# The smallest n whose extremes cover the median in 95 %: 1 - 2 / 2^6 = 97 %, where 5 give 94 %.
LEAST_FOR_INTERVAL = 6
# The standard error of a correlation is about 1 / sqrt(n), 0.22 for 20 calls: fewer tell nothing.
LEAST_FOR_CORRELATION = 20
# Ten blocks of four calls. Means of shorter blocks show no more than the correlation of neighbors does.
LEAST_FOR_BLOCKS = 40
_SHORT = 200  # a trace of fewer calls has half as many blocks, of 4 to 19 calls instead of 2 to 9
# The number of blocks (Schmeiser 1982 recommends 10 to 30), and a penalty for so few block means: the squared
# ratio of Student's t with 9 and 19 degrees of freedom at 97.5 % to the normal quantile.
_SHORT_BLOCKS, _BLOCKS = (10, (2.262 / 1.960) ** 2), (20, (2.093 / 1.960) ** 2)
# Standard errors added to the correlation of neighbors, because an estimate that is too small by chance gives
# an interval that misses. In the simulations, 0 misses in up to 8.8 % of runs, 0.5 in 5.0 % and 1 in 3.0 %;
# each step leaves 4 % more runs without an interval.
_CAUTION = 0.5


@dataclass(frozen=True)
class Statistics:
    """Statistics of n durations, in their unit; the calls are worth `effective` independent ones.

    `ci_low` and `ci_high` are the 95 % interval of the median, None for fewer than 6 independent calls.
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
        """Return the interval's larger half over the median; None without an interval."""
        if self.ci_low is None or self.ci_high is None or self.median == 0:
            return None
        return max(self.ci_high - self.median, self.median - self.ci_low) / self.median


def summarize(durations: ArrayLike) -> Statistics:
    """Compute the statistics of durations [n], finite and not negative, in the order they were measured.

    The interval of the median lies between two order statistics that the binomial distribution selects. It
    assumes nothing about the distribution of durations (Conover, Practical Nonparametric Statistics, 3.2).
    Correlated calls count as fewer (`effective_count`); fewer than six give no interval.
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
    """Return the number of independent calls that a trace [n] is worth for its median.

    The median's variance follows that of the share of calls above it, which correlation inflates. The
    inflation is the larger of two estimates. The first is that of a first-order process with the correlation
    of neighboring ranks, plus half a standard error. The second comes from the means of 20 blocks of that
    share, or of 10 for fewer than 200 calls (Schmeiser 1982), with Student's t for so few blocks, and with a
    first-order correction for the correlation that neighboring blocks keep. It sees a slow wander below the
    noise of single calls, up to a memory of about a tenth of the trace. Fewer than 40 calls have no blocks;
    fewer than 20 count as independent.
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
    """Return (1 + r) / (1 - r), with r the correlation of neighbors plus `caution` standard errors.

    The estimate of r is corrected for its bias (Kendall 1954).
    """
    n = series.size
    centered = series - series.mean()
    spread = float(centered @ centered)
    alike = float(centered[1:] @ centered[:-1]) / spread if spread else 0.0
    alike += (1 + 3 * alike) / n + caution * math.sqrt(max(0.0, 1 - alike**2) / n)
    alike = min(alike, 1 - 1 / n)
    return (1 + alike) / (1 - alike)


def mean_ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rank of each value [n], from 0.5 to n - 0.5; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - counts / 2)[places], dtype=np.float64)


def interval_rank(n: int, effective: int) -> int:
    """Return r: the r-th smallest and r-th largest of n values bound the median's interval; 0 for none.

    With fewer effective than actual values, the rank keeps its place in proportion.
    """
    return (n + 1) * _independent_rank(effective) // (effective + 1)


@lru_cache(maxsize=1024)
def _independent_rank(n: int) -> int:
    """Return the largest r with P(Binomial(n, 1/2) < r) <= 2.5 %."""
    if n > 1000:  # the normal approximation is within one rank of exact from here on
        deviation = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * math.sqrt(n) / 2
        return math.floor((n + 1) / 2 - deviation)
    limit = (1 - CONFIDENCE) / 2 * 2**n
    tails = accumulate(math.comb(n, k) for k in range(n + 1))
    return next(rank for rank, tail in enumerate(tails) if tail > limit)
