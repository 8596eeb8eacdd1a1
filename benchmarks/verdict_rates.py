"""Simulate the verdicts of `aneperf compare`: `python benchmarks/verdict_rates.py`.

Every table has 20 rows, each measured by a number of processes on either side. The medians of the processes
are log-normal, or have the heavy tails of Student's t with 3 degrees of freedom, and vary by a standard
deviation. "false" is the share of rows of equal code that are called FASTER or SLOWER, and "found" the share
of rows called SLOWER of those that became 5 % slower: all of a table, or one of its 20.
"""

import argparse

import numpy as np

from aneperf.measure import geometric_mean
from aneperf.report import compare_results
from aneperf.results import Environment, Result, Row

ROWS = 20
SPREADS = (0.003, 0.005, 0.01, 0.02, 0.05)
PROCESSES = (1, 2, 3, 5, 10)
SLOWER = 1.05
ENVIRONMENT = Environment(
    aneperf="", device="emulator", chip="", os="", cpu="", cores=1, python="", numpy="", started=""
)


def a_row(key: str, medians: np.ndarray) -> Row:
    """Return a row that as many processes measured as there are medians."""
    middle = geometric_mean(medians.tolist())
    alone = len(medians) == 1
    return Row(
        key=key,
        status="ok",
        unit="ms",
        median=middle.value,
        ci_low=0.998 * middle.value if alone else middle.ci_low,
        ci_high=1.002 * middle.value if alone else middle.ci_high,
        processes=() if alone else (0,) * len(medians),
        warm_ups=() if alone else (0,) * len(medians),
        medians=() if alone else tuple(medians.tolist()),
    )


def a_result(medians: np.ndarray) -> Result:
    """Return a result of rows with medians [rows, processes]."""
    rows = tuple(a_row(f"row/{place}", row) for place, row in enumerate(medians))
    return Result(probe="simulated", environment=ENVIRONMENT, rows=rows)


def percent(
    random: np.random.Generator, tables: int, processes: int, spread: float, changed: int, heavy: bool
) -> str:
    """Return the share of rows with a verdict: of the changed ones, or of all if none is."""
    factors = np.where(np.arange(ROWS) < changed, SLOWER, 1.0)[:, None]
    verdicts = 0
    for _ in range(tables):
        size = (2, ROWS, processes)
        noise = random.standard_t(3, size) / np.sqrt(3) if heavy else random.standard_normal(size)
        before, after = np.exp(spread * noise)
        rows = compare_results(a_result(before), a_result(after * factors)).rows[: changed or ROWS]
        verdicts += sum(row.verdict == "SLOWER" or (not changed and row.verdict == "FASTER") for row in rows)
    return f"{100 * verdicts / (tables * (changed or ROWS)):.3g}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tables", type=int, default=100, help="simulated tables for each figure")
    tables = parser.parse_args().tables
    for title, changed, heavy in (
        ("false, log-normal", 0, False),
        ("false, heavy tails", 0, True),
        ("found, all rows slower", ROWS, False),
        ("found, one row slower", 1, False),
    ):
        random = np.random.default_rng(1)
        print(f"{title} (%), by processes a side\nspread    {''.join(f'{count:>8}' for count in PROCESSES)}")
        for spread in SPREADS:
            cells = (percent(random, tables, count, spread, changed, heavy) for count in PROCESSES)
            print(f"{100 * spread:5.1f} %   {''.join(f'{cell:>8}' for cell in cells)}")


if __name__ == "__main__":
    main()
