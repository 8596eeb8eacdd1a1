import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aneperf.errors import ResultFileError
from aneperf.measure import PREEMPTED
from aneperf.results import Result
from aneperf.runner.merging import merge
from aneperf.schema import check_numbers, result_schema, stack_of
from support.fakes import a_measured_row, a_result, a_row, an_environment

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"


def test_the_schema_in_the_docs_is_that_of_the_types() -> None:
    """Compare with the schema in docs, written by `aneperf validate --schema > docs/result.schema.json`."""
    assert SCHEMA.read_text(encoding="utf-8") == result_schema()


def test_the_schema_names_every_field_that_a_file_holds() -> None:
    definitions = json.loads(result_schema())["$defs"]
    tree = json.loads(a_result(a_row(durations_ns=(31_000_000, *[9_871_000] * 300))).to_json())
    for name, written in (
        ("Result", tree),
        ("Environment", tree["environment"]),
        ("Row", tree["rows"][0]),
    ):
        assert set(written) == set(definitions[name]["properties"])
        assert definitions[name]["additionalProperties"] is False
        assert set(definitions[name]["required"]) <= set(written)


def test_consistent_numbers_pass() -> None:
    check_numbers(a_result(a_measured_row()))
    check_numbers(a_result(a_measured_row(calls=12_000)))  # not all of its calls are kept
    check_numbers(a_result(a_row(status="unsupported", reason="why", n=None, published_mean=None)))
    check_numbers(a_result(a_measured_row(status="error", reason="wrong output", error=None)))
    seen = {"calls_s": 1.0, "preemptions": 90.0}
    flagged = (*a_measured_row().flags, PREEMPTED)
    check_numbers(a_result(a_measured_row(metrics=seen, flags=flagged)))


@pytest.mark.parametrize("calls", [3, 20, 300])
@pytest.mark.parametrize("name", ["median", "mean", "p05", "p95", "published_mean"])
def test_a_changed_statistic_is_refused(name: str, calls: int) -> None:
    row = a_measured_row(calls)
    if (right := getattr(row, name)) is None:
        right = 9.9
    interval = {} if name == "published_mean" else {"ci_low": None, "ci_high": None}
    changed = a_measured_row(calls, **{name: right * 1.001, **interval})
    with pytest.raises(ResultFileError, match=rf"sp64/fp32-ports': {name} is .*, but its durations give"):
        check_numbers(a_result(changed))


MEASURED = a_measured_row()
HALVED = {name: getattr(MEASURED, name) / 2 for name in ("median", "mean", "p05", "p95", "ci_low", "ci_high")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ci_low": MEASURED.median, "ci_high": MEASURED.median}, "ci_low is"),
        ({"ci_high": 10.9}, "ci_high is"),
        ({"ci_low": None, "ci_high": None}, "ci_low is None"),
        ({"flags": ("drift",)}, r"flags is \('drift',\), but its durations give \(\)"),
        ({"flags": (PREEMPTED,)}, r"flags is \('preempted',\), but"),
        ({"metrics": {"calls_s": 1.0, "preemptions": 90.0}}, r"but its durations give \('preempted',\)"),
        ({"error": 0.0}, "error is 0, but no convolution in fp16 is exact"),
        ({"error": None}, "error is missing"),
        ({"warm_up": 2, "n": 299}, "n is 299|warm_up is 2"),
        ({"metrics": {"tflops": 99.0}}, "tflops is 99.0, but 4.29497 GFLOP in .* ms are"),
        ({"metrics": {"tflops_high": 1e9}}, "tflops_high is 1000000000.0, but"),
        ({"metrics": {"tflops_low": 0.1}}, "tflops_low is 0.1, but"),
        (
            {"metrics": {name: 2 * MEASURED.metrics[name] for name in ("gflop", "tflops")}},
            "gflop is 8.58.*, but the key says 4.29",
        ),
        ({"metrics": {"first_ms": 30.0}}, "first_ms is 30.0, but its durations give 31.0"),
        ({"durations_ns": (), **HALVED}, "it has times, but no durations"),
        ({"durations_ns": (), **HALVED, "n": None, "warm_up": None}, "it has times, but no durations"),
        ({"key": "latency/fit", "durations_ns": (), "n": None}, "neither flags nor a published mean"),
        ({"unit": "s"}, "unit is 's': it is one of ms"),
        ({"unit": "x"}, "unit is 'x', but a row with durations is in ms"),
        ({"params": {"channels": 256}}, "channels is 256, but the key says 512"),
        ({"metrics": {"ratio": 2.0, "ratio_low": 2.5, "ratio_high": 3.0}}, "ratio is 2.0, outside"),
        ({"metrics": {"predicted_ms": 2.0}}, "predicted_ms is 2.0, and its interval from None to None"),
        (
            {"metrics": {"predicted_ms": -2.0, "predicted_low_ms": -3.0, "predicted_high_ms": -1.0}},
            "predicted_ms is -2.0, and its interval from -3.0 to -1.0",
        ),
        (
            {"metrics": {"predicted_ms": 2.0, "predicted_low_ms": 1.0, "predicted_high_ms": 3.0}},
            "predicted_ms is of no chip",
        ),
    ],
)
def test_a_doctored_row_is_refused(changes: dict[str, Any], message: str) -> None:
    params = {"ports": "fp32", "channels": 512, "depth": 128}
    check_numbers(a_result(a_measured_row(params=params)))
    with pytest.raises(ResultFileError, match=message):
        check_numbers(a_result(a_measured_row(**{"params": params, **changes})))


