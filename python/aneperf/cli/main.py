"""The `aneperf` command: one verb for each thing a user wants."""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from .. import device as devices
from .._ane_native import __version__
from ..errors import AneError, ArgumentError
from ..files import one_line
from ..linter import lint as run_lint
from ..probes.registry import PROBES
from ..report.table import lay_out_environment
from . import probes as cli_probes
from . import results as cli_results
from . import training as cli_training
from .probes import Chip, DeviceName
from .terminal import say, write

app = typer.Typer(
    help="Measure the Apple Neural Engine, or the software emulator that stands in for it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Entry point of the `aneperf` command. Exits with 2 for what it cannot do, 1 for rows in error."""
    # A closed stream is None, and print() would take standard output in standard error's place.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="aneperf")
    except (AneError, OSError) as error:
        _give_up(error)


def _give_up(error: Exception) -> NoReturn:
    """One line on standard error, and nothing that the interpreter still would write when it ends."""
    say(one_line(error))
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(2)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of the command itself."""
    if version:
        write(f"aneperf {__version__}", sys.stdout)
        raise typer.Exit


def info(
    device: DeviceName = None,
    chip: Chip = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is known of the device and of this machine."""
    environment = devices.info(devices.open(device, chip=chip))
    if json:
        write(msgspec.json.format(msgspec.json.encode(environment), indent=2).decode(), sys.stdout)
    else:
        write(lay_out_environment(environment), sys.stdout)


def lint(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.mil", exists=True, dir_okay=False, help="MIL text to look through."),
    ],
    chip: Annotated[str, typer.Option("--chip", help="The generation: h13 (M1) to h17 (M5).")] = "h16",
) -> None:
    """What of a program is known to fail, be slow or be wrong.

    Exits with 1 if something fails.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"cannot read {file}: {error}") from None
    findings = run_lint(text, chip)
    for finding in findings:
        place = f"{file}:{finding.line}" if finding.line else f"{file}"
        print(f"{place}: {finding.severity}: {finding.op}: {finding.reason}. {finding.remedy}.")
    if not findings:
        print(f"{file}: nothing known against it on {chip}")
    raise typer.Exit(1 if any(finding.severity == "fails" for finding in findings) else 0)


_own = {verb.__name__ for verb in cli_probes.OWN}
for _verb in cli_probes.OWN:
    app.command()(_verb)
for _probe in PROBES.values():
    if _probe.name not in _own:
        app.command(_probe.name, help=_probe.summary)(cli_probes.verb(_probe))
for _verb in (
    *(info, lint, cli_training.train, cli_training.generate, cli_training.data),
    *(cli_results.compare, cli_results.validate, cli_results.export),
):
    app.command()(_verb)
