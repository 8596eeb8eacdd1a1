"""Sections of comparisons: of files of the same probe, and of files that are comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from ...comparison import Names
from ...errors import ArgumentError
from ...kinds import Kind
from ...results import Result
from ..comparing import compare_results
from ..comparison_plot import draw_comparison
from ..comparison_table import lay_out_comparison
from .model import Block, Drawing, Section
from .reading import Source
from .svg import drawing

_MOST = 12  # comparisons of a page
_MOST_DRAWN = 60  # rows of a picture


def comparison_sections(sources: Sequence[Source], *, pictures: bool) -> list[Section]:
    """Return a section for each file that is compared with the first one of its probe and kind of device."""
    first: dict[tuple[str, bool], tuple[Source, Result]] = {}
    sections = []
    for source in sources:
        if source.kind is Kind.COMPARISON:
            sections.append(Section(f"Comparison ({source.name})", (Block(table=source.table),)))
        if source.result is None:
            continue
        result = source.result
        before, earlier = first.setdefault((result.probe, source.is_software), (source, result))
        if before is not source and len(sections) < _MOST:
            sections += _compared(before, earlier, source, result, f"compared{len(sections)}", pictures)
    return sections


def _compared(
    before: Source, earlier: Result, after: Source, later: Result, name: str, pictures: bool
) -> list[Section]:
    try:
        compared = compare_results(earlier, later, names=Names(before.name, after.name))
    except ArgumentError:  # no row in common, or the same measurement twice
        return []
    table = lay_out_comparison(compared)
    drawings: tuple[Drawing, ...] = ()
    if pictures and 0 < len(compared) <= _MOST_DRAWN:
        title = f"{after.name} against {before.name}"
        try:
            drawings = (drawing(draw_comparison(compared).figure, name, title, f"Ratios of {title}."),)
        except ArgumentError:  # no ratio of a size that axes can show
            drawings = ()
    warnings = (
        ("Both sides are software on a CPU: no Neural Engine was measured.",) if after.is_software else ()
    )
    block = Block(table=table, drawings=drawings)
    return [Section(f"{later.probe}: {after.name} against {before.name}", (block,), warnings)]
