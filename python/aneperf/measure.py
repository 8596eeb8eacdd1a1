"""How anything is timed: warm-up, calibrated batches, a stopping rule, and statistics without assumptions.

The unit of timing is one evaluation. Native code runs a batch of them and returns every call's duration, so
that Python is never inside a measurement; everything here works on those durations.
"""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import ArgumentError

BATCH_S = 0.075  # one native call: long enough to amortise its overhead, short enough for Ctrl-C
MINIMUM_SPAN_S = 0.25  # a precise median of a shorter glimpse says nothing about the machine a moment later
MINIMUM_CALLS = 3
MAXIMUM_CALLS = 1_000_000
FEW_SAMPLES = 20
ENOUGH = 100  # independent calls: with fewer, the blocks that tell their number are too short to trust
PUBLISHED_WARM_UP, PUBLISHED_CALLS = 10, 50  # the protocol behind the published tables
CONFIDENCE = 0.95
_MS_PER_NS = 1e-6
_BATCH_GROWTH = 10
_FASTEST_CALL_S = 1e-6  # a coarse clock can say 0, which would ask for endless batches
_MEAN_BLOCKS = 20
_SHORTEST_BLOCK = 5
_LEAST_FOR_INTERVAL = 6  # values: the range of fewer covers their median in less than 95 %


@dataclass(frozen=True)
class Statistics:
    """Of n durations, in their unit, worth `effective` independent ones.

    `ci_low`, `ci_high`: 95 % interval of the median, None for n < 6.
    """

    n: int
    effective: int
    median: float
    mean: float
    p05: float
    p95: float
    ci_low: float | None
    ci_high: float | None

    @property
    def relative_half_width(self) -> float | None:
        """The interval's larger half over the median; None where there is no interval."""
        if self.ci_low is None or self.ci_high is None or self.median == 0:
            return None
        return max(self.ci_high - self.median, self.median - self.ci_low) / self.median


@dataclass(frozen=True)
class Sample:
    """A timed kernel. `published_mean` is the mean of calls 11 to 60, as in the published tables."""

    durations: NDArray[np.int64]  # [calls] ns: every call, in order
    warm_up: int  # leading calls that the statistics leave out
    statistics: Statistics  # ms
    published_mean: float | None  # ms; None for fewer than 60 calls
    flags: tuple[str, ...]


