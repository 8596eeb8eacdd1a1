import inspect
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import aneperf
from aneperf.cli.main import app
from aneperf.errors import ArgumentError
from aneperf.probes import suite as suite_module
from aneperf.probes.probe import Probe
from aneperf.probes.registry import PROBES, VERBS
from aneperf.probes.sweep import DEPTH
from aneperf.results import Result
from aneperf.runner.in_child import BLOCKED, NOT_TRIED
from aneperf.runner.progress import Progress
from support import child_probes
from support.fakes import FakeClock, FakeDevice, leaping
from support.terminals import widest_line


def table(*names: str, in_child: bool = True, share: float = 1.0) -> dict[str, Probe]:
    return {
        name: Probe(name, "", 30.0, share=share, in_child=in_child, function=f"support.child_probes:{name}")
        for name in names
    }


def suite(monkeypatch: pytest.MonkeyPatch, probes: dict[str, Probe], **options: Any) -> Result:
    monkeypatch.setattr(suite_module, "PROBES", probes)
    return aneperf.suite("emulator", **{"budget": 600.0, **options})


def keys(result: Result) -> list[tuple[str, str]]:
    return [(row.key, row.status) for row in result]


GOOD = [("made-up/good/1", "ok"), ("made-up/good/2", "ok")]


@pytest.mark.parametrize("in_child", [True, False])
def test_a_suite_has_the_rows_of_all_its_probes(monkeypatch: pytest.MonkeyPatch, in_child: bool) -> None:
    steps: list[Progress] = []
    probes = table("good", "also_good", in_child=in_child)
    result = suite(monkeypatch, probes, progress=steps.append)
    assert result.probe == "suite"
    assert keys(result) == [*GOOD, ("also_good/1", "ok")]
    assert result.notes == ("good: all well",)
    # Whoever collects the rows of the steps has all of them, each once.
    assert [step.row for step in steps if step.row is not None] == list(result)
    assert {step.total for step in steps} == {2}
    assert steps[-1].done == 2


@pytest.mark.parametrize("in_child", [True, False])
def test_a_probe_that_fails_costs_its_own_rows_only(monkeypatch: pytest.MonkeyPatch, in_child: bool) -> None:
    result = suite(monkeypatch, table("fails", "good", in_child=in_child))
    assert keys(result) == [("made-up/fails/1", "ok"), ("fails/unfinished", "error"), *GOOD]
    assert result.rows[1].reason is not None
    assert result.rows[1].reason.startswith("ZeroDivisionError: division by nothing")


def test_a_crash_and_chatter_are_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    result = suite(monkeypatch, table("aborts", "prints", "good"))
    lost = ("aborts/unfinished", "error")
    assert keys(result) == [("made-up/aborts/1", "ok"), lost, ("made-up/prints/1", "ok"), *GOOD]
    assert result.rows[1].reason == "its process was killed by SIGABRT at falling"


def test_a_hang_is_survived(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.runner.in_child._PATIENCE_S", 60.0)
    monkeypatch.setattr("aneperf.runner.in_child._PATIENCE", 0.0)
    leap = leaping(monkeypatch)

    def at_the_hang(step: Progress) -> None:
        if step.doing == "hangs: hanging":
            leap(179.9)

    result = suite(monkeypatch, table("hangs", "good"), progress=at_the_hang)
    assert keys(result) == [("made-up/hangs/1", "ok"), ("hangs/unfinished", "error"), *GOOD]
    assert result.rows[1].reason == "killed: it ran longer than its 180 s at hanging"


def test_when_no_compile_ends_the_rest_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.runner.in_child.after_expiry", lambda *_: (BLOCKED, True))
    device = aneperf.open("emulator", compile_timeout=0.5)
    monkeypatch.setattr(suite_module, "PROBES", table("never_compiles", "good"))
    result = aneperf.suite(device, budget=600.0)
    assert [(row.key, row.status, row.reason) for row in result] == [
        ("made-up/finished", "ok", None),
        ("never_compiles/unfinished", "error", f"at 2x conv: {BLOCKED}"),
        ("good/unfinished", "skipped", NOT_TRIED),
    ]


@pytest.mark.parametrize("in_child", [True, False])
def test_probes_that_time_rows_get_the_processes(monkeypatch: pytest.MonkeyPatch, in_child: bool) -> None:
    probes = table("in_processes", in_child=in_child)
    timed = {name: replace(probe, processes=5) for name, probe in probes.items()}
    assert suite(monkeypatch, timed, processes=3).rows[0].metrics == {"processes": 3}
    if not in_child:
        assert suite(monkeypatch, timed).rows[0].metrics == {"processes": 1}
        assert suite(monkeypatch, probes, processes=3).rows[0].metrics == {"processes": 1}
        with pytest.raises(ArgumentError, match="processes must be an integer from 1 to 100, not 0"):
            suite(monkeypatch, timed, processes=0)


def test_rows_are_not_lost_for_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    result = suite(monkeypatch, table("good", "repeats", in_child=False))
    assert keys(result) == [*GOOD, ("repeats/made-up/good/1", "ok")]


def test_the_budget_is_split_by_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = {**table("good", in_child=False, share=3), **table("also_good", in_child=False, share=1)}
    result = suite(monkeypatch, probes, budget=100.0, clock=FakeClock())
    assert result.rows[0].metrics == {"budget": 75.0}


def test_without_time_left_a_probe_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.0, 200.0])
    result = suite(monkeypatch, table("good"), budget=100.0, clock=lambda: next(times))
    assert keys(result) == [("good/unfinished", "skipped")]
    assert result.rows[0].reason == "the time budget was spent: give more seconds"


