"""Print how training scales on the cores of one machine: one core and one thread for each rank, on Linux.

One rank with a batch of ranks x accumulation steps, then that many ranks with `accumulation` each. Measure on
an idle machine. The batch before the first update is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
_BATCHES = 4


def events_of(ranks: int, accumulation: int, options: list[str]) -> list[dict[str, Any]]:
    """Train on that many ranks, and return the telemetry."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "run.jsonl"
        launcher = [Path(sys.executable).with_name("mpiexec"), "--bind-to", "core", "-n", str(ranks)]
        train = [sys.executable, "-m", "aneperf", "train", "--accumulation", str(accumulation), *options]
        train += ["--steps", str(ranks * accumulation * _BATCHES), "--telemetry", str(log)]
        environment = {**os.environ, **_ROOT, "ANEPERF_THREADS": "1"}
        subprocess.run([*map(str, launcher), *train], env=environment, check=True, stdout=subprocess.DEVNULL)
        return [json.loads(line) for line in log.read_text().splitlines()]


def figures(events: list[dict[str, Any]]) -> tuple[float, float, float]:
    """Return medians over the updates: tokens/s, and the ms of allreduce, hidden and exposed."""
    updates = [event for event in events if event["type"] == "update"][1:]
    sums = [event for event in events if event["type"] == "allreduce"][1:]
    hidden, exposed = (
        statistics.median(event[name] for event in sums) if sums else 0.0
        for name in ("hidden_ms", "exposed_ms")
    )
    return statistics.median(event["tokens_per_s"] for event in updates), hidden, exposed


def main() -> None:
    """Train on one rank and on several, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ranks", type=int, default=os.cpu_count())
    parser.add_argument("--accumulation", type=int, default=4, help="steps of each rank in a batch")
    parser.add_argument(
        "options",
        nargs="*",
        default=["--model", "stories15m", "--pipeline", "dynamic", "--device", "emulator"],
    )
    asked = parser.parse_args()
    print("ranks  tokens/s  ratio  efficiency  allreduce hidden (ms)  exposed (ms)")
    one = 0.0
    for ranks in (1, asked.ranks):
        batch = asked.ranks * asked.accumulation // ranks
        rate, hidden, exposed = figures(events_of(ranks, batch, asked.options))
        one = one or rate
        share = rate / one / ranks
        print(f"{ranks:5}  {rate:8.1f}  {rate / one:5.2f}  {share:10.0%}  {hidden:21.1f}  {exposed:12.1f}")


if __name__ == "__main__":
    main()
