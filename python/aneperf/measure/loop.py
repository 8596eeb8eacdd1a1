"""The loop around a kernel: calibrated batches until the median is known well enough, or time is up."""

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..checks import positive
from ..errors import ArgumentError
from .statistics import ENOUGH
from .trace import Sample, analyse

Run = Callable[[int], NDArray[np.int64]]  # makes so many calls and returns each one's duration in ns

BATCH_S = 0.075  # one native call: long enough to amortise its overhead, short enough for Ctrl-C
MINIMUM_SPAN_S = 0.25  # a precise median of a shorter glimpse says nothing about the machine a moment later
MINIMUM_CALLS = 3
MAXIMUM_CALLS = 1_000_000
BATCH_GROWTH = 10
FASTEST_CALL_S = 1e-6  # a coarse clock can say 0, which would ask for endless batches
_LOOK_GROWTH = 1.25  # calls between two looks at the interval: each look is a chance to stop on luck


def measure(
    run: Run,
    *,
    budget_s: float,
    relative_half_width: float = 0.02,
    clock: Callable[[], float] = time.perf_counter,
) -> Sample:
    """Time `run(count)`, which makes `count` calls and returns each one's duration [count] in ns.

    Stops when the 95 % interval of the median lies within +-`relative_half_width`, the calls are worth 100
    independent ones and a quarter of a second has passed; or when `budget_s` is spent, but not before one
    warm-up call and three more.

    In simulations of calls that remember a share of the call before, 0 to 0.98, an interval is given and
    misses the median in at most 5 % of runs, whether the rule or the budget ended them; short runs of strong
    memory mostly get none. A slow wander below the noise of single calls hides from short runs
    (docs/measurement.md).
    Raises ArgumentError, and what `run` raises.
    """
    positive("budget_s", budget_s)
    positive("relative_half_width", relative_half_width)
    start = clock()
    batches: list[NDArray[np.int64]] = []
    calls = next_look = 0
    count = 1  # the first call alone tells whether a second one fits the budget
    while True:
        batch = batch_of(run, count)
        batches.append(batch)
        calls += count
        typical_s = max(float(np.median(batch)) * 1e-9, FASTEST_CALL_S)
        elapsed_s = clock() - start
        fitting = min(int((budget_s - elapsed_s) / typical_s), MAXIMUM_CALLS - calls)
        if calls >= next_look or fitting < 1:
            sample = analyse(np.concatenate(batches), relative_half_width=relative_half_width)
            enough = fitting < 1 or _is_precise(sample, elapsed_s, relative_half_width)
            if enough and sample.statistics.n >= MINIMUM_CALLS:
                return sample
            next_look = math.ceil(_LOOK_GROWTH * calls)
        count = max(1, min(round(BATCH_S / typical_s), fitting, BATCH_GROWTH * count))


def batch_of(run: Run, count: int) -> NDArray[np.int64]:
    """The durations of `count` calls. Raises ArgumentError for another number of them."""
    batch = np.asarray(run(count), dtype=np.int64)
    if batch.shape != (count,):
        raise ArgumentError(f"run({count}) returned shape {batch.shape}: it must return {count} durations")
    return batch


def _is_precise(sample: Sample, elapsed_s: float, relative_half_width: float) -> bool:
    width = sample.statistics.relative_half_width
    return (
        width is not None
        and width <= relative_half_width
        and sample.statistics.effective >= ENOUGH
        and elapsed_s >= MINIMUM_SPAN_S
    )
