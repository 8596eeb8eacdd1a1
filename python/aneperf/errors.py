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
    "ProgramError",
    "ResultFileError",
    "SurfaceError",
]


class ProgramError(AneError):
    """A program of the user's own cannot be made, or its inputs do not fit it."""


# A program cannot be made, compiled, loaded or run. A probe reports it and continues.
REFUSALS = (CompileBudgetError, CompileError, EvaluateError, ProgramError, SurfaceError)


class ResultFileError(AneError):
    """A file cannot be read or written. The message names the file, and the place in it."""
