import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aneperf.errors import ArgumentError
from aneperf.measure import (
    ENOUGH,
    MAXIMUM_CALLS,
    SETTLED_SPAN_S,
    SETTLING_SPAN_S,
    UNSETTLED,
    UNTRUSTED,
    Sample,
    analyze,
    measure,
)
from support.fakes import FakeClock, replay
from support.parameters import thorough
from support.traces import MS, correlated, misses, noise


def test_measure_stops_once_precise() -> None:
    clock = FakeClock()
    sample = measure(replay(noise(6, 1 * MS, 0.05), clock), budget_s=60, clock=clock)
    assert sample.flags == ()
    assert SETTLING_SPAN_S <= clock.now < 2
    width = sample.statistics.relative_half_width
    assert width is not None
    assert width <= 0.02
    assert sample.published_mean is not None
    assert sample.statistics.n == len(sample.durations) - sample.warm_up


def test_a_settled_device_takes_less_time() -> None:
    clock = FakeClock()
    sample = measure(replay(noise(6, 1 * MS, 0.05), clock), budget_s=60, span_s=SETTLED_SPAN_S, clock=clock)
    assert SETTLED_SPAN_S <= clock.now < SETTLING_SPAN_S
    assert sample.flags == ()


def slow_at_first(
    clock: FakeClock, slow_s: float, ramp_s: float, seed: int = 0
) -> Callable[[int], NDArray[np.int64]]:
    """Follow 751K's plane engine of an M6, 2.6 times slow at first, in time and shape of the ramp."""
    random = np.random.default_rng(seed)

    def run(count: int) -> NDArray[np.int64]:
        durations = []
        for _ in range(count):
            ramped = (clock.now - slow_s) / ramp_s if ramp_s else math.inf
            share = 1.0 if clock.now < slow_s else max(0.0, 1 - ramped)
            durations.append(round((0.466 + 0.727 * share) * (1 + 0.004 * random.standard_normal()) * MS))
            clock.now += durations[-1] * 1e-9
        return np.array(durations, dtype=np.int64)

    return run


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("slow_s", "ramp_s", "budget_s"),
    [(0.3, 0.0, 1.5), (0.45, 0.35, 1.5), (0.1, 0.05, 1.5), (0.0, 0.8, 1.5), (0.9, 0.0, 1.5), (1.3, 0.0, 3)],
)
def test_a_clock_that_starts_slow_is_waited_for(
    slow_s: float, ramp_s: float, budget_s: float, seed: int
) -> None:
    clock = FakeClock()
    sample = measure(slow_at_first(clock, slow_s, ramp_s, seed), budget_s=budget_s, clock=clock)
    assert sample.statistics.median == pytest.approx(0.466, rel=0.01)
    assert not UNTRUSTED.intersection(sample.flags)
    assert sample.loaded_s == pytest.approx(clock.now)


@pytest.mark.parametrize(
    ("slow_s", "ramp_s", "budget_s"),
    [(0.45, 0.0, 0.3), (0.9, 0.0, 0.6), (0.9, 0.0, 1.0), (0.8, 0.8, 1.0), (1.3, 0.0, 1.5)],
)
def test_a_clock_that_is_still_slow_is_flagged(slow_s: float, ramp_s: float, budget_s: float) -> None:
    clock = FakeClock()
    sample = measure(slow_at_first(clock, slow_s, ramp_s), budget_s=budget_s, clock=clock)
    assert sample.statistics.median > 0.6
    assert {"drift", "cold start", UNSETTLED}.intersection(sample.flags)


def test_a_device_that_settles_at_once_is_not_flagged() -> None:
    clock = FakeClock()
    run = replay(noise(6, 1 * MS, 0.005), clock)
    sample = measure(run, budget_s=0.3, span_s=SETTLED_SPAN_S, clock=clock)
    assert (sample.flags, sample.loaded_s) == ((), None)


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
@pytest.mark.parametrize("memory", [0.9, *thorough(0.0, 0.5, 0.98)])
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
    """Count each look as a chance to stop on luck."""
    looks = []

    def look(durations: np.ndarray, **options: float) -> Sample:
        looks.append(len(durations))
        return analyze(durations, **options)

    monkeypatch.setattr("aneperf.measure.loop.analyze", look)
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
