import json
import os
from pathlib import Path
from typing import Any

import pytest

from aneperf.results import Result
from support.command import Outcome
from support.fakes import a_measured_row, a_result, a_row
from support.saved_results import MAC, saved


@pytest.fixture
def emulated(tmp_path: Path) -> str:
    return saved(tmp_path / "emulated.json", a_result())


@pytest.fixture
def chip(tmp_path: Path) -> str:
    row = a_row(
        median=1.9,
        mean=1.9,
        p05=1.8,
        p95=2.0,
        ci_low=1.89,
        ci_high=1.91,
        params={"config": "128x conv 512ch sp64", "ports": "fp32"},
        metrics={"tflops": 2.26},
    )
    return saved(tmp_path / "chip.json", a_result(row, environment=MAC))


def test_validate(run: Any, tmp_path: Path) -> None:
    outcome = run("validate", saved(tmp_path / "whole.json", a_result(a_measured_row())))
    assert outcome.code == 0
    assert (
        "a result of aneperf 0.1.0, schema version 1: peak, 1 rows (1 ok); software emulator" in outcome.out
    )
    assert json.loads(run("validate", "--schema").out)["title"] == "aneperf result"


def test_export(run: Any, chip: str, tmp_path: Path) -> None:
    entry = json.loads(run("export", "--community", chip).out)
    assert (entry["chip"], entry["peak_tflops_inmem"], entry["ms_per_step"]) == (
        "M4 Max",
        2.26,
        "unavailable",
    )
    assert run("export", "--community", chip, "-o", str(tmp_path / "e.json")) == Outcome(0, "", "")
    assert json.loads((tmp_path / "e.json").read_text()) == entry


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "TORN"], "torn.json: not JSON, or cut short"),
        (["validate", "NEWER"], "newer.json: schema version 2 is newer than this aneperf"),
        (
            ["validate", "CHANGED"],
            "changed.json: row 'peak/conv512x128/sp64/fp32-ports': median is 9.871, but",
        ),
        (["validate", "/dev/zero"], "/dev/zero: is a device"),
        (["validate"], "validate takes a file, or --schema"),
        (["validate", "EMULATED", "--schema"], "validate takes a file, or --schema"),
        (["export", "EMULATED"], "export needs a form: --community"),
        (
            ["export", "--community", "EMULATED"],
            "emulated.json: measured on the emulator: the community's list",
        ),
        (["export", "--community", "CHIP", "--output", "/none/e.json"], "the folder /none does not exist"),
    ],
)
def test_refusals_are_one_line(
    run: Any, emulated: str, chip: str, tmp_path: Path, arguments: list[str], message: str
) -> None:
    whole = Path(emulated).read_text()
    (tmp_path / "torn.json").write_text(whole[:-30])
    (tmp_path / "newer.json").write_text(whole.replace('"schema_version": 1', '"schema_version": 2'))
    changed = a_result(a_row(n=2, warm_up=1, durations_ns=(9_000_000, 9_000_000, 9_100_000)))
    names = {
        "EMULATED": emulated,
        "CHIP": chip,
        "TORN": str(tmp_path / "torn.json"),
        "NEWER": str(tmp_path / "newer.json"),
        "CHANGED": saved(tmp_path / "changed.json", changed),
    }
    before = sorted(os.listdir(tmp_path))
    outcome = run(*(names.get(argument, argument) for argument in arguments))
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.count("\n") == 1
    assert outcome.err.startswith("aneperf: ")
    assert message in outcome.err
    assert sorted(os.listdir(tmp_path)) == before


def test_a_refused_export_leaves_the_old_file(run: Any, emulated: str, tmp_path: Path) -> None:
    (tmp_path / "e.json").write_text("old")
    assert run("export", "--community", emulated, "--output", str(tmp_path / "e.json")).code == 2
    assert (tmp_path / "e.json").read_text() == "old"


ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\r\nnext line\x7f"


def strings_replaced(tree: Any, by: str, keep: tuple[str, ...]) -> Any:
    """Return a tree of JSON with `by` after every text, but for those of the fields in `keep`."""
    if isinstance(tree, dict):
        return {
            name: value if name in keep else strings_replaced(value, by, keep) for name, value in tree.items()
        }
    if isinstance(tree, list):
        return [strings_replaced(value, by, keep) for value in tree]
    return tree + by if isinstance(tree, str) else tree


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """Write a result whose every text that a file may choose holds terminal escapes and line breaks."""
    failed = a_row(32, status="error", reason="why", n=None, published_mean=None)
    flagged = a_measured_row(10, params={"config": "128x conv 512ch sp64", "ports": "fp32"})
    whole = a_result(flagged, failed, environment=MAC, notes=("note",))
    kept = ("status", "device", "unit", "flags", "started")  # which validate compares
    tree = strings_replaced(json.loads(whole.to_json()), ESCAPES, kept)
    tree["rows"][0]["key"] = flagged.key
    (tmp_path / "hostile.json").write_text(json.dumps(tree))
    return str(tmp_path / "hostile.json")


@pytest.mark.parametrize(
    "arguments",
    [
        ["validate"],
        ["compare"],
        ["compare", "M4 Max"],
        ["compare", "M4 Max", "-o", "-"],
        ["gate"],
        ["export"],
    ],
)
def test_no_escape_of_a_file_reaches_the_terminal(run: Any, hostile: str, arguments: list[str]) -> None:
    verb, *rest = arguments
    if verb == "export":
        rest = ["--community", "--contributor", ESCAPES]
    if arguments == ["compare"]:
        rest = [hostile, "--gate"]
    if verb == "gate":
        rest = ["--baseline", hostile]
    outcome = run(verb, hostile, *rest)
    shown = outcome.out + outcome.err
    assert shown
    assert all(character == "\n" or character.isprintable() for character in shown)


def test_no_escape_of_a_file_reaches_a_page(hostile: str) -> None:
    result = Result.load(hostile)
    for shown in (result, result.compare("M4 Max"), result.environment):
        for text in (str(shown), shown._repr_html_()):
            assert all(character == "\n" or character.isprintable() for character in text)


def test_json_keeps_the_characters_that_it_escapes(run: Any, hostile: str, chip: str) -> None:
    (line,) = json.loads(run("compare", hostile, "M4 Max", "-o", "-").out)
    assert line["key"] == "peak/conv512x128/sp64/fp32-ports"
    entry = json.loads(run("export", chip, "--community", "--contributor", ESCAPES + "\U000e0041").out)
    assert entry["contributor"] == ESCAPES + "\U000e0041"
