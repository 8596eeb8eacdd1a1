"""Run the `aneperf` command: `aneperf`, or `python -m aneperf`."""

import sys

from .system import check_system


def main() -> None:
    """Run the command and exit. Ctrl-C while it is imported is no traceback either."""
    try:
        check_system()
    except ImportError as error:
        print(f"aneperf: {error}", file=sys.stderr)
        sys.exit(2)  # the command cannot do what was asked
    try:
        from .cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


if __name__ == "__main__":
    main()
