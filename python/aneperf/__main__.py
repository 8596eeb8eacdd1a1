"""`python -m aneperf` is the `aneperf` command."""

from .cli.main import main

if __name__ == "__main__":
    main()
