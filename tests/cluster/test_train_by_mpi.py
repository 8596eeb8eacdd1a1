"""The verb `train` on ranks that mpiexec starts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import aneperf
from aneperf.schema import check_numbers
from support.mpi import needs_mpi, ranks_environment, run_in_ranks
from support.training_runs import SHAPE

pytestmark = [needs_mpi, pytest.mark.thorough]
TRAIN = ["-m", "aneperf", "train", "--device", "emulator"]
SIZES = [*SHAPE, "--learning-rate", "1e-2"]


def losses(path: Path) -> list[float]:
    """Return the mean loss of each batch, from the telemetry."""
    events = map(json.loads, path.read_text().splitlines())
    return [event["loss"] for event in events if event["type"] == "update"]


@pytest.mark.parametrize("ranks", [2, 4])
def test_the_command_trains_on_ranks_as_on_one(tmp_path: Path, ranks: int) -> None:
    found = []
    for number in (1, ranks):
        log, folder = tmp_path / f"{number}.jsonl", str(tmp_path / f"{number}")
        asked = ["--steps", "16", "--accumulation", str(8 // number)]
        run = run_in_ranks(number, [*TRAIN, *SIZES, *asked, "--telemetry", str(log), "--checkpoints", folder])
        assert run.returncode == 0, run.stderr
        assert run.stdout.count("Total steps: 16") == 1
        found.append(losses(log))
    assert found[1] == pytest.approx(found[0], abs=1e-4)
    resumed = run_in_ranks(2, [*TRAIN, "--checkpoints", folder, "--resume", "--steps", "24"])
    assert resumed.returncode == 0, resumed.stderr
    assert (Path(folder) / "step-00000024").is_dir()


def test_a_refusal_is_told_once() -> None:
    """Let the others wait for rank 0 however late it starts: its end is theirs."""
    patient = "from aneperf.cli import main\nmain._RANK_0_S = 600.0\nmain.main()"
    for option, name in (
        ("--data", "/nonexistent.bin"),
        ("-o", "/nonexistent/run.json"),
        ("--config", "/nonexistent.toml"),
        ("--stepz", "--stepz"),
    ):
        run = run_in_ranks(2, ["-c", patient, *TRAIN[2:], option, name])
        assert run.returncode == 2
        assert run.stderr.count(name) == 1
        assert "Traceback" not in run.stderr


def test_a_rank_that_ends_early_does_not_keep_the_others(tmp_path: Path) -> None:
    """Rank 0 stays until rank 1 has told: mpiexec kills the others once a process has failed."""
    told = tmp_path / "told"
    code = f"""
import atexit, pathlib, time
from aneperf.cluster.communicator import CommunicationError
from aneperf.cluster.launch import open_communicator
told = pathlib.Path({str(told)!r})
def stay():
    while not told.exists():
        time.sleep(0.01)
atexit.register(stay)
ranks = open_communicator()
if ranks.rank == 0:
    raise SystemExit(3)
try:
    ranks.gather(b"hello")
except CommunicationError as error:
    (told.parent / "text").write_text(str(error))
    (told.parent / "text").rename(told)
"""
    run = run_in_ranks(2, ["-c", code])
    assert run.returncode != 0  # of the rank that mpiexec sees first: neither has ended MPI
    assert re.fullmatch("rank 0 on .+ ended before the others", told.read_text())


def test_rank_0_alone_shows_and_records(tmp_path: Path) -> None:
    trace, result = tmp_path / "trace.json", tmp_path / "result.json"
    asked = ["--steps", "12", "--accumulation", "3", "--trace", str(trace), "-o", str(result)]
    run = run_in_ranks(2, [*TRAIN, *SIZES, *asked])
    assert (run.returncode, run.stderr) == (0, "")
    lines = [line.rstrip() for line in run.stdout.splitlines()]
    assert lines.count("Accum 6 steps, LR=0.01") == lines.count("Total steps: 12 of 2 ranks") == 1
    assert "2 ranks on 1 host (" in lines[1]
    assert lines[2].endswith(": 2 ranks share the CPU; the emulator has no engines")
    steps = [line.split()[1] for line in lines if re.match(r"step +\d", line) and "loss=" in line]
    assert steps == ["0", "2", "4", "6", "8", "10"]
    assert sum(line.startswith("[allreduce of 2 ranks: ") for line in lines) == 2
    assert "\x1b" not in run.stdout  # mpiexec gives ranks a terminal, and itself writes to a pipe
    events = json.loads(trace.read_text())["traceEvents"]
    rows = {event["tid"]: event["args"]["name"] for event in events if event["name"] == "thread_name"}
    spans = [rows[event["tid"]] for event in events if event["ph"] == "X"]
    assert spans.count("allreduce exposed") == spans.count("optimizer") == 2
    assert "allreduce" in spans
    saved = aneperf.Result.load(result)
    check_numbers(saved)
    assert {row.key.rpartition("/")[2] for row in saved} == {"ranks-2"}
    assert saved.environment.cluster.keys() == {"ranks", "hosts", "mpi"}


def test_a_launcher_of_another_mpi_is_refused() -> None:
    """Without Open MPI's own launcher, its library finds one rank in each process."""
    env = ranks_environment(OMPI_COMM_WORLD_SIZE=2)
    command = [sys.executable, *TRAIN, *SIZES]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert "the launcher started 2 ranks, and mpi4py's MPI (Open MPI" in run.stderr
    assert "finds 1: start them with the mpiexec of that MPI" in run.stderr
