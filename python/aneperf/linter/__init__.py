"""Find constructs known to fail, to be slow or to give wrong or inexact numbers on an engine."""

from .finding import Finding, Severity
from .run import lint

__all__ = ["Finding", "Severity", "lint"]
