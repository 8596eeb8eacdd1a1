import pytest

from aneperf.measure import PREEMPTED
from aneperf.results import MAXIMUM_DURATIONS, Row
from aneperf.runner.merging import merge
from aneperf.schema import check_numbers
from support.fakes import a_measured_row, a_result, a_row


def test_a_merged_row_follows_from_its_durations() -> None:
    rows = [a_measured_row(calls, seed=seed) for seed, calls in enumerate((300, 250, 400))]
    merged = merge(rows)
    check_numbers(a_result(merged))
    assert merged.processes == (301, 251, 401)
    assert merged.warm_ups == (1, 1, 1)
    assert merged.medians == tuple(row.median for row in rows)
    assert (merged.n, merged.calls) == (950, 953)
    assert [trace for trace, _ in merged.traces()] == [row.durations_ns for row in rows]
    assert merged.kept == tuple(duration for row in rows for duration in row.durations_ns[1:])


def test_a_long_trace_keeps_the_first_calls_of_each_process() -> None:
    rows = [a_measured_row(12_000), a_measured_row(12_000, seed=1), a_measured_row(40, seed=2)]
    merged = merge(rows)
    check_numbers(a_result(merged))
    assert merged.processes == (3333, 3333, 41)
    assert len(merged.durations_ns) <= MAXIMUM_DURATIONS
    assert merged.calls == sum(row.calls for row in rows)


def test_metrics_are_added_averaged_or_computed_anew() -> None:
    shared = {"gflop": 8.0, "tflops": 1.0, "tflops_low": 0.9, "tflops_high": 1.1, "first_ms": 9.0}
    first = a_measured_row(metrics={**shared, "calls_s": 1.0, "preemptions": 5.0, "compile_s": 0.1})
    assert first.median is not None
    first.metrics["calls_per_s"] = 1000 / first.median
    second = a_measured_row(
        metrics={**shared, "calls_s": 2.0, "preemptions": 250.0, "compile_s": 0.3}, seed=1
    )
    merged = merge([first, second])
    assert merged.median is not None
    assert merged.metrics["tflops"] == pytest.approx(8 / merged.median)
    assert merged.metrics["tflops_low"] == pytest.approx(8 / (merged.ci_high or 0))
    assert (merged.metrics["calls_s"], merged.metrics["preemptions"]) == (3, 255)
    assert merged.metrics["compile_s"] == pytest.approx(0.2)
    assert merged.metrics["first_ms"] == 9
    assert merged.metrics["calls_per_s"] == pytest.approx(1000 / merged.median)
    assert PREEMPTED in merged.flags


def test_a_ratio_has_the_interval_of_the_processes() -> None:
    inner = {"ratio_low": 1.9, "ratio_high": 2.1}
    merged = merge([a_measured_row(metrics={"ratio": ratio, **inner}) for ratio in (1.0, 2.0, 4.0)])
    assert merged.metrics["ratio"] == pytest.approx(2)
    assert merged.metrics["ratio_low"] < 1
    assert merged.metrics["ratio_high"] > 4


def test_the_largest_error_is_kept() -> None:
    assert merge([a_measured_row(error=0.001), a_measured_row(error=0.002)]).error == 0.002


def failed(status: str, reason: str) -> Row:
    return a_row(status=status, reason=reason, n=None, warm_up=None, median=None, ci_low=None, ci_high=None)


def test_a_process_that_fails_makes_the_row_fail() -> None:
    good = a_measured_row()
    assert merge([good, failed("error", "off"), good]).reason == "in 1 of 3 processes: off"
    assert merge([failed("unsupported", "no"), failed("unsupported", "no")]).reason == "no"
    assert merge([good, failed("unsupported", "no")]).status == "unsupported"


def test_a_process_without_time_adds_nothing() -> None:
    good, skipped = a_measured_row(), failed("skipped", "no time")
    assert merge([good, skipped]) == good
    assert merge([skipped, skipped]) == skipped
    assert len(merge([good, skipped, good]).processes) == 2
