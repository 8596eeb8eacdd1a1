"""benchmarks/cluster: ranks on two machines in one, which leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import aneperf
from support import environment
from support.mpi import needs_mpi

HARNESS = Path(__file__).parents[2] / "benchmarks" / "cluster" / "run.py"
pytestmark = [
    pytest.mark.thorough,
    needs_mpi,
    pytest.mark.skipif(not HARNESS.exists(), reason="a source archive has no benchmarks"),
]
SMALL = ["--model", "stories260k", "--device", "emulator"]


def start(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HARNESS), *arguments]
    return subprocess.Popen(command, env=environment(), text=True, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[str]) -> str:
    _, said = process.communicate(timeout=300)
    if process.returncode == 2 and said.startswith("no machines: "):
        pytest.skip(said.strip())
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("wire", [["--rate", "1gbit"], ["--rate", "1gbit", "--delay-ms", "1"]])
def test_ranks_meet_over_the_wire(wire: list[str], tmp_path: Path) -> None:
    path = tmp_path / "allreduce.json"
    said = finish(start(*wire, "allreduce", *SMALL, "--budget", "1", "-o", str(path)))
    assert "Gbit/s (iperf3), round trip" in said
    result = aneperf.Result.load(path)
    assert result.environment.cluster["hosts"] == "2"
    assert {row.status for row in result} == {"ok"}
    assert result.notes[0].startswith("2 ranks on 2 hosts (machine-a, machine-b), ")


def _processes(word: str) -> set[int]:
    """Return the processes that have a word in their command."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in command:
            found.add(int(folder.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_harness_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    word = str(tmp_path / "allreduce.json")
    process = start("--delay-ms", "0.1", "allreduce", *SMALL, "--budget", "100", "-o", word)
    deadline = time.monotonic() + 120
    # The harness, mpiexec, and the ranks.
    while process.poll() is None and time.monotonic() < deadline and len(_processes(word)) < 4:
        time.sleep(0.1)
    if process.poll() is not None:
        finish(process)
    os.kill(process.pid, number)
    process.communicate(timeout=60)
    deadline = time.monotonic() + 60
    while (left := _processes(word)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left
    links = subprocess.run(["ip", "-o", "link"], text=True, capture_output=True, check=True).stdout
    assert "wire" not in links


def _losses(path: Path) -> list[float]:
    """Return the losses of the updates."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line["loss"] for line in lines if line["type"] == "update"]


@pytest.mark.parametrize(("ranks", "delay_ms"), [(2, 1.0), (4, 0.0)])
def test_training_on_two_machines_equals_that_on_one(ranks: int, delay_ms: float, tmp_path: Path) -> None:
    several, alone = tmp_path / "several.jsonl", tmp_path / "alone.jsonl"
    train = ["train", *SMALL, "--seed", "3", "--steps", "12"]
    share = ["--accumulation", str(4 // ranks), "--telemetry", str(several)]
    finish(start("--ranks", str(ranks), "--delay-ms", str(delay_ms), *train, *share))
    whole = ["--accumulation", "4", "--telemetry", str(alone)]
    subprocess.run([sys.executable, "-m", "aneperf", *train, *whole], env=environment(), check=True)
    assert len(_losses(several)) == 3
    assert _losses(several) == pytest.approx(_losses(alone), abs=1e-4)
