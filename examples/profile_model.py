"""Find the operations that take a model's time."""

import argparse
import sys

import aneperf


def main() -> None:
    """Print the ten operations that take most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="MIL text, a .mlmodelc folder, an .mlpackage or an .mlmodel")
    parser.add_argument("--seconds", type=float, default=20.0)
    arguments = parser.parse_args()

    result = aneperf.profile(arguments.model, budget=arguments.seconds)
    *parts, whole = result.rows  # the last row is the whole program
    if whole.status != "ok":
        sys.exit(f"{whole.status}: {whole.reason}")
    print(result.environment.label)
    for part in sorted(parts, key=lambda row: -row.metrics["share"])[:10]:
        what = f"{part.params['kind']:12} {part.name}, line {part.params['line']}"
        print(f"{part.metrics['share']:6.1%}  {what}")
    print(*result.notes, sep="\n")


if __name__ == "__main__":
    try:
        main()
    except aneperf.AneError as error:
        sys.exit(f"profile: {error}")