def test_only_and_skip(monkeypatch: pytest.MonkeyPatch) -> None:
    probes = table("good", "also_good", "prints", in_child=False)
    assert keys(suite(monkeypatch, probes, only=["also_good"])) == [("also_good/1", "ok")]
    assert keys(suite(monkeypatch, probes, skip=["good", "prints"])) == [("also_good/1", "ok")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"only": ["peek"]}, "only: no probe is called 'peek': choose from counters, weights"),
        ({"skip": ["peek"]}, "skip: no probe is called 'peek'"),
        ({"only": "peak"}, "only must be a list of probes, not 'peak'"),
        ({"only": ["peak"], "skip": ["peak"]}, "no probe is left to run"),
        ({"only": []}, "no probe is left to run"),
        ({"skip": list(PROBES)}, "no probe is left to run"),
        ({"budget": 0}, "budget must be a positive, finite number"),
        ({"budget": float("nan")}, "budget must be a positive, finite number"),
    ],
)
def test_what_a_suite_cannot_do(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        aneperf.suite("emulator", **options)


@pytest.mark.parametrize("probe", VERBS.values(), ids=VERBS)
def test_the_registry_describes_the_functions(probe: Probe) -> None:
    function = getattr(aneperf, probe.name)
    assert function is probe.load() or probe.target  # a verb's text names what the function takes
    assert probe.summary.endswith(".")
    parameters = inspect.signature(probe.load()).parameters
    for option in probe.verb_options:
        default = parameters[option.argument].default
        # None means "as the stack says", and the published stacks say what the registry does. A verb measures
        # in several processes, and a function in the one that has its device.
        differs = {"ports": None, "processes": 1}
        assert default in (option.default, differs.get(option.name, option.default)) or option.repeatable
        assert option.help.endswith(".")


def test_options_become_arguments() -> None:
    given = {"spatial": "64..256", "channels": None, "depth": "all", "ports": "fp16", "budget": 3.0}
    assert VERBS["sweep"].arguments(given) == {
        "spatial": [64, 128, 256], "depth": list(DEPTH), "ports": "fp16", "budget": 3.0
    }  # fmt: skip
    assert VERBS["peak"].arguments({"config": ["a", "b"]}) == {"configs": ["a", "b"]}
    assert VERBS["parity"].arguments({"only": [], "budget": None}) == {}
    with pytest.raises(ArgumentError, match="--depth: 'deep' is no value"):
        VERBS["sweep"].arguments({"depth": "deep"})


def test_the_registry_loads_no_probe() -> None:
    """The command lists its verbs before it loads anything."""
    code = (
        "import sys\n"
        "from aneperf.probes.registry import VERBS\n"
        "assert 'suite' in VERBS\n"
        "print(*sorted(name for name in sys.modules if name.startswith(('numpy', 'msgspec', 'aneperf'))))"
    )
    run = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert run.stdout.split() == [
        *("aneperf", "aneperf.probes", "aneperf.probes.probe", "aneperf.probes.registry", "aneperf.system")
    ]


def test_every_probe_is_documented_and_a_verb() -> None:
    assert all(probe.share > 0 for probe in PROBES.values())
    page = (Path(__file__).parents[2] / "docs" / "probes.md").read_text()
    assert all(f"| `{name}` | " in page for name in [*PROBES, "suite"])
    assert {*PROBES, "suite"} <= set(app.commands)


ON_MADE_UP_PROBES = """
import math, sys
import aneperf.probes.suite, aneperf.signals
from aneperf.cli import main as cli
from aneperf.probes.probe import Probe
names = sys.argv.pop(1).split(",")
table = {name: Probe(name, "", 30.0, share=1.0, function=f"support.child_probes:{name}") for name in names}
aneperf.probes.suite.PROBES = table
aneperf.signals.REPEAT_S = math.inf  # signals that come late on a busy machine are repetitions, too
cli.main()
"""


def start(
    names: str, *arguments: str, code: str = ON_MADE_UP_PROBES, **variables: str
) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}
    command = [sys.executable, "-c", code, names, "suite", "--device", "emulator", *arguments]
    return subprocess.Popen(
        command,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("number", "whole_group", "times"),
    [
        (signal.SIGINT, True, 5),
        (signal.SIGTERM, False, 1),
        pytest.param(signal.SIGINT, True, 1, marks=pytest.mark.thorough),
        pytest.param(signal.SIGINT, False, 5, marks=pytest.mark.thorough),
        pytest.param(signal.SIGTERM, True, 2, marks=pytest.mark.thorough),
        pytest.param(signal.SIGHUP, True, 2, marks=pytest.mark.thorough),
        pytest.param(signal.SIGHUP, False, 1, marks=pytest.mark.thorough),
    ],
)
def test_a_signal_leaves_the_finished_rows(
    tmp_path: Path, number: signal.Signals, whole_group: bool, times: int
) -> None:
    """Send the signal to all processes, as a terminal does, or to the command alone; also repeatedly."""
    mark, saved = tmp_path / "mark", tmp_path / "suite.json"
    process = start("good,hangs,also_good", "-o", str(saved), CHILD_PROBES_MARK=str(mark))
    end = time.monotonic() + 60
    while not mark.exists():
        assert process.poll() is None
        assert time.monotonic() < end
        time.sleep(0.01)
    for _ in range(times):
        (os.killpg if whole_group else os.kill)(process.pid, number)
        time.sleep(0.02)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert err.splitlines() == [
        "aneperf: 1 of 3: good",
        "aneperf: 2 of 3: hangs",
        f"aneperf: interrupted{'' if number == signal.SIGINT else f' by {number.name}'}",
    ]
    result = Result.load(saved)
    assert keys(result) == [*GOOD, ("made-up/hangs/1", "ok")]
    assert result.notes == ("Interrupted: only the finished rows are here.",)
    assert "Interrupted: only the finished rows are here." in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mark", "suite.json"]


