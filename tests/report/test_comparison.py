import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aneperf.comparison import ComparedRow
from aneperf.errors import ArgumentError
from aneperf.report.verdicts import PUBLISHED_MARGIN
from aneperf.results import Result, Row
from support.fakes import a_result, a_row, an_environment

M4_MAX = an_environment(device="ane", chip="Apple M4 Max", os="macOS 26.3", cpu="Apple M4 Max")
STAND_IN = an_environment(device="stand-in", chip="h16")


def timed(median: float | None, half: float | None = 0.01, depth: int = 128, **changes: Any) -> Row:
    ends = (
        {}
        if half is None or median is None
        else {"ci_low": median * (1 - half), "ci_high": median * (1 + half)}
    )
    fields: dict[str, Any] = {"mean": None, "p05": None, "p95": None, "ci_low": None, "ci_high": None}
    return a_row(depth, **{**fields, "median": median, **ends, **changes})


def line(first: Row, second: Row, **environments: Any) -> ComparedRow:
    (only,) = a_result(first, **environments).compare(a_result(second, **environments))
    return only


@pytest.mark.parametrize(
    ("first", "second", "verdict", "ratio"),
    [
        (timed(1.0), timed(2.0), "SLOWER", 1 / 2),
        (timed(2.0), timed(1.0), "FASTER", 2),
        (timed(1.0), timed(1.01), "SAME", 1 / 1.01),
        (timed(1.0, 0.004), timed(1.03, 0.004), "SAME", 1 / 1.03),  # apart, but by less than runs differ by
        (timed(1.0, 0.004), timed(1.08, 0.004), "SLOWER", 1 / 1.08),
        (timed(1.0, 0.05), timed(1.08, 0.05), "UNCLEAR", 1 / 1.08),
        (timed(1.0, 0.05), timed(1.0, 0.05), "UNCLEAR", 1.0),  # too wide to call them the same
        (timed(1.0, unit="TFLOPS"), timed(2.0, unit="TFLOPS"), "FASTER", 2),
    ],
)
def test_the_verdict_is_on_the_second_of_two_results(
    first: Row, second: Row, verdict: str, ratio: float
) -> None:
    found = line(first, second)
    assert found.verdict == verdict
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(ratio)
    assert found.ratio.ci_low is not None
    assert found.ratio.ci_high is not None
    assert found.ratio.ci_low <= found.ratio.value <= found.ratio.ci_high
    assert (found.reason is not None) == (verdict == "UNCLEAR")


@pytest.mark.parametrize("seed", range(20))
def test_swapped_sides_swap_the_verdict(seed: int) -> None:
    random = np.random.default_rng(seed)
    first, second = (timed(float(random.uniform(1, 1.3)), float(random.uniform(0, 0.1))) for _ in range(2))
    forth, back = line(first, second), line(second, first)
    opposite = {"FASTER": "SLOWER", "SLOWER": "FASTER"}
    assert back.verdict == opposite.get(forth.verdict, forth.verdict)
    assert forth.ratio is not None
    assert back.ratio is not None
    assert forth.ratio.value * back.ratio.value == pytest.approx(1)


@pytest.mark.parametrize("doubtful", [{"half": None}, {"flags": ("drift",)}, {"flags": ("few samples",)}])
def test_doubtful_rows_take_a_larger_factor(doubtful: dict[str, Any]) -> None:
    for factor, verdict in ((1.4, "UNCLEAR"), (2.0, "FASTER"), (0.4, "SLOWER"), (1.0, "UNCLEAR")):
        found = line(timed(factor), timed(1.0, **doubtful))
        assert found.verdict == verdict
        assert found.ratio is not None
        assert found.ratio.ci_low is None
        assert (found.reason in ("no interval", "drift", "few samples")) == (verdict == "UNCLEAR")


def test_flags_that_do_not_affect_the_interval_change_nothing() -> None:
    assert line(timed(1.4), timed(1.0, flags=("noisy", "heavy tail", "correlated"))).verdict == "FASTER"


def test_without_a_value_there_is_no_ratio() -> None:
    refused = timed(1.0, status="unsupported", reason="no such op")
    found = line(timed(1.0), refused)
    assert (found.ratio, found.verdict, found.reason) == (None, "not comparable", "unsupported")
    assert line(timed(0.0), timed(1.0)).reason == "a median of 0"
    assert line(timed(5e-324, None), timed(1e10, None)).reason == "too far apart for a ratio"
    assert line(timed(1.0), timed(1.0, unit="s")).reason == "ms and s"
    assert line(timed(1.0, unit="MB"), timed(1.0, unit="MB")).reason == "no faster or slower in MB"


def test_rows_without_numbers_are_shown_only_if_they_differ() -> None:
    refused = timed(1.0, status="unsupported", reason="no such op")
    failed = timed(1.0, status="error", reason="wrong output")
    other = timed(1.0, depth=32)
    comparison = a_result(refused, other).compare(a_result(refused, other))
    assert [found.key for found in comparison] == [other.key]
    assert line(refused, failed).reason == "unsupported, against error"
    taken = timed(None)
    assert line(taken, refused).reason == "ok without a median, against unsupported"
    with pytest.raises(ArgumentError, match="this peak result has no row in common"):
        a_result(refused).compare(a_result(refused))


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
        assert median * 1.01 * PUBLISHED_MARGIN < 0.371


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
    assert (found.second.median, found.verdict, found.reason) == (0.38, "not comparable", "unsupported")


def test_sources_and_caveats_are_named() -> None:
    text = str(a_result(timed(0.3), environment=M4_MAX).compare("M5"))
    assert "maderix/ANE" in text
    assert "swaps the two M5 machines" in text
    assert "1,000 times the share" in text


