"""Summaries of published figures, and the standing of a measured number among them."""

import pytest

from aneperf.chips import CHIPS, compare_value, published, shipped_figures, summaries
from aneperf.errors import ArgumentError

DEEPEST = "peak/conv512x128/sp64/fp32-ports"
STATIC_RATE = "training/static/stories110m/ane-rate"


def test_summaries_hold_every_figure_once() -> None:
    held = [figure for summary in summaries() for figure in summary.figures]
    assert sorted(map(repr, held)) == sorted(map(repr, shipped_figures()))
    names = [(summary.key, summary.chip) for summary in summaries()]
    assert len(names) == len(set(names))  # a key has one unit


def test_a_summary_is_the_median_and_the_range() -> None:
    (summary,) = summaries(chip="M4 Max", key=STATIC_RATE)
    values = sorted(f.value for f in published("M4 Max") if f.key == STATIC_RATE and f.value)
    assert summary.value == pytest.approx(values[len(values) // 2])
    assert (summary.low, summary.high) == (values[0], values[-1])
    assert summary.caveats == ("nominal-flops",)
    assert summary.sources == ("fork-results", "fork-json", "report")


def test_published_ranges_count() -> None:
    (summary,) = summaries(chip="M1 Pro", key="training/static/stories110m/step")
    assert (summary.low, summary.value, summary.high) == (148, 155.5, 163)


def test_a_key_is_listed_by_chip_in_the_order_of_chips() -> None:
    order = [chip.name for chip in CHIPS]
    chips = [summary.chip for summary in summaries(key=DEEPEST)]
    assert len(chips) > 5
    assert chips == sorted(chips, key=order.index)
    assert summaries(key="peak/none") == ()
    with pytest.raises(ArgumentError, match="no chip is called 'M9'"):
        summaries(chip="M9")


def test_what_failed_has_no_number() -> None:
    (failed,) = summaries(chip="M1 Max", key=DEEPEST)
    assert (failed.value, failed.low, failed.high) == (None, None, None)
    (standing,) = compare_value(DEEPEST, "ms", 0.3, "M1 Max")
    assert (standing.ratio, standing.low, standing.high) == (None, None, None)


def test_a_shorter_time_is_faster() -> None:
    (standing,) = compare_value(DEEPEST, "ms", 0.1555, "M5 Max")
    assert standing.ratio == standing.low == standing.high == pytest.approx(2)
    (of_several,) = compare_value(DEEPEST, "ms", 0.4, "M4 Max")
    summary = of_several.summary
    assert summary.low is not None
    assert summary.high is not None
    assert of_several.low == pytest.approx(summary.low / 0.4)
    assert of_several.high == pytest.approx(summary.high / 0.4)


def test_a_higher_rate_is_faster() -> None:
    (standing,) = compare_value(STATIC_RATE, "TFLOPS", 1.2, "M1 Pro")
    assert standing.ratio == pytest.approx(2)
    assert (standing.low, standing.high) == (pytest.approx(1.2 / 0.63), pytest.approx(1.2 / 0.57))


def test_other_units_and_no_number_have_no_standing() -> None:
    assert compare_value(DEEPEST, "us", 0.3) == []
    assert [standing.ratio for standing in compare_value(DEEPEST, "ms", None, "M5 Max")] == [None]
    assert [standing.ratio for standing in compare_value(DEEPEST, "ms", 0.0, "M5 Max")] == [None]


def test_a_figure_of_another_route_has_no_standing() -> None:
    key = "latency/conv256x1/sp64/fp32-ports"
    standings = {one.summary.chip: one for one in compare_value(key, "ms", 0.1)}
    by_core_ml, own = standings["M4 Max"], standings["M4"]
    assert (by_core_ml.summary.route, by_core_ml.summary.is_private, by_core_ml.ratio) == (
        "coreml",
        False,
        None,
    )
    assert own.summary.is_private
    assert own.ratio == pytest.approx(1.06)
