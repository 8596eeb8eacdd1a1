"""Measure how often equal code gets a verdict, and how often 5 % more work is found.

`python benchmarks/verdicts_measured.py --batches 5 --json quiet.json` times 40 small stacks of convolutions
on the emulator, each batch in fresh processes, with equal code (A/A) and with one layer of 20 more (A/B). The
sides run in turns, as `aneperf ab` does; equal code also one after the other, as two results for `aneperf
compare` do. With `--load 2`, as many other processes keep the machine busy. `--resample quiet.json` draws 50
tables of the series of medians that it saved: their drift, correlation and outliers are the machine's.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import aneperf
from aneperf.kernels import ConvStack
from aneperf.measure import geometric_mean
from aneperf.report.comparing import compare_results
from aneperf.results import Result, Row
from aneperf.runner.in_child import run_in_child
from aneperf.runner.rounds import measure_again

CHANNELS = (32, 40, 48, 56, 64, 80, 96, 104, 112, 128)
ROW_S = 0.1  # of each row in a process
CHANGE = 1.05


def stacks(share: float) -> list[ConvStack]:
    """Return the stacks, with their depth multiplied."""
    return [
        ConvStack(channels, round(share * depth), width=width)
        for channels in CHANNELS
        for depth in (20, 40)
        for width in (64, 128)
    ]


def orders(processes: int) -> dict[str, list[int]]:
    """Return the two orders of the sides' processes: A, B, B, A, ... and all of A before B."""
    turns = [(turn + turn // 2) % 2 for turn in range(2 * processes)]
    return {"in turns": turns, "one after the other": sorted(turns)}


def medians(device: aneperf.Device, share: float) -> list[float]:
    """Return the median of each stack, in ms, that a fresh process measures."""
    configs = stacks(share)
    outcome = run_in_child(
        measure_again,
        device,
        time_limit=600.0,
        probe="aneperf.probes.peak:peak",
        arguments={"configs": configs},
        part={"processes": 5, "to_come": 20},  # a slow machine loses no row
        budget=20 * ROW_S * len(configs),
    )
    if outcome.result is None or any(row.median is None for row in outcome.result):
        raise SystemExit(f"a process measured too little: {outcome.failure}")
    return [row.median or 0.0 for row in outcome.result]


def table(values: np.ndarray, environment: aneperf.Environment) -> Result:
    """Return the result of medians [processes, rows]."""
    rows = []
    for number, row in enumerate(values.T):
        median = geometric_mean(row.tolist())
        rows.append(
            Row(
                key=f"row/{number}",
                status="ok",
                unit="ms",
                n=len(row),
                median=median.value,
                ci_low=median.ci_low,
                ci_high=median.ci_high,
                processes=(1,) * len(row),
                warm_ups=(0,) * len(row),
                medians=tuple(row.tolist()),
                durations_ns=tuple(round(value * 1e6) for value in row),
            )
        )
    return Result(probe="verdicts", environment=environment, rows=tuple(rows))


def judge(values: np.ndarray, order: Sequence[int], environment: aneperf.Environment) -> Counter[str]:
    """Count the verdicts on side 1 of medians [processes, rows], whose sides are in `order`."""
    sides = [table(values[np.array(order) == side], environment) for side in (0, 1)]
    return Counter(row.verdict for row in compare_results(*sides))


def show(title: str, counts: Counter[str], is_changed: bool) -> None:
    """Print the share of wrong verdicts, or of found changes."""
    total = sum(counts.values())
    found = counts["SLOWER"] if is_changed else counts["SLOWER"] + counts["FASTER"]
    what = "found" if is_changed else "false"
    listed = ", ".join(f"{number} {verdict}" for verdict, number in counts.most_common())
    print(f"{title:40} {what} {100 * found / total:5.1f} % of {total} rows ({listed})")


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


def measure(batches: int, processes: int, environment: aneperf.Environment) -> list[list[float]]:
    """Measure and print all batches; return the medians [processes, rows] of equal code, in order."""
    device = aneperf.open("emulator")
    series: list[list[float]] = []
    for name, order in orders(processes).items():
        for share in (1.0, CHANGE) if name == "in turns" else (1.0,):
            counts: Counter[str] = Counter()
            for _ in range(batches):
                values = [medians(device, share if side else 1.0) for side in order]
                counts += judge(np.array(values), order, environment)
                series += values if share == 1 else []
            code = "equal code" if share == 1 else f"{share - 1:.0%} more work"
            show(f"{code}, {name}", counts, share != 1)
    logs = np.log(np.array(series))
    residuals = logs - logs.mean(axis=0)
    near = float(np.mean(residuals[1:] * residuals[:-1]) / np.mean(residuals**2))
    print(f"spread between processes {100 * residuals.std():.2f} %, correlation of neighbors {near:.2f}")
    return series


def resample(series: np.ndarray, processes: int, environment: aneperf.Environment, tables: int = 50) -> None:
    """Print verdicts on windows of the series [processes, rows], with and without a change of 5 %."""
    random = np.random.default_rng(0)
    for name, order in orders(processes).items():
        for change in (1.0, CHANGE):
            counts: Counter[str] = Counter()
            for _ in range(tables):
                starts = random.integers(0, len(series) - len(order) + 1, series.shape[1])
                window = np.stack(
                    [series[start : start + len(order), row] for row, start in enumerate(starts)]
                )
                counts += judge(window.T * np.where(order, change, 1.0)[:, None], order, environment)
            code = "equal code" if change == 1 else f"{change - 1:.0%} slower"
            show(f"{code}, {name}", counts, change != 1)


def main() -> None:
    """Measure, or draw from what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batches", type=int, default=5, help="tables of 40 rows for each line")
    parser.add_argument("--processes", type=int, default=5, help="of each side, for each table")
    parser.add_argument("--load", type=int, default=0, help="processes that keep the machine busy")
    parser.add_argument("--json", type=Path, help="file for the medians")
    parser.add_argument("--resample", type=Path, help="file of medians to draw from, instead of measuring")
    given = parser.parse_args()
    environment = aneperf.info("emulator")
    if given.resample:
        saved = json.loads(given.resample.read_text())
        resample(np.array(saved["medians"]), given.processes, environment)
        return
    start = time.monotonic()
    with load(given.load):
        found = measure(given.batches, given.processes, environment)
    print(f"{time.monotonic() - start:.0f} s")
    if given.json:
        given.json.write_text(json.dumps({"medians": found}))


if __name__ == "__main__":
    main()
