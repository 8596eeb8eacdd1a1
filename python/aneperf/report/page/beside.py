"""The section of published figures: of the rows that were measured, of the chip, and peaks of all chips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ...chips import (
    CAVEATS,
    ROUTES,
    SOURCES,
    Figure,
    Standing,
    Summary,
    chips_of,
    compare_value,
    find_chip,
    shipped_figures,
    summaries,
)
from ...errors import ArgumentError
from ...files import one_line
from ...results import Environment, Row
from ..columns import UNKNOWN, significant
from ..listing import lay_out_list
from ..plots import NAME, label, log_scale, new_figure
from ..table import Table
from .model import Block, Drawing, Section
from .reading import Source, parts_of
from .svg import drawing

_LONG = 40  # rows of a table that is not folded
_MOST_KEYS = 14  # of a picture
_SIZES = (1e-9, 1e12)
_SOFTWARE = (
    "Rows marked with the emulator or the stand-in ran on a CPU, and published figures are of Neural "
    "Engines: the two do not compare. The tables show what others measured under the same keys."
)
_INDENT = "\N{EN DASH} "  # of a chip, below the rows that it is compared with
_HINTS = {**{name: source.name for name, source in SOURCES.items()}, **CAVEATS}
Measured = tuple[Source, Row]


def published_section(sources: Sequence[Source], *, pictures: bool) -> Section | None:
    """Return what is published of the rows of files and of their chips; None if nothing is."""
    measured = _measured(sources)
    by_key: dict[str, list[Summary]] = {}
    for summary in summaries():
        if summary.key in measured:
            by_key.setdefault(summary.key, []).append(summary)
    chips = _chips([source.environment for source in sources if source.environment is not None])
    of_chips = [figure for figure in shipped_figures() if figure.chip in chips]
    if not by_key and not of_chips:
        return None
    blocks = []
    if by_key:
        if pictures and (picture := draw_beside(measured, by_key, "published")) is not None:
            blocks.append(Block("Rows and published figures", drawings=(picture,)))
        table = lay_out_beside(measured, by_key)
        long = len(table.rows) > _LONG
        title = f"{len(by_key)} rows, and {len(_figures(by_key))} figures published under their keys"
        blocks.append(Block(title, table, hints=_HINTS, folded=long))
    if of_chips:
        table = lay_out_figures(of_chips)
        title = f"All {len(of_chips)} figures published for {', '.join(chips)}"
        blocks.append(Block(title, table, hints=_HINTS, folded=True))
    blocks.append(Block("Published peaks of all chips", lay_out_list("chips"), folded=True))
    shown = [*of_chips, *_figures(by_key)]
    blocks += _explained(shown)
    is_software = any(source.is_software for source in sources)
    return Section("Published figures", tuple(blocks), (_SOFTWARE,) if is_software else ())


def _measured(sources: Sequence[Source]) -> dict[str, list[Measured]]:
    """Return the timed rows of all files by key."""
    found: dict[str, list[Measured]] = {}
    for source in sources:
        for part in parts_of(source.result) if source.result is not None else []:
            for row in part:
                if row.status == "ok" and row.median is not None:
                    found.setdefault(row.key, []).append((source, row))
    return found


def _chips(environments: Iterable[Environment]) -> list[str]:
    """Return the chips that were measured, or that software imitates."""
    found: list[str] = []
    for environment in environments:
        name = environment.properties.get("imitates", environment.chip)
        try:
            found.append(find_chip(name).name)
        except ArgumentError:  # a profile, which several chips have, or a chip that nobody knows
            found += [chip.name for chip in chips_of(name)]
    return list(dict.fromkeys(found))


def _who(source: Source) -> str:
    """Return the column entry of a row that was measured here."""
    environment = source.environment
    if environment is None:
        return "measured here"
    chip = one_line(environment.chip)
    return f"{one_line(environment.device)} on a CPU" if environment.is_software else f"{chip}, measured here"


def lay_out_beside(measured: dict[str, list[Measured]], by_key: dict[str, list[Summary]]) -> Table:
    """Lay out each measured row, and below it the figures of each chip that have its key.

    Rows of an engine are compared with figures of the private framework, and nothing else is.
    """
    lines: list[tuple[str, ...]] = []
    for key, found in by_key.items():
        for source, row in measured[key]:
            interval = _range(row.ci_low, row.ci_high)
            value = significant(row.median, 4)
            name = f"{row.name}, {_who(source)}"
            lines.append((name, value, interval, str(row.unit), "", "", source.name, ""))
        engines = [row for source, row in measured[key] if not source.is_software]
        standings = [compare_value(key, row.unit, row.median) for row in engines]
        lines += [_published(summary, _standing(summary, standings)) for summary in found]
    return Table(
        heading=("Measured rows and published figures",),
        header=("Row, or chip", "Median", "Range", "Unit", "Figures", "Measured is", "Source", "Caveats"),
        align=("left", "right", "right", "left", "right", "left", "left", "left"),
        rows=tuple(lines),
        lines=(
            "Range: the 95 % interval of a row, or the lowest and highest of several published figures. "
            "Measured is: how many times as fast as the published median each engine's row above is, in "
            "their order. It is no verdict: aneperf compare gives those. Figures by another route than the "
            "private framework are not compared: they hold what a library does on the CPU.",
        ),
    )


def _standing(summary: Summary, standings: Sequence[Sequence[Standing]]) -> str:
    """Say how the engine's rows compare with a summary, or why they do not."""
    if not standings:
        return ""
    if not summary.is_private:
        return f"not compared: run through {ROUTES[summary.route]}"
    ratios = [one.ratio for found in standings for one in found if one.summary == summary]
    told = ", ".join(UNKNOWN if ratio is None else f"{significant(ratio, 3)}x" for ratio in ratios)
    return f"{told} as fast" if any(ratios) else ""


