"""Workers and parents that are killed or stopped, state without room, and false answers."""

import gc
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.kernels.schedule import Pipeline
from aneperf.runner.child import ChildLost, CompileExpired
from aneperf.training.events import BatchDone, Event, KernelsCompiled, StepDone, WorkerReplaced
from aneperf.training.trainer import Trainer
from aneperf.training.worker import Setup, StepReport, TrainingError, WorkerProcess
from support import environment
from support.fakes import FakeDevice
from support.training_runs import CONFIG, DEEP, trainer, undisturbed, worker_pid


def is_running(pid: int) -> bool:
    """Tell whether the process runs; a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    if Path("/proc/self/stat").exists():
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def gone(pid: int, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


class Killer(threading.Thread):
    """Kills the worker after this time, or the next one if there is none."""

    def __init__(self, run: Trainer, seconds: float, name: str = "") -> None:
        super().__init__(name=name, daemon=True)
        self._trainer, self._seconds = run, seconds
        self.has_found = threading.Event()
        self.start()

    def run(self) -> None:
        time.sleep(self._seconds)
        while (pid := worker_pid(self._trainer)) is None:
            time.sleep(1e-3)
        self.has_found.set()
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.thorough
@pytest.mark.parametrize("pipeline", ["static", "dynamic"])
def test_twenty_kills_at_any_moment_leave_no_trace(device_name: str, pipeline: Pipeline) -> None:
    """Kill 14 workers in steps and compiles, and 6 of their replacements during the start."""
    config = replace(CONFIG, steps=50, accumulation=2, pipeline=pipeline)
    expected, weights = undisturbed(device_name, config)
    chance = random.Random(20)
    kills = chance.sample(range(0, 47, 3), 14)  # so far apart that no step loses three workers
    more = 6
    killer: Killer | None = None
    killed, reasons, losses, begin = 0, [], [], time.monotonic()
    with trainer(device_name, config) as run:
        for event in run.run():
            if isinstance(event, KernelsCompiled):
                continue
            if isinstance(event, WorkerReplaced):
                reasons.append(event.reason)
                if killer is not None and not killer.has_found.is_set():  # an earlier one's kill came late
                    killer.name = "of a new worker"
                    continue
            was_new = killer is not None and killer.name == "of a new worker"
            if killer is not None:
                killer.join(60)
                assert not killer.is_alive()
                killer = None
            if isinstance(event, StepDone):
                if not losses:
                    startup = time.monotonic() - begin
                losses.append(event.loss)
                if event.step in kills and event.step % 2 == 0:
                    killer = Killer(run, chance.uniform(0, 0.8e-3 * event.times.wall))
            elif isinstance(event, BatchDone):
                if event.steps[-1].step in kills:
                    loading = event.compile_ms + event.staging_ms
                    killer = Killer(run, chance.uniform(0, 0.8e-3 * loading))
            elif isinstance(event, WorkerReplaced) and more and not was_new:
                more -= 1
                killer = Killer(run, chance.uniform(0, startup), "of a new worker")
            killed += killer is not None
        assert losses == expected
        assert killed == 20
        # A killed worker that had no compiles left is not reported as replaced.
        assert len(reasons) >= 15
        assert set(reasons) == {"its process was killed by SIGKILL"}
        for name, value in run.parts["parameters"].items():
            np.testing.assert_array_equal(value, weights[name])


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal 40")
def test_a_signal_without_a_name_is_told_by_its_number(device_name: str) -> None:
    expected, _ = undisturbed(device_name)
    losses, reasons = [], []
    with trainer(device_name) as run:
        for event in run.run():
            if isinstance(event, StepDone):
                losses.append(event.loss)
                pid = worker_pid(run)
                if event.step == 3 and pid is not None:
                    os.kill(pid, 40)
            elif isinstance(event, WorkerReplaced):
                reasons.append(event.reason)
    assert losses == expected
    assert reasons == ["its process was killed by signal 40"]


@pytest.mark.thorough
def test_the_next_worker_dies_before_its_turn(device_name: str) -> None:
    expected, _ = undisturbed(device_name, DEEP)
    with trainer(device_name, DEEP) as run:
        losses, reasons = [], []
        for event in run.run():
            if isinstance(event, StepDone):
                losses.append(event.loss)
                if event.step == 0:
                    assert run._workers.next is not None
                    os.kill(run._workers.next.pid, signal.SIGKILL)
            elif isinstance(event, WorkerReplaced):
                reasons.append((event.step, event.reason))
        assert losses == expected
        assert reasons == [(2, "its process was killed by SIGKILL")]


@pytest.mark.parametrize("when", ["starting", "stepping", "loading"])
def test_nothing_is_left_behind_when_the_parent_is_killed(
    device_name: str, tmp_path: Path, when: str
) -> None:
    code = f"""
import os, signal, sys, threading, time
from aneperf.training.trainer import BatchDone, StepDone
from support.training_runs import DEEP, trainer

