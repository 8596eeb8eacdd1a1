"""Apply the compiler's checks and the rules to a program."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace

from .. import _ane_native as native
from ..checks import count, positive, shown
from ..chips import profile_of
from ..errors import ArgumentError, CompileError
from ..mil import Fp16Program, Program, parse
from ..mil.files import read_source
from ..mil.half import CONVERT, computes_in_fp32
from ..mil.text import without_collection
from .context import Context
from .finding import Finding
from .operation_rules import OPERATION_RULES
from .program_rules import PROGRAM_RULES


def lint(
    program: Program | str | os.PathLike[str],
    chip: str = "h16",
    macos: int = 27,
    *,
    activations: float = 1.0,
) -> list[Finding]:
    """List what the compiler of a chip such as "M4 Max" or "h16" refuses, and every known hazard, by line.

    `macos` is the system's first number: 27 alone refuses several weight files. What sums of products lose is
    predicted for activations that are normal around 0 with the standard deviation `activations`.

    A string is MIL text, and a path names what `mil.read` takes. Of a program that `mil.to_fp16` converted,
    the lines are those before the conversion. The chip "none" has no hazards beyond what it refuses. Weight
    files that are not there are not checked. Raises ArgumentError for an unknown chip, ResultFileError.
    """
    if not isinstance(program, (Program, str, os.PathLike)):
        raise ArgumentError(f"lint takes a mil.Program, MIL text or a path, not {shown(program)}")
    generation = profile_of(chip)
    count("macos", macos, 13)
    deviation = positive("activations", activations)
    text, weights = _source(program)
    findings = [_refused(refusal) for refusal in native.check(text, weights, generation)]
    refused = {(finding.line, finding.op) for finding in findings}
    is_refused = bool(findings)
    findings += (
        finding
        for finding in _hazards(text, weights, generation, macos, deviation, is_refused)
        if finding.severity == "wrong numbers"
        or (finding.line, finding.op) not in refused
        or (finding.severity, finding.line) == ("fails", None)  # one more reason for the whole program
    )
    if isinstance(program, Fp16Program):
        findings = [
            replace(finding, line=program.origins.get(finding.line or 0), column=None) for finding in findings
        ]
    return sorted(findings, key=lambda finding: (finding.line or 0, finding.column or 0))


def _refused(refusal: native.Refusal) -> Finding:
    reason = refusal.message.removeprefix(f"{refusal.op}: ")
    remedy = CONVERT if computes_in_fp32(reason) else ""
    return Finding(refusal.line or None, refusal.op, "fails", reason, remedy, refusal.column or None)


def _hazards(
    text: str,
    weights: dict[str, bytes] | None,
    generation: str,
    macos: int,
    activations: float,
    refused: bool,
) -> Iterator[Finding]:
    """Yield what the rules find in a program that can be parsed."""
    profile = native.chip_profile(generation)
    if not profile["is_engine"]:
        return
    with without_collection():
        try:
            graph = parse(text, weights)
        except (CompileError, ArgumentError):  # which the compiler's findings tell
            return
        context = Context(graph, generation, profile, macos, activations, refused)
        for rule in PROGRAM_RULES:
            yield from rule(context)
        for operation in context.operations:
            for check in OPERATION_RULES.get(operation.op, ()):
                for problem in check(operation, context):
                    yield Finding(operation.line, operation.op, *problem)


def _source(program: Program | str | os.PathLike[str]) -> tuple[str, dict[str, bytes] | None]:
    """Return the text, and the weights if they are all there."""
    if isinstance(program, Program):
        return program.text, program.weights
    if isinstance(program, str):
        return program, None
    source = read_source(program)
    return source.text, None if source.absent else source.weights
