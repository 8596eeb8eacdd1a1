import math

import pytest

from aneperf.power import ENERGY_MODEL, MAXIMUM_SLICES, SMC_MINUS_CPU, Slices, above, sliced


def test_a_counter_is_the_energy_between_two_readings() -> None:
    samples = [(0.0, 10.0), (0.4, 12.0), (1.0, 13.0), (2.0, 18.0)]
    assert sliced(samples, ENERGY_MODEL) == Slices((1.0, 1.0), (3.0, 5.0))


def test_a_gauge_is_a_mean_of_readings() -> None:
    samples = [(0.0, 99.0), (0.5, 2.0), (1.0, 4.0), (1.5, 5.0), (2.0, 7.0)]
    assert sliced(samples, SMC_MINUS_CPU) == Slices((1.0, 1.0), (3.0, 6.0))


def test_the_start_of_a_load_is_left_out() -> None:
    samples = [(t / 2, float(t)) for t in range(9)]
    assert sliced(samples, ENERGY_MODEL, settle_s=2.0) == Slices((1.0, 1.0), (2.0, 2.0))
    assert len(sliced(samples, ENERGY_MODEL, settle_s=9.0)) == 0
    assert len(sliced([], ENERGY_MODEL)) == 0


@pytest.mark.parametrize("after", [0.0, 3.0])
def test_a_counter_that_goes_back_loses_a_slice(after: float) -> None:
    samples = [(0.0, 100.0), (1.0, 105.0), (2.0, after), (3.0, after + 5), (4.0, after + 10)]
    assert sliced(samples, ENERGY_MODEL) == Slices((1.0, 1.0, 1.0), (5.0, 5.0, 5.0))


def test_a_rest_is_a_slice_or_a_part_of_one() -> None:
    samples = [(0.0, 0.0), (1.0, 1.0), (1.3, 2.6)]
    assert sliced(samples, ENERGY_MODEL) == Slices((1.3,), (2.0,))
    assert len(sliced([*samples, (1.6, 3.0)], ENERGY_MODEL)) == 2
    assert sliced(samples[1:], ENERGY_MODEL).seconds == pytest.approx((0.3,))


def test_the_interval_of_a_mean() -> None:
    slices = Slices((1.0,) * 4, (4.0, 5.0, 6.0, 5.0))
    assert slices.mean == 5
    # Student's t with 3 degrees of freedom, 3.182, times the standard error of the mean.
    assert slices.half_width == pytest.approx(3.182 * math.sqrt(2 / 3 / 4), rel=1e-3)
    assert math.isinf(Slices((1.0,), (4.0,)).half_width)
    weighted = Slices((3.0, 1.0), (4.0, 8.0))
    assert weighted.mean == 5


def test_power_above_idle() -> None:
    load, idle = Slices((1.0,) * 3, (6.0, 6.0, 6.0)), Slices((1.0,) * 3, (1.0, 1.0, 1.0))
    found = above(load, idle, 0.5)
    assert (found.value, found.ci_low, found.ci_high) == (5, 4.5, 5.5)
    assert above(idle, idle, 0.5).ci_low == 0
    assert above(Slices((1.0,), (6.0,)), idle, 0.5).ci_high is None


def test_a_long_load_keeps_a_bounded_number_of_slices() -> None:
    many = Slices((1.0,) * 5001, tuple(float(at % 7) for at in range(5001)))
    few = many.joined()
    assert MAXIMUM_SLICES / 2 <= len(few) <= MAXIMUM_SLICES
    assert few.mean == pytest.approx(many.mean)
    assert math.fsum(few.seconds) == 5001
