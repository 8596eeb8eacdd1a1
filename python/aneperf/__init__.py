"""Measure the Apple Neural Engine from Python."""

from . import chips, kernels, mil, reference
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
from .probes.compat import compat
from .probes.counters import counters
from .probes.dispatch import dispatch
from .probes.int8 import int8
from .probes.latency import latency
from .probes.limits import limits
from .probes.parity import parity
from .probes.peak import peak
from .probes.ports import ports
from .probes.qos import qos
from .probes.sram import sram
from .probes.suite import suite
from .probes.sustained import sustained
from .probes.sweep import sweep
from .probes.weights import weights
from .results import Environment, Result, Row
from .training import TrainingResult, train

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
    "TrainingResult",
    "__version__",
    "chips",
    "compat",
    "counters",
    "dispatch",
    "info",
    "int8",
    "kernels",
    "latency",
    "limits",
    "lint",
    "mil",
    "open",
    "parity",
    "peak",
    "ports",
    "qos",
    "reference",
    "sram",
    "suite",
    "sustained",
    "sweep",
    "train",
    "weights",
]
