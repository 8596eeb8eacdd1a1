import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from aneperf.errors import ArgumentError, ResultFileError
from aneperf.files import LARGEST_BYTES, read_whole
from aneperf.measure import summarise
from aneperf.report.community import community_entry
from aneperf.results import Result, Row
from aneperf.schema import check_numbers, result_schema
from support.fakes import a_result, a_row, an_environment

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"
MAC = an_environment(
    device="ane", chip="Apple M4 Max", os="macOS 26.3", os_build="25D125", cores=16, memory_bytes=128 * 2**30
)


def test_the_schema_in_the_docs_is_that_of_the_types() -> None:
    """After a change of the types: `aneperf validate --schema > docs/result.schema.json`."""
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


def a_measured_row(calls: int = 300, **changes: Any) -> Row:
    durations = (31_000_000, *np.random.default_rng(0).integers(9_000_000, 11_000_000, calls).tolist())
    times = summarise(np.array(durations[1:]) * 1e-6)
    measured = {
        name: getattr(times, name) for name in ("n", "median", "mean", "p05", "p95", "ci_low", "ci_high")
    }
    rates = {"gflop": 4.0, "tflops": 4.0 / times.median}
    return a_row(**{**measured, "metrics": rates, "durations_ns": durations[:10_000], **changes})


def test_numbers_that_agree() -> None:
    check_numbers(a_result(a_measured_row(), a_row(32)))
    check_numbers(a_result(a_measured_row(calls=12_000)))  # not all of its calls are kept
    check_numbers(a_result(a_measured_row(unit="us", median=9_900.0, ci_low=None, ci_high=None, p95=None)))


@pytest.mark.parametrize("name", ["median", "mean", "p05", "p95"])
def test_numbers_that_do_not_agree(name: str) -> None:
    row = a_measured_row()
    changed = a_measured_row(**{name: getattr(row, name) * 1.001, "ci_low": None, "ci_high": None})
    with pytest.raises(ResultFileError, match=rf"sp64/fp32-ports': {name} is .*, but its durations give"):
        check_numbers(a_result(changed))


def test_a_rate_that_is_not_the_times() -> None:
    row = a_measured_row(12_000)
    work = {"gflop": 4.0, "tflops": 4.0 / row.median}
    check_numbers(a_result(a_measured_row(12_000, metrics=work)))
    with pytest.raises(ResultFileError, match=r"tflops is .*, but 4 GFLOP in .* ms are"):
        check_numbers(a_result(a_measured_row(12_000, metrics={**work, "tflops": 99.0})))


def test_files_that_are_none_are_not_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(ResultFileError, match="cannot read: it is not a regular file"):
            Result.load(path)


def test_huge_files_are_refused(tmp_path: Path) -> None:
    with (tmp_path / "huge.json").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)  # sparse
    with pytest.raises(ResultFileError, match="cannot read: it is larger than 268435456 bytes"):
        read_whole(tmp_path / "huge.json")


def test_what_a_strangers_file_says_stays_on_one_short_line(tmp_path: Path) -> None:
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


def test_community_entry_of_a_peak() -> None:
    rows = [
        a_row(
            params={"config": f"{depth}x conv 512ch sp64", "ports": ports},
            metrics={"tflops": rate},
            key=f"peak/conv512x{depth}/sp64/{ports}-ports",
            flags=flags,
        )
        for depth, ports, rate, flags in (
            (96, "fp32", 9.9, ()),
            (128, "fp32", 11.14159, ("noisy",)),
            (128, "fp16", 15.0, ()),
            (7, "fp32", 99.0, ()),
        )
    ]
    failed = a_row(64, status="error", reason="wrong output", metrics={"tflops": 50.0})
    entry = community_entry(a_result(*rows, failed, environment=MAC), contributor="me")
    assert entry["notes"].startswith(
        "aneperf 0.1.0 peak, medians, outputs checked, 2026-01-02, build 25D125, 1 of 5"
    )
    del entry["notes"]
    assert entry == {
        "chip": "M4 Max",
        "cores": "16-core CPU",
        "ram_gb": 128,
        "macos": "26.3",
        "ms_per_step": "unavailable",
        "ane_ms": "unavailable",
        "compile_ms": "unavailable",
        "ane_tflops": "unavailable",
        "peak_tflops_inmem": 11.142,
        "contributor": "me",
    }


def test_community_entry_of_training_steps() -> None:
    step = a_row(
        key="training/static/stories110m/step", median=72.0, p05=71.04321, p95=75.0, ci_low=None, ci_high=None
    )
    bare = an_environment(device="ane", chip="Apple M9", os="Darwin", memory_bytes=None)
    entry = community_entry(a_result(step, environment=bare, probe="training"))
    assert entry["ms_per_step"] == [71.043, 75.0]
    unknown = {name for name, value in entry.items() if value == "unavailable"}
    assert unknown == {
        "ram_gb",
        "macos",
        "ane_ms",
        "compile_ms",
        "ane_tflops",
        "peak_tflops_inmem",
        "contributor",
    }
    assert 0 not in entry.values()
    assert None not in entry.values()
    assert msgspec.json.encode(entry)


@pytest.mark.parametrize("device", ["emulator", "stand-in"])
def test_software_is_no_entry(device: str) -> None:
    with pytest.raises(
        ArgumentError, match=f"measured on the {device}: the community's list holds Neural Engines"
    ):
        community_entry(a_result(environment=an_environment(device=device)))


def test_a_result_with_nothing_of_the_entry() -> None:
    with pytest.raises(
        ArgumentError, match="this int8 result has neither a training step nor a published stack"
    ):
        community_entry(a_result(a_row(key="int8/x"), environment=MAC, probe="int8"))
