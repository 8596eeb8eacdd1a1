"""The `aneperf` command: one verb for each thing a user wants."""

import enum
import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from . import cli_results
from . import device as devices
from ._ane_native import __version__
from .errors import AneError, ArgumentError
from .files import one_line
from .lint import lint as run_lint
from .probes.peak import peak as run_peak
from .report.table import lay_out_environment
from .terminal import run_probe, say, write

app = typer.Typer(
    help="Measure the Apple Neural Engine, or the software emulator that stands in for it.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


class Ports(str, enum.Enum):
    """Data type of a program's inputs and outputs."""

    fp32 = "fp32"
    fp16 = "fp16"


DeviceName = Annotated[
    str | None, typer.Option("--device", help="ane, emulator or emulator:CHIP; the engine if there is one.")
]
Json = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Also save the result as JSON; - prints it.")
]
Chip = Annotated[str | None, typer.Option("--chip", help="The emulator's profile, such as h16.")]


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


@app.command()
def peak(
    device: DeviceName = None,
    chip: Chip = None,
    ports: Annotated[Ports, typer.Option(help="Data type of the programs' inputs and outputs.")] = Ports.fp32,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this row, such as '128x conv 512ch sp64'; repeatable."),
    ] = None,
    json: Json = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="Time for the whole table.")] = 30.0,
) -> None:
    """Peak throughput: stacks of 1x1 convolutions, every output checked."""
    run_probe(
        "peak",
        lambda opened, report: run_peak(
            opened, budget=budget, configs=config or None, ports=ports.value, progress=report
        ),
        device,
        chip,
        json,
    )


@app.command()
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


@app.command()
def lint(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE.mil", exists=True, dir_okay=False, help="MIL text to look through."),
    ],
    chip: Annotated[str, typer.Option("--chip", help="The generation: h13 (M1) to h17 (M5).")] = "h16",
) -> None:
    """What of a program is known to fail, be slow or give wrong numbers. Exits with 1 if something fails."""
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


for verb in (cli_results.compare, cli_results.validate, cli_results.export):
    app.command()(verb)
