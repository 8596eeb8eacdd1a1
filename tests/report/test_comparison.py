import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aneperf.comparison import ComparedRow
from aneperf.errors import ArgumentError
from aneperf.measure import geometric_mean
from aneperf.report import compare_results
from aneperf.report.comparison_table import lay_out_comparison
from aneperf.report.names import name_sides
from aneperf.report.verdicts import DOUBT_FACTOR
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


def in_processes(*medians: float, **changes: Any) -> Row:
    """Return a row that several processes measured."""
    middle = geometric_mean(medians)
    ends = {"ci_low": middle.ci_low, "ci_high": middle.ci_high}
    none = (0,) * len(medians)
    several = {"warm_up": None, "processes": none, "warm_ups": none, "medians": medians}
    return timed(middle.value, None, **ends, **several, **changes)


def around(median: float, spread: float = 0.002, count: int = 5, **changes: Any) -> Row:
    """Return a row of processes whose medians spread evenly."""
    return in_processes(*(median * np.linspace(1 - spread, 1 + spread, count)).tolist(), **changes)


def line(first: Row, second: Row, **environments: Any) -> ComparedRow:
    (only,) = a_result(first, **environments).compare(a_result(second, **environments))
    return only


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


REFUSED, FAILED, SKIPPED = (
    {"status": "unsupported", "reason": "no such op"},
    {"status": "error", "reason": "wrong output"},
    {"status": "skipped", "reason": "no time left"},
)


@pytest.mark.parametrize(
    ("before", "after", "kind", "reason"),
    [
        (timed(1.0), timed(0.5), None, None),
        (timed(1.0), timed(1.0), None, None),
        (timed(1.0), timed(2.0), "slower", "SLOWER"),
        (timed(1.0, 0.3), timed(1.2, 0.3), "unclear", "UNCLEAR: the interval holds 1"),
        (timed(1.0), timed(9.0, flags=("preempted",)), "unclear", "UNCLEAR: preempted"),
        (timed(1.0), timed(1.0, **FAILED), "error", "not comparable: error in after"),
        (timed(1.0, **FAILED), timed(1.0), "error", "not comparable: error in before"),
        (
            timed(1.0, **FAILED),
            timed(1.0, **FAILED),
            "error",
            "not comparable: error in before, error in after",
        ),
        (timed(1.0), timed(1.0, **REFUSED), "missing", "not comparable: unsupported in after"),
        (timed(1.0, **SKIPPED), timed(1.0), "missing", "not comparable: skipped in before"),
        (timed(1.0), timed(None), "missing", "not comparable: ok without a median in after"),
        (timed(1.0, unit="MB"), timed(2.0, unit="MB"), None, None),
        (timed(0.0), timed(0.0), None, None),
        (timed(1.0), timed(0.0), "error", "not comparable: a median of 0"),
        (timed(1.0, unit="ms"), timed(1.0, unit="s"), "error", "not comparable: ms and s"),
    ],
)
def test_what_a_gate_does_not_pass(before: Row, after: Row, kind: str | None, reason: str | None) -> None:
    whole = timed(1.0, depth=7)
    comparison = a_result(whole, before).compare(a_result(whole, after))
    (_, row) = comparison
    assert row.failure == kind
    expected = [] if kind is None else [f"{before.name} is {reason}"]
    assert comparison.failures() == ([] if kind == "unclear" else expected)
    assert comparison.failures(["slower", "error", "missing", "unclear"]) == expected
    assert comparison.failures([]) == []
    with pytest.raises(ArgumentError, match="no kind of failure is called 'slow': choose from slower, error"):
        comparison.failures(["slow"])


def test_a_gate_does_not_pass_rows_that_one_side_lacks() -> None:
    both, one = timed(1.0), timed(1.0, depth=32)
    assert a_result(both, one).compare(a_result(both)).failures() == [f"only in before: {one.name}"]
    assert a_result(both).compare(a_result(both, one)).failures() == [f"only in after: {one.name}"]
    assert a_result(both).compare(a_result(both, one)).failures(["slower"]) == []
    refused = timed(1.0, depth=48, **REFUSED)
    assert a_result(both, refused).compare(a_result(both, refused)).failures() == []


def test_a_gate_does_not_pass_what_it_could_not_judge() -> None:
    empty = msgspec.structs.replace(a_result(), rows=())
    assert a_result(timed(1.0)).compare(empty).failures() == ["only in before: 128x conv 512ch sp64"]
    assert empty.compare(empty).failures() == ["no row could be judged"]
    assert "No row in common." in str(empty.compare(empty))
    busy = a_result(timed(1.0, flags=("preempted",)))
    assert busy.compare(a_result(timed(5.0))).failures() == ["no row could be judged"]
    nothing = timed(0.0, depth=32)
    unclear = a_result(timed(1.0, flags=("preempted",)), nothing).compare(a_result(timed(5.0), nothing))
    assert unclear.failures() == ["no row could be judged"]
    assert a_result(nothing).compare(a_result(nothing)).failures() == []


def test_a_gate_with_published_figures_is_on_the_result() -> None:
    unpublished = timed(1.0, depth=7, key="peak/conv512x7/sp64/fp32-ports")
    quick, slow = (a_result(timed(ms), unpublished, environment=M4_MAX) for ms in (0.2, 0.8))
    assert quick.compare("M4 Max").failures() == []
    assert slow.compare("M4 Max").failures() == ["128x conv 512ch sp64 is SLOWER"]
    assert a_result(timed(0.1)).compare("M4 Max").failures() == [
        "128x conv 512ch sp64 is not comparable: emulator",
    ]


def test_facts_that_differ_are_said_first_and_stop_a_gate() -> None:
    before = an_environment(properties={"simd": "avx2", "threads": "2"}, load=0.1, power="AC power")
    after = an_environment(
        properties={"simd": "avx512", "threads": "2"},
        variables={"OMP_NUM_THREADS": "1"},
        load=3.9,
        numpy="2.5.0",
        memory_bytes=before.memory_bytes - 12345,
        started="2026-02-03T04:05:06+00:00",
        temperature_c=90.0,
        commit="abc-dirty",
    )
    comparison = a_result(around(1.0), environment=before).compare(a_result(around(1.0), environment=after))
    told = [f"{fact.fact} {fact.first}, then {fact.second}" for fact in comparison.differences]
    assert told == [
        "numpy 2.4.6, then 2.5.0",
        "load idle, then busy",
        "simd avx2, then avx512",
        "OMP_NUM_THREADS none, then 1",
    ]
    text = " ".join(str(comparison).split())
    assert "after: software emulator on AMD EPYC; not a Neural Engine measurement; commit abc-dirty." in text
    assert text.index("Measured differently: numpy 2.4.6, then 2.5.0;") < text.index("Config")
    assert comparison.failures()[2] == "simd differs: avx2, then avx512"
    assert len(comparison.failures(allow_different=["simd", "numpy", "load"])) == 1
    assert comparison.failures(allow_different=["all"]) == []
    assert [row.verdict for row in comparison] == ["SAME"]


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
        ArgumentError, match="this peak result has no row in common with the published figures of M4 Max"
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
        text = str(comparison)
        assert "12346" in text
        for found in comparison:
            assert ("not comparable: emulator" if found.ratio is None else found.verdict) in text
    html = comparison._repr_html_()
    assert "not comparable: emulator" in html


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
