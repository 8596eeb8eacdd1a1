"""Find constructs known to fail, to be slow or to give wrong numbers on a generation of the engine."""

from .finding import Finding, Severity
from .run import lint

__all__ = ["Finding", "Severity", "lint"]
