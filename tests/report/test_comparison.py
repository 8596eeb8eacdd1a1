import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aneperf.errors import ArgumentError
from aneperf.report import compare_results
from aneperf.report.comparison_table import lay_out_comparison
from aneperf.report.names import name_sides
from aneperf.report.table import to_text
from aneperf.report.verdicts import DOUBT_FACTOR
from aneperf.results import Result, Row
from support.compared import M4_MAX, STAND_IN, around, in_processes, line, timed
from support.fakes import a_result, a_row, an_environment


def test_without_a_value_there_is_no_ratio() -> None:
    refused = timed(1.0, status="unsupported", reason="no such op")
    found = line(timed(1.0), refused)
    assert (found.ratio, found.verdict, found.reason) == (None, "not comparable", "unsupported in after")
    assert line(timed(0.0), timed(1.0)).reason == "a median of 0"
    assert line(timed(0.0), timed(0.0)).reason == "both 0"
    assert line(timed(5e-324, None), timed(1e10, None)).reason == "too far apart for a ratio"
    assert line(in_processes(5e-324, 1e10), timed(1.0)).reason == "too far apart for a ratio"
    assert line(timed(1.0), timed(1.0, unit="s")).reason == "ms and s"
    assert line(timed(1.0, unit="MB"), timed(1.0, unit="MB")).reason == "no faster or slower in MB"
    assert line(timed(1.0, unit=None), timed(1.0, unit=None)).reason == "without a unit"


def test_rows_without_numbers_are_shown_only_if_they_differ() -> None:
    refused = timed(1.0, status="unsupported", reason="no such op")
    failed = timed(1.0, status="error", reason="wrong output")
    other = timed(1.0, depth=32)
    comparison = a_result(refused, other).compare(a_result(refused, other))
    assert [found.key for found in comparison] == [other.key]
    assert line(refused, failed).reason == "unsupported in before, error in after"
    taken = timed(None)
    assert line(taken, refused).reason == "ok without a median in before, unsupported in after"
    assert len(a_result(refused).compare(a_result(refused))) == 0
    assert "128x conv 512ch sp64: unsupported in after: no such op" in str(
        a_result(timed(1.0)).compare(a_result(refused))
    )


def test_rows_that_have_no_time_are_counted() -> None:
    comparison = a_result(timed(None)).compare(a_result(timed(None)))
    assert "1 without a time on either side." in str(comparison)
    assert comparison.failures() == []


def test_the_emulator_is_never_ranked_with_a_chip() -> None:
    chip = a_result(timed(0.4), environment=M4_MAX)
    for software, name in (
        (a_result(timed(18.0)), "emulator"),
        (a_result(timed(18.0), environment=STAND_IN), "stand-in"),
    ):
        for comparison in (software.compare("M4 Max"), software.compare(chip), chip.compare(software)):
            (found,) = comparison
            assert (found.verdict, found.reason, found.ratio) == ("not comparable", name, None)
            text = str(comparison)
            assert f"not comparable: {name}" in text
            assert "18.00" in text
            assert "FASTER" not in text
            assert "SLOWER" not in text
            assert comparison.to_dicts()[0]["ratio"] is None


def test_software_is_compared_with_software() -> None:
    emulator, stand_in = a_result(timed(1.0)), a_result(timed(2.0), environment=STAND_IN)
    assert [found.verdict for found in emulator.compare(stand_in)] == ["SLOWER"]


@pytest.mark.parametrize(
    ("median", "verdict"), [(0.2, "FASTER"), (0.38, "UNCLEAR"), (0.5, "UNCLEAR"), (0.7, "SLOWER")]
)
def test_published_figures_are_a_range(median: float, verdict: str) -> None:
    """Return the published figure: M4 Max took 0.371 to 0.393 ms for the deepest stack."""
    (found,) = a_result(timed(median), environment=M4_MAX).compare("apple m4max")
    assert found.second.is_range
    assert (found.second.ci_low, found.second.ci_high) == (0.371, 0.393)
    assert found.verdict == verdict
    assert found.reason == ("no interval published" if verdict == "UNCLEAR" else None)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.38 / median)
    if verdict == "FASTER":
        assert median * 1.01 * DOUBT_FACTOR < 0.371