SEVERAL = merge([a_measured_row(seed=seed) for seed in range(3)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ci_high": 20.0}, "ci_high is 20.0, but its durations give"),
        ({"ci_low": None, "ci_high": None}, "ci_low is None"),
        ({"medians": SEVERAL.medians[::-1]}, "medians is"),
        ({"warm_ups": (2, 1, 0)}, "warm_ups is"),
        ({"flags": ("bimodal",)}, "flags is"),
    ],
)
def test_a_doctored_row_of_several_processes_is_refused(changes: dict[str, Any], message: str) -> None:
    check_numbers(a_result(SEVERAL))
    with pytest.raises(ResultFileError, match=message):
        check_numbers(a_result(msgspec.structs.replace(SEVERAL, **changes)))


def test_the_interval_of_processes_whose_calls_are_cut_is_checked() -> None:
    cut = merge([a_measured_row(12_000), a_measured_row(12_000, seed=1)])
    check_numbers(a_result(cut))
    with pytest.raises(ResultFileError, match=r"ci_high is 20\.0"):
        check_numbers(a_result(msgspec.structs.replace(cut, ci_high=20.0)))


def test_a_median_beyond_most_durations_that_were_kept_is_refused() -> None:
    for median in (5.0, 15.0):
        changes: dict[str, Any] = dict.fromkeys(("p05", "p95", "ci_low", "ci_high", "mean"))
        row = a_measured_row(12_000, median=median, **changes)
        with pytest.raises(ResultFileError, match=r"median is .*, on the wrong side of most durations"):
            check_numbers(a_result(row))


@pytest.mark.parametrize("digits", [8, 400, 5000])
def test_a_key_of_absurd_digits_names_no_stack(digits: int) -> None:
    key = f"peak/conv{'9' * digits}x1/sp1"
    assert stack_of(key) is None
    check_numbers(a_result(a_measured_row(key=key)))


def test_a_flag_that_was_removed_is_refused() -> None:
    few = a_measured_row(10)
    assert few.flags == ("few samples", "noisy")
    check_numbers(a_result(few))
    with pytest.raises(ResultFileError, match=r"flags is \('noisy',\), but .* 'noisy'\)"):
        check_numbers(a_result(a_measured_row(10, flags=("noisy",))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "gpu"}, "device is 'gpu': it is one of ane, emulator, stand-in"),
        ({"device": "ane"}, "a Neural Engine is measured on macOS"),
        ({"device": "ane", "os": "macOS 27.0", "properties": {"simd": "avx2"}}, "properties are not of such"),
        ({"chip": "Apple M4"}, "chip is 'Apple M4': the emulator has h13, "),
        ({"started": "not a date"}, "started is 'not a date', no time of ISO 8601"),
        ({"started": "2026-01-02T03:04:05"}, "with its zone"),
        ({"python": "snake"}, "python is 'snake', no version"),
        ({"numpy": "2.1.0 \x1b[2J"}, "numpy is '2.1.0 .*', no version"),
        ({"aneperf": ""}, "aneperf is '', no version"),
        ({"cores": 0}, "cores is 0: it must be above 0"),
        ({"memory_bytes": 0}, "memory_bytes is 0: it must be above 0"),
        ({"frequency_mhz": -1.0}, "frequency_mhz is -1.0: it must be above 0"),
        ({"load": -5.0}, "load is -5.0: it cannot be negative"),
        ({"temperature_c": 1e300}, "temperature_c is 1e.300, no temperature of a CPU"),
    ],
)
def test_a_doctored_environment_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultFileError, match=message):
        check_numbers(a_result(a_measured_row(), environment=an_environment(**changes)))


def test_a_refusal_quotes_a_file_in_one_printable_line() -> None:
    with pytest.raises(ResultFileError) as refusal:
        check_numbers(a_result(a_row(key="\x1b[2J\n\u202e", unit="\x9b\n")))
    assert str(refusal.value).isprintable()


def test_quotes_of_an_untrusted_file_are_one_short_line(tmp_path: Path) -> None:
    tree = json.loads(a_result().to_json())
    for name in ("\x1b[2J\nboo", "x" * 100_000):
        tree[name] = 1
        (tmp_path / "f.json").write_text(json.dumps(tree))
        with pytest.raises(ResultFileError) as refusal:
            Result.load(tmp_path / "f.json")
        message = str(refusal.value)
        assert message.isprintable()
        assert len(message) < 600
        del tree[name]
