"""Findings: hazards of a program, each with a place, a reason and a remedy."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["fails", "wrong numbers", "inexact", "slow"]
Problem = tuple[Severity, str, str]  # severity, reason and remedy


@dataclass(frozen=True)
class Finding:
    """A hazard of one construct, at a place in the program's text; line None if it concerns all of it."""

    line: int | None  # in the text, from 1; None: the whole program
    op: str  # the operation, "port", "const" or "program"
    severity: Severity
    reason: str  # what goes wrong, and who found it
    remedy: str = ""  # empty if the reason says it, as the compiler's do
    column: int | None = None  # from 1; None where only the line is known

    def __str__(self) -> str:
        places = [f"{name} {at}" for name, at in (("line", self.line), ("column", self.column)) if at]
        return f"{', '.join(places)}{': ' if places else ''}{self.op} {self.severity}: {self.advice}"

    @property
    def advice(self) -> str:
        """Return the reason and the remedy, as sentences."""
        return f"{self.reason}. {self.remedy}." if self.remedy else f"{self.reason}."
