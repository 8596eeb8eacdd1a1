"""Fail if a program became slower: python gate.py baseline.json [SECONDS].

The first run writes the baseline. Later ones compare with it, and exit with 1 if the gate fails.
"""

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


def main() -> int:
    """Return the exit code."""
    baseline = Path(sys.argv[1] if len(sys.argv) > 1 else "baseline.json")
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
    # Each process reads the program itself, so it is named by its file.
    program = f"{Path(__file__).resolve()}:attention"
    result = aneperf.bench(program, processes=PROCESSES, budget=seconds)
    if not baseline.exists():
        result.save(baseline)
        print(f"{baseline}: the baseline now")
        return 0
    comparison = aneperf.Result.load(baseline).compare(result)
    print(comparison)
    # Fails for slower, wrong and missing rows, and for another machine, whose times say nothing here.
    failures = comparison.failures(fail_on=["slower", "error", "missing"])
    for reason in failures:
        print("the gate fails:", reason)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
