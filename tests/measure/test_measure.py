import itertools
import math
from collections.abc import Iterator

import numpy as np
import pytest

from aneperf.errors import ArgumentError
from aneperf.measure import (
    ENOUGH,
    MAXIMUM_CALLS,
    Sample,
    Statistics,
    analyse,
    effective_count,
    find_warm_up,
    interval_rank,
    measure,
    summarise,
)
from support.fakes import FakeClock, replay
from support.parameters import thorough

MS = 1_000_000
TRACES = 400


def noise(seed: int, median_ns: float, sigma: float) -> Iterator[int]:
    random = np.random.default_rng(seed)
    while True:
        yield from (median_ns * np.exp(sigma * random.standard_normal(64))).astype(int).tolist()


def correlated(seed: int, n: int, memory: float, traces: int = 1) -> np.ndarray:
    """Log-normal durations with median 1 [traces, n]; each remembers `memory` of the one before."""
    steps = np.random.default_rng(seed).standard_normal((n, traces))
    steps[1:] *= math.sqrt(1 - memory**2)
    for index in range(1, n):
        steps[index] += memory * steps[index - 1]
    return np.exp(steps.T)


def misses(summary: Statistics, median: float = 1.0) -> bool:
    """Whether there is an interval, and the median is not in it."""
    low, high = summary.ci_low, summary.ci_high
    return low is not None and high is not None and not low <= median <= high


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
    shuffled = np.random.default_rng(1).permutation(np.arange(1, 20))
    summary = summarise(shuffled)
    assert (summary.n, summary.effective) == (19, 19)  # too few to tell whether they are alike
    assert (summary.ci_low, summary.median, summary.ci_high) == (5, 10, 15)
    assert summary.relative_half_width == pytest.approx(0.5)


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


@pytest.mark.parametrize("n", [6, 100, *thorough(20, 400)])
@pytest.mark.parametrize("shape", ["log-normal", "pareto"])
def test_interval_covers_the_median(n: int, shape: str) -> None:
    random = np.random.default_rng(n)
    draws, median = {
        "log-normal": (np.exp(random.standard_normal((2000, n))), 1.0),
        "pareto": (random.pareto(1.1, (2000, n)) + 1, 2 ** (1 / 1.1)),  # its variance is infinite
    }[shape]
    summaries = [summarise(trace) for trace in draws]
    assert sum(misses(summary, median) for summary in summaries) <= 0.06 * 2000
    given = [summary for summary in summaries if summary.ci_low is not None]
    assert len(given) >= 0.9 * 2000
    assert sum(misses(summary, median) for summary in given) >= 0.003 * 2000  # not as wide as it likes


@pytest.mark.parametrize("memory", [0.5, 0.9, *thorough(0.3, 0.8, 0.95, 0.98)])
@pytest.mark.parametrize("n", [20, 100, 1000, *thorough(60, 300)])
def test_interval_holds_the_median_of_correlated_calls(n: int, memory: float) -> None:
    summaries = [summarise(trace) for trace in correlated(n, n, memory, TRACES)]
    assert sum(map(misses, summaries)) <= 0.07 * TRACES
    if n * (1 - memory) >= 50:
        assert sum(summary.ci_low is None for summary in summaries) <= 0.15 * TRACES


def test_independence_would_miss_what_the_interval_holds() -> None:
    rank = interval_rank(1000, 1000)
    ordered = np.sort(correlated(5, 1000, 0.9, TRACES))
    assert ((ordered[:, rank - 1] > 1) | (ordered[:, 1000 - rank] < 1)).mean() > 0.4


