"""The `aneperf` command: one verb for each thing a user wants."""

import enum
import sys
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from . import device as devices
from ._ane_native import __version__
from .errors import AneError, ArgumentError
from .lint import lint as run_lint
from .probes.peak import peak as run_peak
from .probes.schedule import Step
from .report.table import Table, lay_out_environment, lay_out_result, to_rich, to_text
from .results import Result, Row, check_writable

INTERRUPTED = 130

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
Chip = Annotated[str | None, typer.Option("--chip", help="The emulator's profile, such as h16.")]


def main() -> None:
    """Entry point of the `aneperf` command. Exits with 2 for what it cannot do, 1 for rows in error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        app(prog_name="aneperf")
    except AneError as error:
        print(f"aneperf: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of the command itself."""
    if version:
        print(f"aneperf {__version__}")
        raise typer.Exit


@app.command()
def peak(
    device: DeviceName = None,
    chip: Chip = None,
    ports: Annotated[Ports, typer.Option(help="Data type of the programs' inputs and outputs.")] = Ports.fp32,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="Also save the result as JSON.")] = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="Time for the whole table.")] = 30.0,
) -> None:
    """Peak throughput: stacks of 1x1 convolutions, every output checked."""
    if json is not None:
        check_writable(json)
    opened = devices.open(device, chip=chip)
    rows: list[Row] = []
    interrupted = False
    with _progress_bar() as bar:
        task = bar.add_task("", total=None)

        def report(step: Step) -> None:
            bar.update(task, completed=step.done, total=step.total, description=step.doing, refresh=True)
            if step.row is not None:
                rows.append(step.row)

        try:
            result = run_peak(opened, budget=budget, ports=ports.value, progress=report)
        except KeyboardInterrupt:
            interrupted = True
            note = "Interrupted: only the rows finished before are here."
            result = Result(probe="peak", environment=devices.info(opened), rows=tuple(rows), notes=(note,))
    _print(lay_out_result(result))
    if json is not None:
        result.save(json)
    if interrupted:
        print("aneperf: interrupted", file=sys.stderr)
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(exit_code(result))


@app.command()
def info(
    device: DeviceName = None,
    chip: Chip = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What is known of the device and of this machine."""
    environment = devices.info(devices.open(device, chip=chip))
    if json:
        print(msgspec.json.format(msgspec.json.encode(environment), indent=2).decode())
    else:
        _print(lay_out_environment(environment))


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


def exit_code(result: Result) -> Literal[0, 1]:
    """1 if a row is in error, or if none could be measured."""
    statuses = {row.status for row in result}
    return 1 if "error" in statuses or "ok" not in statuses else 0


def _print(table: Table) -> None:
    if sys.stdout.isatty():
        Console().print(to_rich(table))
    else:
        print(to_text(table))


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not sys.stderr.isatty(),
    )
