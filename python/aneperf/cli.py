"""The `aneperf` command: one verb for each thing a user wants."""

import contextlib
import enum
import os
import sys
from pathlib import Path
from typing import Annotated, Literal, NoReturn, TextIO

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
    _say(" ".join(str(error).split()))
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(2)


def _say(message: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(f"aneperf: {message}", file=sys.stderr)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Options of the command itself."""
    if version:
        _print(f"aneperf {__version__}", sys.stdout)
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
    json: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also save the result as JSON; - prints it.")
    ] = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="Time for the whole table.")] = 30.0,
) -> None:
    """Peak throughput: stacks of 1x1 convolutions, every output checked."""
    to_stdout = json == Path("-")
    if json is not None and not to_stdout:
        check_writable(json)
    elif sys.stdout is None:
        raise AneError("standard output is closed: there is nowhere to write the result")
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
            result = run_peak(
                opened, budget=budget, configs=config or None, ports=ports.value, progress=report
            )
        except KeyboardInterrupt:
            interrupted = True
            note = "Interrupted: only the rows finished before are here."
            result = Result(probe="peak", environment=devices.info(opened), rows=tuple(rows), notes=(note,))
    try:
        if to_stdout:
            _print(result.to_json().decode().rstrip("\n"), sys.stdout)
        elif json is not None:
            result.save(json)
    finally:  # a measurement is long: what cannot go one way still goes the other
        if not to_stdout:
            _print(lay_out_result(result), sys.stdout)
        elif sys.stderr is not None:
            _print(lay_out_result(result), sys.stderr)
    if interrupted:
        _say("interrupted")
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
        _print(msgspec.json.format(msgspec.json.encode(environment), indent=2).decode(), sys.stdout)
    else:
        _print(lay_out_environment(environment), sys.stdout)


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


def _print(content: Table | str, stream: TextIO | None) -> None:
    """Write all of it now, so that what cannot be written is an error here. Raises AneError."""
    if stream is None:
        raise AneError("cannot write the output: standard output is closed")
    try:
        if isinstance(content, Table) and stream.isatty():
            Console(file=stream).print(to_rich(content))
        else:
            print(content if isinstance(content, str) else to_text(content), file=stream)
        stream.flush()
    except OSError as error:
        raise AneError(f"cannot write the output: {error.strerror}") from error


def _progress_bar() -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=sys.stderr is None or not sys.stderr.isatty(),
    )
