"""The verbs for programs of your own."""

import sys

import click

from ..errors import ArgumentError
from .options import FILE
from .terminal import FAILED, write


@click.command(
    params=[
        click.Argument(["file"], type=FILE, metavar="FILE.mil"),
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

    Exits with 1 if an operation fails on the chip.
    """
    from ..bounds import PROGRAM_BYTES
    from ..files import read_input
    from ..kinds import Kind
    from ..linter import lint

    try:
        text = read_input(file, Kind.MIL, PROGRAM_BYTES, ArgumentError).decode()
    except UnicodeDecodeError as error:
        raise ArgumentError(f"{file}: cannot read: {error}") from None
    findings = lint(text, chip)
    for finding in findings:
        place = f"{file}:{finding.line}" if finding.line else f"{file}"
        write(f"{place}: {finding.severity}: {finding.op}: {finding.reason}. {finding.remedy}.", sys.stdout)
    if not findings:
        write(f"{file}: no known problem on {chip}", sys.stdout)
    return FAILED if any(finding.severity == "fails" for finding in findings) else 0
