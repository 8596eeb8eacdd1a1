"""`aneperf predict`: its table, its files and what it refuses."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from aneperf.kernels import ConvStack
from support.command import assert_refused


@pytest.fixture
def model(tmp_path: Path) -> str:
    program = ConvStack(64, 2).build()
    file = tmp_path / "stack.mil"
    file.write_text(program.text)
    for name, content in program.weights.items():
        place = tmp_path / name.removeprefix("@model_path/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
    return str(file)


def test_one_chip(run: Any, model: str) -> None:
    outcome = run("predict", model, "--chip", "m4max")
    assert outcome.code == 0
    assert "stack.mil on M4 Max: a prediction, not a measurement" in outcome.out
    assert "Bound by" in outcome.out
    assert "the call itself" in outcome.out


def test_several_chips_have_a_column_each(run: Any, model: str) -> None:
    out = run("predict", model, "--chip", "M4", "--chip", "M6", "--chip", "M4").out
    header = next(line for line in out.splitlines() if "M6" in line)
    assert header.split() == ["M4", "M6"]
    assert all(len(line) <= 80 for line in out.splitlines())


def test_the_rows_of_a_chip_add_up_to_a_call(run: Any, model: str) -> None:
    out = run("predict", model, "--chip", "M4", "--chip", "M6").out
    numbers = [
        [float(word) for word in line.removeprefix("2 ").split() if re.fullmatch(r"[\d.]+", word)]
        for line in out.splitlines()
        if line.startswith(("one call", "conv_", "2 others", "the call itself"))
    ]
    whole, *parts = numbers
    assert len(parts) == 4
    assert [sum(column) for column in zip(*parts, strict=True)] == pytest.approx(whole, rel=0.01)


@pytest.mark.parametrize("suffix", [".json", ".csv", ".md", ".html"])
def test_output_files(run: Any, model: str, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"p{suffix}"
    for _ in range(2):  # a file of the same kind is replaced
        assert run("predict", model, "--chip", "M4", "-o", str(file)).code == 0
    text = file.read_text()
    if suffix == ".json":
        whole = json.loads(text)[0]
        assert (whole["prediction"], whole["chip"], whole["op"]) == ("stack.mil", "M4", "call")
        assert "aneperf predict stack.mil: not a measurement" in run("show", str(file)).out
        report = run("report", str(file), "-o", "-.md").out
        assert "## Prediction, not a measurement (p.json)" in report
        assert "**aneperf predict stack.mil: not a measurement**" in report
        assert "| M4 | one call | call | 1 |" in report
    assert "stack.mil" in text


def test_converted_programs_are_aligned_by_their_operations(run: Any, model: str) -> None:
    out = run("predict", model, "--fp16", "--chip", "M1", "--chip", "M4").out
    rows = [line.split() for line in out.splitlines() if line.startswith(("conv", "y"))]
    assert [row[0] for row in rows] == ["conv_0", "y", "conv_1"]  # without a cast, y is the second
    assert [len(row) for row in rows] == [5, 5, 3]  # a time and a sign for each chip that has it


def test_training_kernels(run: Any) -> None:
    out = run("predict", "--kernels", "stories260k", "--pipeline", "dynamic", "--chip", "M4").out
    assert "stories260k, training step, dynamic on M4" in out
    assert "The host's part of a step" in " ".join(out.split())


def test_chips_share_a_note(run: Any, model: str, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    out = " ".join(run("predict", model, "--chip", "M1", "--chip", "M6", "-o", str(file)).out.split())
    assert "M1, M6: the figures are of other libraries." in out
    shown = " ".join(run("show", str(file)).out.split())
    assert "M1: the figures are of other libraries." in shown
    assert "M6: the figures are of other libraries." in shown


def test_a_hostile_file_is_shown_as_text(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    record = {"prediction": "x", "count": 2**64 - 1, "ms": -1.5, "low_ms": "=1+1", "notes": "a\x1b[31m\n<b>"}
    file.write_text(json.dumps([record, {"prediction": "y", "notes": 7}]))
    out = run("show", str(file)).out
    assert "18446744073709551615" in out
    assert "\x1b" not in out
    assert "&lt;b&gt;" in run("show", str(file), "-o", "-.html").out
    assert "'=1+1" in run("show", str(file), "-o", "-.csv").out


def test_refusals(run: Any, model: str) -> None:
    assert_refused(run("predict"), "MODEL, or --kernels")
    assert_refused(run("predict", model, "--kernels", "stories110m"), "MODEL, or --kernels")
    assert_refused(run("predict", model, "--chip", "M99"), "no chip is called")
    assert_refused(run("predict", "--kernels", "none"), "no model is called")
    assert_refused(run("predict", model, "--pipeline", "dynamic"), "--pipeline is for --kernels")
    assert_refused(run("predict", model, "--axis", "n=1,2"), "one program")
    assert_refused(run("predict", model, "-o", model), model)
    assert_refused(run("predict", f"{model}.none"), "none")
