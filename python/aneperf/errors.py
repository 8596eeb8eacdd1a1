"""The errors of this package. A message says where, what, and what to do."""

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
    "REFUSALS",
    "AneError",
    "ArgumentError",
    "CompileBudgetError",
    "CompileError",
    "DeviceUnavailable",
    "EvaluateError",
    "ResultFileError",
    "SurfaceError",
]

# A device's errors for a program that it cannot compile, load or run. A probe reports them and continues.
REFUSALS = (CompileBudgetError, CompileError, EvaluateError, SurfaceError)


class ResultFileError(AneError):
    """A file cannot be read or written. The message names the file, and the place in it."""
