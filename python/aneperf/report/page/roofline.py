"""The roofline of a device: ceilings that were measured, and the rows as points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ...probes.sram_analysis import analyze_sram
from ...results import Result, Row
from ..columns import UNKNOWN, significant
from ..flags import mark
from ..plots import NAME, label, log_scale, new_figure
from ..table import Table
from ..thinning import stride
from .machine import is_sure
from .model import Block, Drawing, Section
from .reading import Source, device_of, parts_of
from .svg import drawing

Precision = Literal["fp16", "int8"]
_MOST_POINTS = 300
_SIZES = (1e-12, 1e12)  # of numbers that an axis can show
_MARKERS = "osD^vP*Xhd"
_WIDEST = 1 << 20  # channels
_PORT_BYTES = {"fp32": 4, "fp16": 2}
_LEAST = "The traffic is a lower bound: the most that a row moved in the whole time of its calls."
_UNFITTED = "Rows of sram that memory bounds give the bandwidth itself."
_BELOW = "The line through the sizes of sram gives less: {} GB/s."
_BY_ARITHMETIC = (
    "The traffic is a lower bound: the rate at which sram's sizes use weights, which arithmetic limits."
)
_FITTED = "The traffic is the bandwidth that sram's sizes show, without what a call costs."


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
class Traffic:
    """The rate at which bytes move, and where it is from.

    A line through the sizes of `sram` gives the rate without what a call costs. Without it, or where
    arithmetic bounds it, more bytes may move than were seen: `is_least`.
    """

    gb_per_s: float
    is_least: bool
    name: str  # of the row, or of the line
    probe: str
    file: str
    doubt: str = ""
    point: Point | None = None


@dataclass(frozen=True)
class Roofline:
    """Points of one device, those of the highest rate in each precision, and the traffic.

    `fitted` is the traffic by `sram`, which a row may surpass.
    """

    points: tuple[Point, ...]
    fp16: Point | None
    int8: Point | None
    traffic: Traffic
    fitted: Traffic | None


def find_roofline(sources: Sequence[Source]) -> Roofline | None:
    """Return the roofline of files from one device; None if no row has known work, bytes and time."""
    parts = [
        (part, source.name)
        for source in sources
        if source.result is not None
        for part in parts_of(source.result)
    ]
    points = [
        point for part, name in parts for row in part if (point := _point(row, part.probe, name)) is not None
    ]
    if not points:
        return None
    fp16, int8 = (_sure([p for p in points if p.precision == precision]) for precision in get_args(Precision))
    busiest = max(_sure(points), key=lambda point: point.gb_per_s)
    seen = Traffic(
        busiest.gb_per_s, True, busiest.row.name, busiest.probe, busiest.file, _doubt(busiest.row), busiest
    )
    lines = [line for part, name in parts if (line := _fitted(part, name)) is not None]
    fitted = max(lines, key=lambda line: line.gb_per_s, default=None)
    return Roofline(
        tuple(points),
        max(fp16, key=lambda point: point.rate, default=None),
        max(int8, key=lambda point: point.rate, default=None),
        seen if fitted is None or fitted.gb_per_s < seen.gb_per_s else fitted,
        fitted,
    )


def _fitted(part: Result, file: str) -> Traffic | None:
    """Return the bandwidth that a line through the sizes of `sram` gives; None if there is none."""
    sizes: dict[tuple[object, ...], Row] = {}
    for row in part:
        if row.key.startswith("sram/") and _is_single(row):
            sizes.setdefault((row.params["channels"], row.params["width"]), row)
    found = analyze_sram(sizes.values())
    if found is None or not _SIZES[0] < found.bandwidth_gb_s.value < _SIZES[1]:
        return None
    name = f"line through {found.sizes} sizes of weights"
    rate = found.bandwidth_gb_s
    doubt = "" if rate.ci_low is not None else "not to be relied on: no interval"
    return Traffic(rate.value, found.is_bound_by_arithmetic, name, part.probe, file, doubt)


def _is_single(row: Row) -> bool:
    """Tell whether a row of a file is of one convolution whose size agrees with its weights."""
    channels, width = row.params.get("channels"), row.params.get("width")
    if row.status != "ok" or row.unit != "ms" or type(channels) is not int or type(width) is not int:
        return False
    is_time = row.median is not None and _SIZES[0] < row.median < _SIZES[1]
    weights = row.metrics.get("weights_mib", 0.0)
    return is_time and 0 < channels < _WIDEST and math.isclose(weights, channels**2 / 2**19, rel_tol=1e-6)


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
    """Return a roofline for each device: two machines never share one, nor do an engine and software."""
    devices: dict[object, list[Source]] = {}
    for source in sources:
        if source.environment is not None and source.result is not None:
            devices.setdefault(device_of(source.environment), []).append(source)
    found = [(own, roofline) for own in devices.values() if (roofline := find_roofline(own)) is not None]
    titles = [_title(own[0]) for own, _ in found]
    blocks: list[Block] = []
    for number, (own, roofline) in enumerate(found, 1):
        title = titles[number - 1]
        if titles.count(title) > 1:
            title += f" ({', '.join(source.name for source in own)})"
        drawings = (draw_roofline(roofline, title, f"roofline{number}"),) if pictures else ()
        named = title if len(found) > 1 else ""
        blocks.append(Block(named, lay_out_roofline(roofline, title), drawings=drawings))
    return Section("Roofline", tuple(blocks)) if blocks else None


def _title(source: Source) -> str:
    assert source.environment is not None
    label = source.environment.label
    return f"{label[0].upper()}{label[1:]}"


def lay_out_roofline(found: Roofline, title: str) -> Table:
    """Lay out the ceilings, each with the row or the line that it is from."""
    traffic = found.traffic
    least = "at least " if traffic.is_least else ""
    return Table(
        heading=(f"Ceilings of the {title}",),
        header=("Ceiling", "Highest", "Unit", "Row", "Probe", "File", ""),
        align=("left", "right", *("left",) * 5),
        rows=(
            _compute("Compute, fp16", found.fp16, "TFLOPS"),
            _compute("Compute, int8", found.int8, "TOPS"),
            (
                "Traffic",
                f"{least}{significant(traffic.gb_per_s, 4)}",
                "GB/s",
                traffic.name,
                traffic.probe,
                traffic.file,
                traffic.doubt,
            ),
        ),
        lines=(
            "Bytes: weights and both ports, each counted once. Values that layers pass to each other are "
            "taken to stay on the chip; a program that spills them moves more. Short programs lie below the "
            "roof, because every call has a cost of its own.",
            "A compute ceiling is the highest row that can be relied on, or the highest of all if none can. "
            "Doubtful rows may lie above it.",
            _said(found),
        ),
    )


def _said(found: Roofline) -> str:
    """Say what the traffic is."""
    if not found.traffic.is_least:
        return _FITTED
    if found.fitted is None or found.fitted is found.traffic:
        return f"{_LEAST} {_UNFITTED}" if found.fitted is None else _BY_ARITHMETIC
    return f"{_LEAST} {_BELOW.format(significant(found.fitted.gb_per_s, 4))}"


def _compute(name: str, point: Point | None, unit: str) -> tuple[str, ...]:
    if point is None:
        return name, UNKNOWN, unit, "unavailable: no row of this precision", "", "", ""
    row = point.row
    return name, significant(point.rate, 4), unit, row.name, point.probe, point.file, _doubt(row)


def _doubt(row: Row) -> str:
    if is_sure(row):
        return ""
    interval = "no interval" if row.ci_low is None else "a wide interval"
    return f"not to be relied on: {mark(row.flags) or interval}"


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
        face = color if is_sure(point.row) else "white"
        axes.plot([point.intensity], [point.rate], _MARKERS[at], color=color, mfc=face, gid=f"point{place}")
        unit = "TOPS of int8" if point.precision == "int8" else "TFLOPS"
        rates = f"{significant(point.rate, 4)} {unit}, {significant(point.gb_per_s, 4)} GB/s"
        hints[f"point{place}"] = f"{point.probe}: {point.row.name}, {rates}"
    for at, probe in enumerate(probes):
        axes.plot([], [], _MARKERS[at % len(_MARKERS)], color=f"C{at % 10}", label=label(probe, NAME))
    low = min(point.intensity for point in found.points) / 2
    high = max(point.intensity for point in found.points) * 2
    traffic = found.traffic
    slope = traffic.gb_per_s / 1000
    top = max(point.rate for point in (found.fp16, found.int8) if point is not None)
    ridge = min(max(top / slope, low), high)
    style, least = (":", "at least ") if traffic.is_least else ("-", "")
    said = f"{least}{traffic.gb_per_s:.4g} GB/s"
    axes.plot([low, ridge], [low * slope, ridge * slope], style, color="0.3", lw=1.2, label=said)
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
    every = stride(len(ordered), _MOST_POINTS)
    kept: Iterable[Point | None] = (found.fp16, found.int8, found.traffic.point)
    ceilings = {id(point) for point in kept}
    return [point for at, point in enumerate(ordered) if at % every == 0 or id(point) in ceilings]
