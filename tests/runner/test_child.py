import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

import aneperf
from aneperf import CompileBudget
from aneperf.errors import ArgumentError
from aneperf.results import Row
from aneperf.runner.child import Child, module_path
from aneperf.runner.in_child import _Conversation, each_in_child, run_in_child
from aneperf.runner.measured import Measured
from aneperf.runner.progress import Progress
from support import environment
from support.child_probes import misbehave, one_by_one
from support.fakes import an_environment, leaping
from support.interrupts import call_or_interrupt
from support.parameters import thorough

LONG = 600.0  # seconds: a child that is well is never killed, however busy the machine


def run(how: str, time_limit: float = LONG, **arguments: Any) -> Any:
    return run_in_child(misbehave, "emulator:h15", time_limit=time_limit, how=how, **arguments)


def test_a_child_gives_its_result_and_its_steps() -> None:
    steps: list[Progress] = []
    outcome = run("", progress=steps.append, compile_budget=CompileBudget(7, 9))
    assert outcome.failure is None
    assert outcome.result is not None
    assert outcome.rows == outcome.result.rows
    assert outcome.as_result("made-up", an_environment()) is outcome.result
    assert [row.key for row in outcome.rows] == ["made-up/0", "made-up/1", "made-up/last"]
    assert outcome.rows[0].params == {"profile": "h15"}
    assert outcome.rows[2].metrics == {"soft": 7, "used": 0}
    assert [(step.done, step.total, step.doing) for step in steps] == [(1, 3, "1"), (2, 3, "2"), (3, 3, "")]
    assert tuple(step.row for step in steps) == outcome.rows


def test_a_child_has_the_compile_budget_of_the_device() -> None:
    device = aneperf.open("emulator", compile_budget=55)
    outcome = run_in_child(misbehave, device, time_limit=LONG)
    assert outcome.rows[2].metrics["soft"] == 55


@pytest.mark.parametrize("how", ["print", "linger"])
def test_what_a_child_prints_or_leaves_running_does_not_matter(how: str) -> None:
    outcome = run(how)
    assert len(outcome.rows) == 3
    assert outcome.failure is None


@pytest.mark.parametrize(
    ("how", "failure"),
    [
        ("abort", "its process was killed by SIGABRT"),
        pytest.param("kill", "its process was killed by SIGKILL", marks=pytest.mark.thorough),
        pytest.param(
            *("unnamed signal", "its process was killed by signal 40"),
            marks=pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal 40"),
        ),
        ("exit", "its process ended with exit code 3"),
        ("raise", "ValueError: no such number"),
        pytest.param("leave", "SystemExit: 4", marks=pytest.mark.thorough),
        pytest.param("fail", "[evaluate] status 0x1d", marks=pytest.mark.thorough),
        ("spend", "[compile] 100 compiles are used up"),
        ("garbage", "it sent what cannot be read: "),
    ],
)
def test_rows_outlive_the_child(how: str, failure: str) -> None:
    outcome = run(how)
    assert outcome.result is None
    assert outcome.failure.startswith(failure)
    assert [row.key for row in outcome.rows] == ["made-up/0", "made-up/1"]
    result = outcome.as_result("made-up", an_environment())
    assert result.rows[:2] == outcome.rows
    lost = result.rows[2]
    assert lost.key == "made-up/unfinished"
    assert lost.status == ("skipped" if how == "spend" else "error")
    assert lost.reason == f"{outcome.failure} at 2"


@pytest.mark.parametrize(
    ("limit", "failure"),
    [
        ("quiet_limit", "killed: it was silent for 60 s"),
        ("time_limit", "killed: it ran longer than its 60 s"),
    ],
)
def test_a_child_that_hangs_is_killed(
    monkeypatch: pytest.MonkeyPatch, limit: str, failure: str, tmp_path: Path
) -> None:
    mark = tmp_path / "pid"
    leap = leaping(monkeypatch)

    def at_the_hang(step: Progress) -> None:
        if step.done == 2:
            wait_for(lambda: mark.exists() and mark.read_text() != "")
            leap(59.9)

    limits = {"time_limit": 600.0, limit: 60.0}
    outcome = run("hang without ears", mark=str(mark), progress=at_the_hang, **limits)
    assert outcome.failure == failure
    assert len(outcome.rows) == 2
    with pytest.raises(ProcessLookupError):
        os.kill(int(mark.read_text()), 0)


