"""A trace of calls: where its warm-up ends, and what of it makes its median doubtful."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import ENOUGH, LEAST_FOR_INTERVAL, Statistics, effective_count, mean_ranks, summarise

FEW_SAMPLES = 20
PUBLISHED_WARM_UP, PUBLISHED_CALLS = 10, 50  # the protocol behind the published tables
UNTRUSTED = frozenset({"cold start", "few samples", "drift", "bimodal"})
_MS_PER_NS = 1e-6
_STEP_DEVIATIONS = 3.5  # chance exceeds it in 1 % of scans of 100 to 10,000 independent calls
_MODE_SHARE = 0.1
_TAIL_SPREADS = 5  # of normal calls, 1 in 10^11 lies so far out; of exponential ones, 2 in 1,000
_TAIL_SHARE = 0.01


@dataclass(frozen=True)
class Sample:
    """A timed kernel. `published_mean` is the mean of calls 11 to 60, as in the published tables."""

    durations: NDArray[np.int64]  # [calls] ns: every call, in order
    warm_up: int  # leading calls that the statistics leave out
    statistics: Statistics  # ms
    published_mean: float | None  # ms; None for fewer than 60 calls
    flags: tuple[str, ...]


def analyse(durations: NDArray[np.int64], *, relative_half_width: float = 0.02) -> Sample:
    """Statistics and flags of a trace of calls, durations [calls] in ns, in the order they were made.

    Flags, the first four of which (`UNTRUSTED`) say that the interval may not hold what another run gives:

    - "cold start": no settled part was found, so the statistics include warm-up;
    - "few samples": n < 20;
    - "drift": the median of the last third differs from the first third's by more than
      `relative_half_width`, and their intervals do not meet (or nine tenths of their calls, where a trend
      leaves no interval);
    - "bimodal": two groups of at least a tenth of the calls each, further apart than `relative_half_width`,
      with less than half as many calls between them as around the rarer one: the median is one's or the
      other's, or neither's;
    - "correlated": successive calls are so alike that they are worth fewer than 100 independent ones and
      less than a third of their number: the interval is wide for so many calls, and rests on an estimate;
    - "heavy tail": at least 1 % of calls, and three, exceed the median by five times the distance between
      the quartiles, and are no mode: the mean is theirs;
    - "noisy": the interval is wider than +-`relative_half_width`.
    """
    warm_up, settled = find_warm_up(durations, tolerance=relative_half_width)
    kept = np.asarray(durations[warm_up:], dtype=np.float64) * _MS_PER_NS
    summary = summarise(kept)
    width = summary.relative_half_width
    bimodal = _is_bimodal(kept, summary, relative_half_width)
    flags = {
        "cold start": not settled,
        "few samples": summary.n < FEW_SAMPLES,
        "drift": _drifts(kept, relative_half_width),
        "bimodal": bimodal,
        "correlated": summary.effective < min(ENOUGH, summary.n / 3),
        "heavy tail": not bimodal and _has_heavy_tail(kept, relative_half_width),
        "noisy": summary.n >= LEAST_FOR_INTERVAL and (width is None or width > relative_half_width),
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

    Slow calls are dropped, never quick ones: a trace that begins quick and slows down drifts. The first call
    of two or more always goes: it pays for page faults, cold caches and clocks. After it go
    outliers, while a call, or most of the next five, are slower than the 95th percentile of the trace's
    second half, and slower than its median by more than `tolerance`; and then whatever lies before a step
    down: the place that best splits the trace into slower and quicker by the sum of ranks (Pettitt 1979),
    if the split is beyond chance and the medians are more than `tolerance` apart, again and again, which
    follows a ramp. A trace that is still slower at its middle has not settled, and loses only its first
    call.
    """
    trace = np.asarray(durations, dtype=np.float64)
    if len(trace) < 2:
        return 0, False
    middle = max(1, len(trace) // 2)
    median, p95 = np.percentile(trace[middle:], [50, 95])
    limit = max(p95, median * (1 + tolerance))
    calm = trace <= limit
    calm_of_five = np.convolve(np.append(calm, [True] * 4), np.ones(5), "valid")
    settled = np.flatnonzero(calm[1 : middle + 1] & (calm_of_five[1 : middle + 1] >= 3))
    if not settled.size:
        return 1, False
    start = 1 + int(settled[0])
    inflation = len(trace[middle:]) / effective_count(trace[middle:])
    while step := _step_down(trace[start:], tolerance, inflation):
        start += step
        if start > middle:
            return 1, False
    return start, True


def _step_down(trace: NDArray[np.float64], tolerance: float, inflation: float) -> int:
    """How many leading calls are slower than the rest, beyond chance and tolerance; 0 for none."""
    n = len(trace)
    if n < 2 * LEAST_FOR_INTERVAL:
        return 0
    counts = np.arange(1, n)
    # Above chance by this much: the ranks' sum has mean t n / 2 and variance t (n - t) (n + 1) / 12.
    excess = np.cumsum(mean_ranks(trace))[:-1] - counts * n / 2
    deviations = excess / np.sqrt(counts * (n - counts) * (n + 1) / 12)
    step = int(np.argmax(deviations)) + 1
    if deviations[step - 1] < _STEP_DEVIATIONS * math.sqrt(inflation):
        return 0
    return step if np.median(trace[:step]) > (1 + tolerance) * np.median(trace[step:]) else 0


def _drifts(kept: NDArray[np.float64], tolerance: float) -> bool:
    third = len(kept) // 3
    if third < LEAST_FOR_INTERVAL:
        return False
    first, last = (_range_of(summarise(part)) for part in (kept[:third], kept[-third:]))
    apart = first[2] < last[0] or last[2] < first[0]
    return apart and abs(last[1] - first[1]) > tolerance * first[1]


def _range_of(part: Statistics) -> tuple[float, float, float]:
    """The median between the ends of its interval, or of nine tenths of the calls where it has none."""
    if part.ci_low is None or part.ci_high is None:
        return part.p05, part.median, part.p95
    return part.ci_low, part.median, part.ci_high


def _is_bimodal(kept: NDArray[np.float64], summary: Statistics, tolerance: float) -> bool:
    """Whether the logarithms, split where the variance within both parts is least, have a valley between."""
    ordered = np.sort(kept[kept > 0])
    n = len(ordered)
    least = math.ceil(_MODE_SHARE * n)
    if n < FEW_SAMPLES:
        return False
    # What lies far out is a tail, not a mode, and must not draw the split to itself.
    inner = np.log(np.clip(ordered, *np.percentile(ordered, [1, 99])))
    sums, counts = np.cumsum(inner), np.arange(1, n + 1)
    between = (sums[:-1] - counts[:-1] * sums[-1] / n) ** 2 / (counts[:-1] * (n - counts[:-1]))
    split = least + int(np.argmax(between[least - 1 : n - least]))
    low, high = float(np.median(inner[:split])), float(np.median(inner[split:]))
    resolution = float(np.diff(np.unique(ordered), append=math.inf).min())
    if high - low <= math.log1p(tolerance) or math.exp(high) - math.exp(low) <= 2 * resolution:
        return False
    half = (high - low) / 6
    around_low, valley, around_high = (
        np.count_nonzero(np.abs(inner - centre) < half) for centre in (low, (low + high) / 2, high)
    )
    # Correlated calls come in clumps: what counts is how many independent ones those are.
    expected = min(around_low, around_high) / 2 * summary.effective / summary.n
    found = valley * summary.effective / summary.n
    return bool(found + 2 * math.sqrt(expected) < expected)


def _has_heavy_tail(kept: NDArray[np.float64], tolerance: float) -> bool:
    low, median, high = np.percentile(kept, [25, 50, 75])
    far = np.count_nonzero(kept > median + _TAIL_SPREADS * max(high - low, tolerance * median))
    return bool(far >= max(3, _TAIL_SHARE * len(kept)))


def _published_mean(durations: NDArray[np.int64]) -> float | None:
    calls = durations[PUBLISHED_WARM_UP : PUBLISHED_WARM_UP + PUBLISHED_CALLS]
    return float(calls.mean()) * _MS_PER_NS if len(calls) == PUBLISHED_CALLS else None
