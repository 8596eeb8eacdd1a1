"""A table, and its text form. Terminals, pipes, files and notebooks all draw the same `Table`."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from rich.cells import cell_len

from ..glyphs import in_ascii

WIDTH = 80
_LEAST = 11  # characters of a column that is folded
_NOT_FOLDED = 26  # characters


@dataclass(frozen=True)
class Table:
    """A table ready to draw, with `heading` above and `lines` below it; `header` may be empty.

    Text is folded at the width of a terminal, and elsewhere at `width`, but for the `paths`, which end the
    table. Rows are folded in a terminal only, after the `spare` columns were left out, the first one first.
    """

    heading: tuple[str, ...]
    header: tuple[str, ...]
    align: tuple[Literal["left", "right"], ...]
    rows: tuple[tuple[str, ...], ...]
    best: int | None = None
    lines: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    width: int = WIDTH
    parts: tuple[Table, ...] = ()  # drawn between the heading and this table's own rows
    spare: tuple[int, ...] = ()  # places of columns


@dataclass(frozen=True)
class Line:
    """A line of text, with the style of the library rich in which a terminal shows it."""

    text: str
    style: str = ""


def to_text(table: Table, terminal: int | None = None, *, ascii: bool = False) -> str:
    """Convert to plain text: for a terminal of that many columns, or with each row on one line."""
    return "\n".join(line.text for line in draw(table, terminal, ascii=ascii))


def draw(table: Table, terminal: int | None = None, *, ascii: bool = False) -> Iterator[Line]:
    """Return the lines of a table's text form."""
    prose = table.width if terminal is None else terminal
    for place, text in enumerate(table.heading):
        yield from (Line(line, "" if place else "bold") for line in _fold(_plain(text, ascii), prose))
    for part in table.parts:
        yield Line("")
        lines = list(draw(part, terminal, ascii=ascii))
        yield from lines if lines[-1].text else lines[:-1]
    if table.rows or table.header:
        yield Line("")
        yield from _grid(_spelled(table, ascii), terminal)
        yield Line("")
    for text in table.lines:
        yield from (Line(line) for line in _fold(_plain(text, ascii), prose))
    yield from (Line(printable(path)) for path in table.paths)


def _spelled(table: Table, ascii: bool) -> Table:
    """Return the table with every cell as it is drawn."""

    def spell(cells: Iterable[str]) -> tuple[str, ...]:
        return tuple(_plain(cell, ascii) for cell in cells)

    header = spell(table.header) or ("",) * len(table.align)
    rule = "-" if ascii else "─"
    return replace(table, header=header, rows=tuple(map(spell, table.rows)), heading=(rule,))


def _grid(table: Table, terminal: int | None) -> Iterator[Line]:
    """Draw header, rule and rows; `heading` holds the rule's sign."""
    places, widths = _layout(table, terminal)
    if any(table.header):
        yield from (Line(text) for text in _row(table, table.header, places, widths))
        width = sum(widths) + sum(_gaps(table, places))
        yield Line(table.heading[0] * (width if terminal is None else min(width, terminal)))
    for index, row in enumerate(table.rows):
        style = "bold green" if index == table.best else ""
        yield from (Line(text, style) for text in _row(table, row, places, widths))


def _layout(table: Table, terminal: int | None) -> tuple[list[int], list[int]]:
    """Return the columns to draw, and their widths: fewer and narrower ones if a terminal needs that."""
    places = list(range(len(table.align)))
    spare = list(table.spare)
    while True:
        widths = [max(cell_len(row[place]) for row in (table.header, *table.rows)) for place in places]
        excess = 0 if terminal is None else sum(widths) + sum(_gaps(table, places)) - terminal
        if excess <= 0 or not spare:
            break
        places.remove(spare.pop(0))
    texts = [at for at, place in enumerate(places) if table.align[place] == "left"]
    # First the last column, which holds remarks, and long texts.
    for at in sorted(texts, key=lambda at: (at + 1 < len(places) and widths[at] <= _NOT_FOLDED, -widths[at])):
        cut = min(excess, widths[at] - _LEAST)
        if cut > 0:
            widths[at] -= cut
            excess -= cut
    return places, widths


def _gaps(table: Table, places: list[int]) -> list[int]:
    """Return the blanks before each column."""
    blanks = {"left": 1 if any(table.header) else 2, "right": 2}
    return [blanks[table.align[place]] if at else 0 for at, place in enumerate(places)]


def _row(table: Table, cells: tuple[str, ...], places: list[int], widths: list[int]) -> list[str]:
    """Draw a row, on as many lines as its longest cell needs."""
    folded = [_fold(cells[place], width) for place, width in zip(places, widths, strict=True)]
    height = max(map(len, folded), default=0)
    columns = list(zip(folded, _gaps(table, places), places, widths, strict=True))
    drawn = []
    for line in range(height):
        text = ""
        for parts, gap, place, width in columns:
            part = parts[line] if line < len(parts) else ""
            blank = " " * (width - cell_len(part))
            text += " " * gap + (part + blank if table.align[place] == "left" else blank + part)
        drawn.append(text.rstrip())
    return drawn


def _fold(text: str, width: int) -> list[str]:
    """Break a text between words, and within one that is longer than a line."""
    if cell_len(text) <= width:
        return [text]
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=False) or [""]


def _plain(text: str, ascii: bool) -> str:
    """Make text without control characters: it may come from an untrusted file."""
    return in_ascii(printable(text)) if ascii else printable(text)


def printable(text: str) -> str:
    """Replace line breaks by spaces, and what drives a terminal or reverses a line by a mark."""
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
