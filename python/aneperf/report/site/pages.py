"""Make the pages of the site: one across the generations, and one of leaderboards for each probe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ...chips import CHIPS, SOURCES, Chip, Figure, shipped_figures
from ...files import one_line
from ..page.model import Block, Section
from ..page.template import fill, need_jinja
from ..table import Table
from .charts import draw_by_chip
from .collection import Collection
from .compatibility import compatibility_table, failures_table, submitted_compatibility
from .entries import Entry, published_entries
from .leaderboards import leaderboards
from .overview import (
    TRAINING_STEP,
    by_chip,
    hints_of,
    is_int8,
    is_peak,
    is_sustained,
    peak_table,
    rate,
    remarks_table,
    sustained_table,
    training_table,
)
from .submission import COMPARABLE

_LONGEST = 40  # of a text from a file, in a cell
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
    names = {page: page.removesuffix(".html") for page in probes}
    own = [(page, name) for page, name in names.items() if name in COMPARABLE]
    others = [(page, name) for page, name in names.items() if name not in COMPARABLE]
    menus = [("Pages", [(_HOME, "overview"), *own]), *([("Other programs", others)] if others else [])]
    sources = [(name, SOURCES[name]) for name in sorted({figure.source for figure in all_figures})]
    pages = {_HOME: (_TITLE, _overview(entries, all_figures, collection))} | {
        page: (f"{names[page]}: figures by chip", leaderboards(found)) for page, found in probes.items()
    }
    return {
        page: fill(
            "community.html",
            title=title,
            sections=sections,
            warnings=(),
            menus=menus,
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
    training = draw_by_chip(
        "training",
        "A step of Stories110M, static pipeline, by chip",
        steps,
        lambda entry: entry.value,
        "ms per step: less is faster",
    )
    fp16 = "Stacks of 1x1 convolutions in fp16, by chip"
    w8a8 = "Stacks of 1x1 convolutions in W8A8, by chip"
    throughput = (
        *draw_by_chip("peak", fp16, peaks, rate, "TFLOPS", _known("fp16", peaks)),
        *draw_by_chip("int8", w8a8, int8, rate, "TOPS", _known("int8", int8)),
    )
    load = draw_by_chip("sustained", "Load without a pause, by chip", sustained, rate, "TFLOPS")
    return (
        Section("Overview", (Block(texts=(counts, *_READ)),)),
        Section("Training", (Block(table=training_table(entries), hints=hints, drawings=training),)),
        Section("Peak throughput", (Block(table=peak_table(entries), hints=hints, drawings=throughput),)),
        Section("Sustained throughput", (Block(table=sustained_table(entries), hints=hints, drawings=load),)),
        Section("MIL compatibility", tuple(_compatibility(figures, collection))),
        Section("Submissions", tuple(_submissions(collection))),
        Section("Remarks", (Block(table=remarks_table(entries)),)),
    )


_READ = (
    "Published figures come from the sources that the tables name; their known faults are remarks. Submitted "
    "figures were measured with aneperf, which checks every timed output against a reference. Each number "
    "that follows from the calls of a row was computed again. Nobody saw the machines.",
    "The place of an entry is one more than the number of entries that are certainly better: their "
    "intervals, or published ranges, do not overlap its own. Quoted and flagged figures have no place, nor "
    "have figures without an interval or a range.",
    "The page docs/community.md of aneperf lists the checks, and says how to submit a result.",
)


def _compatibility(figures: Sequence[Figure], collection: Collection) -> list[Block]:
    others = submitted_compatibility(collection.accepted)
    failures = failures_table(figures)
    return [
        Block(table=compatibility_table(collection.accepted)),
        *([Block(others.heading[0], others, folded=True)] if others else []),
        *([Block(failures.heading[0], failures)] if failures.rows else []),
    ]


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
                one_line(one.environment.os.removeprefix("macOS "), _LONGEST),
                one_line(one.environment.aneperf, _LONGEST),
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
    copies = Table(
        heading=("Same calls in several files",),
        header=("File", "By", "Rows", "Also in"),
        align=("left", "left", "left", "left"),
        rows=tuple(
            (one.name, one.contributor, ", ".join(one.keys), ", ".join(one.others))
            for one in collection.copies
        ),
        lines=("One of them is a copy, and nothing tells which. They take no place from other entries.",),
    )
    return [
        Block(table.heading[0], table if table.rows else None, () if table.rows else ("None.",))
        for table in (accepted, refused, *([copies] if copies.rows else []))
    ]


def _known(dtype: str, chips: Iterable[Chip]) -> dict[Chip, float]:
    """Return the rated or computed peak of each chip for a data type, where its source names the type."""
    drawn = set(chips)
    return {
        chip: max(tops)
        for chip in CHIPS
        if chip in drawn
        and (tops := [peak.tops for peak in chip.peaks if peak.status != "measured" and peak.dtype == dtype])
    }
