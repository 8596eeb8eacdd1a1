"""Results in files, as the command reads them."""

from pathlib import Path

from aneperf.results import Result
from support.fakes import a_result, a_row, an_environment

MAC = an_environment(device="ane", chip="Apple M4 Max", os="macOS 26.3", memory_bytes=128 * 2**30)
TIMES = ("median", "mean", "p05", "p95", "ci_low", "ci_high")


def saved(path: Path, result: Result) -> str:
    """Save a result and return its path."""
    path.parent.mkdir(exist_ok=True)
    result.save(path)
    return str(path)


def taking(ms: float, **changes: object) -> Result:
    """Return a result whose only row took `ms`."""
    return a_result(a_row(**dict.fromkeys(TIMES, ms)), **changes)
