import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from aneperf.errors import ArgumentError
from aneperf.measure import (
    MAXIMUM_CALLS,
    analyse,
    effective_count,
    find_warm_up,
    interval_rank,
    measure,
    summarise,
)
from fakes import FakeClock, replay

MS = 1_000_000


def noise(seed: int, median_ns: float, sigma: float) -> Iterator[int]:
    random = np.random.default_rng(seed)
    while True:
        yield from (median_ns * np.exp(sigma * random.standard_normal(64))).astype(int).tolist()


def correlated(random: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """Log-normal durations with median 1; each remembers `memory` of the one before."""
    steps = random.standard_normal(n + 300) * math.sqrt(1 - memory**2)
    values = np.zeros(n + 300)
    for index in range(1, n + 300):
        values[index] = memory * values[index - 1] + steps[index]
    return np.exp(values[300:])


def test_summary_of_known_values() -> None:
    summary = summarise(np.arange(101, 0, -1))
    assert (summary.n, summary.median, summary.mean) == (101, 51, 51)
    assert (summary.p05, summary.p95) == (6, 96)


@pytest.mark.parametrize(
    ("n", "rank"),
    [(1, 0), (5, 0), (6, 1), (8, 1), (9, 2), (10, 2), (20, 6), (50, 18), (100, 40), (1000, 469)],
)
def test_interval_rank_is_the_binomial_one(n: int, rank: int) -> None:
    assert interval_rank(n, n) == rank
    tail = [sum(math.comb(n, k) for k in range(r)) / 2**n for r in (rank, rank + 1)]
    assert tail[0] <= 0.025 < tail[1]


@pytest.mark.parametrize("n", [1001, 1500, 4000])
def test_interval_rank_of_many_is_conservative_and_close(n: int) -> None:
    tail = [sum(math.comb(n, k) for k in range(interval_rank(n, n) + more)) for more in (0, 2)]
    assert 40 * tail[0] <= 2**n < 40 * tail[1]


def test_interval_lies_between_its_ranks() -> None:
    shuffled = np.random.default_rng(1).permutation(np.arange(1, 51))
    summary = summarise(shuffled)
    assert (summary.ci_low, summary.median, summary.ci_high) == (18, 25.5, 33)
    assert summary.relative_half_width == pytest.approx(7.5 / 25.5)


def test_one_call_has_no_interval() -> None:
    summary = summarise([7.0])
    assert (summary.n, summary.median, summary.p05, summary.p95) == (1, 7, 7, 7)
    assert summary.ci_low is None
    assert summary.ci_high is None
    assert summary.relative_half_width is None


@pytest.mark.parametrize(
    "trace",
    [[], [[1.0, 2.0]], [1.0, -1.0], [1.0, math.nan], [math.inf]],
    ids=["empty", "2d", "neg", "nan", "inf"],
)
def test_summary_refuses(trace: list[float]) -> None:
    with pytest.raises(ArgumentError):
        summarise(trace)


@pytest.mark.parametrize("n", [6, 20, 100, 400])
@pytest.mark.parametrize("shape", ["log-normal", "pareto"])
def test_interval_covers_the_median(n: int, shape: str) -> None:
    random = np.random.default_rng(n)
    draws, median = {
        "log-normal": (np.exp(random.standard_normal((2000, n))), 1.0),
        "pareto": (random.pareto(1.1, (2000, n)) + 1, 2 ** (1 / 1.1)),  # its variance is infinite
    }[shape]
    covered = 0
    for trace in draws:
        summary = summarise(trace)
        assert summary.ci_low is not None
        assert summary.ci_high is not None
        covered += summary.ci_low <= median <= summary.ci_high
    assert 0.94 <= covered / 2000 <= 0.995


def test_interval_covers_the_median_of_correlated_calls() -> None:
    random = np.random.default_rng(5)
    covered = as_if_independent = 0
    for _ in range(200):
        trace = correlated(random, 1000, memory=0.9)
        summary = summarise(trace)
        assert summary.ci_low is not None
        assert summary.ci_high is not None
        covered += summary.ci_low <= 1 <= summary.ci_high
        rank, ordered = interval_rank(1000, 1000), np.sort(trace)
        as_if_independent += ordered[rank - 1] <= 1 <= ordered[1000 - rank]
    assert covered >= 170
    assert as_if_independent <= 110


def test_effective_count() -> None:
    random = np.random.default_rng(6)
    assert effective_count(random.standard_normal(10_000)) > 4_000
    assert effective_count(correlated(random, 10_000, memory=0.99)) < 500
    assert effective_count(np.full(1000, 3.0)) == 1000
    assert effective_count(random.standard_normal(99)) == 99
    assert effective_count(correlated(random, 60, memory=0.95)) < 30
    assert effective_count(np.arange(99.0)) == 6
    assert effective_count(np.arange(4.0)) == 4


def test_warm_up_is_dropped() -> None:
    settled = list(itertools.islice(noise(1, 10 * MS, 0.01), 200))
    assert find_warm_up([90 * MS, *settled])[0] <= 3
    slow = [60 * MS, 50 * MS, 40 * MS, 12 * MS, 30 * MS, 25 * MS, 20 * MS, 15 * MS]
    dropped, calm = find_warm_up([*slow, *settled])
    assert calm
    assert len(slow) <= dropped <= len(slow) + 3


def test_first_call_is_always_dropped() -> None:
    assert find_warm_up([5, 5, 5, 5]) == (1, True)
    assert find_warm_up([5]) == (0, False)


def test_quick_first_calls_are_kept() -> None:
    assert find_warm_up([5] * 20 + [9] * 80) == (1, True)


def test_unsettled_trace_is_flagged() -> None:
    sample = analyse(np.linspace(100 * MS, 10 * MS, 200).astype(np.int64))
    assert sample.warm_up == 1
    assert "cold start" in sample.flags
    assert "drift" in sample.flags
    assert "correlated" in sample.flags


def test_steady_trace_has_no_flags() -> None:
    trace = np.array(list(itertools.islice(noise(2, 10 * MS, 0.02), 300)))
    assert analyse(trace).flags == ()


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_drift_is_flagged_either_way(factor: float) -> None:
    steady = np.array(list(itertools.islice(noise(3, 10 * MS, 0.01), 300)))
    assert "drift" in analyse((steady * np.linspace(1, factor, 300)).astype(np.int64)).flags


def test_drift_below_the_tolerance_is_not_flagged() -> None:
    steady = np.full(300, 10 * MS)
    assert analyse((steady * np.linspace(1, 1.01, 300)).astype(np.int64)).flags == ("correlated",)


def test_outliers_are_no_drift_and_leave_the_median() -> None:
    trace = np.array(list(itertools.islice(noise(4, 10 * MS, 0.01), 300)))
    trace[200:300:10] *= 50
    sample = analyse(trace)
    assert sample.flags == ()
    assert sample.statistics.median == pytest.approx(10, rel=0.01)
    assert sample.statistics.mean > 12


def test_few_and_noisy() -> None:
    trace = np.array(list(itertools.islice(noise(5, 10 * MS, 0.5), 19)))
    assert analyse(trace).flags == ("few samples", "noisy")
    assert analyse(trace[:4]).flags == ("few samples",)


def test_a_coarse_clock_is_no_noise() -> None:
    assert analyse(np.zeros(100, dtype=np.int64)).statistics.median == 0
    assert analyse(np.tile([41, 42], 100)).flags == ("noisy",)
    assert analyse(np.full(100, 41)).flags == ()


def test_published_mean_is_of_50_after_10() -> None:
    trace = np.concatenate([np.full(10, 99 * MS), np.full(50, 2 * MS), np.full(40, 7 * MS)])
    assert analyse(trace).published_mean == 2
    assert analyse(trace[:60]).published_mean == 2
    assert analyse(trace[:59]).published_mean is None


def test_measure_stops_once_precise() -> None:
    clock = FakeClock()
    sample = measure(replay(noise(6, 1 * MS, 0.05), clock), budget_s=60, clock=clock)
    assert sample.flags == ()
    assert 0.25 <= clock.now < 2
    width = sample.statistics.relative_half_width
    assert width is not None
    assert width <= 0.02
    assert sample.published_mean is not None
    assert sample.statistics.n == len(sample.durations) - sample.warm_up


def test_measure_makes_a_hundred_calls_if_it_can() -> None:
    clock = FakeClock()
    sample = measure(replay(itertools.repeat(100 * MS), clock), budget_s=60, clock=clock)
    assert 100 < len(sample.durations) < 110


def test_measure_stops_when_the_budget_is_spent() -> None:
    clock = FakeClock()
    sample = measure(replay(noise(7, 1 * MS, 2.0), clock), budget_s=1.5, clock=clock)
    assert "noisy" in sample.flags
    assert 1.2 <= clock.now <= 1.8


def test_measure_makes_three_calls_of_the_slowest_kernel() -> None:
    clock = FakeClock()
    sample = measure(replay(itertools.repeat(30_000 * MS), clock), budget_s=1, clock=clock)
    assert len(sample.durations) == 4
    assert sample.statistics.n == 3
    assert sample.statistics.median == 30_000
    assert sample.statistics.ci_low is None
    assert sample.flags == ("few samples",)


def simulated(memory: float, seed: int, budget_s: float) -> tuple[bool, bool]:
    """Whether the interval of 1 ms calls, 2 % wide, covers their median; and whether it is flagged."""
    clock = FakeClock()
    random = np.random.default_rng(seed)
    trace = (MS * correlated(random, int(2000 * budget_s), memory) ** 0.02).astype(np.int64)
    times = measure(replay(iter(trace.tolist()), clock), budget_s=budget_s, clock=clock)
    low, high = times.statistics.ci_low, times.statistics.ci_high
    return low is not None and high is not None and low <= 1 <= high, "correlated" in times.flags


@pytest.mark.parametrize(
    ("memory", "budget_s", "least_covered", "flagged"),
    [(0.0, 3.0, 0.93, (0, 0.02)), (0.9, 3.0, 0.83, (0, 0.02)), (0.98, 1.0, 0.0, (0.95, 1))],
)
def test_the_stopping_rule_covers_or_flags(
    memory: float, budget_s: float, least_covered: float, flagged: tuple[float, float]
) -> None:
    runs = [simulated(memory, seed, budget_s) for seed in range(100)]
    assert sum(covered for covered, _ in runs) / len(runs) >= least_covered
    assert flagged[0] <= sum(raised for _, raised in runs) / len(runs) <= flagged[1]


def test_measure_does_not_stop_on_calls_that_are_too_alike() -> None:
    clock = FakeClock()
    trace = (MS * correlated(np.random.default_rng(8), 4000, memory=0.98) ** 0.02).astype(np.int64)
    times = measure(replay(iter(trace.tolist()), clock), budget_s=2, clock=clock)
    width = times.statistics.relative_half_width
    assert width is not None
    assert width <= 0.02
    assert clock.now > 1.8
    assert times.statistics.effective < 100
    assert times.flags == ("correlated",)


def test_measure_calibrates_its_batches() -> None:
    clock = FakeClock()
    sizes = []
    inner = replay(itertools.chain([5 * MS], itertools.repeat(MS // 10)), clock)

    def run(count: int) -> np.ndarray:
        sizes.append(count)
        return inner(count)

    measure(run, budget_s=10, clock=clock)
    assert sizes[0] == 1
    assert max(sizes) == 750  # 75 ms
    assert all(later <= 10 * earlier for earlier, later in itertools.pairwise(sizes))


def test_measure_ends_on_a_clock_that_stands_still() -> None:
    sample = measure(lambda count: np.zeros(count, dtype=np.int64), budget_s=1, clock=lambda: 0.0)
    assert len(sample.durations) == MAXIMUM_CALLS


def test_measure_passes_errors_on() -> None:
    def run(count: int) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure(run, budget_s=1)


def test_measure_refuses_a_run_that_returns_too_little() -> None:
    with pytest.raises(ArgumentError, match="must return 1 durations"):
        measure(lambda count: np.zeros(count + 1, dtype=np.int64), budget_s=1)


@pytest.mark.parametrize("budget", [0, -1.0, math.nan, math.inf, "1", True, None])
def test_measure_refuses_a_budget(budget: float) -> None:
    with pytest.raises(ArgumentError, match="budget_s must be a positive, finite number"):
        measure(lambda count: np.zeros(count, dtype=np.int64), budget_s=budget)
