import itertools

import numpy as np
import pytest

from aneperf.measure import (
    analyze,
    find_warm_up,
)
from support.parameters import thorough
from support.traces import MS, correlated, noise


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
    sample = analyze(np.linspace(100 * MS, 10 * MS, 200).astype(np.int64))
    assert sample.warm_up == 1
    assert "cold start" in sample.flags
    assert "drift" in sample.flags
    assert "correlated" in sample.flags


def test_steady_trace_has_no_flags() -> None:
    trace = np.array(list(itertools.islice(noise(2, 10 * MS, 0.02), 300)))
    assert analyze(trace).flags == ()


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_drift_is_flagged_either_way(factor: float) -> None:
    steady = np.array(list(itertools.islice(noise(3, 10 * MS, 0.01), 300)))
    assert "drift" in analyze((steady * np.linspace(1, factor, 300)).astype(np.int64)).flags


def test_drift_below_the_tolerance_is_not_flagged() -> None:
    steady = np.full(300, 10 * MS)
    assert "drift" not in analyze((steady * np.linspace(1, 1.01, 300)).astype(np.int64)).flags


def test_outliers_are_no_drift_and_leave_the_median() -> None:
    trace = np.array(list(itertools.islice(noise(4, 10 * MS, 0.01), 300)))
    trace[200:300:10] *= 50
    sample = analyze(trace)
    assert sample.flags == ("heavy tail",)
    assert sample.statistics.median == pytest.approx(10, rel=0.01)
    assert sample.statistics.mean > 12


@pytest.mark.parametrize("calls", [100, 1000])
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_two_modes_are_flagged(calls: int, share: float) -> None:
    random = np.random.default_rng(calls)
    trace = np.where(random.random(calls) < share, 10 * MS, 12 * MS)
    flags = analyze((trace * (1 + 0.02 * random.standard_normal(calls))).astype(np.int64)).flags
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
        flagged += "bimodal" in analyze((MS * trace).astype(np.int64)).flags
    assert flagged <= 1


def test_steps_of_the_clock_are_no_modes() -> None:
    random = np.random.default_rng(1)
    assert "bimodal" not in analyze(random.choice([41, 42], 300)).flags
    assert "bimodal" in analyze(random.choice([41, 42, 80, 81], 300)).flags


def test_tails_are_flagged_only_if_heavy() -> None:
    random = np.random.default_rng(2)
    assert "heavy tail" not in analyze((MS * np.exp(random.standard_normal(1000) / 3)).astype(np.int64)).flags
    assert "heavy tail" in analyze((MS * (1 + random.pareto(1.1, 1000))).astype(np.int64)).flags


def test_few_and_noisy() -> None:
    trace = np.array(list(itertools.islice(noise(5, 10 * MS, 0.5), 19)))
    assert analyze(trace).flags == ("few samples", "noisy")
    assert analyze(trace[:4]).flags == ("few samples",)


def test_a_coarse_clock_is_no_noise() -> None:
    assert analyze(np.zeros(100, dtype=np.int64)).statistics.median == 0
    assert analyze(np.tile([41, 42], 100)).flags == ("noisy",)
    assert analyze(np.full(100, 41)).flags == ()


def test_published_mean_is_of_50_after_10() -> None:
    trace = np.concatenate([np.full(10, 99 * MS), np.full(50, 2 * MS), np.full(40, 7 * MS)])
    assert analyze(trace).published_mean == 2
    assert analyze(trace[:60]).published_mean == 2
    assert analyze(trace[:59]).published_mean is None