run = trainer({device_name!r}, DEEP)

def pids():
    return {{worker.pid for worker in (run._workers.current, run._workers.next) if worker is not None}}

def end(seen):
    while not pids():
        time.sleep(0.001)
    time.sleep(0.01)
    print(*seen | pids(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if {when!r} == "starting":
    threading.Thread(target=end, args=[set()]).start()
for event in run.run():
    if isinstance(event, {{"starting": (), "stepping": StepDone, "loading": BatchDone}}[{when!r}]):
        threading.Thread(target=end, args=[pids()]).start()
"""
    shared = Path("/dev/shm")
    before = set(shared.iterdir()) if shared.is_dir() else set()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(TMPDIR=tmp_path),
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    workers = [int(pid) for pid in ended.stdout.split()]
    assert len(workers) >= (1 if when == "starting" else 2)
    assert all(gone(pid) for pid in workers)
    deadline = time.monotonic() + 60  # for a worker that was starting
    while remains := list(tmp_path.iterdir()):
        assert time.monotonic() < deadline, remains
        time.sleep(0.02)
    after = set(shared.iterdir()) if shared.is_dir() else set()
    assert not {path for path in after - before if "aneperf" in path.name}


def test_a_worker_that_stops_while_it_compiles_is_replaced(
    device_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, weights = undisturbed(device_name)
    compile_kernels, stopped = WorkerProcess.compile, []

    def compile_stopped(self: WorkerProcess, timeout: float) -> Any:
        if len(losses) == 3 and not stopped:
            stopped.append(self.pid)
            os.kill(self.pid, signal.SIGSTOP)
            timeout = 1.0
        return compile_kernels(self, timeout)

    monkeypatch.setattr(WorkerProcess, "compile", compile_stopped)
    losses: list[float] = []
    reasons = []
    with trainer(device_name) as run:
        for event in run.run():
            if isinstance(event, StepDone):
                losses.append(event.loss)
            elif isinstance(event, WorkerReplaced):
                reasons.append((event.step, event.reason))
        assert losses == expected
        assert reasons == [(3, "it did not answer within 1 s")]
        assert gone(stopped[0])
        for name, value in run.parts["parameters"].items():
            np.testing.assert_array_equal(value, weights[name])


@pytest.mark.parametrize(
    ("blocked", "timeout"), [pytest.param(False, 15.0, marks=pytest.mark.thorough), (True, 2.0)]
)
def test_a_compile_that_never_returns(
    device_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, blocked: bool, timeout: float
) -> None:
    """Repeat it in another worker, unless nothing else compiles."""
    monkeypatch.setattr("aneperf.training.worker._SERVE", "support.child_probes:serve_and_hang_once")
    monkeypatch.setattr("aneperf.training.workers.after_expiry", lambda lost, _: (str(lost), blocked))
    monkeypatch.setenv("CHILD_PROBES_MARK", str(tmp_path / "mark"))
    reason = (
        r"the compile of a program of x fp16\[1, \d+, 1, 16\] and \S+ MB of weights did not end within \S+ s"
    )
    losses, reasons = [], []
    with trainer(device_name, compile_timeout=timeout) as run:
        try:
            for event in run.run():
                if isinstance(event, StepDone):
                    losses.append(event.loss)
                elif isinstance(event, WorkerReplaced):
                    reasons.append(event.reason)
        except TrainingError as error:
            reasons.append(str(error))
    assert losses == ([] if blocked else undisturbed(device_name)[0])
    (found,) = reasons
    assert re.fullmatch(f"step 0: {reason}" if blocked else reason, found)
    assert gone(int((tmp_path / "mark").read_text()))


@pytest.mark.parametrize("kind", ["ane", "emulator"])
def test_the_default_device_gets_the_advice_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("aneperf.device.open", lambda: FakeDevice(kind=kind))
    monkeypatch.setattr("aneperf.training.workers.after_expiry", lambda lost, device: (device, False))
    with trainer(None) as run:
        told, _ = run._workers.reason(CompileExpired("a program", 1.0))
    assert told == ("ane:memory" if kind == "ane" else "emulator:h16")


def test_two_runs_at_once(device_name: str) -> None:
    other_config = replace(CONFIG, learning_rate=3e-3, pipeline="static-ane")
    expected, expected_of_other = undisturbed(device_name), undisturbed(device_name, other_config)

    def losses_of(event: Event) -> list[float]:
        return [event.loss] if isinstance(event, StepDone) else []

    with trainer(device_name) as one, trainer(device_name, other_config) as other:
        losses: list[float] = []
        losses_of_other: list[float] = []
        for event, event_of_other in zip(one.run(), other.run(), strict=True):
            assert worker_pid(one) != worker_pid(other)
            losses += losses_of(event)
            losses_of_other += losses_of(event_of_other)
        assert (losses, losses_of_other) == (expected[0], expected_of_other[0])
        for run, weights in ((one, expected[1]), (other, expected_of_other[1])):
            for name, value in run.parts["parameters"].items():
                np.testing.assert_array_equal(value, weights[name])


def test_without_shared_memory_the_state_is_a_temporary_file(
    device_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = undisturbed(device_name)
    monkeypatch.setattr("aneperf.training.state._SHARED_MEMORY", tmp_path / "none")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with trainer(device_name) as run:
        assert [event.loss for event in run.run() if isinstance(event, StepDone)] == expected
        target = os.readlink(f"/proc/self/fd/{run._shared.descriptor}") if sys.platform == "linux" else None
        assert target is None or target.startswith(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_full_shared_memory(device_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Say in the error what to do, also if the memory fills up after the check."""

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    gc.collect()  # or what other tests left closes its files meanwhile
    before = len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
    with monkeypatch.context() as patch:
        patch.setattr("aneperf.training.state._allocate", no_room)
        with pytest.raises(aneperf.ArgumentError, match=r"no room for \d+ MiB .*No space left.*state_folder"):
            trainer(device_name)
    assert before == (len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0)
    full = os.statvfs_result((4096, 4096, 100, 1, 1, 10, 10, 10, 0, 255))
    statvfs = os.statvfs
    monkeypatch.setattr(os, "statvfs", lambda path: statvfs(path) if Path(path) == tmp_path else full)
    with pytest.raises(aneperf.ArgumentError, match="name a folder for it with state_folder"):
        trainer(device_name)
    with trainer(device_name, state_folder=tmp_path) as run:
        assert next(run.run())


@pytest.fixture
def impostor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run code in place of a worker, with `answer` to send bytes to the parent."""

    def pose(code: str) -> WorkerProcess:
        script = tmp_path / "python"
        script.write_text(
            f"#!{sys.executable}\nimport os, socket, sys, time\n"
            f"answer = socket.socket(fileno=int(sys.argv[3])).sendall\n{code}\n"
        )
        script.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(script))
        with open(os.devnull) as nothing:
            setup = Setup(CONFIG, False, None, nothing.fileno())
            workers.append(WorkerProcess(setup, 60.0))
        return workers[-1]

    workers: list[WorkerProcess] = []
    yield pose
    for worker in workers:
        worker.stop()


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ("b'garbage\\n'", "it sent what cannot be read: "),
        ("b'\\xff\\xfe\\x00\\n'", "it sent what cannot be read: "),
        ("b'\\n'", "it sent what cannot be read: "),
        ("b'{}\\n'", "it sent what cannot be read: .*type"),
        ('b\'{"type":"compiled"}\\n\'', "it sent what cannot be read: .*kernels"),
        ("b'[' * 100_000 + b'\\n'", "it sent what cannot be read: "),
        ("b'x' * (1 << 27)", "it sent a message of more than 67108864 bytes"),
    ],
)
def test_garbage_instead_of_an_answer(impostor: Any, sent: str, reason: str) -> None:
    worker = impostor(f"answer({sent}); time.sleep(600)")
    with pytest.raises(ChildLost, match=reason):
        worker.prepared(60)


def test_an_answer_to_another_question(impostor: Any) -> None:
    ready = '{"type":"compiled","kernels":5,"begin":0,"end":1,"compiles_used":1,"compiles_left":1}'
    worker = impostor(f"answer({ready!r}.encode() + b'\\n' + {ready!r}.encode() + b'\\n'); time.sleep(600)")
    assert worker.prepared(60).kernels == 5
    with pytest.raises(ChildLost, match="it answered with Compiled"):
        worker._receive(StepReport, 60)


def test_an_answer_that_never_ends_in_time(impostor: Any) -> None:
    worker = impostor("while True: answer(b'x'); time.sleep(0.1)")
    with pytest.raises(ChildLost, match="it did not answer within 1 s"):
        worker.prepared(1)


@pytest.mark.parametrize(
    ("error", "raised"),
    [("EvaluateError", ChildLost), ("CompileBudgetError", ChildLost), ("CompileError", TrainingError)],
)
def test_what_the_engine_refuses_to_one_process_it_may_do_for_another(
    impostor: Any, error: str, raised: type[Exception]
) -> None:
    worker = impostor(
        f'''answer(b'{{"type":"failed","error":"{error}","message":"0x1d"}}\\n'); time.sleep(600)'''
    )
    with pytest.raises(raised, match=f"{error}: 0x1d"):
        worker.prepared(60)


def test_what_a_worker_says_before_it_ends_is_in_the_error(impostor: Any) -> None:
    worker = impostor("sys.exit('first line\\nthe engine is on fire')")
    with pytest.raises(ChildLost, match="its process ended with exit code 1: the engine is on fire"):
        worker.prepared(60)


def test_a_worker_that_cannot_be_started(device_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with trainer(device_name) as run, pytest.raises(TrainingError, match=r"cannot be started: .*nowhere"):
        list(run.run())
