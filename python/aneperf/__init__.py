"""Measure the Apple Neural Engine from Python."""

from . import chips, kernels, mil
from ._ane_native import CompileBudget, Device, Layout, Port, Program, Request, Surface, __version__
from .device import info, open
from .errors import (
    AneError,
    ArgumentError,
    CompileBudgetError,
    CompileError,
    DeviceUnavailable,
    EvaluateError,
    ResultFileError,
    SurfaceError,
)
from .lint import Finding, lint
from .probes import peak
from .results import Environment, Result, Row

__all__ = [
    "AneError",
    "ArgumentError",
    "CompileBudget",
    "CompileBudgetError",
    "CompileError",
    "Device",
    "DeviceUnavailable",
    "Environment",
    "EvaluateError",
    "Finding",
    "Layout",
    "Port",
    "Program",
    "Request",
    "Result",
    "ResultFileError",
    "Row",
    "Surface",
    "SurfaceError",
    "__version__",
    "chips",
    "info",
    "kernels",
    "lint",
    "mil",
    "open",
    "peak",
]
