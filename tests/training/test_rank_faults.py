"""What ends a run on several ranks: a rank or the launcher that is killed, a signal, a failure."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.mpi import needs_mpi, ranks_command, ranks_environment, run_in_ranks

pytestmark = needs_mpi

_SECONDS = 120.0
_SHAPE = ["--dim", "32", "--hidden", "64", "--layers", "2", "--heads", "4", "--vocab", "64", "--seq", "16"]
_STEPS = 1_000_000
_SILENCE_S = 8.0
# Ranks that hold a silent one for lost so soon, and not after half a minute.
_IMPATIENT = (
    "import functools\n"
    "from aneperf.cluster import watch\n"
    "from aneperf.cli.main import main\n"
    f"watch.Watch = functools.partial(watch.Watch, silence_s={_SILENCE_S})\n"
    "main()\n"
)


class Run:
    """A run that does not end by itself."""

    def __init__(
        self, folder: Path, ranks: int = 2, steps: int = _STEPS, *more: str, impatient: bool = False
    ) -> None:
        self.folder = folder
        (folder / "tmp").mkdir(exist_ok=True)
        program = ["-c", _IMPATIENT] if impatient else ["-m", "aneperf"]
        arguments = [*program, "train", *_SHAPE, "--device", "emulator", "--accumulation", "2"]
        arguments += ["--checkpoints", str(folder / "checkpoints"), "--steps", str(steps)]
        self._telemetry = folder / "telemetry.jsonl"
        arguments += ["--telemetry", str(self._telemetry), *more]
        self.ranks = ranks
        self.process = subprocess.Popen(
            ranks_command(ranks, arguments),
            env=ranks_environment(TMPDIR=folder / "tmp"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for_update(self) -> None:
        wait_for(lambda: self._telemetry.exists() and '"type":"batch"' in self._telemetry.read_text())

    def pids(self) -> dict[int, int]:
        """Return the processes of the ranks."""
        found = {}
        for pid in children(self.process.pid):
            variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            rank = [value for value in variables if value.startswith(b"OMPI_COMM_WORLD_RANK=")]
            found[int(rank[0].partition(b"=")[2])] = pid
        return found

    def end(self) -> list[str]:
        """Wait for the end of everything, and return aneperf's lines on standard error."""
        said = self.process.communicate(timeout=_SECONDS)[1].decode()
        wait_for(lambda: not self.processes())
        assert not list((self.folder / "tmp").glob("aneperf-*"))
        assert not (self.folder / "checkpoints" / ".lock").exists()
        assert "Traceback" not in said
        return [line for line in said.splitlines() if line.startswith("aneperf: ")]

    def processes(self) -> list[str]:
        """List the processes that have the run's folder for temporary files in their environment."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                variables = (process / "environ").read_bytes()
            except OSError:
                continue
            if os.fsencode(self.folder) in variables:
                found.append(process.name)
        return found

    def saved(self) -> tuple[int, str]:
        """Return the step of the last checkpoint, and the digest of its arrays."""
        last = max((self.folder / "checkpoints").glob("step-*"))
        record = json.loads((last / "checkpoint.json").read_text())
        return record["step"], record["sha256"]

    def updates(self) -> int:
        return self._telemetry.read_text().count('"type":"batch"')

    def has_lost_worker(self) -> bool:
        """Tell whether rank 0 has lost one."""
        return '"event":"lost"' in self._telemetry.read_text()

    def children(self, rank: int, target: str) -> list[int]:
        """Return the children of a rank that run `target`."""
        found = []
        for pid in children(self.pids()[rank]):
            with contextlib.suppress(OSError):  # it has ended
                if target.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    def kill_worker(self, rank: int) -> None:
        wait_for(lambda: bool(self.children(rank, "worker:serve")))
        for pid in self.children(rank, "worker:serve")[:1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # the thread has ended
            found += [int(child) for child in (task / "children").read_text().split()]
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextmanager
def running(folder: Path, ranks: int = 2, *, impatient: bool = False) -> Iterator[Run]:
    run = Run(folder, ranks, impatient=impatient)
    try:
        run.wait_for_update()
        yield run
    finally:
        run.process.kill()
        for pid in run.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def whole(folder: Path, ranks: int, steps: int) -> str:
    """Return the digest of a run that nobody disturbs."""
    folder.mkdir()
    run = Run(folder, ranks, steps)
    assert not run.end()
    assert run.process.returncode == 0
    return run.saved()[1]


def check_resumes(run: Run, tmp_path: Path) -> None:
    """Check that a run goes on from its checkpoint to the bits of one that nobody disturbed."""
    step, _ = run.saved()
    steps = step + 2 * 2 * run.ranks
    resumed = Run(run.folder, run.ranks, steps, "--resume")
    assert not resumed.end()
    assert resumed.process.returncode == 0
    assert run.saved() == (steps, whole(tmp_path / "whole", run.ranks, steps))


def test_a_rank_that_dies_ends_all_and_rank_0_saves(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        os.kill(run.pids()[1], signal.SIGKILL)
        lines = run.end()
    host, step = os.uname().nodename, run.saved()[0]
    place = tmp_path / "checkpoints" / f"step-{step:08d}"
    told = f"aneperf: rank 1 on {host}: its process ended"
    saved = f"aneperf: rank 0 on {host} saved the last update, of step {step}, in {place}"
    assert len(lines) == len(set(lines))
    # The launcher may end before it has passed them on, or end rank 0 before it has seen the loss.
    assert set(lines) <= {told, saved, "aneperf: interrupted by SIGTERM"}
    assert step in (4 * run.updates(), 4 * run.updates() + 4)
    assert run.process.returncode not in (0, None)
    assert not run.processes()


@pytest.mark.thorough
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("victim", ["first", "last"])
def test_a_run_whose_rank_died_resumes_to_the_same_bits(tmp_path: Path, ranks: int, victim: str) -> None:
    with running(tmp_path, ranks) as run:
        os.kill(run.pids()[0 if victim == "first" else ranks - 1], signal.SIGKILL)
        run.end()
    check_resumes(run, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("whom", ["launcher", "rank 0", "rank 1"])
def test_a_signal_to_any_process_ends_all(tmp_path: Path, number: signal.Signals, whom: str) -> None:
    with running(tmp_path) as run:
        pid = run.process.pid if whom == "launcher" else run.pids()[int(whom[-1])]
        os.kill(pid, number)
        lines = run.end()
    named = {"aneperf: interrupted", f"aneperf: interrupted by {number.name}"}
    assert {line for line in lines if " saved the last update" not in line} <= named | {
        "aneperf: interrupted by SIGTERM"  # which Open MPI's launcher sends for any signal
    }
    check_resumes(run, tmp_path)


@pytest.mark.thorough
def test_a_rank_that_hangs_ends_all(tmp_path: Path) -> None:
    with running(tmp_path, impatient=True) as run:
        os.kill(run.pids()[1], signal.SIGSTOP)
        lines = run.end()
    assert f"aneperf: rank 1 on {os.uname().nodename}: gave no sign of life for {_SILENCE_S:g} s" in lines
    check_resumes(run, tmp_path)


@pytest.mark.thorough
def test_a_hanging_rank_0_is_told_by_rank_1_and_saved_once(tmp_path: Path) -> None:
    with running(tmp_path, impatient=True) as run:
        os.kill(run.pids()[0], signal.SIGSTOP)
        lines = run.end()
    assert f"aneperf: rank 0 on {os.uname().nodename}: gave no sign of life for {_SILENCE_S:g} s" in lines
    check_resumes(run, tmp_path)


@pytest.mark.thorough
def test_a_worker_that_dies_is_replaced_on_its_rank(tmp_path: Path) -> None:
    with running(tmp_path) as run:
        run.kill_worker(1)
        while not run.has_lost_worker():  # one without compiles left ends, and nothing is lost
            run.kill_worker(0)
            later = run.updates() + 2
            wait_for(lambda later=later: run.has_lost_worker() or run.updates() >= later)
        later = run.updates() + 2
        wait_for(lambda: run.updates() >= later)
        os.kill(run.process.pid, signal.SIGTERM)
        lines = run.end()
    assert not any("rank" in line and " saved the last update" not in line for line in lines)
    check_resumes(run, tmp_path)


@pytest.mark.thorough
@pytest.mark.parametrize("rank", [0, 1])
def test_a_keeper_that_dies_ends_all_with_a_checkpoint(tmp_path: Path, rank: int) -> None:
    with running(tmp_path) as run:
        (keeper,) = run.children(rank, "keeper:keep")
        os.kill(keeper, signal.SIGKILL)
        lines = run.end()
    told = [line for line in lines if "the process that makes the updates and saves them was lost" in line]
    assert len(told) == 1
    assert (f"rank {rank} on" in told[0]) == (rank > 0)
    check_resumes(run, tmp_path)


@pytest.mark.thorough
def test_a_failure_of_one_rank_is_told_once(tmp_path: Path) -> None:
    script = (
        "from aneperf.cli.main import main\n"
        "from aneperf.errors import AneError\n"
        "from aneperf.training.trainer import Trainer\n"
        "step = Trainer._step\n"
        "def failing(self, number, mine):\n"
        "    if self._ranks.rank == 1 and number > 4:\n"
        "        raise AneError('the device is gone')\n"
        "    return step(self, number, mine)\n"
        "Trainer._step = failing\n"
        "main()\n"
    )
    arguments = ["-c", script, "train", *_SHAPE, "--device", "emulator", "--accumulation", "2"]
    arguments += ["--steps", "100", "--checkpoints", str(tmp_path / "checkpoints")]
    run = run_in_ranks(2, arguments)
    lines = [line for line in run.stderr.splitlines() if line.startswith("aneperf: ")]
    assert lines == [f"aneperf: rank 1 on {os.uname().nodename}: the device is gone"]
    assert run.returncode == 2
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000004"]