LATENCY = ("latency/conv256x1/sp64/fp32-ports", "latency/conv512x1/sp64/fp32-ports")


def test_a_figure_of_another_route_is_never_judged() -> None:
    rows = [timed(0.1, key=key, params={"config": key}) for key in LATENCY]
    engine = a_result(*rows, environment=M4_MAX, probe="latency")
    comparison = engine.compare("M4 Max")
    assert {(row.second.median, row.ratio, row.verdict, row.reason) for row in comparison} == {
        (None, None, "not comparable", "run through Core ML")
    }
    assert {row.verdict for row in engine.compare("M4")} <= {"FASTER", "UNCLEAR"}
    text = " ".join(str(comparison).split())
    assert "No row of 2 is comparable: run through Core ML." in text
    assert "Figures of the M4 Max that compare are of: aneperf peak, sram, " in text
    assert LATENCY[0] not in text
    verbose = " ".join(to_text(lay_out_comparison(comparison, verbose=True)).split())
    assert LATENCY[0] in verbose
    assert "they hold what that library does on the CPU" in verbose
    assert comparison.to_dicts()[0]["reason"] == "run through Core ML"


def test_one_line_stands_for_rows_of_an_emulator() -> None:
    rows = [timed(18.0, depth=depth) for depth in (64, 128)]
    text = " ".join(str(a_result(*rows).compare("M4 Max")).split())
    assert "No row of 2 is comparable: emulator." in text
    assert "the same command with --device ane measures the engine" in text
    assert "conv 512ch" not in text


def test_published_failures_are_shown() -> None:
    row = timed(0.1, key="sram/conv256x1/sp64/fp32-ports")
    (found,) = a_result(row, environment=M4_MAX, probe="sram").compare("M3 Ultra")
    assert (found.second.median, found.verdict, found.reason) == (
        None,
        "not comparable",
        "published as failed",
    )


def test_refused_rows_are_shown_with_published_figures() -> None:
    refused = a_row(
        status="unsupported",
        reason="fp32 ports",
        unit=None,
        median=None,
        n=None,
        mean=None,
        p05=None,
        p95=None,
        ci_low=None,
        ci_high=None,
    )
    (found,) = a_result(refused, environment=M4_MAX).compare("M4 Max")
    assert (found.second.median, found.verdict, found.reason) == (
        0.38,
        "not comparable",
        "unsupported in result",
    )


def test_sources_and_caveats_are_named() -> None:
    text = " ".join(str(a_result(timed(0.3), environment=M4_MAX).compare("M5")).split())
    assert "maderix/ANE" in text
    assert "swaps the two M5 machines" in text
    assert "1,000 times the share" in text


def test_rows_of_one_side_are_named() -> None:
    comparison = a_result(timed(1.0), timed(1.0, depth=32)).compare(
        a_result(timed(1.0), timed(1.0, depth=48))
    )
    assert len(comparison) == 1
    assert [(row.name, row.only_in) for row in comparison.missing] == [
        ("32x conv 512ch sp64", "first"),
        ("48x conv 512ch sp64", "second"),
    ]
    assert "Only in after: 48x conv 512ch sp64." in str(comparison)
    assert [row["reason"] for row in comparison.to_dicts()][1:] == ["only in before", "only in after"]
    many = [timed(1.0, depth=depth) for depth in range(1, 10)]
    text = " ".join(str(a_result(timed(1.0), *many).compare(a_result(timed(1.0)))).split())
    assert "6x conv 512ch sp64, 3 more." in text


