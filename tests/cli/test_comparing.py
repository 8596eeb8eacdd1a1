"""The verbs compare and gate."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aneperf.results import Result
from support.command import Outcome, assert_refused
from support.fakes import a_result, a_row, an_environment
from support.parameters import thorough
from support.saved_results import MAC, saved, taking

NAME = "128x conv 512ch sp64"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("results")
    failed = a_row(status="error", reason="wrong output", n=None)
    results = {
        "fast": taking(1.0),
        "twin": taking(1.0),
        "slow": taking(2.0),
        "again": taking(1.02),
        "broken": a_result(failed),
        "empty": a_result(a_row(32)),
        "chip": taking(1.9, environment=MAC),
        "other": taking(1.0, environment=an_environment(numpy="2.5.0")),
        "latency": a_result(a_row(key="latency/1"), probe="latency"),
    }
    return {name: saved(folder / f"{name}.json", result) for name, result in results.items()}


def test_the_verdict_is_on_the_second_file(run: Any, files: dict[str, str]) -> None:
    worse = run("compare", files["fast"], files["slow"], "--gate")
    assert worse.code == 1
    assert re.search(
        rf"medians in ms\n(.*\n)+Config +fast +slow +slow is +Interval\n.*\n{NAME} .* SLOWER \*\n", worse.out
    )
    assert "The gate fails.\n" in worse.out
    assert worse.err == f"aneperf: compare: the gate fails: {NAME} is SLOWER\n"
    assert run("compare", files["fast"], files["slow"]).code == 0
    better = run("compare", files["slow"], files["fast"], "--gate")
    assert (better.code, better.err) == (0, "")
    assert re.search("2.00x faster .* FASTER", better.out)
    assert "The gate passes.\n" in better.out
    same = run("compare", files["fast"], files["fast"], "--gate")
    assert (same.code, same.err) == (0, "")
    assert "Both sides are the same measurement.\n" in same.out


@pytest.mark.parametrize(
    ("before", "after", "options", "reason"),
    [
        ("fast", "broken", ["--gate"], f"{NAME} is not comparable: error in broken"),
        ("broken", "fast", ["--gate"], f"{NAME} is not comparable: error in broken"),
        ("fast", "broken", ["--fail-on", "slower, missing"], "no row could be judged"),
        ("fast", "empty", ["--gate"], f"only in fast: {NAME}; only in empty: 32x conv 512ch sp64"),
        ("fast", "slow", ["--fail-on", "error"], None),
        ("fast", "slow", ["--gate", "--threshold", "150%"], None),
        ("fast", "slow", ["--gate", "--threshold=50 %"], f"{NAME} is SLOWER"),
        ("fast", "other", ["--gate"], "numpy differs: 2.4.6, then 2.5.0"),
        ("fast", "other", ["--gate", "--allow-different", "os,numpy"], None),
        ("fast", "other", ["--fail-on", "slower", "--allow-different", "all"], None),
        ("fast", "other", [], None),
        ("chip", "M4 Max", ["--gate"], f"{NAME} is SLOWER"),
    ],
)
def test_a_gate(
    run: Any, files: dict[str, str], before: str, after: str, options: list[str], reason: str | None
) -> None:
    outcome = run("compare", files[before], files.get(after, after), *options)
    assert outcome.code == (0 if reason is None else 1)
    assert outcome.err == ("" if reason is None else f"aneperf: compare: the gate fails: {reason}\n")


def test_several_files_a_side(run: Any, files: dict[str, str]) -> None:
    before, after = (files["fast"], files["again"]), files["slow"]
    outcome = run("compare", "--before", *before, "--after", after, "--gate")
    assert outcome.code == 1
    assert re.search(r"Config +before +slow +slow is", outcome.out)
    assert (
        run("compare", f"--before={before[0]}", "--before", before[1], "--after", after, "--gate") == outcome
    )
    assert "M4 Max: published figures" in run("compare", "--before", files["chip"], "--after", "m4 max").out


@pytest.mark.parametrize("option", ["--fail-on", "--allow-different"])
@pytest.mark.parametrize("names", ["", " , "])
def test_an_option_that_names_nothing_is_a_mistake(
    run: Any, files: dict[str, str], option: str, names: str
) -> None:
    outcome = run("compare", files["fast"], files["slow"], "--gate", option, names)
    assert_refused(outcome, f"invalid value for '{option}': it names nothing.")


def test_compare_with_a_chip(run: Any, files: dict[str, str]) -> None:
    assert re.search(r"chip +M4 Max +Range +chip is", run("compare", files["chip"], "m4 max").out)
    outcome = run("compare", files["fast"], "M4 Max")
    assert outcome.code == 0
    assert "not comparable: emulator" in outcome.out


def test_compare_prints_json(run: Any, files: dict[str, str]) -> None:
    (line,) = json.loads(run("compare", files["chip"], "M4 Max", "-o", "-").out)
    assert line["verdict"] == "SLOWER"
    assert line["ratio"] == pytest.approx(0.38 / 1.9)
    assert line["ratio_low"] < line["ratio"] < line["ratio_high"]


@pytest.mark.parametrize("columns", ["60", *thorough("100", "200")])
def test_a_pipe_gets_whole_lines_whatever_the_terminal(files: dict[str, str], columns: str) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "COLUMNS": columns}
    command = [sys.executable, "-m", "aneperf", "compare", files["fast"], "M4 Max"]
    outcome = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert re.search(
        rf"{NAME} +1\.000 +0\.3800 +0\.371-0\.393 +- +- not comparable: emulator\n", outcome.stdout
    )
    assert "\x1b" not in outcome.stdout


def test_a_baseline_folder_has_a_file_for_each_probe_and_machine(
    run: Any, files: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "baselines"
    gate = ("gate", "--baseline", str(folder))
    missing = run(*gate, files["fast"])
    assert_refused(
        missing, "has no baseline for peak, emulator h16, 4 cores of AMD EPYC: make one with --update"
    )
    assert not folder.exists()
    made = run(*gate, files["fast"], files["latency"], "--update")
    assert (made.code, made.err) == (0, "")
    names = sorted(os.listdir(folder))
    assert [name[:-14] for name in names] == [
        "latency-emulator-h16-amd-epyc-4-cores",
        "peak-emulator-h16-amd-epyc-4-cores",
    ]
    assert str(folder / names[1]) in made.out
    worse = run(*gate, files["slow"], files["latency"])
    assert worse.code == 1
    assert re.search(r"Config +baseline +slow +slow is", worse.out)
    assert "aneperf compare: latency" in worse.out
    assert worse.err == f"aneperf: gate: the gate fails: peak: {NAME} is SLOWER\n"
    assert run(*gate, files["again"]).code == 0
    accepted = run(*gate, files["slow"], "--update")
    assert (accepted.code, accepted.err) == (0, "")
    assert "SLOWER" in accepted.out
    assert run(*gate, files["slow"]).code == 0
    assert "FASTER" in run(*gate, files["fast"]).out
    assert_refused(run(*gate, files["chip"]), "peak, ane Apple M4 Max, 4 cores of AMD EPYC")
    assert sorted(os.listdir(folder)) == names


def test_a_baseline_may_have_several_runs(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "baselines"
    gate = ("gate", "--baseline", f"{folder}/")
    assert run(*gate, files["fast"], files["again"], "--update").code == 0
    assert len(os.listdir(folder)) == 2
    (row,) = json.loads(run(*gate, files["slow"], "-o", "-").out)
    assert row["first"] == pytest.approx(1.02**0.5)
    assert run(*gate, files["slow"], "--update").code == 0
    assert len(os.listdir(folder)) == 1


def test_a_baseline_file(run: Any, files: dict[str, str], tmp_path: Path) -> None:
    gate = ("gate", "--baseline", str(tmp_path / "new" / "base.json"))
    assert_refused(run(*gate, files["fast"]), "has no baseline")
    assert run(*gate, files["fast"], "--update").code == 0
    assert Result.load(gate[2]) == Result.load(files["fast"])
    assert run(*gate, files["slow"]).code == 1
    assert run(*gate, files["slow"], "--fail-on", "error").code == 0
    assert run(*gate, files["other"]).code == 1
    assert run(*gate, files["other"], "--allow-different", "numpy").code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "FAST", "M9"], "M9: is no file, and no chip is called 'M9': choose from M6, "),
        (["compare", "FAST", "M3 Max"], "no figures are published for M3 Max: choose from M1, M1 Pro, "),
        (["compare", "FAST", "gone.json"], "gone.json: cannot read: No such file or directory"),
        (["compare", "gone.json", "M4"], "gone.json: cannot read: No such file or directory"),
        (["compare", "FAST", "TORN"], "torn.json: not JSON, or cut short"),
        (["compare", "FAST", "LATENCY"], "fast has rows of peak and latency of latency: none in common"),
        (["compare", "FAST"], "compare takes two files, or --before FILE... and --after FILE..."),
        (["compare", "FAST", "SLOW", "AGAIN"], "compare takes two files, or"),
        (["compare", "FAST", "--after", "SLOW"], "compare takes two files, or"),
        (
            ["compare", "--before", "FAST", "FAST", "--after", "SLOW"],
            "fast.json hold the same result: on one side it would",
        ),
        (["compare", "--before", "--after", "SLOW"], "option '--before' requires an argument."),
        (["compare", "FAST", "SLOW", "--after"], "option '--after' requires an argument."),
        (["compare", "FAST", "SLOW", "--gate", "--threshold", "0.05"], "'0.05' is no percentage, such as 5%"),
        (["compare", "FAST", "SLOW", "--gate", "--threshold", "2000%"], "threshold must be from 0 to 10"),
        (
            ["compare", "FAST", "SLOW", "--fail-on", "slow"],
            "no kind of failure is called 'slow': choose from",
        ),
        (["compare", "FAST", "SLOW", "--allow-different", "numpy"], "--allow-different is for --gate"),
        (["gate", "FAST"], "missing option '--baseline'"),
        (["gate", "--baseline", "FAST"], "missing argument 'RESULT...'"),
        (["gate", "--baseline", "new/", "BROKEN", "--update"], "broken.json: has 1 rows in error"),
        (["gate", "--baseline", "FAST", "FAST", "--update"], "fast.json: is also read, as RESULT"),
        (["gate", "--baseline", "FAST", "SLOW", "AGAIN", "--update"], "a baseline in a file is one result"),
        (["gate", "--baseline", "new/", "FAST", "TWIN", "--update"], "twin.json hold the same result"),
        (["gate", "--baseline", "TORN", "FAST"], "torn.json: not JSON, or cut short"),
        (["gate", "--baseline", "/none/folder/", "FAST", "--update"], "the folder /none does not exist"),
        (["gate", "--baseline", "TEXT", "FAST", "--update"], "text.json: not JSON"),
    ],
)
def test_refusals_are_one_line(
    run: Any, files: dict[str, str], tmp_path: Path, arguments: list[str], message: str
) -> None:
    (tmp_path / "torn.json").write_text(Path(files["fast"]).read_text()[:-30])
    (tmp_path / "text.json").write_text("notes of mine, which nobody may replace: " * 3)
    known = {**files, "torn": str(tmp_path / "torn.json"), "text": str(tmp_path / "text.json")}
    folders = (tmp_path, Path(files["fast"]).parent)
    before = [sorted(os.listdir(folder)) for folder in folders]
    outcome: Outcome = run(*(known.get(word.lower(), word) if word.isupper() else word for word in arguments))
    assert_refused(outcome, message)
    assert [sorted(os.listdir(folder)) for folder in folders] == before
