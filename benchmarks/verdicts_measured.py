"""Measure how often equal code gets a verdict, and how often 5 % more work is found.

`python benchmarks/verdicts_measured.py --batches 5` times 40 small stacks of convolutions on the emulator as
`aneperf ab` does: 10 pairs of processes that take turns, of equal code (A/A), and with one layer of 20 more
on the second side (A/B). The verdicts are those of the turns' ratios, and for comparison those of the
processes' medians alone. With `--load 2`, as many other processes keep the machine busy.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from aneperf.report.comparing import compare_results
from aneperf.runner.commands import MeasuredSides, find_side, measure_in_turns

ROWS = [
    "--axis",
    "channels=32,40,48,56,64,80,96,104,112,128",
    "--axis",
    "layers=20,40",
    "--axis",
    "width=64,128",
]
COUNT = 40
CHANGE = 1.05
ROW_S = 0.8  # of each row in a pair of processes
START_S = 3.0  # of a pair
MODEL = """
from aneperf.kernels import ConvStack

def stack(channels, layers, width):
    return ConvStack(channels, round({share} * layers), width=width).build()
"""


def measure(share: float, processes: int) -> MeasuredSides:
    """Measure equal stacks, or ones that have `share` times the layers on the second side."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{side}.py") for side in "ab"]
        for file, depth in zip(files, (1.0, share), strict=True):
            file.write_text(MODEL.format(share=depth))
        first, second = (find_side(f"{file}:stack").asked("bench") for file in files)
        return measure_in_turns(
            (first, second),
            "bench",
            ["--device", "emulator", "--no-check", *ROWS],
            processes=processes,
            budget=START_S + ROW_S * COUNT,
            time_limit=600.0,
            report=lambda done: None,
        )


def show(title: str, counts: Counter[str], is_changed: bool) -> None:
    """Print the share of wrong verdicts, or of found changes."""
    total = sum(counts.values())
    found = counts["SLOWER"] if is_changed else counts["SLOWER"] + counts["FASTER"]
    what = "found" if is_changed else "false"
    listed = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    print(f"{title:36} {what} {100 * found / total:5.1f} % of {total} rows ({listed})", flush=True)


@contextlib.contextmanager
def load(number: int) -> Iterator[None]:
    """Keep cores busy with processes of our own."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def spread_of(rows: list[tuple[float, ...]]) -> float:
    """Return the standard deviation in percent of logarithms around their row's mean."""
    logs = [np.log(row) for row in rows if len(row) > 1]
    return 100 * float(np.sqrt(np.mean([log.var(ddof=1) for log in logs])))


def main() -> None:
    """Measure, and print the verdicts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=5, help="tables of 40 rows for each line")
    parser.add_argument("--processes", type=int, default=10, help="of each side, for each table")
    parser.add_argument("--load", type=int, default=0, help="processes that keep the machine busy")
    given = parser.parse_args()
    start = time.monotonic()
    with load(given.load):
        for share in (1.0, CHANGE):
            by_turns: Counter[str] = Counter()
            by_medians: Counter[str] = Counter()
            ratios, medians = [], []
            for _ in range(given.batches):
                found = measure(share, given.processes)
                compared = [
                    compare_results(*found.results, ratios=found.ratios),
                    compare_results(*found.results),
                ]
                by_turns += Counter(row.verdict for row in compared[0])
                by_medians += Counter(row.verdict for row in compared[1])
                ratios += [*found.ratios.values()]
                medians += [row.medians for result in found.results for row in result]
            code = "equal code" if share == 1 else f"{share - 1:.0%} more work"
            show(f"{code}, by turns", by_turns, share != 1)
            show(f"{code}, by medians", by_medians, share != 1)
            print(
                f"spread of ratios {spread_of(ratios):.2f} %, of medians {spread_of(medians):.2f} %",
                flush=True,
            )
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
