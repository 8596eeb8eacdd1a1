"""A trace of calls: where its warm-up ends, and flags for what makes its median doubtful."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .statistics import ENOUGH, LEAST_FOR_INTERVAL, Statistics, effective_count, mean_ranks, summarize

FEW_SAMPLES = 20  # fewer calls tell nothing of their correlation
PUBLISHED_WARM_UP = 10  # calls; the protocol behind the published tables
PUBLISHED_CALLS = 50
UNSETTLED = "unsettled"
SETTLING_S = 1.0  # of load, until an engine's clocks have settled: an M6's slowest does at 0.8 s
UNSTEADY = frozenset({"cold start", "drift", UNSETTLED})
UNTRUSTED = UNSTEADY | {"few samples", "bimodal"}
_MS_PER_NS = 1e-6
_STEP_DEVIATIONS = 3.5  # chance exceeds it in 1 % of scans of 100 to 10,000 independent calls
_MODE_SHARE = 0.1  # of calls: a rarer group leaves the median in the other one
# Interquartile distances above the median. 1 in 10^11 normal calls lies so far out, and 2 in 1,000
# exponential ones: the share of 1 % tells heavier tails from both.
_TAIL_SPREADS = 5
_TAIL_SHARE = 0.01


@dataclass(frozen=True)
class Sample:
    """A timed kernel. `published_mean` is the mean of calls 11 to 60, as in the published tables.

    `loaded_s` is how long a device had been at work whose clocks settle under load; None for others.
    """

    durations: NDArray[np.int64]  # [calls] ns: every call, in order
    warm_up: int  # leading calls that the statistics leave out
    statistics: Statistics  # ms
    published_mean: float | None  # ms; None for fewer than 60 calls
    flags: tuple[str, ...]
    loaded_s: float | None = None


def analyze(
    durations: NDArray[np.int64], *, relative_half_width: float = 0.02, loaded_s: float | None = None
) -> Sample:
    """Compute statistics and flags of a trace of calls, durations [calls] in ns, in their order.

    The first five flags (`UNTRUSTED`) mean that another run may give a median outside the interval:

    - "cold start": no settled part was found, so the statistics include warm-up;
    - "few samples": n < 20;
    - "drift": the median of the last third differs from the first third's by more than
      `relative_half_width`, and their intervals do not meet (where a trend leaves no interval, the ranges of
      nine tenths of their calls); with `loaded_s`, also if the last tenth differs so from the rest;
    - "bimodal": two groups of at least a tenth of the calls each, further apart than `relative_half_width`,
      with less than half as many calls between them as around the rarer one: the median may belong to
      either, or to neither;
    - "unsettled": `loaded_s` is less than a second, in which an engine's clocks settle;
    - "correlated": successive calls are worth fewer than 100 independent ones and less than a third of their
      number: the interval is wide, and rests on an estimate of the correlation;
    - "heavy tail": at least 1 % of calls, and three, exceed the median by five times the distance between
      the quartiles, and are no mode: they dominate the mean;
    - "noisy": the interval is wider than +-`relative_half_width`.
    """
    warm_up, settled = find_warm_up(durations, tolerance=relative_half_width)
    kept = np.asarray(durations[warm_up:], dtype=np.float64) * _MS_PER_NS
    summary = summarize(kept)
    width = summary.relative_half_width
    bimodal = _is_bimodal(kept, summary, relative_half_width)
    flags = {
        "cold start": not settled,
        "few samples": summary.n < FEW_SAMPLES,
        "drift": _drifts(kept, relative_half_width, tail=loaded_s is not None),
        "bimodal": bimodal,
        "correlated": summary.effective < min(ENOUGH, summary.n / 3),
        "heavy tail": not bimodal and _has_heavy_tail(kept, relative_half_width),
        "noisy": summary.n >= LEAST_FOR_INTERVAL and (width is None or width > relative_half_width),
        UNSETTLED: is_unsettled(loaded_s),
    }
    return Sample(
        durations=durations,
        warm_up=warm_up,
        statistics=summary,
        published_mean=_published_mean(durations),
        flags=tuple(flag for flag, raised in flags.items() if raised),
        loaded_s=loaded_s,
    )


def find_warm_up(durations: ArrayLike, *, tolerance: float = 0.02) -> tuple[int, bool]:
    """Return the number of leading calls to drop, and whether the rest is settled.

    Only slow calls are dropped: a trace that begins quick and slows down drifts. The first of two or more
    calls is always dropped, because it pays for page faults, cold caches and clocks. Outliers come next,
    while a call, or most of the next five, are slower than the 95th percentile of the trace's second half,
    and slower than its median by more than `tolerance`. Then all calls before a step down are dropped. The
    step is the place that best splits the trace into slower and quicker calls by the sum of ranks (Pettitt
    1979), if the split is beyond chance and the medians are more than `tolerance` apart. The search is
    repeated, which follows a ramp. A trace that is still slower at its middle has not settled, and loses
    only its first call.
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
    """Return the number of leading calls that are slower than the rest, beyond chance and tolerance."""
    n = len(trace)
    if n < 2 * LEAST_FOR_INTERVAL:
        return 0
    counts = np.arange(1, n)
    # By chance, the sum of t ranks has mean t n / 2 and variance t (n - t) (n + 1) / 12.
    excess = np.cumsum(mean_ranks(trace))[:-1] - counts * n / 2
    deviations = excess / np.sqrt(counts * (n - counts) * (n + 1) / 12)
    step = int(np.argmax(deviations)) + 1
    if deviations[step - 1] < _STEP_DEVIATIONS * math.sqrt(inflation):
        return 0
    return step if np.median(trace[:step]) > (1 + tolerance) * np.median(trace[step:]) else 0


def is_unsettled(loaded_s: float | None) -> bool:
    """Tell whether a device was at work for less time than its clocks take to settle."""
    return loaded_s is not None and loaded_s < SETTLING_S


def _drifts(kept: NDArray[np.float64], tolerance: float, *, tail: bool) -> bool:
    third, tenth = len(kept) // 3, len(kept) // 10
    pairs = [(kept[:third], kept[-third:])] if third >= LEAST_FOR_INTERVAL else []
    pairs += [(kept[:-tenth], kept[-tenth:])] if tail and tenth >= LEAST_FOR_INTERVAL else []
    for before, after in pairs:
        first, last = _range_of(summarize(before)), _range_of(summarize(after))
        apart = first[2] < last[0] or last[2] < first[0]
        if apart and abs(last[1] - first[1]) > tolerance * first[1]:
            return True
    return False


def _range_of(part: Statistics) -> tuple[float, float, float]:
    """Return the median between the ends of its interval, or of nine tenths of the calls without one."""
    if part.ci_low is None or part.ci_high is None:
        return part.p05, part.median, part.p95
    return part.ci_low, part.median, part.ci_high


def _is_bimodal(kept: NDArray[np.float64], summary: Statistics, tolerance: float) -> bool:
    """Return whether a valley separates the logarithms, split for the least variance within both parts."""
    ordered = np.sort(kept[kept > 0])
    n = len(ordered)
    least = math.ceil(_MODE_SHARE * n)
    if n < FEW_SAMPLES:
        return False
    # Calls far out are a tail, not a mode, and must not attract the split.
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
        np.count_nonzero(np.abs(inner - center) < half) for center in (low, (low + high) / 2, high)
    )
    # Correlated calls come in clumps: the number of independent ones counts.
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
