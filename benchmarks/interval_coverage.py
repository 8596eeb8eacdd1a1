"""Simulate how often the interval of a median misses it: `python benchmarks/interval_coverage.py`.

Calls are log-normal, with a median of 1 ms and a deviation of 2 %, and remember a share of the call before:
all of a call's deviation, or a slow part of it (a wander) below the independent noise of single calls. "miss"
is the share of traces that get an interval without the median in it, "none" of those that get no interval.
"""

import argparse
import math
from collections.abc import Iterator

import numpy as np

from aneperf.measure import SETTLED_SPAN_S, Statistics, measure, summarize

MEMORIES = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98)
DEVIATION = 0.02
NS_PER_MS = 1_000_000


def traces(seed: int, count: int, calls: int, memory: float, wander: float) -> np.ndarray:
    """Return durations [count, calls] in ms; `wander` is the share of the variance that has the memory."""
    random = np.random.default_rng(seed)
    slow = random.standard_normal((calls, count))
    slow[1:] *= math.sqrt(1 - memory**2)
    for call in range(1, calls):
        slow[call] += memory * slow[call - 1]
    quick = random.standard_normal((calls, count))
    return np.exp(DEVIATION * (math.sqrt(wander) * slow + math.sqrt(1 - wander) * quick)).T


def shares(summaries: list[Statistics]) -> str:
    """Return "miss none" in percent."""
    given = [(s.ci_low, s.ci_high) for s in summaries if s.ci_low is not None and s.ci_high is not None]
    missed = sum(not low <= 1 <= high for low, high in given)
    none = len(summaries) - len(given)
    return f"{100 * missed / len(summaries):5.1f} {100 * none / len(summaries):3.0f}"


def measured(trace: np.ndarray, budget_s: float) -> Statistics:
    """Return what `measure` finds for the trace, on a clock that only its calls move."""
    now = 0.0
    calls: Iterator[int] = iter((NS_PER_MS * trace).astype(np.int64).tolist())

    def run(count: int) -> np.ndarray:
        nonlocal now
        durations = np.array([next(calls) for _ in range(count)])
        now += float(durations.sum()) * 1e-9
        return durations

    return measure(run, budget_s=budget_s, span_s=SETTLED_SPAN_S, clock=lambda: now).statistics


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--traces", type=int, default=400, help="simulated traces for each figure")
    count = parser.parse_args().traces
    heading = "".join(f"{memory:>11}" for memory in MEMORIES)
    for title, wander in (("all of the deviation has the memory", 1.0), ("30 % of the variance has it", 0.3)):
        print(f"{title}: miss none (%) by number of calls\n   calls{heading}")
        for calls in (20, 60, 100, 300, 1000, 3000):
            found = [traces(calls, count, calls, memory, wander) for memory in MEMORIES]
            print(f"{calls:8}", *(f" {shares([summarize(trace) for trace in rows])}" for rows in found))
    print(f"runs that `measure` ends, by its rule or a budget of seconds\n  budget{heading}")
    for budget_s in (0.5, 1.0, 3.0):
        cells = []
        for memory in MEMORIES:
            rows = traces(7, count, int(1300 * budget_s) + 100, memory, 1.0)
            cells.append(f" {shares([measured(trace, budget_s) for trace in rows])}")
        print(f"{budget_s:8}", *cells)


if __name__ == "__main__":
    main()
