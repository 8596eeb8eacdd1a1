import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from aneperf.errors import ArgumentError
from aneperf.measure import Statistics, measure_interleaved, ratio
from support.fakes import FakeClock

MS = 1_000_000


def statistics(median: float, low: float | None, high: float | None) -> Statistics:
    return Statistics(100, 100, median, median, median, median, low, high)


def on_a_machine(
    clock: FakeClock, durations_ms: Iterator[float], slowdown: Callable[[float], float] = lambda now: 1.0
) -> Callable[[int], np.ndarray]:
    """Make a kernel on a machine that is `slowdown(now)` times as slow as at its best."""

    def run(count: int) -> np.ndarray:
        calls = []
        for _ in range(count):
            calls.append(next(durations_ms) * slowdown(clock.now))
            clock.now += calls[-1] * 1e-3
        return (np.array(calls) * MS).astype(np.int64)

    return run


def around(median: float, seed: int) -> Iterator[float]:
    random = np.random.default_rng(seed)
    while True:
        yield from (median * np.exp(0.02 * random.standard_normal(64))).tolist()


def test_without_intervals_there_is_no_interval() -> None:
    known, unknown = statistics(2.0, 1.9, 2.1), statistics(1.0, None, None)
    for estimate in (ratio(known, unknown), ratio(unknown, known)):
        assert (estimate.ci_low, estimate.ci_high) == (None, None)
        assert not estimate.excludes(0)
    assert ratio(known, unknown).value == 2.0


def test_ratio_excludes_one_exactly_if_the_intervals_do_not_meet() -> None:
    apart = ratio(statistics(1.2, 1.11, 1.3), statistics(1.0, 0.9, 1.1))
    assert (apart.value, apart.ci_low, apart.ci_high) == pytest.approx((1.2, 1.11 / 1.1, 1.3 / 0.9))
    assert apart.excludes(1)
    assert not ratio(statistics(1.2, 1.09, 1.3), statistics(1.0, 0.9, 1.1)).excludes(1)


def test_ratio_refuses_a_median_of_zero() -> None:
    with pytest.raises(ArgumentError, match="clock is too coarse"):
        ratio(statistics(1.0, 1.0, 1.0), statistics(0.0, 0.0, 0.0))


def test_ratio_refuses_what_a_float_cannot_hold() -> None:
    with pytest.raises(ArgumentError, match="too far apart"):
        ratio(statistics(1e300, None, None), statistics(1e-300, None, None))
    assert ratio(statistics(1e300, 1e299, 1e301), statistics(1e-7, 1e-9, 1e-6)).ci_high is None


def test_interleaving_takes_turns_in_alternating_order() -> None:
    clock, order = FakeClock(), []

    def kernel(name: str) -> Callable[[int], np.ndarray]:
        def run(count: int) -> np.ndarray:
            order.append(name)
            clock.now += 0.004 * count
            return np.full(count, 4 * MS)

        return run

    found = measure_interleaved([kernel(name) for name in "abc"], budget_s=5, clock=clock)
    assert "".join(order).startswith("abccbaabccba")
    assert [ratio.value for ratio in found.ratios] == [1, 1, 1]
    assert found.rounds >= 20
    assert clock.now < 5


def test_interleaving_finds_a_ratio_that_drift_hides() -> None:
    clock = FakeClock()
    kernels = [
        on_a_machine(clock, around(median, seed), lambda now: 1 + now)
        for seed, median in enumerate((1.0, 1.05))
    ]
    found = measure_interleaved(kernels, budget_s=3, clock=clock)
    _, second = found.ratios
    assert second.ci_low is not None
    assert second.ci_high is not None
    assert 1.03 < second.ci_low <= second.value <= second.ci_high < 1.07
    assert all("drift" in sample.flags for sample in found.samples)
    assert not ratio(found.samples[1].statistics, found.samples[0].statistics).excludes(1)


def test_interleaved_ratios_hold_the_true_one(thorough: bool) -> None:
    missed, traces = 0, 100 if thorough else 25
    for seed in range(traces):
        clock = FakeClock()
        wave = lambda now: 1 + 0.2 * math.sin(20 * now)  # noqa: E731
        kernels = [
            on_a_machine(clock, around(median, 2 * seed + i), wave) for i, median in enumerate((1, 1.1))
        ]
        found = measure_interleaved(kernels, budget_s=1, clock=clock)
        missed += found.ratios[1].excludes(1.1)
    assert missed <= 0.08 * traces


def test_interleaving_stops_when_the_budget_is_spent() -> None:
    clock = FakeClock()
    random = np.random.default_rng(4)
    wild = (math.exp(2 * random.standard_normal()) for _ in itertools.count())
    found = measure_interleaved([on_a_machine(clock, wild)] * 2, budget_s=1.5, clock=clock)
    assert 1.2 <= clock.now <= 2.2
    assert len(found.samples) == len(found.ratios) == 2


def test_interleaving_makes_four_rounds_of_the_slowest_kernels() -> None:
    clock = FakeClock()
    kernels = [on_a_machine(clock, itertools.repeat(ms)) for ms in (9_000.0, 18_000.0)]
    found = measure_interleaved(kernels, budget_s=1, clock=clock)
    assert [len(sample.durations) for sample in found.samples] == [4, 4]
    assert found.ratios[1].value == 2
    assert found.ratios[1].ci_low is None


def test_interleaving_ends_on_a_clock_that_stands_still() -> None:
    still = [lambda count: np.zeros(count, dtype=np.int64)] * 2
    found = measure_interleaved(still, budget_s=1, clock=lambda: 0.0)
    assert found.ratios[1].value == 1


def test_interleaving_refuses() -> None:
    def run(count: int) -> np.ndarray:
        return np.zeros(count + 1, dtype=np.int64)

    with pytest.raises(ArgumentError, match="1 kernels cannot be compared"):
        measure_interleaved([run], budget_s=1)
    with pytest.raises(ArgumentError, match="must return 1 durations"):
        measure_interleaved([run, run], budget_s=1)
    with pytest.raises(ArgumentError, match="budget_s must be a positive, finite number"):
        measure_interleaved([run, run], budget_s=0)
