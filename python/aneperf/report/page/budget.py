"""Keep a page below 2 MB: long texts are cut, and rows and pictures left out, each of which the page says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from html import escape

from ...files import one_line
from ..table import Table
from .model import Block, Drawing, Report

TABLE_BYTES, DRAWING_BYTES = 1_000_000, 850_000  # of a page
_LONGEST_CELL, _LONGEST_LINE = 320, 600  # characters
_MOST_LINES = 40  # below a table
_TAG = len('<td class="left">')


@dataclass
class _Left:
    """Bytes that tables and pictures may still take."""

    tables: int = TABLE_BYTES
    drawings: int = DRAWING_BYTES


def within_budget(report: Report) -> Report:
    """Return the report with tables and pictures up to their budgets."""
    left = _Left()
    sections = tuple(
        replace(
            section,
            title=one_line(section.title, _LONGEST_CELL),
            blocks=tuple(_block(block, left) for block in section.blocks),
            warnings=tuple(one_line(text, _LONGEST_LINE) for text in section.warnings),
        )
        for section in report.sections
    )
    return replace(report, sections=sections, title=one_line(report.title, _LONGEST_CELL))


def _block(block: Block, left: _Left) -> Block:
    drawings: list[Drawing] = []
    for drawing in block.drawings:
        if len(drawing.svg) <= left.drawings:
            left.drawings -= len(drawing.svg)
            drawings.append(replace(drawing, caption=one_line(drawing.caption, _LONGEST_LINE)))
    texts = tuple(one_line(text, _LONGEST_LINE) for text in block.texts)
    if len(drawings) < len(block.drawings):
        texts += ("Pictures are left out here, because the page is long: give fewer files.",)
    table = None if block.table is None else _table(block.table, block.hints, left)
    title = one_line(block.title, _LONGEST_CELL)
    return replace(block, title=title, table=table, texts=texts, drawings=tuple(drawings))


def _table(table: Table, hints: Mapping[str, str], left: _Left) -> Table:
    parts = tuple(_table(part, hints, left) for part in table.parts)
    rows: list[tuple[str, ...]] = []
    for row in table.rows:
        cells = tuple(
            cell if len(cell) <= _LONGEST_CELL else f"{cell[: _LONGEST_CELL - 3]}..." for cell in row
        )
        left.tables -= sum(_size(cell, hints) for cell in cells)
        if left.tables < 0:
            break
        rows.append(cells)
    more = len(table.rows) - len(rows)
    said = (
        [f"{more:,} more rows are left out, because the page is long: the files have them."] if more else []
    )
    lines = [one_line(line, _LONGEST_LINE) for line in table.lines]
    if len(lines) > _MOST_LINES:
        said.append(f"{len(lines) - _MOST_LINES:,} more remarks are left out.")
        lines = lines[:_MOST_LINES]
    return replace(
        table,
        heading=tuple(one_line(line, _LONGEST_LINE) for line in table.heading),
        header=tuple(one_line(cell, _LONGEST_CELL) if cell else "" for cell in table.header),
        rows=tuple(rows),
        lines=(*lines, *said),
        paths=tuple(one_line(path, _LONGEST_LINE) for path in table.paths[:_MOST_LINES]),
        parts=parts,
    )


def _size(cell: str, hints: Mapping[str, str]) -> int:
    """Return the bytes of a cell in a page, with the texts that it shows on hover."""
    size = _TAG + len(escape(cell).encode(errors="replace"))
    if hints:
        size += sum(len(hints.get(word, "")) + len("<abbr title></abbr>") for word in cell.split(", "))
    return size
