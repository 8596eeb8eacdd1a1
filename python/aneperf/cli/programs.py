"""The verbs for programs of your own."""

import sys
from pathlib import Path

import click

from .options import FILE
from .terminal import FAILED, write


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="MODEL"),
        click.Option(
            ["--chip"],
            metavar="CHIP",
            default="h16",
            help="Chip to check for: M1 to M5, such as 'M4 Max', or h13 to h17.",
        ),
    ]
)
def lint(file: str, chip: str) -> int:
    """Find what fails, is slow or gives wrong numbers in a MIL program.

    MODEL is a .mil file, a .mlmodelc folder, or, with coremltools, an .mlpackage folder or a .mlmodel file.
    Exits with 1 if an operation fails on the chip.
    """
    from ..linter import lint

    findings = lint(Path(file), chip)
    for finding in findings:
        place = f"{file}:{finding.line}" if finding.line else f"{file}"
        write(f"{place}: {finding.severity}: {finding.op}: {finding.reason}. {finding.remedy}.", sys.stdout)
    if not findings:
        write(f"{file}: no known problem on {chip}", sys.stdout)
    return FAILED if any(finding.severity == "fails" for finding in findings) else 0
