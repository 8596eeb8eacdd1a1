import re
from typing import Any

import numpy as np
import pytest

from aneperf.errors import ArgumentError
from aneperf.report import compare_results
from aneperf.report.verdicts import DOUBT_FACTOR
from aneperf.results import Result, Row
from support.compared import around, in_processes, line, timed
from support.fakes import a_result, an_environment


@pytest.mark.parametrize(
    ("first", "second", "verdict", "ratio"),
    [
        (around(1.0), around(2.0), "SLOWER", 1 / 2),
        (around(2.0), around(1.0), "FASTER", 2),
        (around(1.0), around(1.05), "SLOWER", 1 / 1.05),
        (around(1.0), around(1.012), "SAME", 1 / 1.012),  # apart, but not surely by more than 1 %
        (around(1.0, 0.2), around(1.15, 0.2), "UNCLEAR", 1 / 1.15),
        (around(1.0, 0.2), around(1.0, 0.2), "UNCLEAR", 1.0),  # too wide to call them the same
        (around(1.0, unit="TFLOPS"), around(2.0, unit="TFLOPS"), "FASTER", 2),
        (around(1.0), in_processes(1.3, 1.3), "SLOWER", 1 / 1.3),
        (around(1.0), timed(1.3), "SLOWER", 1 / 1.3),  # one process is taken to vary as the others do
    ],
)
def test_the_verdict_is_on_the_second_of_two_results(
    first: Row, second: Row, verdict: str, ratio: float
) -> None:
    found = line(first, second)
    assert found.verdict == verdict
    assert not found.assumed
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(ratio, rel=1e-4)
    assert found.ratio.ci_low is not None
    assert found.ratio.ci_high is not None
    assert found.ratio.ci_low <= found.ratio.value <= found.ratio.ci_high
    assert (found.reason is not None) == (verdict == "UNCLEAR")


def test_a_row_of_one_process_is_marked_and_needs_a_larger_difference() -> None:
    for second, verdict in ((1.0, "SAME"), (1.1, "UNCLEAR"), (1.3, "SLOWER"), (0.7, "FASTER")):
        found = line(timed(1.0, 0.001), timed(second, 0.001))
        assert (found.verdict, found.assumed) == (verdict, True)
    text = str(a_result(timed(1.0)).compare(a_result(timed(2.0))))
    assert re.search(r"2.00x slower +1.\d\d-2.\d\d SLOWER \*\n", text)
    assert "too few processes" in text


def test_two_processes_add_to_the_assumed_spread() -> None:
    alone, calm, wild = (
        line(row, row) for row in (timed(1.0, 0.0001), in_processes(1.0, 1.0), in_processes(0.8, 1.25))
    )
    for found in (alone, calm, wild):
        assert found.assumed
        assert found.ratio is not None
        assert found.ratio.ci_high is not None
    assert calm.ratio.ci_high < alone.ratio.ci_high < wild.ratio.ci_high  # type: ignore[union-attr, operator]


def test_the_interval_decides_about_the_threshold() -> None:
    before, after, noisy = (a_result(row) for row in (around(1.0), around(1.08), around(1.08, 0.05)))
    for threshold, verdict in ((0.0, "SLOWER"), (0.05, "SLOWER"), (0.08, "UNCLEAR"), (0.1, "SAME")):
        assert [row.verdict for row in before.compare(after, threshold)] == [verdict]
    assert [row.verdict for row in before.compare(noisy, 0.05)] == ["UNCLEAR"]
    for wrong in (-0.1, 11, float("nan"), "5%"):
        with pytest.raises(ArgumentError, match="threshold must be from 0 to 10, not"):
            before.compare(after, wrong)  # type: ignore[arg-type]


def test_what_varies_between_files_widens_the_interval() -> None:
    steady = [a_result(around(median)) for median in (1.0, 1.001, 0.999)]
    moved = [a_result(around(median)) for median in (1.08, 1.002, 1.04)]
    (alone,) = compare_results(steady[0], moved[0])
    (pooled,) = compare_results(steady, moved)
    assert (alone.verdict, pooled.verdict) == ("SLOWER", "UNCLEAR")
    assert (pooled.first.figures, pooled.second.figures) == (3, 3)
    assert pooled.second.median == pytest.approx((1.08 * 1.002 * 1.04) ** (1 / 3), rel=1e-4)
    later = [a_result(around(median)) for median in (1.1, 1.101, 1.099)]
    assert [row.verdict for row in compare_results(steady, later)] == ["SLOWER"]
    assert [row.verdict for row in compare_results([*steady, *moved[:2]], later[0])] == ["UNCLEAR"]


