"""The `aneperf` command: one verb for each thing a user wants."""

import enum
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer

from . import cli_results, cli_training
from . import device as devices
from ._ane_native import __version__
from .errors import AneError, ArgumentError
from .files import one_line
from .lint import lint as run_lint
from .measure import positive
from .probes.compat import compat as run_compat
from .probes.latency import latency as run_latency
from .probes.limits import limits as run_limits
from .probes.parity import parity as run_parity
from .probes.peak import peak as run_peak
from .probes.qos import LARGEST
from .probes.qos import qos as run_qos
from .probes.registry import PROBES, Probe
from .probes.sram import sram as run_sram
from .probes.suite import choose
from .probes.suite import suite as run_suite
from .probes.sustained import sustained as run_sustained
from .probes.sweep import CHANNELS, DEPTH, SPATIAL, parse_values
from .probes.sweep import sweep as run_sweep
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
PortType = Annotated[Ports, typer.Option(help="Data type of the programs' inputs and outputs.")]
Budget = Annotated[float, typer.Option(metavar="SECONDS", help="Time for the whole table.")]
Values = Annotated[
    str | None, typer.Option(metavar="LIST", help="64,512 or 64..2048, which doubles, or all.")
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
    ports: PortType = Ports.fp32,
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this row, such as '128x conv 512ch sp64'; repeatable."),
    ] = None,
    json: Json = None,
    budget: Budget = 30.0,
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
def latency(
    device: DeviceName = None,
    chip: Chip = None,
    ports: PortType = Ports.fp32,
    json: Json = None,
    budget: Budget = 15.0,
) -> None:
    """Single 1x1 convolutions of 256 to 4096 channels."""
    run_probe(
        "latency",
        lambda opened, report: run_latency(opened, budget=budget, ports=ports.value, progress=report),
        device,
        chip,
        json,
    )


@app.command()
def sram(
    device: DeviceName = None,
    chip: Chip = None,
    fine: Annotated[
        bool, typer.Option("--fine", help="More sizes, and the neighbours of powers of two.")
    ] = False,
    ports: PortType = Ports.fp32,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """Weights from 0.1 to 128 MB: floor, bandwidth, stride conflicts, and a cliff if there is one."""
    run_probe(
        "sram",
        lambda opened, report: run_sram(opened, fine=fine, budget=budget, ports=ports.value, progress=report),
        device,
        chip,
        json,
    )


@app.command()
def sustained(
    device: DeviceName = None,
    chip: Chip = None,
    seconds: Annotated[float, typer.Option(metavar="SECONDS", help="How long the load lasts.")] = 5.0,
    ports: PortType = Ports.fp32,
    json: Json = None,
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Time for everything; shortens the load.")
    ] = None,
) -> None:
    """Throughput over time, under load without a pause."""
    run_probe(
        "sustained",
        lambda opened, report: run_sustained(
            opened, seconds=seconds, budget=budget, ports=ports.value, progress=report
        ),
        device,
        chip,
        json,
    )


@app.command()
def sweep(
    device: DeviceName = None,
    chip: Chip = None,
    spatial: Values = None,
    channels: Values = None,
    depth: Values = None,
    ports: PortType = Ports.fp32,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """Stacks over positions, channels and depths; by default, 64 to 2048 positions."""
    positions = None if spatial is None else parse_values("--spatial", spatial, SPATIAL)
    counts = None if channels is None else parse_values("--channels", channels, CHANNELS)
    layers = None if depth is None else parse_values("--depth", depth, DEPTH)
    run_probe(
        "sweep",
        lambda opened, report: run_sweep(
            opened,
            spatial=positions,
            channels=counts,
            depth=layers,
            budget=budget,
            ports=ports.value,
            progress=report,
        ),
        device,
        chip,
        json,
    )


@app.command()
def qos(
    device: DeviceName = None,
    chip: Chip = None,
    value: Annotated[
        list[int] | None, typer.Option(metavar="0..63", help="Only this value; repeatable.")
    ] = None,
    json: Json = None,
    budget: Budget = 30.0,
) -> None:
    """Quality of service: which of the values 0 to 63 the device takes, and what they do to the latency."""
    run_probe(
        "qos",
        lambda opened, report: run_qos(
            opened, budget=budget, values=value or range(LARGEST + 1), progress=report
        ),
        device,
        chip,
        json,
    )


def _repeatable(noun: str) -> Any:
    return typer.Option(metavar="NAME", help=f"{noun}; repeatable.")


@app.command()
def compat(
    device: DeviceName = None,
    chip: Chip = None,
    only: Annotated[list[str] | None, _repeatable("Only this row, such as op/conv")] = None,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """Which dialects, ports, weight files and operations the device takes, every output checked."""
    run_probe(
        "compat",
        lambda opened, report: run_compat(opened, budget=budget, items=only or None, progress=report),
        device,
        chip,
        json,
    )


@app.command()
def parity(
    device: DeviceName = None,
    chip: Chip = None,
    only: Annotated[list[str] | None, _repeatable("Only this row, such as op/exp")] = None,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """How precisely the device computes each operation and kernel family, against float64."""
    run_probe(
        "parity",
        lambda opened, report: run_parity(opened, budget=budget, items=only or None, progress=report),
        device,
        chip,
        json,
    )


@app.command()
def limits(
    device: DeviceName = None,
    chip: Chip = None,
    most: Annotated[int, typer.Option(metavar="N", help="Programs after which to stop counting.")] = 256,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """How many programs a process compiles and loads, how long that takes, and what it overlaps with."""
    run_probe(
        "limits",
        lambda opened, report: run_limits(opened, budget=budget, most=most, progress=report),
        device,
        chip,
        json,
    )


@app.command()
def suite(
    device: DeviceName = None,
    chip: Chip = None,
    only: Annotated[list[str] | None, _repeatable("Only this probe")] = None,
    skip: Annotated[list[str] | None, _repeatable("Not this probe")] = None,
    json: Json = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="Time for all probes.")] = 300.0,
) -> None:
    """Every probe, in one result; those that could crash or hang in processes of their own."""
    choose(only or None, skip or ())
    positive("budget", budget)
    run_probe(
        "suite",
        lambda opened, report: run_suite(
            opened, budget=budget, only=only or None, skip=skip or (), progress=report
        ),
        device,
        chip,
        json,
        narrate=True,
    )


def _add_verb(probe: Probe) -> None:
    """The verb of a probe that has no options of its own."""

    def verb(
        device: DeviceName = None,
        chip: Chip = None,
        json: Json = None,
        budget: Budget = 30.0,
    ) -> None:
        run_probe(
            probe.name,
            lambda opened, report: probe.run(opened, budget=budget, progress=report),
            device,
            chip,
            json,
        )

    app.command(probe.name, help=probe.summary)(verb)


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


_own = {command.callback.__name__ for command in app.registered_commands if command.callback is not None}
for _probe in PROBES.values():
    if _probe.name not in _own:
        _add_verb(_probe)
for _verb in (
    *(cli_training.train, cli_training.generate, cli_training.data),
    *(cli_results.compare, cli_results.validate, cli_results.export),
):
    app.command()(_verb)
