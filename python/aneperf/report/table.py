"""A table, and its text form. Terminals, pipes and notebooks all draw the same `Table`."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from typing import Literal

import rich.box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

WIDTH = 80
LONGEST = 26  # characters; a wider column may be folded


@dataclass(frozen=True)
class Table:
    """A table ready to draw, with `heading` above and `lines` below it; `header` may be empty.

    Text that does not go to a terminal is folded at `width`, but for the `paths`, which end the table.
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


def to_rich(table: Table) -> Group:
    """Convert for `rich.console.Console.print`."""
    box = rich.box.SIMPLE_HEAD if table.header else None
    # rich makes a padded column that wraps one character too wide, so the gap is part of the cells.
    grid = RichTable(
        box=box, show_header=box is not None, show_edge=False, padding=(0, 0 if box else 1, 0, 0)
    )
    gaps = [" " if box and align == "right" else "" for align in table.align]
    titles = table.header or ("",) * len(table.align)
    for place, (title, align, gap) in enumerate(zip(titles, table.align, gaps, strict=True)):
        narrowest = _narrowest(table, place)
        # The last column holds remarks and is the one to fold, unless another is too long.
        rigid = place + 1 < len(titles) and all(len(row[place]) <= LONGEST for row in table.rows)
        grid.add_column(
            _text(gap + title),
            justify=align,
            overflow="fold",
            min_width=narrowest + len(gap),
            no_wrap=rigid,
        )
    for index, row in enumerate(table.rows):
        cells = [_text(gap + cell) for gap, cell in zip(gaps, row, strict=True)]
        grid.add_row(*cells, style="bold green" if index == table.best else None)
    return Group(
        *(_text(line, "" if index else "bold") for index, line in enumerate(table.heading)),
        *(Padding(to_rich(part), (1, 0, 0, 0)) for part in table.parts),
        Padding(grid, (1, 0)),
        *map(_text, (*table.lines, *table.paths)),
    )


def _narrowest(table: Table, place: int) -> int:
    """Return the width that a column needs; the last one holds remarks and folds between words."""
    cells = [row[place] for row in table.rows] + list(table.header[place : place + 1])
    if place + 1 == len(table.align):
        cells = [word for cell in cells for word in cell.split()]
    return min(max(map(len, cells), default=0), LONGEST)


def to_text(table: Table) -> str:
    """Convert to plain text, wider than the table's `width` if numbers would otherwise be cut."""
    stream = io.StringIO()
    console = Console(file=stream, width=_width(table), color_system=None, force_terminal=False)
    console.print(to_rich(replace(table, paths=())))
    folded = "\n".join(line.rstrip() for line in stream.getvalue().split("\n")).rstrip("\n")
    return "\n".join([folded, *map(printable, table.paths)])


def _width(table: Table) -> int:
    gaps = [2 if table.header and align == "right" else 1 for align in table.align]
    needed = sum(_narrowest(table, place) + gap for place, gap in enumerate(gaps))
    return max(table.width, needed, *map(_width, table.parts))


def _text(content: str, style: str = "") -> Text:
    """Make text without markup or control characters: it may come from an untrusted file."""
    return Text(printable(content), style)


def printable(text: str) -> str:
    """Replace line breaks by spaces, and what drives a terminal or reverses a line by a mark."""
    return "".join(map(_printable, text))


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
