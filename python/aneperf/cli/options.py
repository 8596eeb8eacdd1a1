"""Options that several verbs have: one name for one thing."""

from pathlib import Path

import click

# Shells complete both. The verb says whether a file can be read or written.
FILE = click.Path(path_type=Path, readable=False)
FILE_OR_NAME = click.Path(readable=False)
STANDARD_OUTPUT = Path("-")

DEVICE = click.Option(
    ["--device"],
    metavar="NAME",
    help="ane, emulator or emulator:CHIP; by default ane where there is one.",
)
CHIP = click.Option(
    ["--chip"], metavar="CHIP", help="Chip that the emulator follows, such as M4, 'M4 Max' or h16."
)
OUTPUT = click.Option(
    ["-o", "--output"], type=FILE, metavar="FILE", help="Save the result as JSON; - prints it."
)
