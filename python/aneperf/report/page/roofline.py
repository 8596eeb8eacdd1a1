"""The roofline of a device: ceilings, each of which is a row that was measured, and the rows as points."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ...results import Row
from ..columns import UNKNOWN, significant
from ..flags import mark
from ..plots import NAME, label, log_scale, new_figure
from ..table import Table
from .machine import is_sure
from .model import Block, Drawing, Section
from .reading import Source, parts_of
from .svg import drawing

Precision = Literal["fp16", "int8"]
_MOST_POINTS = 300
_SIZES = (1e-12, 1e12)  # of numbers that an axis can show
_MARKERS = "osD^vP*Xhd"
_PORT_BYTES = {"fp32": 4, "fp16": 2}


@dataclass(frozen=True)
class Point:
    """A row of known work and bytes, with its rates in TFLOPS, or TOPS, and GB/s."""

    row: Row
    probe: str
    file: str
    precision: Precision
    intensity: float  # operations per byte
    rate: float
    gb_per_s: float


@dataclass(frozen=True)
class Roofline:
    """Points of one device, and those of the highest rate in each precision and of the highest traffic."""

    points: tuple[Point, ...]
    fp16: Point | None
    int8: Point | None
    traffic: Point


def find_roofline(sources: Sequence[Source]) -> Roofline | None:
    """Return the roofline of files from one device; None if no row has known work, bytes and time."""
    points = [
        point
        for source in sources
        if source.result is not None
        for part in parts_of(source.result)
        for row in part
        if (point := _point(row, part.probe, source.name)) is not None
    ]
    if not points:
        return None
    fp16, int8 = (_sure([p for p in points if p.precision == precision]) for precision in get_args(Precision))
    return Roofline(
        tuple(points),
        max(fp16, key=lambda point: point.rate, default=None),
        max(int8, key=lambda point: point.rate, default=None),
        max(_sure(points), key=lambda point: point.gb_per_s),
    )


def _sure(points: list[Point]) -> list[Point]:
    """Return the points that can be relied on, or all if none can."""
    return [point for point in points if is_sure(point.row)] or points


def _point(row: Row, probe: str, file: str) -> Point | None:
    moved, gflop = _bytes(row), row.metrics.get("gflop")
    if row.status != "ok" or row.unit != "ms" or not row.median or not gflop or not moved:
        return None
    rate = row.metrics.get("tflops", gflop / row.median)
    precision: Precision = "int8" if row.params.get("precision") == "w8a8" else "fp16"
    point = Point(row, probe, file, precision, 1e9 * gflop / moved, rate, 1e-6 * moved / row.median)
    numbers = (point.intensity, point.rate, point.gb_per_s)
    return point if all(_SIZES[0] < number < _SIZES[1] for number in numbers) else None


def _bytes(row: Row) -> float | None:
    """Return the bytes of all weights and ports, each of which moves at least once; None if not known."""
    if "bytes" in row.metrics:
        return row.metrics["bytes"]
    sizes = [row.params.get(name) for name in ("channels", "height", "width")]
    each = _PORT_BYTES.get(str(row.params.get("ports", "fp16")))
    if "weights_mib" not in row.metrics or each is None:
        return None
    port = float(each)
    for size in sizes:
        if isinstance(size, str) or size is None:
            return None
        port *= size
    return row.metrics["weights_mib"] * 2**20 + 2 * port


def roofline_section(sources: Sequence[Source], *, pictures: bool) -> Section | None:
    """Return a roofline for each device of the files: an engine's and software's never share one."""
    devices: dict[str, list[Source]] = {}
    for source in sources:
        if source.environment is not None and source.result is not None:
            devices.setdefault(source.environment.label, []).append(source)
    blocks: list[Block] = []
    for number, (device, own) in enumerate(devices.items(), 1):
        if (found := find_roofline(own)) is not None:
            title = f"{device[0].upper()}{device[1:]}"
            blocks.append(
                Block(
                    title if len(devices) > 1 else "",
                    lay_out_roofline(found, title),
                    drawings=(draw_roofline(found, title, f"roofline{number}"),) if pictures else (),
                )
            )
    return Section("Roofline", tuple(blocks)) if blocks else None


def lay_out_roofline(found: Roofline, title: str) -> Table:
    """Lay out the ceilings, each with the row that it is from."""
    ceilings = [
        ("Compute, fp16", found.fp16, "TFLOPS"),
        ("Compute, int8", found.int8, "TOPS"),
        ("Traffic", found.traffic, "GB/s"),
    ]
    return Table(
        heading=(f"Ceilings of the {title}",),
        header=("Ceiling", "Highest", "Unit", "Row", "Probe", "File", ""),
        align=("left", "right", *("left",) * 5),
        rows=tuple(
            (
                name,
                significant(point.gb_per_s if unit == "GB/s" else point.rate, 4),
                unit,
                point.row.name,
                point.probe,
                point.file,
                ""
                if is_sure(point.row)
                else f"not to be relied on: {mark(point.row.flags) or 'no interval'}",
            )
            if point is not None
            else (name, UNKNOWN, unit, "unavailable: no row of this precision", "", "", "")
            for name, point, unit in ceilings
        ),
        lines=(
            "Bytes: weights and both ports, each once. What layers pass to each other is taken to stay on "
            "the chip; a program that spills it moves more. Short programs lie below the roof, because every "
            "call takes a time of its own.",
            "A ceiling is the highest row that can be relied on, or else the highest; doubtful rows may lie "
            "above it.",
        ),
    )


def draw_roofline(found: Roofline, title: str, name: str) -> Drawing:
    """Draw rates over intensity, under the ceilings."""
    shown = thinned_points(found)
    figure = new_figure(8, 5)
    axes = figure.subplots()
    probes = list(dict.fromkeys(point.probe for point in shown))
    hints = {}
    for place, point in enumerate(shown):
        at = probes.index(point.probe) % len(_MARKERS)
        color = f"C{at % 10}"
        hollow = bool(mark(point.row.flags)) or point.row.ci_low is None
        face = "white" if hollow else color
        axes.plot([point.intensity], [point.rate], _MARKERS[at], color=color, mfc=face, gid=f"point{place}")
        unit = "TOPS of int8" if point.precision == "int8" else "TFLOPS"
        rates = f"{significant(point.rate, 4)} {unit}, {significant(point.gb_per_s, 4)} GB/s"
        hints[f"point{place}"] = f"{point.probe}: {point.row.name}, {rates}"
    for at, probe in enumerate(probes):
        axes.plot([], [], _MARKERS[at % len(_MARKERS)], color=f"C{at % 10}", label=label(probe, NAME))
    low = min(point.intensity for point in found.points) / 2
    high = max(point.intensity for point in found.points) * 2
    slope = found.traffic.gb_per_s / 1000
    top = max(point.rate for point in (found.fp16, found.int8) if point is not None)
    ridge = min(max(top / slope, low), high)
    axes.plot(
        [low, ridge], [low * slope, ridge * slope], color="0.3", lw=1.2, label=f"{1000 * slope:.4g} GB/s"
    )
    for precision, ceiling, line in (("fp16", found.fp16, "-"), ("int8", found.int8, "--")):
        if ceiling is not None:
            begin = min(max(ceiling.rate / slope, low), high)
            unit = "TFLOPS" if precision == "fp16" else "TOPS"
            text = f"{precision}, {ceiling.rate:.4g} {unit}"
            axes.plot([begin, high], [ceiling.rate] * 2, line, color="0.3", lw=1.2, label=text)
    axes.set(xlabel="operations per byte", ylabel="TFLOPS, or TOPS of int8")
    log_scale(axes, "x")
    log_scale(axes, "y")
    axes.grid(alpha=0.5)
    axes.set_title(label(title), fontsize=9)
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    left_out = len(found.points) - len(shown)
    rows = (
        f"{len(shown)} of {len(found.points)} rows, evenly spaced."
        if left_out
        else "Every row of known work."
    )
    caption = f"{rows} Hollow points are not to be relied on. A point's name and rates appear on hover."
    return drawing(figure, name, f"Roofline of the {title}", caption, hints)


def thinned_points(found: Roofline) -> list[Point]:
    """Return the points in order of intensity, of many some that are evenly spaced and those of ceilings."""
    ordered = sorted(found.points, key=lambda point: point.intensity)
    every = -(-len(ordered) // _MOST_POINTS)
    kept: Iterable[Point | None] = (found.fp16, found.int8, found.traffic)
    ceilings = {id(point) for point in kept}
    return [point for at, point in enumerate(ordered) if at % every == 0 or id(point) in ceilings]
