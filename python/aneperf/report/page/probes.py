"""Sections of probes: a table and the pictures that tell something, of many rows some."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from ...errors import ArgumentError
from ...results import Result, Row
from ..energy_table import lay_out_energy
from ..flags import mark
from ..result_plots import PlotKind, draw_result
from ..result_table import lay_out_times
from ..scans import Scan, find_scan
from ..table import Table
from ..thinning import thinned
from .machine import label_of
from .model import Block, Drawing, Section
from .reading import Source, parts_of
from .svg import drawing

_LONG = 40  # rows; a longer table is folded, below the rows that tell most
_NOTABLE = 12
_MOST_DRAWN = 60  # rows of a picture
_MOST_LINES = 5  # of a scan
_HISTOGRAMS = 3
_LEAST_CALLS = 20  # of a histogram
_MOST_DRAWN_PROBES = 12  # of a page


def probe_sections(sources: Sequence[Source], *, pictures: bool) -> list[Section]:
    """Return a section for each probe of each file."""
    parts = [
        (source.name, part)
        for source in sources
        if source.result is not None and source.result.probe != "train"
        for part in parts_of(source.result)
    ]
    several = len({name for name, _ in parts}) > 1
    return [
        probe_section(
            f"{part.probe} ({name})" if several else part.probe,
            part,
            f"probe{number}",
            pictures=pictures and number < _MOST_DRAWN_PROBES,
            is_first=number == 0 or parts[number - 1][0] != name,
        )
        for number, (name, part) in enumerate(parts)
    ]


def probe_section(title: str, result: Result, name: str, *, pictures: bool, is_first: bool = True) -> Section:
    """Return the table of a result, its picture and histograms.

    What is to be known of the machine stands above the first part of a suite alone.
    """
    blocks = _table_blocks(result, is_first)
    if (energy := lay_out_energy(result.rows)) is not None:
        blocks.append(Block("Energy", energy))
    if pictures:
        blocks += _picture_blocks(result, name)
    return Section(title, tuple(blocks), (label_of(result),) if result.environment.is_software else ())


def _table_blocks(result: Result, is_first: bool) -> list[Block]:
    table = lay_out_times(result)
    if not is_first:
        table = replace(table, heading=table.heading[:2])
    label = () if result.environment.is_software else (label_of(result),)
    table = _without_label(table)
    if len(table.rows) <= _LONG:
        return [Block(table=table, texts=label)]
    chosen = _notable(result)
    short = lay_out_times(msgspec.structs.replace(result, rows=tuple(chosen), notes=()))
    said = f"{len(chosen)} of {len(table.rows):,} rows: the best, those not ok, and doubtful ones first."
    return [
        Block(table=replace(short, heading=table.heading), texts=(*label, said)),
        Block(f"All {len(table.rows):,} rows", replace(table, heading=table.heading[:1]), folded=True),
    ]


def _without_label(table: Table) -> Table:
    """Leave out the line that says what was measured, which stands above."""
    return replace(table, heading=(table.heading[0], *table.heading[2:]))


def _notable(result: Result) -> list[Row]:
    """Return the rows that tell most, in their order."""
    best = result.best
    ranked = sorted(
        result.rows,
        key=lambda row: (row is not best, row.status in ("ok", "skipped"), not mark(row.flags)),
    )
    chosen = {id(row) for row in ranked[:_NOTABLE]}
    return [row for row in result.rows if id(row) in chosen]


def _picture_blocks(result: Result, name: str) -> list[Block]:
    rows = [row for row in result.rows if row.status == "ok" and row.median]
    scan = find_scan(rows)
    shown = thinned(rows, _MOST_DRAWN) if scan is None else _lines(scan)
    blocks = []
    if len(rows) > 1 and (
        picture := _picture(result, shown, len(rows), name, "rows" if scan is None else "scan")
    ):
        blocks.append(Block(drawings=(picture,)))
    called = [row for row in rows if row.n and row.durations_ns and row.n >= _LEAST_CALLS]
    best = result.best
    # The best row, and rows whose calls say why they are doubtful.
    called.sort(key=lambda row: (row is not best, not mark(row.flags), -(row.n or 0)))
    if called and (
        picture := _picture(result, called[:_HISTOGRAMS], len(called), f"{name}-calls", "histogram")
    ):
        blocks.append(Block("Durations of calls", drawings=(picture,), folded=True))
    return blocks


def _picture(
    result: Result, rows: Sequence[Row], total: int, name: str, kind: PlotKind | None
) -> Drawing | None:
    """Return a picture of some rows; None if it cannot be drawn."""
    part = msgspec.structs.replace(result, rows=tuple(rows))
    try:
        figure = draw_result(part, kind=kind).figure
    except ArgumentError:  # no numbers of a size that axes can show
        return None
    said = "All timed rows." if len(rows) == total else f"{len(rows)} of {total:,} rows."
    if kind == "histogram":
        said = f"{len(rows)} of {total:,} rows with calls: the best one, and doubtful ones, if there are any."
    what = {"histogram": "Durations of calls", "rows": "Medians by row"}.get(str(kind), "A scan")
    return drawing(figure, name, f"{what} of {result.probe}. {label_of(result)}", said)


def _lines(scan: Scan) -> list[Row]:
    """Return the rows of a scan's lines, of many long ones that are evenly spaced, each of them thinned."""
    lines = [line for _, line in scan.lines if len(line) > 1] or [line for _, line in scan.lines]
    lines = list(thinned(lines, _MOST_LINES))
    return [row for line in lines for row in thinned(line, _MOST_DRAWN // len(lines))]
