"""The section of a training run: parts of a step, what one would gain without each, and losses."""

from pathlib import Path
from statistics import median
from typing import Any

from aneperf.report.page.reading import read_sources
from aneperf.report.page.steps import steps_of_result
from aneperf.report.page.training import lay_out_gains, lay_out_parts, training_sections
from aneperf.results import Row
from support.fakes import a_result, a_row
from support.report_files import telemetry_file
from support.saved_results import saved


def timed(name: str, *ms: float, **changes: Any) -> Row:
    fields: dict[str, Any] = {
        "key": f"training/static/m/{name}",
        "params": {"config": name},
        "n": len(ms),
        "warm_up": 0,
        "median": median(ms),
        "mean": sum(ms) / len(ms),
        "p05": min(ms),
        "p95": max(ms),
        **dict.fromkeys(("ci_low", "ci_high")),
        "metrics": {},
        "durations_ns": tuple(round(1e6 * value) for value in ms),
    }
    return a_row(**{**fields, **changes})


ROWS = (  # the first step starts the device
    timed("step", 100.0, 10.5, 10.5),
    timed("ane", 80.0, 2.0, 2.0),
    timed("cls", 1.0, 1.0, 1.0),
    timed("ane-backward", 10.0, 5.0, 3.0),
    timed("cls-backward", 2.0, 2.0, 2.0),
    timed("dw", 9.0, 3.0, 3.0),
    timed("other", 2.0, 0.0, 2.0),
    timed("update", 5.0),
)


def test_the_parts_of_a_result_are_its_rows(tmp_path: Path) -> None:
    steps = steps_of_result(a_result(*ROWS, probe="train"))
    assert (steps.count, steps.wall, steps.dw) == (3, 10.0, 3.0)
    assert lay_out_parts(steps).rows == (
        ("ane", "2.000", "4.000", "6.000", "60.0%"),
        ("cls", "1.000", "2.000", "3.000", "30.0%"),
        ("other", "", "", "1.000", "10.0%"),
        ("step", "3.000", "6.000", "10.000", "100.0%"),
        ("dw", "", "", "3.000", "-"),
    )
    assert lay_out_parts(steps).lines[0].startswith("Means over 2 steps, without the first")
    assert lay_out_gains(steps).rows == (
        ("ane", "6.000", "4.000", "2.50x"),
        ("cls", "3.000", "7.000", "1.43x"),
        ("other", "1.000", "9.000", "1.11x"),
    )


def test_the_only_step_is_not_left_out() -> None:
    steps = steps_of_result(a_result(timed("ane", 4.0), timed("cls", 1.0), probe="train"))
    assert steps.wall == 5.0
    assert lay_out_parts(steps).lines[0].startswith("Times of the only step.")


def test_the_dynamic_pipeline_has_names_of_its_own() -> None:
    names = ("ane_fwd", "io_fwd", "rms", "ane_bwd", "rms_bwd", "cls", "silu")
    steps = steps_of_result(a_result(*(timed(name, 1.0) for name in names), probe="train"))
    assert [(part.name, part.phase) for part in steps.parts] == [
        ("ane", "forward"),
        ("io", "forward"),
        ("rms", "forward"),
        ("ane", "backward"),
        ("rms", "backward"),
        ("cls", "both"),
        ("silu", "both"),
    ]


def test_telemetry_and_the_result_of_one_run_share_a_section(tmp_path: Path) -> None:
    result = saved(tmp_path / "t.json", a_result(*ROWS, probe="train"))
    telemetry = telemetry_file(tmp_path / "t.jsonl")
    (section,) = training_sections(read_sources([result, telemetry]), pictures=False)
    assert section.title == "Training (t.json, t.jsonl)"
    assert "not a Neural Engine" in section.warnings[0]
    parts = section.blocks[0].table
    assert parts is not None
    assert parts.rows[0] == ("ane", "2.000", "4.000", "6.000", "60.0%")
    (lone,) = training_sections(read_sources([telemetry]), pictures=False)
    assert lone.title == "Training (t.jsonl)"


def test_parts_of_different_steps_are_not_added_up() -> None:
    steps = steps_of_result(a_result(timed("ane", 1.0, 2.0), timed("cls", 1.0), probe="train"))
    assert not steps.parts
