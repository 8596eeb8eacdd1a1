import math
from typing import Any

import numpy as np
import pytest

from aneperf.measure import (
    Contrast,
    Sample,
    Statistics,
    contrast,
    geometric_mean,
    join,
    student_quantile,
    student_tail,
)


def a_sample(median: float, *flags: str, n: int = 100, **changes: Any) -> Sample:
    fields = {"mean": median, "p05": 0.9 * median, "p95": 1.2 * median, "ci_low": None, "ci_high": None}
    statistics = Statistics(**{"n": n, "effective": n, "median": median, **fields, **changes})
    return Sample(np.zeros(0, np.int64), 1, statistics, 2 * median, flags)


@pytest.mark.parametrize(
    ("freedom", "confidence", "quantile"),
    [
        *((1, 0.95, 12.7062), (2, 0.95, 4.30265), (4, 0.95, 2.77645), (4, 0.998, 7.17318)),
        *((8, 0.998, 4.50079), (15, 0.95, 2.13145), (1000, 0.95, 1.96234), (math.inf, 0.95, 1.95996)),
    ],
)
def test_quantiles_are_those_of_students_tables(freedom: float, confidence: float, quantile: float) -> None:
    assert student_quantile(confidence, freedom) == pytest.approx(quantile, rel=2e-4)
    assert student_tail(quantile, freedom) == pytest.approx(1 - confidence, rel=2e-3)


def test_a_far_tail_keeps_its_digits() -> None:
    assert student_tail(10, 8) == pytest.approx(8.4882e-6, rel=1e-4)
    assert student_tail(0, 3) == 1


def test_each_process_has_the_same_weight() -> None:
    joined = join([a_sample(1.0, n=100), a_sample(2.0, n=900), a_sample(4.0, n=100)])
    assert joined.medians == (1.0, 2.0, 4.0)
    assert joined.statistics.n == 1100
    assert joined.statistics.median == pytest.approx(2)
    assert (joined.statistics.p05, joined.statistics.p95) == pytest.approx((1.8, 2.4))
    assert joined.statistics.mean == pytest.approx(7 / 3)
    assert joined.published_mean == pytest.approx(14 / 3)


def test_the_interval_is_students_over_the_logarithms() -> None:
    medians = [1.0, 1.02, 0.99, 1.05, 1.01]
    logs = np.log(medians)
    half = 2.77645 * logs.std(ddof=1) / math.sqrt(5)
    found = join([a_sample(median) for median in medians]).statistics
    ends = np.exp(logs.mean() - half), np.exp(logs.mean() + half)
    assert (found.ci_low, found.ci_high) == pytest.approx(ends)


def test_the_interval_holds_what_varies_between_processes() -> None:
    """Cover the truth with 95 % of intervals, where each call is exact and only processes differ."""
    random = np.random.default_rng(0)
    estimates = [geometric_mean(np.exp(0.03 * random.standard_normal(5)).tolist()) for _ in range(1000)]
    assert 0.93 < sum(not estimate.excludes(1) for estimate in estimates) / 1000 < 0.97


@pytest.mark.parametrize("values", [[2.0], [0.0, 1.0], [1e-300, 1e300]], ids=["one", "zero", "far apart"])
def test_what_tells_nothing_of_the_spread_has_no_interval(values: list[float]) -> None:
    estimate = geometric_mean(values)
    assert (estimate.ci_low, estimate.ci_high) == (None, None)
    assert estimate.value == pytest.approx(math.prod(values) ** (1 / len(values)))


def test_equal_medians_lie_within_their_interval() -> None:
    for value in (9.871, 1 / 3, 1e-7):
        estimate = geometric_mean([value] * 5)
        assert estimate.ci_low == estimate.value == estimate.ci_high


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["drift", "", "", "", ""], ()),
        (["drift", "drift", "", "drift", "heavy tail"], ("drift",)),
        (["correlated"] * 5, ()),
        (["noisy"] * 5, ()),
        (["few samples"] * 5, ()),
    ],
)
def test_a_flag_stays_if_half_of_the_processes_raise_it(flags: list[str], expected: tuple[str, ...]) -> None:
    assert join([a_sample(1.0, *filter(None, [flag])) for flag in flags]).flags == expected


def test_flags_tell_of_all_calls_and_of_the_joined_interval() -> None:
    assert join([a_sample(1.0, n=4), a_sample(1.1, n=4)]).flags == ("few samples", "noisy")


def test_a_contrast_allows_each_side_its_spread() -> None:
    """Compare with Welch's test computed by hand."""
    changed, base = [1.10, 1.12, 1.08, 1.11], [1.00, 1.05, 0.95]
    found = contrast(changed, base)
    assert found is not None
    parts = [np.log(changed).var(ddof=1) / 4, np.log(base).var(ddof=1) / 3]
    assert found.log_ratio == pytest.approx(np.log(changed).mean() - np.log(base).mean())
    assert found.standard_error == pytest.approx(math.sqrt(sum(parts)))
    assert found.freedom == pytest.approx(sum(parts) ** 2 / (parts[0] ** 2 / 3 + parts[1] ** 2 / 2))
    estimate = found.estimate()
    half = student_quantile(0.95, found.freedom) * found.standard_error
    assert estimate.ci_high == pytest.approx(estimate.value * math.exp(half))


def test_a_side_of_one_process_spreads_as_the_other() -> None:
    several = [1.00, 1.02, 0.98, 1.01, 0.99]
    spread = np.log(several).std(ddof=1)
    for one in (contrast([1.1], several), contrast(several, [1.1])):
        assert one is not None
        assert one.standard_error == pytest.approx(spread * math.sqrt(1.2))
        assert one.freedom == 4


def test_one_process_against_one_tells_nothing_of_the_spread() -> None:
    assert contrast([1.0], [2.0]) is None
    assert contrast([1.0, 1.1], [0.0, 1.0]) is None


def test_a_p_value_counts_what_lies_beyond_the_margin() -> None:
    found = Contrast(math.log(1.05), 0.01, 8)
    assert found.p_value() == pytest.approx(student_tail(math.log(1.05) / 0.01, 8))
    assert found.p_value(0.02) == pytest.approx(student_tail(math.log(1.05 / 1.02) / 0.01, 8))
    assert found.p_value(0.051) == found.p_value(0.5) == 1
    assert Contrast(-math.log(1.05), 0.01, 8).p_value(0.02) == found.p_value(0.02)
    assert Contrast(0.1, 0.0, 8).p_value(0.05) == 0


def test_equal_sides_are_seldom_told_apart() -> None:
    """Keep the level of 1 % where the sides spread differently; that of 1,000 deviates by 0.3 %."""
    random = np.random.default_rng(1)
    values = [
        contrast(np.exp(0.03 * calm).tolist(), np.exp(0.01 * wild).tolist())
        for calm, wild in random.standard_normal((1000, 2, 5))
    ]
    assert sum(value is not None and value.p_value() < 0.01 for value in values) <= 20
