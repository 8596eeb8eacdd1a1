"""Measure the peak rate of the device, and save it."""

import argparse
import sys

import aneperf


def main() -> None:
    """Print the table of `aneperf peak`, and save it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "output", nargs="?", default="peak.json", help=".json; .csv, .md and .html save a table"
    )
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()

    result = aneperf.peak(budget=arguments.seconds)
    print(result)
    result.save(arguments.output)
    # `best` is the fastest of the rows that can be relied on, and None if there is none.
    if result.best is None:
        print("No row can be relied on: give more seconds, on a machine that does nothing else.")
    else:
        software = " in software" if result.environment.is_software else ""
        print(f"{result.best.metrics['tflops']:.3g} TFLOPS{software}, by {result.best.name}")


if __name__ == "__main__":
    try:
        main()
    except aneperf.AneError as error:
        sys.exit(f"peak: {error}")
