"""The errors of this package. Each says where, what, and what to do."""

from ._ane_native import (
    AneError,
    ArgumentError,
    CompileBudgetError,
    CompileError,
    DeviceUnavailable,
    EvaluateError,
    SurfaceError,
)

__all__ = [
    "AneError",
    "ArgumentError",
    "CompileBudgetError",
    "CompileError",
    "DeviceUnavailable",
    "EvaluateError",
    "ResultFileError",
    "SurfaceError",
]


class ResultFileError(AneError):
    """A result file cannot be read or written; names the file and the place."""
