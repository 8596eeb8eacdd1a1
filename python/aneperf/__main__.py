"""Run the `aneperf` command, as `python -m aneperf`."""

from .cli.main import main

if __name__ == "__main__":
    main()
