import math

import numpy as np
import pytest

from aneperf.errors import ArgumentError
from aneperf.measure import (
    effective_count,
    interval_rank,
    summarize,
)
from support.parameters import thorough
from support.traces import TRACES, correlated, misses


def test_summary_of_known_values() -> None:
    summary = summarize(np.arange(101, 0, -1))
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
    summary = summarize(shuffled)
    assert (summary.n, summary.effective) == (19, 19)  # too few to tell whether they are alike
    assert (summary.ci_low, summary.median, summary.ci_high) == (5, 10, 15)
    assert summary.relative_half_width == pytest.approx(0.5)


def test_one_call_has_no_interval() -> None:
    summary = summarize([7.0])
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
        summarize(trace)


@pytest.mark.parametrize("n", [6, 100, *thorough(20, 400)])
@pytest.mark.parametrize("shape", ["log-normal", "pareto"])
def test_interval_covers_the_median(n: int, shape: str) -> None:
    random = np.random.default_rng(n)
    draws, median = {
        "log-normal": (np.exp(random.standard_normal((2000, n))), 1.0),
        "pareto": (random.pareto(1.1, (2000, n)) + 1, 2 ** (1 / 1.1)),  # its variance is infinite
    }[shape]
    summaries = [summarize(trace) for trace in draws]
    assert sum(misses(summary, median) for summary in summaries) <= 0.06 * 2000
    given = [summary for summary in summaries if summary.ci_low is not None]
    assert len(given) >= 0.9 * 2000
    assert sum(misses(summary, median) for summary in given) >= 0.003 * 2000  # not as wide as it likes


@pytest.mark.parametrize("memory", [0.5, 0.9, *thorough(0.3, 0.8, 0.95, 0.98)])
@pytest.mark.parametrize("n", [20, 100, 1000, *thorough(60, 300)])
def test_interval_holds_the_median_of_correlated_calls(n: int, memory: float) -> None:
    summaries = [summarize(trace) for trace in correlated(n, n, memory, TRACES)]
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
    assert sum(misses(summarize(trace)) for trace in traces) <= most * TRACES


def test_heavy_tails_do_not_hide_correlation() -> None:
    traces = np.exp(correlated(3, 500, 0.9, TRACES))  # the exponential of a log-normal has no moments
    assert sum(misses(summarize(trace), math.e) for trace in traces) <= 0.07 * TRACES


def test_interval_is_little_wider_than_independent_calls_need() -> None:
    ratios = []
    for trace in correlated(9, 400, 0.0, 100):
        summary, rank, ordered = summarize(trace), interval_rank(400, 400), np.sort(trace)
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
    assert effective_count(np.tile([1.0, 2.0], 100)) >= 170  # neighbors that differ are no correlation


def test_a_trend_has_no_interval() -> None:
    assert summarize(np.arange(99.0)).ci_low is None
