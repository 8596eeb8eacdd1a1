"""Durations of made-up calls."""

import math
from collections.abc import Iterator

import numpy as np

from aneperf.measure import Statistics

MS = 1_000_000
TRACES = 400


def noise(seed: int, median_ns: float, sigma: float) -> Iterator[int]:
    random = np.random.default_rng(seed)
    while True:
        yield from (median_ns * np.exp(sigma * random.standard_normal(64))).astype(int).tolist()


def correlated(seed: int, n: int, memory: float, traces: int = 1) -> np.ndarray:
    """Draw log-normal durations with median 1 [traces, n]; each remembers `memory` of the one before."""
    steps = np.random.default_rng(seed).standard_normal((n, traces))
    steps[1:] *= math.sqrt(1 - memory**2)
    for index in range(1, n):
        steps[index] += memory * steps[index - 1]
    return np.exp(steps.T)


def misses(summary: Statistics, median: float = 1.0) -> bool:
    """Tell whether there is an interval, and the median is not in it."""
    low, high = summary.ci_low, summary.ci_high
    return low is not None and high is not None and not low <= median <= high
