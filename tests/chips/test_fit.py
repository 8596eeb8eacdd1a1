"""The fit makes what is shipped; its quality is on docs/prediction.md, which it makes too."""

import math
import re
from importlib.resources import files
from pathlib import Path

import pytest

from aneperf.chips.cost import PARAMETERS, Call
from aneperf.chips.fit import COVERAGE, fits, leave_out, write_parameters
from aneperf.chips.parameters import parameters_of
from aneperf.report.prediction_page import prediction_page

SHIPPED = files("aneperf.chips").joinpath("parameters.csv").read_text(encoding="utf-8")
PAGE = Path(__file__).parents[2] / "docs" / "prediction.md"
NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[-+]\d+)?")


def assert_alike(found: str, expected: str) -> None:
    """Compare texts whose numbers may differ in their last digit: libraries of linear algebra do."""
    assert NUMBER.sub("0", found) == NUMBER.sub("0", expected)
    numbers = zip(NUMBER.findall(found), NUMBER.findall(expected), strict=True)
    assert [pair for pair in numbers if not math.isclose(float(pair[0]), float(pair[1]), rel_tol=0.02)] == []


def test_shipped_parameters_are_those_of_the_fit() -> None:
    """Run `python -m aneperf.chips.fit > parameters.csv` after a change of the figures, priors or model."""
    for chips, fit, _ in fits():
        for chip in chips:
            shipped = parameters_of(chip)
            values, deviations = fit.values(chip), fit.deviations(chip)
            for name in PARAMETERS:
                assert shipped.values[name] == pytest.approx(values[name], rel=2e-3), (chip.name, name)
                assert math.exp(shipped.deviations[name]) == pytest.approx(
                    math.exp(deviations[name]), rel=2e-3
                )


@pytest.mark.thorough
def test_shipped_file_is_the_one_that_the_fit_writes() -> None:
    assert_alike(write_parameters(), SHIPPED)


@pytest.mark.thorough
def test_the_page_is_up_to_date() -> None:
    """Run `python -m aneperf.report.prediction_page > docs/prediction.md` after such a change."""
    assert_alike(prediction_page(), PAGE.read_text(encoding="utf-8"))


@pytest.mark.thorough
def test_equal_calls_are_left_out_together() -> None:
    """Keys of one call, such as those of several priorities, have one prediction."""
    found = [one for one in leave_out() if one.target.figure.chip == "M5"]
    by_call: dict[Call, set[float]] = {}
    for one in found:
        by_call.setdefault(one.target.call, set()).add(sum(term.ms for term in one.terms))
    assert len({one.target.figure.key for one in found}) > len(by_call)
    assert {len(times) for times in by_call.values()} == {1}


@pytest.mark.thorough
def test_intervals_hold_what_they_should() -> None:
    calibration = parameters_of("M4").calibration
    for by_owner in (False, True):
        found = leave_out(by_owner)
        inside = [
            interval.low <= one.target.ms <= interval.high
            for one in found
            for interval in [one.interval(calibration)]
        ]
        assert sum(inside) >= COVERAGE * len(found)
