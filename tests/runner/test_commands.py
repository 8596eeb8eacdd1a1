"""The command of two sides, run in turns: by scripts in an interpreter's place, or not at all."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from aneperf.errors import AneError, ArgumentError
from aneperf.results import Result
from aneperf.runner import commands
from aneperf.runner.commands import MeasuredSides, Side, find_side, measure_in_turns
from aneperf.runner.referee import Turns
from support.fakes import a_measured_row, a_result, an_environment

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


def run(sides: tuple[Side, Side], processes: int = 2) -> MeasuredSides:
    return measure_in_turns(
        sides,
        "sweep",
        ["--depth", "1"],
        processes=processes,
        budget=2.5,
        time_limit=60.0,
        report=lambda done: None,
    )


def test_pairs_of_processes_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []

    def measured(
        sides: tuple[Side, Side], verb: str, options: list[str], time_limit: float, first: int
    ) -> tuple[list[Result], Turns]:
        ran.append(first)
        assert options == ["--depth", "1", "--budget", "2.5"]
        results = [
            a_result(
                a_measured_row(seed=2 * len(ran) + side), environment=an_environment(load=float(len(ran)))
            )
            for side in (0, 1)
        ]
        return results, [{"k": [9.0] + [1.0] * 6}, {"k": [9.0] + [1.0 + len(ran)] * 6, "other": [1.0] * 9}]

    monkeypatch.setattr(commands, "_run_pair", measured)
    found = run((Side("a", "a"), Side("b", "b")), processes=4)
    assert ran == [0, 1, 0, 1]  # the side that has the first turn
    assert found.ratios == {"k": (2.0, 3.0, 4.0, 5.0)}
    for environments in found.environments:
        assert [environment.load for environment in environments] == [1, 2, 3, 4]
    for side, result in enumerate(found.results):
        medians = [a_measured_row(seed=2 * pair + side).median for pair in range(1, 5)]
        assert result.rows[0].medians == tuple(medians)


def test_a_command_is_a_list_of_arguments(interpreter: Interpreter, tmp_path: Path) -> None:
    (tmp_path / "result.json").write_bytes(a_result(a_measured_row()).to_json())
    side = interpreter(
        f'for last; do :; done; echo "$*" > "{tmp_path}/said"; cp "{tmp_path}/result.json" "$last"'
    )
    first, _ = run((side, side), processes=1).results
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


def test_rows_of_two_models_have_the_same_keys() -> None:
    assert commands._without_name("bench/a.mil/n=64/m=2") == "bench/n=64/m=2"
    assert commands._without_name("bench/a.py:net") == "bench"


@pytest.mark.thorough
def test_this_interpreter_against_itself() -> None:
    side = find_side(sys.executable).asked("sweep")
    found = measure_in_turns(
        (side, side),
        "sweep",
        ["--channels", "16", "--device", "emulator"],
        processes=2,
        budget=4.0,
        time_limit=600.0,
        report=lambda done: None,
    )
    rows = [row for result in found.results for row in result]
    assert [row.status for row in rows] == ["ok", "ok"]
    assert {len(row.medians) for row in rows} == {2}
    assert [*found.ratios] == [rows[0].key]
    assert "ANEPERF_TURNS" not in found.results[0].environment.variables
