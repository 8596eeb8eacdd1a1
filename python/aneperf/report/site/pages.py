"""Make the pages of the site: one across the generations, and one of leaderboards for each probe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal

from ...chips import CHIPS, SOURCES, Chip, Figure, shipped_figures
from ..columns import UNKNOWN
from ..page.model import Block, Drawing, Section
from ..page.template import fill, need_jinja
from ..table import Table
from .charts import draw_by_chip
from .collection import Collection
from .compatibility import compatibility_table, failures_table, submitted_compatibility
from .entries import Board, Entry, boards_of, published_entries
from .overview import (
    TRAINING_STEP,
    by_chip,
    hints_of,
    how,
    is_int8,
    is_peak,
    is_sustained,
    names_of,
    peak_table,
    rate,
    remarks_table,
    shown,
    sustained_table,
    training_table,
)

_HOME = "index.html"
_TITLE = "Neural Engines, by generation"


def make_site(collection: Collection, figures: Sequence[Figure] | None = None) -> dict[str, bytes]:
    """Return the site's files by name, the same for the same figures and submissions.

    Raises ArgumentError without jinja2 or matplotlib.
    """
    need_jinja()
    all_figures = shipped_figures() if figures is None else figures
    entries = [
        *published_entries(all_figures),
        *(entry for submission in collection.accepted for entry in submission.entries),
    ]
    probes: dict[str, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.key):
        probes.setdefault(_page_of(entry), []).append(entry)
    links = [(_HOME, "Overview"), *((page, page.removesuffix(".html")) for page in probes)]
    sources = [(name, SOURCES[name]) for name in sorted({figure.source for figure in all_figures})]
    pages = {_HOME: (_TITLE, _overview(entries, all_figures, collection))} | {
        page: (f"{page.removesuffix('.html')}: figures by chip", _probe(found))
        for page, found in probes.items()
    }
    return {
        page: fill(
            "community.html",
            title=title,
            sections=sections,
            warnings=(),
            links=links,
            page=page,
            sources=sources if page == _HOME else (),
        ).encode()
        for page, (title, sections) in pages.items()
    }


def _page_of(entry: Entry) -> str:
    return re.sub(r"[^a-z0-9]+", "-", entry.key.partition("/")[0].lower()) + ".html"


def _overview(
    entries: Sequence[Entry], figures: Sequence[Figure], collection: Collection
) -> tuple[Section, ...]:
    hints = hints_of(entries)
    steps = by_chip(entry for entry in entries if entry.key == TRAINING_STEP)
    peaks, sustained = by_chip(filter(is_peak, entries)), by_chip(filter(is_sustained, entries))
    int8 = by_chip(filter(is_int8, entries))
    counts = (
        f"Figures of {len({entry.chip for entry in entries})} chips: "
        f"{sum(entry.origin == 'published' for entry in entries)} published, "
        f"{sum(entry.origin == 'submitted' for entry in entries)} submitted. Submissions: "
        f"{len(collection.accepted)} accepted, {len(collection.refused)} refused."
    )
    return (
        _section("What is here", Block(texts=(counts, *_READ))),
        _section(
            "Training",
            Block(
                table=training_table(entries),
                hints=hints,
                drawings=_drawn(
                    draw_by_chip(
                        "training",
                        "A step of Stories110M, static pipeline, by chip",
                        steps,
                        lambda entry: entry.value,
                        "ms per step: less is faster",
                    )
                ),
            ),
        ),
        _section(
            "Peak throughput",
            Block(
                table=peak_table(entries),
                hints=hints,
                drawings=_drawn(
                    draw_by_chip(
                        "peak",
                        "Stacks of 1x1 convolutions in fp16, by chip",
                        peaks,
                        rate,
                        "TFLOPS",
                        _known("fp16", peaks),
                    ),
                    draw_by_chip(
                        "int8",
                        "Stacks of 1x1 convolutions in W8A8, by chip",
                        int8,
                        rate,
                        "TOPS",
                        _known("int8", int8),
                    ),
                ),
            ),
        ),
        _section(
            "Sustained throughput",
            Block(
                table=sustained_table(entries),
                hints=hints,
                drawings=_drawn(
                    draw_by_chip("sustained", "Load without a pause, by chip", sustained, rate, "TFLOPS")
                ),
            ),
        ),
        _section("MIL compatibility", *_compatibility(figures, collection)),
        _section("Submissions", *_submissions(collection)),
        _section("Remarks", Block(table=remarks_table(entries))),
    )


_READ = (
    "Published figures are taken from the sources named beside them, with their known faults as remarks. "
    "Submitted ones were measured with aneperf, which checks every timed output against a reference; all "
    "that the calls of a row determine was computed again from the file. Nobody saw the machines.",
    "A place counts the entries that are surely better: whose intervals, or published ranges, do not meet "
    "the entry's own. Figures that are quoted, flagged, or stated without their calls have no place.",
)


def _compatibility(figures: Sequence[Figure], collection: Collection) -> list[Block]:
    others = submitted_compatibility(collection.accepted)
    failures = failures_table(figures)
    return [
        Block(table=compatibility_table(collection.accepted)),
        *([Block(others.heading[0], others, folded=True)] if others else []),
        *([Block(failures.heading[0], failures)] if failures.rows else []),
    ]


def _probe(entries: Sequence[Entry]) -> tuple[Section, ...]:
    """Return a leaderboard for each key that has several figures, and one table of the others."""
    boards = boards_of(entries)
    compared = [board for board in boards if len(board.entries) > 1]
    single = [board for board in boards if len(board.entries) == 1]
    sections = []
    if compared:
        largest = max(compared, key=lambda board: len(board.entries))
        picture = draw_by_chip(
            "board",
            largest.title,
            by_chip(largest.entries),
            lambda entry: entry.value,
            f"{largest.unit}{_direction(largest)}",
        )
        sections.append(
            _section(
                "Leaderboards",
                Block(drawings=_drawn(picture)),
                *(Block(board.title, _board(board), hints=hints_of(board.entries)) for board in compared),
            )
        )
    if single:
        alone = [entry for board in single for entry in board.entries]
        table = _table("Figures with no other to compare", ("Key", "left"), [(one.key, one) for one in alone])
        sections.append(
            _section("Figures with no other to compare", Block(table=table, hints=hints_of(alone)))
        )
    return tuple(sections)


def _direction(board: Board) -> str:
    return {"lower": ": less is better", "higher": ": more is better", None: ""}[board.better]


def _board(board: Board) -> Table:
    return _table(
        f"{board.title}, in {board.unit}{_direction(board)}",
        ("Place", "right"),
        [(UNKNOWN if entry.place is None else str(entry.place), entry) for entry in board.entries],
    )


def _table(
    title: str, first: tuple[str, Literal["left", "right"]], entries: Iterable[tuple[str, Entry]]
) -> Table:
    """Lay out entries, each behind the cell of a first column."""
    return Table(
        heading=(title,),
        header=(
            *(first[0], "Chip", "Value", "Interval", "TFLOPS", "By", "Remarks", "How it was obtained"),
            *("macOS", "Machine", "Date"),
        ),
        align=(first[1], "left", "right", "right", "right", *("left",) * 6),
        rows=tuple(
            (
                cell,
                entry.chip,
                f"{shown(entry.value)} {entry.unit}",
                _interval(entry),
                shown(entry.tflops),
                entry.by,
                names_of(entry),
                how(entry),
                entry.macos,
                entry.machine,
                entry.date,
            )
            for cell, entry in entries
        ),
    )


def _interval(entry: Entry) -> str:
    if entry.low is None or entry.high is None:
        return UNKNOWN
    return f"{shown(entry.low)} to {shown(entry.high)}"


def _submissions(collection: Collection) -> list[Block]:
    accepted = Table(
        heading=("Accepted submissions",),
        header=("File", "By", "Chip", "macOS", "aneperf", "Probe", "Rows", "Measured"),
        align=(*("left",) * 6, "right", "left"),
        rows=tuple(
            (
                one.name,
                one.contributor,
                one.chip.name,
                one.environment.os.removeprefix("macOS "),
                one.environment.aneperf,
                one.probe,
                str(one.rows),
                one.environment.started[:10],
            )
            for one in collection.accepted
        ),
    )
    refused = Table(
        heading=("Refused submissions",),
        header=("File", "By", "Reason"),
        align=("left", "left", "left"),
        rows=tuple((one.name, one.contributor, one.reason) for one in collection.refused),
    )
    return [
        Block(table.heading[0], table if table.rows else None, () if table.rows else ("None.",))
        for table in (accepted, refused)
    ]


def _section(title: str, *blocks: Block) -> Section:
    return Section(title, blocks)


def _drawn(*pictures: Drawing | None) -> tuple[Drawing, ...]:
    return tuple(picture for picture in pictures if picture is not None)


def _known(dtype: str, chips: Iterable[Chip]) -> dict[Chip, float]:
    """Return the rated or computed peak of each chip for a data type, where its source names the type."""
    drawn = set(chips)
    return {
        chip: max(tops)
        for chip in CHIPS
        if chip in drawn
        and (tops := [peak.tops for peak in chip.peaks if peak.status != "measured" and peak.dtype == dtype])
    }