def test_equal_code_is_rarely_called_different() -> None:
    """Simulate tables whose processes vary by 3 %: a false verdict is in 1 % of them."""
    random = np.random.default_rng(5)

    def measured() -> Result:
        medians = np.exp(0.03 * random.standard_normal((20, 5)))
        return a_result(*(in_processes(*row.tolist(), depth=depth) for depth, row in enumerate(medians)))

    tables = [measured().compare(measured()) for _ in range(20)]
    assert sum(any(row.verdict in ("FASTER", "SLOWER") for row in table) for table in tables) <= 1


def test_more_rows_need_more_certainty_unless_many_changed() -> None:
    changed = around(1.0, 0.02), around(1.08, 0.02)
    assert line(*changed).verdict == "SLOWER"
    same = [around(1.0, 0.02, depth=depth) for depth in range(1, 100)]
    (found, *_) = a_result(changed[0], *same).compare(a_result(changed[1], *same))
    assert (found.verdict, found.reason) == (
        "UNCLEAR",
        "sure to 95 % and not to the 99 % or more that a verdict takes",
    )
    slower = [around(1.08, 0.02, depth=depth) for depth in range(1, 100)]
    assert {row.verdict for row in a_result(*same).compare(a_result(*slower))} == {"SLOWER"}


@pytest.mark.parametrize("seed", range(5))
def test_swapped_sides_swap_the_verdict(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = (around(float(random.uniform(1, 1.3)), float(random.uniform(0, 0.1))) for _ in range(2))
    forth, back = line(first, second), line(second, first)
    opposite = {"FASTER": "SLOWER", "SLOWER": "FASTER"}
    assert back.verdict == opposite.get(forth.verdict, forth.verdict)
    assert forth.ratio is not None
    assert back.ratio is not None
    assert forth.ratio.value * back.ratio.value == pytest.approx(1)


@pytest.mark.parametrize("doubtful", [{"half": None}, {"flags": ("drift",)}, {"flags": ("few samples",)}])
def test_doubtful_rows_take_a_larger_factor(doubtful: dict[str, Any]) -> None:
    for factor, verdict in ((1.4, "UNCLEAR"), (2.2, "FASTER"), (0.4, "SLOWER"), (1.0, "UNCLEAR")):
        found = line(timed(factor), timed(1.0, **doubtful))
        assert found.verdict == verdict
        assert found.ratio is not None
        assert found.ratio.ci_high is not None
        assert found.ratio.ci_high > DOUBT_FACTOR * factor
        assert (found.reason in ("no interval", "drift", "few samples")) == (verdict == "UNCLEAR")


def test_a_busy_machine_makes_a_row_of_one_process_doubtful() -> None:
    busy = {"environment": an_environment(load=4.0)}
    assert (line(timed(1.0), timed(1.3), **busy).reason) == "busy machine"
    assert line(timed(1.0), timed(2.2), **busy).verdict == "SLOWER"
    assert line(around(1.0), around(1.3), **busy).verdict == "SLOWER"


def test_processes_show_what_a_flag_is_afraid_of() -> None:
    flags = ("drift", "preempted")
    assert line(around(1.0), around(1.2, flags=flags)).verdict == "SLOWER"
    assert line(timed(1.0), timed(9.0, flags=flags)).reason == "drift, preempted"


def test_flags_that_do_not_affect_the_interval_change_nothing() -> None:
    assert line(timed(1.4), timed(1.0, flags=("noisy", "heavy tail", "correlated"))).verdict == "FASTER"


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ((1.05, 1.051, 1.049, 1.052), "SLOWER"),
        ((0.95, 0.951, 0.949, 0.952), "FASTER"),
        ((1.0, 1.01, 0.99, 1.0), "SAME"),
        ((0.8, 1.2, 1.0, 1.1), "UNCLEAR"),
    ],
)
def test_pairs_that_took_turns_decide_and_not_the_medians(ratios: tuple[float, ...], verdict: str) -> None:
    """A machine changed its speed between the processes, so the medians are far apart."""
    sides = a_result(in_processes(1.0, 1.8, 1.1, 1.9)), a_result(in_processes(1.9, 1.0, 1.7, 1.2))
    without = compare_results(*sides).rows[0]
    comparison = compare_results(*sides, ratios={without.key: ratios})
    (row,) = comparison.rows
    assert (row.verdict, row.pairs, without.pairs) == (verdict, 4, 0)
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(1 / np.exp(np.log(ratios).mean()))
    assert "The ratio is that of the turns of 4 pairs of processes, not of the medians." in str(comparison)
    assert comparison.to_dicts()[0]["pairs"] == 4
    assert compare_results(*sides, ratios={without.key: ratios[:2]}).rows[0].verdict == without.verdict
