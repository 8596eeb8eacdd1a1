import msgspec
import pytest

from aneperf.errors import ArgumentError
from aneperf.report.comparing import compare_results
from aneperf.results import Result, Row
from support.compared import M4_MAX, around, timed
from support.fakes import a_result, an_environment

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


def test_load_differs_where_no_run_of_a_side_is_like_one_of_the_other() -> None:
    def runs(*loads: float) -> list[Result]:
        return [
            a_result(around(1.0 + place / 1000), environment=an_environment(load=load))
            for place, load in enumerate(loads)
        ]

    def failures(before: list[Result], after: list[Result]) -> list[str]:
        return compare_results(before, after).failures()

    assert failures(runs(0.1, 3.9, 3.9), runs(3.8, 3.9, 3.9)) == []
    assert failures(runs(0.1, 0.2, 0.1), runs(3.8, 3.9, 3.9)) == ["load differs: idle, then busy"]
    assert failures(runs(0.1, 0.2), runs(0.1)) == []