def test_a_closed_terminal_leaves_the_finished_rows(tmp_path: Path) -> None:
    """Draw progress on a terminal, which then closes: it sends SIGHUP, and writing to it fails."""
    mark, saved = tmp_path / "mark", tmp_path / "suite.json"
    controller, terminal = os.openpty()
    in_terminal = (
        f"import os, sys\nterminal = os.open({os.ttyname(terminal)!r}, os.O_RDWR)\n"
        "for stream in range(3):\n    os.dup2(terminal, stream)\n"
        f"os.execv(sys.executable, [sys.executable, '-c', {ON_MADE_UP_PROBES!r}, *sys.argv[1:]])\n"
    )
    process = start(
        *("good,hangs,also_good", "-o", str(saved)),
        code=in_terminal,
        CHILD_PROBES_MARK=str(mark),
        TERM="xterm",
    )
    end, drawn = time.monotonic() + 60, b""
    while not mark.exists() or b"good" not in drawn:
        assert process.poll() is None
        assert time.monotonic() < end
        if select.select([controller], [], [], 0.01)[0]:
            drawn += os.read(controller, 1000)
    os.close(terminal)
    os.close(controller)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGHUP
    assert keys(Result.load(saved)) == [*GOOD, ("made-up/hangs/1", "ok")]


def test_a_suite_with_a_crash_is_saved_and_is_exit_code_1(tmp_path: Path) -> None:
    saved = tmp_path / "suite.json"
    process = start("aborts,good", "-o", str(saved), "--budget", "600")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err.splitlines() == ["aneperf: 1 of 2: aborts", "aneperf: 2 of 2: good"]
    assert len(Result.load(saved)) == 4
    assert "its process was killed by SIGABRT" in out
    assert widest_line(Result.load(saved)) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "peek"], "no probe is called 'peek'"),
        (["--only", "peak", "--skip", "peak"], "no probe is left to run"),
        (["--budget", "0"], "budget must be a positive, finite number, not 0.0"),
        (["-o", "none/s.json"], "the folder"),
        (["--device", "gpu"], "no device is called 'gpu'"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    run: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = run("suite", *arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert list(tmp_path.iterdir()) == []


def test_every_verb_runs_its_probe(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.device.open", lambda *args, **kwargs: FakeDevice())
    outcome = run("counters", "--budget", "0")
    assert outcome.code == 2
    assert "budget must be a positive" in outcome.err


def test_a_suites_table_counts_and_folds(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [child_probes.row(f"{i}") for i in range(50)]
    refused = child_probes.row("refused", status="unsupported", reason="too wide")
    environment = child_probes.an_environment()
    notes = ("made-up: first", "of the suite")
    result = Result(probe="suite", environment=environment, rows=(*many, refused), notes=notes)
    text = str(result)
    assert "aneperf made-up\n" in text
    assert "made-up/refused" in text
    assert "made-up/49" not in text
    assert "50 ok rows are left out; aneperf made-up shows them." in text
    assert "\nfirst\n" in text
    assert text.endswith("of the suite")
    counts = next(line for line in text.splitlines() if line.startswith("made-up "))
    assert counts.split() == ["made-up", "51", "50", "1", "0", "0"]
    html = result._repr_html_()
    assert html.count("<table>") == 2
    assert html.count("<div>") == html.count("</div>")
