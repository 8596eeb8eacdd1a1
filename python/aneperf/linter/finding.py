"""Findings: hazards of a program, each with a place, a reason and a remedy."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["fails", "wrong numbers", "slow"]


@dataclass(frozen=True)
class Finding:
    """A hazard of one construct, at a line of the program's text; None if it concerns the whole program."""

    line: int | None
    op: str  # the operation, "port", "const" or "program"
    severity: Severity
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = "" if self.line is None else f"line {self.line}: "
        return f"{where}{self.op} {self.severity}: {self.reason}. {self.remedy}."
