"""Kernels timed in turns: what slows the machine slows all of them, and their ratios stay."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..checks import positive
from ..errors import ArgumentError
from .estimate import Estimate
from .loop import (
    BATCH_GROWTH,
    FASTEST_CALL_S,
    LOOK_GROWTH,
    MAXIMUM_CALLS,
    MINIMUM_CALLS,
    SETTLING_SPAN_S,
    TURN_S,
    Run,
    batch_of,
)
from .statistics import LEAST_FOR_CORRELATION, summarize
from .trace import Sample, analyze, find_warm_up


@dataclass(frozen=True)
class Interleaved:
    """Kernels timed in turns: `samples` [kernels], and `ratios` [kernels] of their times to the first one's.

    A ratio is the median of the rounds' own ratios; drift widens its interval far less than those of the
    kernels' medians. The first ratio is 1.
    """

    samples: tuple[Sample, ...]
    ratios: tuple[Estimate, ...]
    times: NDArray[np.float64]  # [rounds, kernels] ns: the median of each turn, after warm-up

    @property
    def rounds(self) -> int:
        """Return the number of rounds after warm-up."""
        return len(self.times)


def measure_interleaved(
    runs: Sequence[Run],
    *,
    budget_s: float,
    relative_half_width: float = 0.02,
    span_s: float | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Interleaved:
    """Time two or more `run(count)` in turns: all in a round, in the opposite order in the next.

    `budget_s` is for all of them. Stop when the 95 % interval of every ratio lies within
    +-`relative_half_width` of it, over at least 20 rounds and `span_s`; or when the budget is spent, but
    not before one warm-up round and three more.
    Raises ArgumentError, and what a run raises.
    """
    positive("budget_s", budget_s)
    positive("relative_half_width", relative_half_width)
    settles = span_s is None
    span_s = SETTLING_SPAN_S if span_s is None else positive("span_s", span_s)
    if len(runs) < 2:
        raise ArgumentError(f"{len(runs)} kernels cannot be compared: give at least two")
    start = clock()
    rounds: list[list[NDArray[np.int64]]] = []
    counts = [1] * len(runs)
    next_look = 0
    while True:
        order = range(len(runs)) if len(rounds) % 2 == 0 else reversed(range(len(runs)))
        turns = {kernel: batch_of(runs[kernel], counts[kernel]) for kernel in order}
        rounds.append([turns[kernel] for kernel in range(len(runs))])
        typical_s = [max(float(np.median(batch)) * 1e-9, FASTEST_CALL_S) for batch in rounds[-1]]
        elapsed_s = clock() - start
        round_s = sum(count * each_s for count, each_s in zip(counts, typical_s, strict=True))
        spent = elapsed_s + round_s > budget_s or len(rounds) * sum(counts) >= MAXIMUM_CALLS
        if len(rounds) >= next_look or spent:
            found = _compare(rounds, relative_half_width, elapsed_s if settles else None)
            precise = found.rounds >= LEAST_FOR_CORRELATION and elapsed_s >= span_s
            precise &= all(_width(ratio) <= relative_half_width for ratio in found.ratios)
            if (spent or precise) and len(rounds) > MINIMUM_CALLS:
                return found
            next_look = round(LOOK_GROWTH * len(rounds))
        counts = [
            max(1, min(round(TURN_S / each_s), BATCH_GROWTH * count))
            for each_s, count in zip(typical_s, counts, strict=True)
        ]


def _compare(rounds: list[list[NDArray[np.int64]]], tolerance: float, loaded_s: float | None) -> Interleaved:
    medians = np.array([[np.median(batch) for batch in batches] for batches in rounds])  # [rounds, kernels]
    warm = max(find_warm_up(medians[:, kernel], tolerance=tolerance)[0] for kernel in range(medians.shape[1]))
    kept = medians[warm:] if warm < len(medians) else medians
    traces = [np.concatenate(batches) for batches in zip(*rounds, strict=True)]
    return Interleaved(
        samples=tuple(analyze(trace, relative_half_width=tolerance, loaded_s=loaded_s) for trace in traces),
        ratios=tuple(_ratio(kept[:, kernel], kept[:, 0]) for kernel in range(kept.shape[1])),
        times=kept,
    )


def _ratio(times: NDArray[np.float64], base: NDArray[np.float64]) -> Estimate:
    ratios = summarize(np.maximum(times, 1) / np.maximum(base, 1))  # ns: a coarse clock can say 0
    return Estimate(ratios.median, ratios.ci_low, ratios.ci_high)


def _width(ratio: Estimate) -> float:
    if ratio.ci_low is None or ratio.ci_high is None:
        return float("inf")
    return max(ratio.ci_high - ratio.value, ratio.value - ratio.ci_low) / ratio.value
