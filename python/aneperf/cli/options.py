"""Options that several verbs have: one name for one thing."""

import click

from ..errors import ArgumentError

FILE = click.Path(readable=False)  # so that shells complete it; the verb itself opens or creates the file
STANDARD_OUTPUT = "-"

DEVICE = click.Option(
    ["--device"],
    metavar="NAME",
    help="ane, ane:ROUTE, emulator or emulator:CHIP; by default ane if there is one.",
)
CHIP = click.Option(["--chip"], metavar="CHIP", help="Chip to emulate, such as M4, 'A19 Pro' or h18g.")
COMPILE_TIMEOUT = click.Option(
    ["--compile-timeout"],
    type=float,
    metavar="SECONDS",
    help="Time limit of a compile with its load on the engine; 120 by default.",
)
OUTPUT = click.Option(
    ["-o", "--output"],
    type=FILE,
    metavar="FILE",
    help="Save as JSON, or in the format of the ending: .csv, .md, .html; - or -.csv prints it.",
)


def check_named(option: str, path: str | None) -> None:
    """Raise ArgumentError for an option that names a file, and is given a dash."""
    if path == STANDARD_OUTPUT:
        raise ArgumentError(f"--{option} needs the name of a file: only -o takes - for standard output")


def is_printed(output: str | None) -> bool:
    """Tell whether an output is standard output: a dash, or a dash with the suffix of a form."""
    return output is not None and (output == STANDARD_OUTPUT or output in ("-.csv", "-.md", "-.html"))


VERBOSE = click.Option(
    ["-v", "--verbose"],
    is_flag=True,
    help="Show every flag, the number of calls of each row, and skipped rows.",
)