@pytest.mark.parametrize(
    ("n", "memory", "most"),
    [
        (60, 0.8, 0.05),
        (60, 0.9, 0.1),
        (100, 0.9, 0.08),
        (1000, 0.9, 0.07),
        (1000, 0.98, 0.09),
        (3000, 0.98, 0.07),
    ],
)
def test_interval_holds_the_median_of_noise_on_a_slow_wander(n: int, memory: float, most: float) -> None:
    wander = np.log(correlated(1, n, memory, TRACES))
    noise = np.random.default_rng(2).standard_normal((TRACES, n))
    traces = np.exp(math.sqrt(0.3) * wander + math.sqrt(0.7) * noise)
    assert sum(misses(summarise(trace)) for trace in traces) <= most * TRACES


def test_heavy_tails_do_not_hide_correlation() -> None:
    traces = np.exp(correlated(3, 500, 0.9, TRACES))  # the exponential of a log-normal has no moments
    assert sum(misses(summarise(trace), math.e) for trace in traces) <= 0.07 * TRACES


def test_interval_is_little_wider_than_independent_calls_need() -> None:
    ratios = []
    for trace in correlated(9, 400, 0.0, 100):
        summary, rank, ordered = summarise(trace), interval_rank(400, 400), np.sort(trace)
        assert summary.ci_low is not None
        assert summary.ci_high is not None
        ratios.append((summary.ci_high - summary.ci_low) / (ordered[400 - rank] - ordered[rank - 1]))
    assert 1.0 <= np.mean(ratios) <= 1.3


def test_effective_count() -> None:
    random = np.random.default_rng(6)
    assert effective_count(random.standard_normal(10_000)) > 3_000
    assert effective_count(correlated(6, 10_000, 0.99)[0]) < 300
    assert effective_count(np.full(1000, 3.0)) == 1000
    assert effective_count(random.standard_normal(19)) == 19
    assert effective_count(random.standard_normal(99)) > 60
    assert effective_count(correlated(7, 60, 0.95)[0]) < 12
    assert effective_count(np.arange(99.0)) < 6
    assert effective_count(np.arange(4.0)) == 4
    assert effective_count(np.tile([1.0, 2.0], 100)) >= 170  # neighbours that differ are no correlation


def test_a_trend_has_no_interval() -> None:
    assert summarise(np.arange(99.0)).ci_low is None


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


@pytest.mark.parametrize("calls", [300, 1000])
def test_a_step_down_within_the_noise_is_warm_up(calls: int) -> None:
    random = np.random.default_rng(calls)
    slow = calls * 3 // 10
    trace = np.where(np.arange(calls) < slow, 1.3, 1) * np.exp(0.2 * random.standard_normal(calls))
    dropped, settled = find_warm_up(trace)
    assert settled
    assert abs(dropped - slow) <= calls / 10


def test_a_ramp_down_is_warm_up() -> None:
    calls = np.arange(1000)
    noise = np.random.default_rng(3).standard_normal(1000)
    dropped, settled = find_warm_up((1 + 0.5 * np.exp(-calls / 100)) * (1 + 0.02 * noise))
    assert settled
    assert 250 <= dropped <= 500  # 4 % slow to 0.3 % slow


@pytest.mark.parametrize("memory", [0.0, 0.5, 0.9])
def test_steady_calls_are_no_warm_up(memory: float) -> None:
    dropped = [find_warm_up(trace**0.02)[0] for trace in correlated(4, 400, memory, 100)]
    assert np.median(dropped) == 1
    assert np.percentile(dropped, 90) <= 10


def test_a_step_smaller_than_the_tolerance_is_kept() -> None:
    assert find_warm_up(np.repeat([1.01, 1.0], [100, 300])) == (1, True)
    assert find_warm_up(np.repeat([1.03, 1.0], [100, 300])) == (100, True)


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
    assert "drift" not in analyse((steady * np.linspace(1, 1.01, 300)).astype(np.int64)).flags


def test_outliers_are_no_drift_and_leave_the_median() -> None:
    trace = np.array(list(itertools.islice(noise(4, 10 * MS, 0.01), 300)))
    trace[200:300:10] *= 50
    sample = analyse(trace)
    assert sample.flags == ("heavy tail",)
    assert sample.statistics.median == pytest.approx(10, rel=0.01)
    assert sample.statistics.mean > 12


