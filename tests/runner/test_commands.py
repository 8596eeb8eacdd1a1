"""The command of two sides, run in turns: by scripts in an interpreter's place, or not at all."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aneperf.errors import AneError, ArgumentError
from aneperf.results import Result
from aneperf.runner import commands
from aneperf.runner.commands import Side, find_side, measure_in_turns
from support.fakes import a_measured_row, a_result

Interpreter = Callable[[str], Side]


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """Return what makes an interpreter of a shell script."""

    def make(script: str) -> Side:
        path = tmp_path / f"python{len(list(tmp_path.iterdir()))}"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return find_side(str(path))

    return make


def run(sides: tuple[Side, Side], processes: int = 2) -> tuple[Result, Result]:
    return measure_in_turns(
        sides,
        "sweep",
        ["--depth", "1"],
        processes=processes,
        budget=2.5,
        time_limit=60.0,
        report=lambda done, label: None,
    )


def test_the_sides_run_in_turns_and_their_rows_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, list[str]]] = []

    def measured(side: Side, verb: str, options: list[str], time_limit: float) -> Result:
        ran.append((side.label, options))
        return a_result(a_measured_row(seed=len(ran)))

    monkeypatch.setattr(commands, "_run", measured)
    first, second = run((Side("a", "a", takes_processes=True), Side("b", "b")), processes=4)
    assert "".join(label for label, _ in ran) == "abbaabba"
    assert ran[0][1] == ["--depth", "1", "--budget", "2.5", "--processes", "1"]
    assert ran[1][1] == ["--depth", "1", "--budget", "2.5"]  # its aneperf has no such option
    medians = [a_measured_row(seed=seed).median for seed in range(1, 9)]
    assert first.rows[0].medians == tuple(medians[place] for place in (0, 3, 4, 7))
    assert second.rows[0].medians == tuple(medians[place] for place in (1, 2, 5, 6))


def test_a_command_is_a_list_of_arguments(interpreter: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(a_result(a_measured_row()).to_json())
    side = interpreter(
        f'for last; do :; done; echo "$*" > "{tmp_path}/said"; cp "{tmp_path}/result.json" "$last"'
    )
    first, _ = run((side, side), processes=1)
    assert len(first) == 1
    assert (tmp_path / "said").read_text().startswith("-m aneperf sweep --depth 1 --budget 2.5 -o ")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo 'aneperf: broken' >&2; exit 2", "gave no result: aneperf: broken"),
        ("exit 3", "gave no result: it said nothing"),
        ("for last; do :; done; echo '{' > \"$last\"", "its result cannot be read: not JSON, or cut short"),
    ],
)
def test_a_run_without_a_result_is_an_error(interpreter: Interpreter, script: str, message: str) -> None:
    side = interpreter(script)
    with pytest.raises(AneError, match=message) as raised:
        run((side, side))
    assert str(raised.value).startswith(f"{side.label}: ")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "echo \"ModuleNotFoundError: No module named 'aneperf'\" >&2; exit 1",
            "has no aneperf: install it there",
        ),
        ("echo what >&2; exit 1", "is no Python with aneperf: what"),
        ("echo hello", "is no Python with aneperf: it said nothing"),
        ("echo '[\"x\", false, false]'", "its aneperf has no verb 'sweep' that measures"),
    ],
)
def test_an_interpreter_that_cannot_measure_is_refused(
    interpreter: Interpreter, script: str, message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        interpreter(script).asked("sweep")


def test_an_interpreter_tells_of_its_aneperf(interpreter: Interpreter) -> None:
    side = interpreter("echo warning; echo '[\"/lib/aneperf\", true, true]'").asked("sweep")
    assert (side.package, side.takes_processes) == ("/lib/aneperf", True)


def test_what_a_side_may_be(tmp_path: Path) -> None:
    assert find_side(sys.executable).python == sys.executable
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    assert find_side(str(tmp_path)).python == str(tmp_path / "bin" / "python")  # not what it links to
    model = tmp_path / "net.py"
    model.write_text("")
    side = find_side(f"{model}:net")
    assert side.command("bench", ["--budget", "1"]) == [
        *(sys.executable, "-m", "aneperf", "bench", f"{model}:net", "--budget", "1")
    ]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no-such-python", "there is no such interpreter"),
        ("missing.mil", "there is no such model"),
        (".", r"\.: is no environment: it has no bin/python"),
    ],
)
def test_what_no_side_may_be(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=message):
        find_side(name)


def test_rows_of_two_models_have_the_same_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    row = a_measured_row(key="bench/a.mil/n=64", params={"program": "a.mil", "config": "n=64"})
    assert [row.key for row in commands._without_name(a_result(row))] == ["bench/n=64"]


@pytest.mark.thorough
def test_this_interpreter_against_itself(tmp_path: Path) -> None:
    side = find_side(sys.executable).asked("sweep")
    first, second = measure_in_turns(
        (side, side),
        "sweep",
        ["--channels", "16", "--device", "emulator"],
        processes=2,
        budget=0.5,
        time_limit=600.0,
        report=lambda done, label: None,
    )
    assert [row.status for row in (*first, *second)] == ["ok", "ok"]
    assert {len(row.medians) for row in (*first, *second)} == {2}
