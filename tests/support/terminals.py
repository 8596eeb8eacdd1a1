"""Terminals: a stream that says it is one, and what one shows of a result."""

import io

from aneperf.report.result_table import lay_out_result
from aneperf.report.table import to_text
from aneperf.results import Result


class AsTerminal(io.StringIO):
    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def isatty(self) -> bool:
        return True


def widest_line(result: Result, columns: int = 80) -> int:
    """Return the length of the longest line in which a terminal of that width shows a result."""
    return max(map(len, to_text(lay_out_result(result), columns).splitlines()))