@pytest.mark.parametrize("how", ["trickle", *thorough("flood")])
def test_a_child_that_sends_without_pause_is_killed(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Let it send whole messages, or a message that does not end."""
    leap, pids = leaping(monkeypatch), []

    def late(step: Progress) -> None:
        if step.done == 2 and not pids:
            pids.append(leap(600.0))

    outcome = run(how, progress=late, time_limit=60.0)
    assert outcome.failure == "killed: it ran longer than its 60 s"
    assert [row.key for row in outcome.rows] == ["made-up/0", "made-up/1"]


def test_a_result_that_came_before_the_kill_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    leap, mark = leaping(monkeypatch), tmp_path / "pid"

    def late(step: Progress) -> None:
        if step.doing == "":
            wait_for(lambda: not is_running(int(mark.read_text())))  # then it has sent everything
            leap(600.0)

    assert len(run("", progress=late, time_limit=60.0, mark=str(mark)).result) == 3


def test_a_child_without_a_trace_still_has_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.runner.child._GRACE_S", 0.1)
    assert run("close").failure == "it closed its connection and did not end"


def test_a_child_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.runner.child._START", "import aneperf.none")
    failure = run("").failure
    assert failure.startswith("its process ended with exit code 1: ModuleNotFoundError: ")


@pytest.mark.parametrize("first", ["", *thorough(".", "absolute")])
def test_a_child_imports_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    for name in ("json", "msgspec", "numpy", "queue", "aneperf"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('of the current folder')")
    absolute = [os.path.abspath(entry) for entry in sys.path]
    monkeypatch.setattr(sys, "path", [str(tmp_path) if first == "absolute" else first, *absolute])
    monkeypatch.chdir(tmp_path)
    assert run("").failure is None


def test_a_child_finds_the_package_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    home = os.path.dirname(os.path.dirname(aneperf.__file__))
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if entry != home)])
    monkeypatch.chdir(home)
    assert module_path()[-1] == home
    assert run("").failure is None


def test_a_child_keeps_a_path_whose_current_folder_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    monkeypatch.setattr(sys, "path", ["", *filter(os.path.isabs, sys.path)])
    assert module_path()[0] == sys.path[1]


@pytest.mark.parametrize("number", [signal.SIGKILL, *thorough(signal.SIGINT)])
def test_a_child_ends_with_its_parent(tmp_path: Path, number: int) -> None:
    mark = tmp_path / "pid"
    code = (
        "from aneperf.runner.in_child import run_in_child\nfrom support.child_probes import misbehave\n"
        f"run_in_child(misbehave, 'emulator', time_limit=600, how='hang', mark={str(mark)!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=environment(), stderr=subprocess.PIPE)
    with parent:
        wait_for(lambda: mark.exists() and mark.read_text() != "")
        parent.send_signal(number)
        parent.communicate(timeout=60)
    assert parent.returncode == (-number)
    wait_for(lambda: not is_running(int(mark.read_text())))


def test_an_orphan_removes_only_its_own_folder(tmp_path: Path) -> None:
    """Change TMPDIR in a child before its parent ends."""
    own, other = tmp_path / "own", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    code = (
        "import os, socket, threading; from aneperf.runner.child_process import Parent; "
        f"ours, theirs = socket.socketpair(); Parent(theirs); os.environ['TMPDIR'] = {str(other)!r}; "
        "ours.close(); threading.Event().wait(60)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(own)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=120).returncode == 1
    assert list(tmp_path.iterdir()) == [other]


def wait_for(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(process: int) -> bool:
    """Tell a running process from a zombie, which an orphan can become where no init collects it."""
    status = Path(f"/proc/{process}/stat")
    try:
        os.kill(process, 0)
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_children_run_at_once() -> None:
    outcomes: list[Any] = []
    threads = [threading.Thread(target=lambda: outcomes.append(run(""))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(outcome.rows) for outcome in outcomes] == [3, 3, 3]


def test_what_no_child_can_be_told() -> None:
    with pytest.raises(ArgumentError, match="top level of a module"):
        run_in_child(lambda device: None, "emulator", time_limit=1)  # type: ignore[arg-type,return-value]
    with pytest.raises(ArgumentError, match="not what JSON holds"):
        run("", mark=object())
    for limit in (0, -1, float("nan")):
        with pytest.raises(ArgumentError, match="time_limit must be a positive"):
            run("", time_limit=limit)


def lost(item: str, measured: Measured) -> Row:
    return measured.row(f"made-up/{item.partition(':')[0]}", {})


def each(items: list[str], budget: float = LONG, item_limit: float = LONG, **options: Any) -> list[Row]:
    return each_in_child(
        one_by_one, items, "emulator", budget=budget, item_limit=item_limit, lost=lost, **options
    )


def test_a_child_that_dies_costs_one_item() -> None:
    steps: list[Progress] = []
    rows = each(["a", "b:abort", "c", "d:raise", "e"], progress=steps.append)
    assert [(row.key, row.status) for row in rows] == [
        ("made-up/a", "ok"),
        ("made-up/b", "error"),
        ("made-up/c", "ok"),
        ("made-up/d", "error"),
        ("made-up/e", "ok"),
    ]
    assert rows[1].reason == "its process was killed by SIGABRT"
    assert len({row.metrics["process"] for row in rows if row.metrics}) == 3
    assert [step.row for step in steps if step.row is not None] == rows
    assert all(step.total == 5 for step in steps)


def test_a_spent_compile_budget_is_a_new_child() -> None:
    rows = each(["a", "b:spend", "c", "d:spend"])
    assert [row.status for row in rows] == ["ok"] * 4
    assert len({row.metrics["process"] for row in rows}) == 3


def test_a_hang_costs_one_item(monkeypatch: pytest.MonkeyPatch) -> None:
    leap = leaping(monkeypatch)

    def at_the_hang(step: Progress) -> None:
        if step.doing == "b:hang" and step.row is None:
            leap(179.9)

    rows = each(["a", "b:hang", "c"], item_limit=60.0, progress=at_the_hang)
    assert [row.status for row in rows] == ["ok", "error", "ok"]
    assert rows[1].reason == "killed: it was silent for 180 s"  # 120 are for a compile


def test_items_without_time_are_skipped() -> None:
    times = iter([0.0, 1.0, *[LONG + 1] * 3])
    rows = each(["a", "b:abort", "c", "d"], clock=lambda: next(times))
    assert [row.status for row in rows] == ["ok", "error", "skipped", "skipped"]


def test_a_row_that_an_interrupt_kept_from_being_heard_is_heard_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted: list[Any] = []
    steps: list[Progress] = []
    hear = _Conversation._hear

    def hear_later(conversation: _Conversation, message: Any) -> Any:
        if not interrupted:
            interrupted.append(message)
            raise KeyboardInterrupt
        return hear(conversation, message)

    monkeypatch.setattr(_Conversation, "_hear", hear_later)
    with pytest.raises(KeyboardInterrupt):
        run("hang", progress=steps.append, mark=str(tmp_path / "mark"))
    assert interrupted[0].progress.row.key == "made-up/0"
    keys = [step.row.key for step in steps if step.row]
    assert keys in (["made-up/0"], ["made-up/0", "made-up/1"])


def test_an_interrupt_loses_no_row_that_was_sent(tmp_path: Path) -> None:
    mark, steps = tmp_path / "mark", []

    def interrupt(step: Progress) -> None:
        steps.append(step)
        if len(steps) == 1:
            wait_for(mark.exists)  # by then the child has sent its second row
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("hang", progress=interrupt, mark=str(mark))
    # The report that was cut short comes once more.
    assert [step.row.key for step in steps if step.row] == ["made-up/0", "made-up/0", "made-up/1"]


def test_an_interrupt_at_any_point_of_receiving_loses_no_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aneperf.runner.child.INTERRUPT", 0)  # no signal: the child only answers
    heard, number, is_last = [], 0, False
    with Child("support.child_probes:answer", msgspec.json.Decoder(Progress), compile_timeout=LONG) as child:
        while not is_last:
            child.send(Progress(number, 0, ""))
            step = call_or_interrupt(lambda: child.receive(LONG), number)
            if not (is_last := step is not None):
                child.interrupt()
            heard.append((step or child.receive(LONG)).done)
            child.forget()
            number += 1
    assert heard == list(range(number))
    assert number > 20


@pytest.mark.parametrize("delay", [0.0, *thorough(0.02)])
def test_a_busy_child_of_a_killed_parent_leaves_nothing(tmp_path: Path, delay: float) -> None:
    code = f"""
import os, signal, time
import msgspec
from aneperf.results import Row
from aneperf.runner.child import Child

child = Child("support.child_probes:write_and_send", msgspec.json.Decoder(Row))
child.receive({LONG})
time.sleep({delay})
os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", code]
    ended = subprocess.run(command, check=False, timeout=300, env=environment(TMPDIR=tmp_path))
    assert ended.returncode == -signal.SIGKILL
    wait_for(lambda: not list(tmp_path.iterdir()))
