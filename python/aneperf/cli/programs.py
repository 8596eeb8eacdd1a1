"""The verbs for programs of your own."""

import contextlib
import sys
from pathlib import Path

import click

from ..errors import ArgumentError, CompileError
from .options import FILE
from .terminal import FAILED, write


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="MODEL"),
        click.Option(
            ["--chip"],
            metavar="CHIP",
            default="h16",
            help="Chip to check for, such as M6, 'M4 Max', 'A19 Pro' or h18g.",
        ),
        click.Option(
            ["--macos"],
            type=int,
            metavar="VERSION",
            default=27,
            help="System to check for: 27 alone refuses several weight files.",
        ),
        click.Option(
            ["--activations"],
            type=float,
            metavar="SIZE",
            default=1.0,
            help="Standard deviation to assume of activations, for what sums lose; 1 by default.",
        ),
        click.Option(["--fp16"], is_flag=True, help="Convert fp32 operations to fp16 first."),
    ]
)
def lint(file: str, chip: str, macos: int, activations: float, fp16: bool) -> int:
    """Find operations that fail, are slow, or give wrong or inexact results on a chip.

    MODEL is a .mil file, a .mlmodelc folder, or, with coremltools, an .mlpackage folder or a .mlmodel file.
    Exits with 1 if an operation fails on the chip.
    """
    from ..linter import lint
    from ..mil import read, to_fp16

    program = None
    if fp16:
        with contextlib.suppress(ArgumentError, CompileError):  # lint says why
            program = to_fp16(read(file), chip)
            write(f"{file}: {program.changes}", sys.stdout)
    findings = lint(program or Path(file), chip, macos, activations=activations)
    for finding in findings:
        place = ":".join(str(part) for part in (file, finding.line, finding.column) if part)
        write(f"{place}: {finding.severity}: {finding.op}: {finding.advice}", sys.stdout)
    if not findings:
        write(f"{file}: no known problem on {chip}", sys.stdout)
    return FAILED if any(finding.severity == "fails" for finding in findings) else 0