def test_rows_of_one_side_are_named() -> None:
    comparison = a_result(timed(1.0), timed(1.0, depth=32)).compare(
        a_result(timed(1.0), timed(1.0, depth=48))
    )
    assert len(comparison) == 1
    assert comparison.only_first == ("32x conv 512ch sp64",)
    assert comparison.only_second == ("48x conv 512ch sp64",)
    assert "Only in the second: 48x conv 512ch sp64." in str(comparison)


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
    assert comparison.only_first == ("2 of latency",)
    assert comparison.only_second == ()
    assert "Only in the first: 2 of latency." in str(comparison)


def test_the_table_says_which_side_is_slower() -> None:
    text = str(a_result(timed(1.0), timed(1.0, depth=32)).compare(a_result(timed(2.0), timed(0.8, depth=32))))
    assert re.search("2.00x slower +SLOWER", text)
    assert re.search("1.25x faster +FASTER", text)
    assert "how many times as fast, or as slow, the second is as the first." in text
    text = str(a_result(timed(0.76), environment=M4_MAX).compare("M4 Max"))
    assert re.search("2.00x slower +SLOWER", text)
    assert "how many times as fast, or as slow, the first is as the second." in text


REFUSED, FAILED = (
    {"status": "unsupported", "reason": "no such op"},
    {"status": "error", "reason": "wrong output"},
)


@pytest.mark.parametrize(
    ("before", "after", "failures"),
    [
        (timed(1.0), timed(0.5), ()),
        (timed(1.0), timed(1.0), ()),
        (timed(1.0, 0.3), timed(1.2, 0.3), ()),  # unclear
        (timed(1.0), timed(2.0), ("is SLOWER",)),
        (timed(1.0), timed(1.0, **FAILED), ("is not comparable: ok, against error",)),
        (timed(1.0, **FAILED), timed(1.0), ("is not comparable: error",)),
        (timed(1.0, **FAILED), timed(1.0, **FAILED), ("is not comparable: error",)),
        (timed(1.0), timed(1.0, **REFUSED), ("is not comparable: unsupported",)),
        (timed(1.0), timed(None), ("is not comparable: ok without a median",)),
        (timed(1.0, unit="MB"), timed(2.0, unit="MB"), ()),
        (timed(1.0, unit="ms"), timed(1.0, unit="s"), ("is not comparable: ms and s",)),
    ],
)
def test_what_a_gate_does_not_pass(before: Row, after: Row, failures: tuple[str, ...]) -> None:
    expected = tuple(f"{before.name} {failure}".replace("ok, against ", "") for failure in failures)
    assert a_result(before).compare(a_result(after)).failures() == expected


def test_a_gate_does_not_pass_rows_that_one_side_lacks() -> None:
    both, one = timed(1.0), timed(1.0, depth=32)
    assert a_result(both, one).compare(a_result(both)).failures() == (f"{one.name} is only in the first",)
    assert a_result(both).compare(a_result(both, one)).failures() == (f"{one.name} is only in the second",)
    refused = timed(1.0, depth=48, **REFUSED)
    assert a_result(both, refused).compare(a_result(both, refused)).failures() == ()


def test_a_gate_with_published_figures_is_on_the_result() -> None:
    unpublished = timed(1.0, depth=7, key="peak/conv512x7/sp64/fp32-ports")
    quick, slow = (a_result(timed(ms), unpublished, environment=M4_MAX) for ms in (0.2, 0.7))
    assert quick.compare("M4 Max").failures() == ()
    assert slow.compare("M4 Max").failures() == ("128x conv 512ch sp64 is SLOWER",)
    assert a_result(timed(0.1)).compare("M4 Max").failures() == (
        "128x conv 512ch sp64 is not comparable: emulator",
    )


def test_refusals() -> None:
    result = a_result(timed(1.0))
    with pytest.raises(ArgumentError, match="this peak result has no row in common with the other side"):
        result.compare(a_result(timed(1.0, depth=7)))
    with pytest.raises(
        ArgumentError, match="this peak result has no row in common with the other side: published figures"
    ):
        a_result(timed(1.0, depth=7, key="peak/conv512x7/sp64/fp32-ports")).compare("M4 Max")
    with pytest.raises(ArgumentError, match="no chip is called 'M4 Mxa': choose from M4 Max"):
        result.compare("M4 Mxa")
    with pytest.raises(ArgumentError, match="a Result or a chip's name, not with 7"):
        result.compare(7)  # type: ignore[arg-type]


def test_tables_keep_every_character(tmp_path: Any) -> None:
    rows = [timed(12345.678, depth=depth, flags=("drift",)) for depth in (32, 48)]
    other = [timed(0.0012345, depth=depth) for depth in (32, 48)]
    for comparison in (a_result(*rows).compare(a_result(*other)), a_result(*rows).compare("M4 Max")):
        text = str(comparison)
        assert max(map(len, text.splitlines())) <= 100
        assert "12346" in text
        for found in comparison:
            shown = f"{found.verdict}: {found.reason}" if found.ratio is None else found.verdict
            assert shown in text
    html = comparison._repr_html_()
    assert "not comparable: emulator" in html


def test_mixed_units_are_shown_in_the_cells() -> None:
    both = [timed(1.0), timed(1.0, depth=32, unit="s")]
    assert "1.000 s" in str(a_result(*both).compare(a_result(*both)))


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
        (found,) = comparison.to_dicts()
        ratios = [found[name] for name in ("ratio", "ratio_low", "ratio_high")]
        assert all(ratio is None or np.isfinite(ratio) for ratio in ratios)
        assert (found["ratio"] is None) == (found["verdict"] == "not comparable")