def test_rows_of_a_suite_are_named_by_their_probes() -> None:
    def a_suite(*rows: Row) -> Result:
        return Result(probe="suite", environment=an_environment(), rows=rows)

    both = [timed(1.0, key=f"{probe}/conv512x128/sp64/fp32-ports") for probe in ("peak", "sweep")]
    only = [timed(1.0, depth=depth, key=f"latency/{depth}") for depth in (1, 2)]
    comparison = a_suite(*both, *only).compare(a_suite(*both))
    assert [found.name for found in comparison] == [
        "peak: 128x conv 512ch sp64",
        "sweep: 128x conv 512ch sp64",
    ]
    assert comparison.one_sided() == ["only in before: 2 of latency"]


def test_the_table_says_which_side_is_slower() -> None:
    text = str(
        a_result(timed(1.0), around(1.0, depth=32)).compare(a_result(timed(2.0), around(0.8, depth=32)))
    )
    assert re.search(r" after is +Interval\n", text)
    assert re.search(r"2.00x slower +1.\d\d-2.\d\d SLOWER", text)
    assert re.search(r"1.25x faster +1.\d\d-1.\d\d FASTER", text)
    text = str(a_result(timed(0.76), environment=M4_MAX).compare("M4 Max"))
    assert re.search(r" result is +Interval\n", text)
    assert re.search(r"2.00x slower +1.\d\d-3.\d\d SLOWER\n", text)


def test_runs_of_one_side_that_differ_are_told() -> None:
    mixed = [
        a_result(timed(ms), environment=an_environment(numpy=numpy)) for ms, numpy in ((1, "1"), (2, "2"))
    ]
    (fact,) = compare_results(mixed, a_result(environment=an_environment(numpy="2"))).differences
    assert (fact.first, fact.second) == ("1 or 2", "2")


def test_the_same_measurement_is_told() -> None:
    result = a_result(timed(1.0))
    assert "Both sides are the same measurement." in str(result.compare(result))
    with pytest.raises(ArgumentError, match="one side has the same result twice"):
        compare_results([result, result], result)


def test_refusals() -> None:
    result = a_result(timed(1.0))
    assert len(result.compare(a_result(timed(1.0, depth=7)))) == 0
    with pytest.raises(ArgumentError, match="before has rows of peak and after of latency: none in common"):
        result.compare(a_result(timed(1.0, key="latency/7"), probe="latency"))
    with pytest.raises(
        ArgumentError,
        match="no row in common with the published figures of M4 Max, which are of: peak, sram, ",
    ):
        a_result(timed(1.0, depth=7, key="peak/conv512x7/sp64/fp32-ports")).compare("M4 Max")
    with pytest.raises(ArgumentError, match="no chip is called 'M4 Mxa': choose from M4 Max"):
        result.compare("M4 Mxa")
    for wrong in (7, [7]):
        with pytest.raises(ArgumentError, match="with results or a chip's name, not with 7"):
            result.compare(wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="a side without a result cannot be compared"):
        compare_results([], result)
    with pytest.raises(ArgumentError, match="one side has results of an engine and of software"):
        compare_results([result, a_result(timed(2.0), environment=M4_MAX)], result)


def test_training_results_are_compared() -> None:
    class Training:
        def to_result(self) -> Result:
            return a_result(timed(1.0, key="training/static/stories15m/step"), probe="train")

    assert [row.verdict for row in compare_results(Training(), Training())] == ["SAME"]


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        (["before.json"], ["after.json"], ("before", "after")),
        (["old/peak.json"], ["new/peak.json"], ("old/peak", "new/peak")),
        (["/a/x/peak.json"], ["/b/x/peak.json"], ("a/x/peak", "b/x/peak")),
        (["peak.json"], ["peak.json"], ("before", "after")),
        (["a.json", "b.json"], ["before.json"], ("before", "after")),
        (["a.json", "b.json"], ["c.json"], ("before", "c")),
        (["x" * 99 + "1.json"], ["x" * 99 + "2.json"], ("...xxxxxxxx1", "...xxxxxxxx2")),
        (["\x1b[2J.json"], ["\u202e.json"], ("[2J", "file")),
        ([".json"], ["b"], ("file", "b")),
        (["main-2026-11-20.json"], ["pull-1234.json"], ("main-2026...", "pull-1234")),
    ],
)
def test_sides_are_named_by_their_files(first: list[str], second: list[str], names: tuple[str, str]) -> None:
    found = name_sides(first, second)
    assert (found.first, found.second) == names


