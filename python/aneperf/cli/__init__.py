"""The `aneperf` command."""
