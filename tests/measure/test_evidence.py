import math

import pytest

from aneperf.measure import ASSUMED_SPREAD, contrast, contrast_of_ratios, discoveries, evidence


def test_enough_processes_are_compared_by_what_they_show() -> None:
    equal = (2.0, 2.02, 1.98), (1.0, 1.2, 0.9)
    assert evidence(*equal, within=0.5).contrast.freedom == 4
    sides = (2.0, 2.02, 1.98, 2.01), (1.0, 1.01, 0.99)
    found = evidence(*sides, within=0.5)
    assert found.contrast == contrast(*sides)
    assert not found.assumed
    assert found.estimate() == found.contrast.estimate()
    assert found.p_value(0.1) == found.contrast.p_value(0.1)


def test_one_process_a_side_has_the_assumed_spread_and_its_own_error() -> None:
    found = evidence((2.0,), (1.0,), within=0.04)
    assert found.assumed
    assert found.contrast.log_ratio == pytest.approx(math.log(2))
    assert found.contrast.standard_error == pytest.approx(math.sqrt(2 * ASSUMED_SPREAD**2 + 0.04**2))
    assert found.contrast.freedom == 8


def test_a_spread_that_is_seen_is_blended_with_the_assumed_one() -> None:
    found = evidence((1.0, 1.0), (1.0, math.exp(0.2)), within=0.0)
    assert found.contrast.freedom == 10
    spread = math.sqrt((8 * ASSUMED_SPREAD**2 + 2 * 0.1**2) / 10)
    assert found.contrast.standard_error == pytest.approx(spread)


def test_what_no_sample_shows_shifts_the_nearer_end() -> None:
    found = evidence((2.0,) * 3, (1.0,) * 3, within=0.0)
    for smaller, larger in ((1.5, 1.0), (1.0, 1.2), (1.9, 3.0)):
        wider = type(found)(found.contrast, assumed=False, smaller=smaller, larger=larger)
        assert wider.estimate().ci_low == pytest.approx(2 / smaller)
        assert wider.estimate().ci_high == pytest.approx(2 * larger)
        assert wider.p_value(0.01) == 0.0
        assert wider.p_value(2 / smaller) == 1.0
    assert type(found)(found.contrast, assumed=False, smaller=2.1).p_value(0.0) == 1.0


def test_discoveries_are_those_of_benjamini_and_hochberg() -> None:
    """Use the example of their paper: 15 tests, of which 4 are found at 5 %."""
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    assert discoveries(p_values, 0.05) == (True,) * 4 + (False,) * 11
    assert discoveries(p_values[::-1], 0.05) == (False,) * 11 + (True,) * 4
    assert discoveries([], 0.05) == ()
    assert discoveries([1.0, 1.0], 0.05) == (False, False)
    assert discoveries([0.03, 0.04], 0.05) == (True, True)


def test_ratios_of_pairs_are_judged_by_students_paired_test() -> None:
    """Use logarithms of -0.01, -0.02, -0.03, -0.04, -0.05: t is 0.03 / (0.0158 / sqrt(5)) = 4.243."""
    found = contrast_of_ratios([math.exp(place / 100) for place in range(1, 6)])
    assert found is not None
    assert found.log_ratio == pytest.approx(-0.03)
    assert found.standard_error == pytest.approx(0.03 / 4.2426, rel=1e-4)
    assert found.freedom == 4
    assert found.p_value() == pytest.approx(0.01324, rel=1e-3)
    estimate = found.estimate()
    half = 2.7764 * 0.03 / 4.2426
    assert (estimate.ci_low, estimate.ci_high) == pytest.approx(
        (math.exp(-0.03 - half), math.exp(-0.03 + half)), rel=1e-4
    )


def test_two_pairs_tell_nothing() -> None:
    assert contrast_of_ratios([1.0, 1.1]) is None
    assert contrast_of_ratios([]) is None


def test_of_ten_pairs_the_outer_ones_only_bound_the_spread() -> None:
    logs = [0.01 * place for place in range(1, 11)]
    found = contrast_of_ratios([math.exp(-log) for log in logs])
    assert found is not None
    assert (found.log_ratio, found.freedom) == (pytest.approx(0.055), 5)
    squares = 2 * (3 * 0.025**2 + 0.015**2 + 0.005**2)
    assert found.standard_error == pytest.approx(math.sqrt(squares / (6 * 5)))
    far = contrast_of_ratios([math.exp(-log) for log in (-0.5, *logs[1:-1], 0.9)])
    assert far is not None
    assert far.log_ratio == pytest.approx(found.log_ratio)
    assert far.standard_error == pytest.approx(found.standard_error)
