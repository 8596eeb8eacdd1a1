"""The verb `train` on ranks that mpiexec starts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.mpi import needs_mpi, run_in_ranks
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
    for option, name in (("--data", "/nonexistent.bin"), ("-o", "/nonexistent/run.json")):
        run = run_in_ranks(2, [*TRAIN, option, name])
        assert run.returncode == 2
        assert run.stderr.count(name) == 1
        assert "Traceback" not in run.stderr


def test_a_rank_that_ends_early_does_not_keep_the_others() -> None:
    code = """
from aneperf.cluster.communicator import CommunicationError
from aneperf.cluster.launch import open_communicator
ranks = open_communicator()
if ranks.rank == 0:
    raise SystemExit(3)
try:
    ranks.gather(b"hello")
except CommunicationError as error:
    print(str(error).startswith("rank 0 on "), "ended before the others" in str(error), flush=True)
"""
    run = run_in_ranks(2, ["-c", code])
    assert run.returncode == 3
    assert run.stdout == "True True\n"
