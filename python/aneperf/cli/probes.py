"""Verbs of the `aneperf` command that measure: one for each probe, and one for all of them."""

import enum
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from ..checks import positive
from ..probes.compat import compat as run_compat
from ..probes.latency import latency as run_latency
from ..probes.limits import limits as run_limits
from ..probes.parity import parity as run_parity
from ..probes.peak import peak as run_peak
from ..probes.qos import LARGEST
from ..probes.qos import qos as run_qos
from ..probes.registry import Probe
from ..probes.sram import sram as run_sram
from ..probes.suite import choose
from ..probes.suite import suite as run_suite
from ..probes.sustained import sustained as run_sustained
from ..probes.sweep import CHANNELS, DEPTH, SPATIAL, parse_values
from ..probes.sweep import sweep as run_sweep
from .terminal import run_probe


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
    """Peak throughput of stacks of 1x1 convolutions, outputs checked."""
    run_probe(
        "peak",
        lambda opened, report: run_peak(
            opened, budget=budget, configs=config or None, ports=ports.value, progress=report
        ),
        device,
        chip,
        json,
    )


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
    """Weights of 0.1 to 128 MB: floor, bandwidth, conflicts, cliff."""
    run_probe(
        "sram",
        lambda opened, report: run_sram(opened, fine=fine, budget=budget, ports=ports.value, progress=report),
        device,
        chip,
        json,
    )


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
    """Stacks over positions, channels and depths.

    By default, positions go from 64 to 2048.
    """
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


def qos(
    device: DeviceName = None,
    chip: Chip = None,
    value: Annotated[
        list[int] | None, typer.Option(metavar="0..63", help="Only this value; repeatable.")
    ] = None,
    json: Json = None,
    budget: Budget = 30.0,
) -> None:
    """Which QoS values of 0 to 63 are taken, and what they change."""
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


def compat(
    device: DeviceName = None,
    chip: Chip = None,
    only: Annotated[list[str] | None, _repeatable("Only this row, such as op/conv")] = None,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """Which dialects, ports, weight files and operations are taken."""
    run_probe(
        "compat",
        lambda opened, report: run_compat(opened, budget=budget, items=only or None, progress=report),
        device,
        chip,
        json,
    )


def parity(
    device: DeviceName = None,
    chip: Chip = None,
    only: Annotated[list[str] | None, _repeatable("Only this row, such as op/exp")] = None,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """How precise each operation and kernel is, against float64."""
    run_probe(
        "parity",
        lambda opened, report: run_parity(opened, budget=budget, items=only or None, progress=report),
        device,
        chip,
        json,
    )


def limits(
    device: DeviceName = None,
    chip: Chip = None,
    most: Annotated[int, typer.Option(metavar="N", help="Programs after which to stop counting.")] = 256,
    json: Json = None,
    budget: Budget = 60.0,
) -> None:
    """How many programs a process compiles and loads, and how fast."""
    run_probe(
        "limits",
        lambda opened, report: run_limits(opened, budget=budget, most=most, progress=report),
        device,
        chip,
        json,
    )


def suite(
    device: DeviceName = None,
    chip: Chip = None,
    only: Annotated[list[str] | None, _repeatable("Only this probe")] = None,
    skip: Annotated[list[str] | None, _repeatable("Not this probe")] = None,
    json: Json = None,
    budget: Annotated[float, typer.Option(metavar="SECONDS", help="Time for all probes.")] = 300.0,
) -> None:
    """Every probe, in one result.

    Those that could crash or hang run in processes of their own.
    """
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


def verb(probe: Probe) -> Callable[..., None]:
    """The verb of a probe that has no options of its own."""

    def run(
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

    return run


OWN: tuple[Callable[..., None], ...] = (
    peak,
    latency,
    sram,
    sustained,
    sweep,
    qos,
    compat,
    parity,
    limits,
    suite,
)