def _published(summary: Summary, standing: str) -> tuple[str, ...]:
    value = "failed" if summary.value is None else significant(summary.value, 4)
    return (
        f"{_INDENT}{summary.chip}",
        value,
        _range(summary.low, summary.high),
        summary.unit,
        str(len(summary.figures)),
        standing,
        ", ".join(summary.sources),
        ", ".join(summary.caveats),
    )


def _range(low: float | None, high: float | None) -> str:
    if low is None or high is None or low == high:
        return UNKNOWN
    return f"{significant(low, 3)}-{significant(high, 3)}"


def lay_out_figures(figures: Sequence[Figure]) -> Table:
    """Lay out figures one by one."""
    return Table(
        heading=("Published figures",),
        header=(
            "Key",
            "Chip",
            "Value",
            "Range",
            "Unit",
            "macOS",
            "Machine",
            "Date",
            "By",
            "Source",
            "Caveats",
        ),
        align=("left", "left", "right", "right", *("left",) * 7),
        rows=tuple(
            (
                figure.key,
                figure.chip,
                "failed" if figure.value is None else significant(figure.value, 4),
                _range(figure.low, figure.high),
                figure.unit,
                *(
                    known or UNKNOWN
                    for known in (figure.macos, figure.machine, figure.date, figure.contributor)
                ),
                figure.source,
                ", ".join(figure.caveats),
            )
            for figure in figures
        ),
    )


def _explained(figures: Sequence[Figure]) -> list[Block]:
    """Return tables of the sources and the caveats of figures."""
    sources = dict.fromkeys(figure.source for figure in figures)
    caveats = dict.fromkeys(caveat for figure in figures for caveat in figure.caveats)
    told = tuple((name, SOURCES[name].name, SOURCES[name].url or UNKNOWN) for name in sources)
    known = tuple((name, CAVEATS[name]) for name in caveats)
    tables = [
        Table(("Sources",), ("Source", "Place", "Address"), ("left", "left", "left"), told),
        Table(("Caveats",), ("Caveat", "Meaning"), ("left", "left"), known),
    ]
    return [Block(table.heading[0], table, folded=True) for table in tables if table.rows]


