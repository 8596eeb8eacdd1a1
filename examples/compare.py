"""Compare two results: python compare.py before.json after.json.

The exit code is 1 if a row is slower, and 2 for files that cannot be compared.
"""

import sys

import aneperf


def main(before: str, after: str) -> int:
    """Return the exit code."""
    try:
        first, second = aneperf.Result.load(before), aneperf.Result.load(after)
        comparison = first.compare(second, threshold=0.02)  # a difference of up to 2 % is none
    except aneperf.AneError as error:
        print(error, file=sys.stderr)
        return 2
    print(comparison)
    # The verdict is on the second result. UNCLEAR means that these results cannot tell.
    slower = [row.name for row in comparison if row.verdict == "SLOWER"]
    for name in slower:
        print("slower:", name)
    return 1 if slower else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
