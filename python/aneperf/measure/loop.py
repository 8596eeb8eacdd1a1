"""The measuring loop: calibrated batches of calls until the median is known well enough, or time is up."""

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ..checks import positive
from ..errors import ArgumentError
from .statistics import ENOUGH
from .trace import UNSTEADY, Sample, analyze

Run = Callable[[int], NDArray[np.int64]]  # makes a number of calls and returns each one's duration in ns

# A batch is one native call. Its overhead is some microseconds: 75 ms hide it, and leave Ctrl-C prompt.
BATCH_S = 0.075
TURN_S = 0.01  # of kernels in turns: short against drift, long against the switch to another program
# Clocks and other load change over tenths of a second. A median of a shorter span may be precise, but the
# next run would not repeat it. A CPU's clock is up after the first calls. An engine's is not: an M6's plane
# engine is 2.6 times slow for 0.45 s and settles at 0.8 s (751K's study of it on GitHub), and is slow again
# after the idle time of a compile. It is loaded for nearly twice as long.
SETTLED_SPAN_S = 0.25
SETTLING_SPAN_S = 1.5
MINIMUM_CALLS = 3  # after the warm-up call, however small the budget
MAXIMUM_CALLS = 1_000_000  # 8 MB of durations, and far more than any interval here needs
BATCH_GROWTH = 10  # calls that were quick by chance must not ask for a huge batch
FASTEST_CALL_S = 1e-6  # a coarse clock can say 0, which would ask for endless batches
# The rule looks at the interval when the calls have grown by a quarter. Each look is another chance to stop
# on luck; a quarter limits the looks to ten per decade of calls, and the time past the goal to a quarter.
LOOK_GROWTH = 1.25


def measure(
    run: Run,
    *,
    budget_s: float,
    relative_half_width: float = 0.02,
    span_s: float | None = None,
    batch_s: float = BATCH_S,
    clock: Callable[[], float] = time.perf_counter,
) -> Sample:
    """Time `run(count)`, which makes `count` calls and returns each one's duration [count] in ns.

    A batch of calls takes about `batch_s`. Stop when the 95 % interval of the median lies within
    +-`relative_half_width`, the calls are worth 100 independent ones and `span_s` has passed; or when
    `budget_s` is spent, but not before one warm-up call and three more. Without `span_s`, the device's clocks
    settle under load, as an engine's do: the span is 1.5 s, the trace must neither drift nor be unsettled
    where the budget allows more, and a sample of less than a second of load is flagged "unsettled".

    docs/measurement.md has simulations of correlated calls: an interval misses the median in at most 5 % of
    runs, also of those that the budget ends. Short runs of strongly correlated calls mostly get no interval.
    A slow wander below the noise of single calls stays hidden in short runs.
    Raises ArgumentError, and what `run` raises.
    """
    positive("budget_s", budget_s)
    positive("relative_half_width", relative_half_width)
    positive("batch_s", batch_s)
    settles = span_s is None
    span_s = SETTLING_SPAN_S if span_s is None else positive("span_s", span_s)
    start = clock()
    batches: list[NDArray[np.int64]] = []
    calls = next_look = 0
    count = 1  # the first call tells whether a second one fits the budget
    while True:
        batch = batch_of(run, count)
        batches.append(batch)
        calls += count
        typical_s = max(float(np.median(batch)) * 1e-9, FASTEST_CALL_S)
        elapsed_s = clock() - start
        fitting = min(int((budget_s - elapsed_s) / typical_s), MAXIMUM_CALLS - calls)
        if calls >= next_look or fitting < 1:
            sample = analyze(
                np.concatenate(batches),
                relative_half_width=relative_half_width,
                loaded_s=elapsed_s if settles else None,
            )
            enough = fitting < 1 or (elapsed_s >= span_s and _is_precise(sample, relative_half_width))
            if enough and sample.statistics.n >= MINIMUM_CALLS:
                return sample
            next_look = math.ceil(LOOK_GROWTH * calls)
        count = max(1, min(round(batch_s / typical_s), fitting, BATCH_GROWTH * count))


def batch_of(run: Run, count: int) -> NDArray[np.int64]:
    """Return the durations of `count` calls. Raises ArgumentError for another number of them."""
    batch = np.asarray(run(count), dtype=np.int64)
    if batch.shape != (count,):
        raise ArgumentError(f"run({count}) returned shape {batch.shape}: it must return {count} durations")
    return batch


def _is_precise(sample: Sample, relative_half_width: float) -> bool:
    if sample.loaded_s is not None and UNSTEADY.intersection(sample.flags):
        return False
    width = sample.statistics.relative_half_width
    return width is not None and width <= relative_half_width and sample.statistics.effective >= ENOUGH
