"""Fail if a program became slower than its baseline, which the first run writes.

The exit code is 1 if the gate fails, and 2 if it cannot tell.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import aneperf
from aneperf import mil

PROCESSES = 5  # times vary between processes; fewer than 5 cannot tell by how much


def attention() -> mil.Builder:
    """Build the program to watch: attention of 4 heads over 64 positions."""
    weights = np.random.default_rng(0).standard_normal((3, 64, 64, 1, 1)) / 8
    b = mil.Builder()
    x = b.input("x", (1, 64, 1, 64))
    q, k, v = (mil.reshape(mil.conv(x, weight), (1, 4, 16, 64)) for weight in weights)
    scores = mil.softmax(mil.mul(mil.matmul(q, k, transpose_x=True), 0.25))
    b.output("y", mil.reshape(mil.matmul(v, scores, transpose_y=True), (1, 64, 1, 64)))
    return b


def gate(baseline: Path, seconds: float) -> int:
    """Return the exit code."""
    before = aneperf.Result.load(baseline) if baseline.exists() else None
    # Each process reads the program itself, so it is named by its file.
    program = f"{Path(__file__).resolve()}:{attention.__name__}"
    after = aneperf.bench(program, processes=PROCESSES, budget=seconds)
    if before is None:
        after.save(baseline)
        print(f"{baseline}: the baseline now")
        return 0
    comparison = before.compare(after)
    print(comparison)
    # Fails for slower, wrong and missing rows, and for another machine, whose times say nothing here.
    failures = comparison.failures(fail_on=["slower", "error", "missing"])
    for reason in failures:
        print("the gate fails:", reason)
    return 1 if failures else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("baseline", nargs="?", type=Path, default=Path("baseline.json"))
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    try:
        sys.exit(gate(arguments.baseline, arguments.seconds))
    except aneperf.AneError as error:
        print(f"gate: {error}", file=sys.stderr)
        sys.exit(2)
