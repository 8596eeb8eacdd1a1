"""Apply the compiler's checks and the rules to a program."""

from __future__ import annotations

import os
from dataclasses import replace

from .. import _ane_native as native
from ..chips import profile_of
from ..errors import ArgumentError
from ..mil import Fp16Program, Program, parse
from ..mil.files import read_source
from ..mil.text import without_collection
from .context import Context
from .finding import Finding
from .operation_rules import OPERATION_RULES
from .program_rules import PROGRAM_RULES


def lint(program: Program | str | os.PathLike[str], chip: str = "h16") -> list[Finding]:
    """List every known hazard of a program on a chip such as "M4 Max" or "h16", by line.

    A string is MIL text, and a path names what `mil.read` takes. Of a program that `mil.to_fp16` converted,
    the lines are those before the conversion. The chip "none" has no hazards. Raises CompileError for text
    that is not MIL, ArgumentError for an unknown chip, ResultFileError.
    """
    if not isinstance(program, (Program, str, os.PathLike)):
        raise ArgumentError(f"lint takes a mil.Program, MIL text or a path, not {program!r}")
    generation = profile_of(chip)
    profile = native.chip_profile(generation)
    text, weights = _source(program)
    with without_collection():
        graph = parse(text, weights)
        if not profile["is_engine"]:
            return []
        context = Context(graph, generation, profile)
        findings = [finding for rule in PROGRAM_RULES for finding in rule(context)]
        for operation in context.operations:
            for check in OPERATION_RULES.get(operation.op, ()):
                findings += (
                    Finding(operation.line, operation.op, *problem) for problem in check(operation, context)
                )
    if isinstance(program, Fp16Program):
        findings = [replace(finding, line=program.origins.get(finding.line or 0)) for finding in findings]
    return sorted(findings, key=lambda finding: finding.line or 0)


def _source(program: Program | str | os.PathLike[str]) -> tuple[str, dict[str, bytes] | None]:
    """Return the text, and the weights if they are all there."""
    if isinstance(program, Program):
        return program.text, program.weights
    if isinstance(program, str):
        return program, None
    source = read_source(program)
    return source.text, None if source.absent else source.weights
