"""Compare two results. The exit code is 1 if a row is slower, and 2 for files that cannot be compared."""

import argparse
import sys

import aneperf


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--threshold", type=float, default=0.02, help="a difference of up to this is none")
    arguments = parser.parse_args()
    try:
        before, after = aneperf.Result.load(arguments.before), aneperf.Result.load(arguments.after)
        comparison = before.compare(after, arguments.threshold)
    except aneperf.AneError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 2
    print(comparison)
    # The verdict is on the second result. UNCLEAR means that these results cannot tell.
    slower = [row.name for row in comparison if row.verdict == "SLOWER"]
    for name in slower:
        print("slower:", name)
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
