"""Run the `aneperf` command: `aneperf`, or `python -m aneperf`."""

import sys


def main() -> None:
    """Run the command and exit. Ctrl-C while it is imported is no traceback either."""
    try:
        from .cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 + SIGINT


if __name__ == "__main__":
    main()