def test_a_long_table_leaves_out_what_is_the_same() -> None:
    rows = [timed(1.0, depth=depth) for depth in range(1, 50)]
    comparison = a_result(*rows).compare(a_result(*rows[:-1], timed(2.0, depth=49)))
    text = str(comparison)
    assert len(text.splitlines()) < 20
    assert "1 SLOWER, 48 SAME.\nThe SAME rows are left out; --verbose shows them.\n" in text
    assert len(lay_out_comparison(comparison, verbose=True).rows) == 49
    assert len(comparison.to_dicts()) == 49


def test_tables_keep_every_character(tmp_path: Any) -> None:
    rows = [timed(12345.678, depth=depth, flags=("drift",)) for depth in (32, 48)]
    other = [timed(0.0012345, depth=depth) for depth in (32, 48)]
    for comparison in (a_result(*rows).compare(a_result(*other)), a_result(*rows).compare("M4 Max")):
        text = to_text(lay_out_comparison(comparison, verbose=True))
        assert "12346" in text
        for found in comparison:
            assert ("not comparable: emulator" if found.ratio is None else found.verdict) in text
    html = comparison._repr_html_()
    assert "No row of 2 is comparable: emulator" in html


def test_a_unit_that_few_rows_have_is_shown_with_their_names() -> None:
    both = [timed(1.0), timed(1.0, depth=48), timed(1.0, depth=32, unit="s")]
    text = str(a_result(*both).compare(a_result(*both)))
    assert text.startswith("aneperf compare: peak, medians in ms\n")
    assert re.search(r"32x conv 512ch sp64 \(s\) +1.000", text)


def test_hostile_names_are_harmless() -> None:
    row = timed(1.0, params={"config": "\x1b[2J<script>"})
    comparison = a_result(row).compare(a_result(row))
    assert "\x1b" not in str(comparison)
    assert "<script>" not in comparison._repr_html_()


def test_dicts_are_flat() -> None:
    (flat,) = a_result(timed(2.0)).compare(a_result(timed(1.0))).to_dicts()
    assert flat["verdict"] == "FASTER"
    assert not any(isinstance(value, (dict, list, tuple)) for value in flat.values())
    assert isinstance(a_result(timed(1.0)), Result)


durations = st.floats(0, 1.7e308) | st.sampled_from([0.0, 5e-324, 1e-300, 1.0, 1.7e308])


@st.composite
def any_row(draw: st.DrawFn) -> Row:
    low, median, high = sorted(draw(durations) for _ in range(3))
    ends = draw(st.sampled_from([{"ci_low": low, "ci_high": high}, {"ci_low": None, "ci_high": None}]))
    unit = draw(st.sampled_from(["ms", "TFLOPS", "MB", None]))
    flags = draw(st.sampled_from([(), ("drift",), ("noisy",)]))
    return timed(draw(st.sampled_from([median, None])), None, unit=unit, flags=flags, **ends)


@given(first=any_row(), second=any_row())
def test_any_two_rows_are_compared_or_refused(first: Row, second: Row) -> None:
    for other in (a_result(second, environment=M4_MAX), "M4 Max"):
        try:
            comparison = a_result(first, environment=M4_MAX).compare(other)
        except ArgumentError as error:
            assert "this peak result has no row in common" in str(error)
            continue
        assert str(comparison)
        if len(comparison) == 0:
            assert first.median is second.median is None
            continue
        (found,) = comparison.to_dicts()
        ratios = [found[name] for name in ("ratio", "ratio_low", "ratio_high")]
        assert all(ratio is None or np.isfinite(ratio) for ratio in ratios)
        assert (found["ratio"] is None) == (found["verdict"] == "not comparable")