def _figures(by_key: Mapping[str, Sequence[Summary]]) -> list[Figure]:
    return [figure for same in by_key.values() for summary in same for figure in summary.figures]


def draw_beside(
    measured: dict[str, list[Measured]], by_key: dict[str, list[Summary]], name: str
) -> Drawing | None:
    """Draw each row on a line of its own, with the figures of its key; None if none can be drawn."""
    drawable = {
        key: [figure for figure in _figures({key: found}) if figure.unit == "ms" and _fits(figure.value)]
        for key, found in by_key.items()
    }
    ranked = sorted((key for key in by_key if drawable[key]), key=lambda key: -len(drawable[key]))
    kept = set(ranked[:_MOST_KEYS])
    keys = [key for key in by_key if key in kept]
    if not keys:
        return None
    chips = list(dict.fromkeys(figure.chip for key in keys for figure in drawable[key]))
    figure_ = new_figure(8, 1.9 + 0.34 * len(keys))
    axes = figure_.subplots()
    hints: dict[str, str] = {}
    for place, key in enumerate(keys):
        for figure in drawable[key]:
            at = chips.index(figure.chip)
            gid = f"figure{len(hints)}"
            color = f"C{at % 10}"
            face = color if figure.is_private else "white"
            value = figure.value or 0.0
            axes.plot([value], [place], _style(at), color=color, mfc=face, ms=5, alpha=0.85, gid=gid)
            hints[gid] = _hint(figure)
        for source, row in measured[key]:
            if row.unit == "ms" and _fits(row.median):
                gid = f"figure{len(hints)}"
                face = "white" if source.is_software else "black"
                axes.plot([row.median or 0.0], [place], "*", color="black", mfc=face, ms=10, gid=gid)
                hints[gid] = f"{_who(source)}: {significant(row.median, 4)} ms ({source.name})"
    for at, chip in enumerate(chips):
        axes.plot([], [], _style(at), color=f"C{at % 10}", ms=5, label=label(chip))
    for is_software in sorted({source.is_software for key in keys for source, _ in measured[key]}):
        said = "software on a CPU: no engine" if is_software else "measured here"
        axes.plot([], [], "*", color="black", mfc="white" if is_software else "black", ms=10, label=said)
    axes.set_yticks(range(len(keys)), _labels(measured, keys), fontsize=8)
    axes.set_ylim(len(keys) - 0.5, -0.5)
    axes.set_xlabel("ms")
    log_scale(axes, "x")
    axes.grid(alpha=0.5)
    figure_.legend(loc="outside lower center", ncols=4, fontsize=8)
    left_out = len(by_key) - len(keys)
    caption = "Hover over a figure for its machine, source and caveats; the tables below have them too."
    if not all(figure.is_private for key in keys for figure in drawable[key]):
        caption += " Hollow figures are of another route than the private framework, and do not compare."
    if left_out:
        caption += f" {left_out} of {len(by_key)} rows are in the table only."
    return drawing(figure_, name, "Measured rows and published figures of several chips", caption, hints)


def _labels(measured: Mapping[str, Sequence[Measured]], keys: Sequence[str]) -> list[str]:
    """Name the rows; those that share a name, as of two probes, by their keys."""
    names = [measured[key][0][1].name for key in keys]
    told = [key if names.count(name) > 1 else name for key, name in zip(keys, names, strict=True)]
    return [label(text, NAME) for text in told]


def _style(at: int) -> str:
    return "osD^vP"[at // 10 % 6] if at >= 10 else "o"


def _hint(figure: Figure) -> str:
    facts = [figure.machine, figure.macos and f"macOS {figure.macos}", figure.date, figure.contributor]
    told = ", ".join(fact for fact in facts if fact)
    caveats = " ".join(CAVEATS[caveat] for caveat in figure.caveats)
    value = f"{significant(figure.value, 4)} {figure.unit}"
    return f"{figure.chip}: {value} ({told}). Source: {SOURCES[figure.source].name}. {caveats}".strip()


def _fits(value: float | None) -> bool:
    return value is not None and _SIZES[0] < value < _SIZES[1]
