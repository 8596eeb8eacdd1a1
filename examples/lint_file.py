"""List what stands in a model's way on each chip. No device is needed.

The exit code is 1 if a chip refuses the model or computes wrong numbers, and 2 if it cannot be read.
"""

import argparse
import sys
from pathlib import Path

import aneperf


def main() -> int:
    """Return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="MIL text, a .mlmodelc folder, an .mlpackage or an .mlmodel")
    parser.add_argument("chips", nargs="*", default=["M1", "M2", "M3", "M4", "M5"])
    arguments = parser.parse_args()
    code = 0
    for chip in arguments.chips:
        findings = aneperf.lint(arguments.model, chip)  # a Path is a file; a string would be MIL text
        print(f"{chip}: {len(findings)} findings")
        for finding in findings:
            print(
                f"  {arguments.model}:{finding.line or 1}: {finding.severity}: {finding.op}: {finding.advice}"
            )
        if any(finding.severity in ("fails", "wrong numbers") for finding in findings):
            code = 1
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except aneperf.AneError as error:
        print(f"lint: {error}", file=sys.stderr)
        sys.exit(2)