def measure(
    run: Callable[[int], NDArray[np.int64]],
    *,
    budget_s: float,
    relative_half_width: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> Sample:
    """Time `run(count)`, which makes `count` calls and returns each one's duration [count] in ns.

    Stops when the 95 % interval of the median lies within +-`relative_half_width`, the calls are worth 100
    independent ones and a quarter of a second has passed; or when `budget_s` is spent, but not before one
    warm-up call and three more.

    How often the interval holds the median, in simulations of log-normal calls (2 % wide) that remember a
    share of the call before: 96 % of runs for none, 88 to 91 % for 0.9, 86 % for 0.98 if the budget lets
    them go on, since a stopping rule prefers moments that look better than they are. Where the budget ends
    first, it is less, and most runs are flagged "correlated": 89 % of runs of 3,000 calls for 0.98, 93 % of
    runs of 60 calls for 0.9. Too little for a flag is a memory of 0.5 over 60 calls: 83 %.
    Raises ArgumentError, and what `run` raises.
    """
    positive("budget_s", budget_s)
    positive("relative_half_width", relative_half_width)
    start = clock()
    durations = np.empty(0, dtype=np.int64)
    count = 1  # the first call alone tells whether a second one fits the budget
    while True:
        batch = np.asarray(run(count), dtype=np.int64)
        if batch.shape != (count,):
            raise ArgumentError(
                f"run({count}) returned shape {batch.shape}: it must return {count} durations"
            )
        durations = np.concatenate([durations, batch])
        sample = analyse(durations, relative_half_width=relative_half_width)
        typical_s = max(float(np.median(batch)) * 1e-9, _FASTEST_CALL_S)
        elapsed_s = clock() - start
        fitting = min(int((budget_s - elapsed_s) / typical_s), MAXIMUM_CALLS - len(durations))
        enough = fitting < 1 or _is_precise(sample, elapsed_s, relative_half_width)
        if enough and sample.statistics.n >= MINIMUM_CALLS:
            return sample
        count = max(1, min(round(BATCH_S / typical_s), fitting, _BATCH_GROWTH * count))


def _is_precise(sample: Sample, elapsed_s: float, relative_half_width: float) -> bool:
    width = sample.statistics.relative_half_width
    return (
        width is not None
        and width <= relative_half_width
        and sample.statistics.effective >= ENOUGH
        and elapsed_s >= MINIMUM_SPAN_S
    )


def analyse(durations: NDArray[np.int64], *, relative_half_width: float = 0.02) -> Sample:
    """Statistics and flags of a trace of calls, durations [calls] in ns, in the order they were made.

    Flags: "cold start" (no settled part was found, so the statistics include warm-up); "few samples" (n <
    20); "drift" (the median of the last third differs from the first third's by more than
    `relative_half_width`, and their intervals do not meet); "noisy" (the interval is wider than
    +-`relative_half_width`); "correlated" (successive calls are so alike that they are worth fewer than 100
    independent ones and less than half their number: the interval is likely too narrow).
    """
    warm_up, settled = find_warm_up(durations, tolerance=relative_half_width)
    kept = np.asarray(durations[warm_up:], dtype=np.float64) * _MS_PER_NS
    summary = summarise(kept)
    width = summary.relative_half_width
    flags = {
        "cold start": not settled,
        "few samples": summary.n < FEW_SAMPLES,
        "drift": _drifts(kept, relative_half_width),
        "noisy": summary.n >= _LEAST_FOR_INTERVAL and (width is None or width > relative_half_width),
        "correlated": summary.effective < min(ENOUGH, summary.n / 2),
    }
    return Sample(
        durations=durations,
        warm_up=warm_up,
        statistics=summary,
        published_mean=_published_mean(durations),
        flags=tuple(flag for flag, raised in flags.items() if raised),
    )


def find_warm_up(durations: ArrayLike, *, tolerance: float = 0.02) -> tuple[int, bool]:
    """How many leading calls to drop, and whether the rest is settled.

    The first call of two or more is always dropped: it pays for page faults, cold caches and clocks. After
    it, calls are dropped while one, or most of the next five, are slower than the 95th percentile of the
    second half of the trace, and slower than its median by more than `tolerance`. A trace that is still
    slower at its middle has not settled, and loses only its first call.
    """
    trace = np.asarray(durations)
    if len(trace) < 2:
        return 0, False
    middle = max(1, len(trace) // 2)
    median, p95 = np.percentile(trace[middle:], [50, 95])
    limit = max(p95, median * (1 + tolerance))
    calm = trace <= limit
    calm_of_five = np.convolve(np.append(calm, [True] * 4), np.ones(5), "valid")
    settled = np.flatnonzero(calm[1 : middle + 1] & (calm_of_five[1 : middle + 1] >= 3))
    return (1 + int(settled[0]), True) if settled.size else (1, False)


def summarise(durations: ArrayLike) -> Statistics:
    """Statistics of durations [n], finite and not negative, in the order they were measured.

    The interval of the median lies between two order statistics chosen by the binomial distribution, so
    that it assumes nothing about the distribution of durations (Conover, Practical Nonparametric
    Statistics, 3.2). Successive calls are not independent, though: n calls can be worth fewer
    (`effective_count`).
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
    inflation is estimated from the means of 20 blocks (Schmeiser 1982); it cannot come out above a block's
    length, so that n calls worth 100 have blocks at least five times as long as what inflates. Fewer than
    100 calls have too short blocks: the correlation of neighbours tells, once it is beyond chance.
    """
    n = trace.size
    above = trace > np.median(trace)
    centred = above - above.mean()
    variance = float(centred.var())
    if variance == 0:
        return n
    length = n // _MEAN_BLOCKS
    if length < _SHORTEST_BLOCK:
        alike = float(centred[1:] @ centred[:-1]) / (n * variance)
        inflation = (1 + alike) / (1 - alike) if alike > 3 / math.sqrt(n) else 1.0
        return max(min(n, _LEAST_FOR_INTERVAL), math.floor(n / inflation))
    means = centred[: length * _MEAN_BLOCKS].reshape(_MEAN_BLOCKS, length).mean(axis=1)
    inflation = max(1.0, length * float(means.var(ddof=1)) / variance)
    return math.floor(n / inflation)


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


def _drifts(kept: NDArray[np.float64], tolerance: float) -> bool:
    third = len(kept) // 3
    if third < 6:
        return False
    first, last = summarise(kept[:third]), summarise(kept[-third:])
    if first.ci_low is None or first.ci_high is None or last.ci_low is None or last.ci_high is None:
        return False
    apart = first.ci_high < last.ci_low or last.ci_high < first.ci_low
    return apart and abs(last.median - first.median) > tolerance * first.median


def _published_mean(durations: NDArray[np.int64]) -> float | None:
    calls = durations[PUBLISHED_WARM_UP : PUBLISHED_WARM_UP + PUBLISHED_CALLS]
    return float(calls.mean()) * _MS_PER_NS if len(calls) == PUBLISHED_CALLS else None


def positive(name: str, value: float) -> float:
    """`value` if it is a positive, finite number; otherwise raises ArgumentError."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value) or value <= 0:
        raise ArgumentError(f"{name} must be a positive, finite number, not {value!r}")
    return float(value)