@pytest.mark.parametrize("calls", [100, 1000])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_two_modes_are_flagged(calls: int, share: float) -> None:
    random = np.random.default_rng(calls)
    trace = np.where(random.random(calls) < share, 10 * MS, 12 * MS)
    flags = analyse((trace * (1 + 0.02 * random.standard_normal(calls))).astype(np.int64)).flags
    assert "bimodal" in flags
    assert "heavy tail" not in flags  # the slow calls are a mode


SHAPES = {
    "normal": lambda random, n: 1 + 0.01 * random.standard_normal(n),
    "log-normal": lambda random, n: np.exp(0.3 * random.standard_normal(n)),
    "exponential": lambda random, n: 1 + random.exponential(0.1, n),
    "uniform": lambda random, n: 1 + random.uniform(0, 0.2, n),
    "t": lambda random, n: np.abs(1 + 0.02 * random.standard_t(3, n)),
}


@pytest.mark.parametrize("calls", [100, *thorough(30, 1000)])
@pytest.mark.parametrize("shape", list(SHAPES))
def test_one_mode_is_not_flagged(shape: str, calls: int) -> None:
    flagged = 0
    for seed in range(100):
        trace = SHAPES[shape](np.random.default_rng(seed), calls)
        flagged += "bimodal" in analyse((MS * trace).astype(np.int64)).flags
    assert flagged <= 1


def test_steps_of_the_clock_are_no_modes() -> None:
    random = np.random.default_rng(1)
    assert "bimodal" not in analyse(random.choice([41, 42], 300)).flags
    assert "bimodal" in analyse(random.choice([41, 42, 80, 81], 300)).flags


def test_tails_are_flagged_only_if_heavy() -> None:
    random = np.random.default_rng(2)
    assert "heavy tail" not in analyse((MS * np.exp(random.standard_normal(1000) / 3)).astype(np.int64)).flags
    assert "heavy tail" in analyse((MS * (1 + random.pareto(1.1, 1000))).astype(np.int64)).flags


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
    assert 100 < len(sample.durations) < 126


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


@pytest.mark.parametrize("budget_s", [0.5, *thorough(3.0)])
@pytest.mark.parametrize("memory", [0.0, 0.9, *thorough(0.5, 0.98)])
def test_runs_that_stop_by_rule_or_budget_hold_the_median(memory: float, budget_s: float) -> None:
    missed = 0
    for trace in correlated(round(100 * memory), int(2500 * budget_s), memory, 100):
        clock = FakeClock()
        calls = iter((MS * trace**0.02).astype(np.int64).tolist())
        sample = measure(replay(calls, clock), budget_s=budget_s, clock=clock)
        missed += misses(sample.statistics)
    assert missed <= 7


def test_measure_does_not_stop_on_calls_that_are_too_alike() -> None:
    clock = FakeClock()
    trace = (MS * correlated(8, 4000, memory=0.98)[0] ** 0.02).astype(np.int64)
    times = measure(replay(iter(trace.tolist()), clock), budget_s=2, clock=clock)
    assert clock.now > 1.8
    assert times.statistics.effective < ENOUGH
    assert "correlated" in times.flags


def test_measure_looks_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look is a chance to stop on luck."""
    looks = []

    def look(durations: np.ndarray, **options: float) -> Sample:
        looks.append(len(durations))
        return analyse(durations, **options)

    monkeypatch.setattr("aneperf.measure.loop.analyse", look)
    clock = FakeClock()
    measure(replay(noise(9, MS, 2.0), clock), budget_s=20, clock=clock)
    *regular, last = looks
    assert len(regular) > 5
    assert all(later >= 1.25 * earlier for earlier, later in itertools.pairwise(regular))
    assert last > regular[-1]


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
