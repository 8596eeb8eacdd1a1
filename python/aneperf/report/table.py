"""Tables of results and environments, and their text form.

Terminals, pipes and notebooks all draw the same `Table`.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import rich.box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from .columns import COLUMNS, GENERAL, RANKED

if TYPE_CHECKING:
    from ..results import Environment, Result, Row

WIDTH = 80
LONGEST = 26  # characters; a wider column may be folded


@dataclass(frozen=True)
class Table:
    """A table ready to draw, with `heading` above and `lines` below it; `header` may be empty.

    Text that does not go to a terminal is folded at `width`.
    """

    heading: tuple[str, ...]
    header: tuple[str, ...]
    align: tuple[Literal["left", "right"], ...]
    rows: tuple[tuple[str, ...], ...]
    best: int | None = None
    lines: tuple[str, ...] = ()
    width: int = WIDTH
    parts: tuple[Table, ...] = ()  # drawn between the heading and this table's own rows


def lay_out_result(result: Result) -> Table:
    """Lay out a probe's rows, with the reasons of those that are not ok below; for a suite, each probe's."""
    if result.probe == "suite":
        return _lay_out_suite(result)
    columns = COLUMNS.get(result.probe, GENERAL)
    best = result.best if result.probe in RANKED else None
    place = None if best is None else [row.key for row in result.rows].index(best.key)
    rows = [[column.cell(row) for column in columns] for row in result.rows]
    if place is not None:
        rows[place][-1] = ", ".join(filter(None, ["best", rows[place][-1]]))
    lines = _reasons(result.rows)
    if any(row.ci_low is not None for row in result.rows):
        lines.append("±: the larger half of the 95 % interval of the median.")
    return Table(
        heading=heading(f"aneperf {result.probe}", result.environment),
        header=tuple(column.title for column in columns),
        align=tuple(column.align for column in columns),
        rows=tuple(map(tuple, rows)),
        best=place,
        lines=(*lines, *result.notes),
    )


def _lay_out_suite(result: Result) -> Table:
    """Lay out a table for each probe, and one that counts their rows."""
    probes: dict[str, list[Row]] = {}
    for row in result.rows:
        probes.setdefault(row.key.partition("/")[0], []).append(row)
    counts = [
        (name, str(len(rows)), *(str(sum(row.status == status for row in rows)) for status in _STATUSES))
        for name, rows in probes.items()
    ]
    return Table(
        heading=heading("aneperf suite", result.environment),
        header=("Probe", "Rows", *_STATUSES),
        align=("left", "right", "right", "right", "right", "right"),
        rows=tuple(counts),
        lines=tuple(note for note in result.notes if note.partition(": ")[0] not in probes),
        parts=tuple(_part(result, name, rows) for name, rows in probes.items()),
    )


_STATUSES = ("ok", "unsupported", "skipped", "error")
_LONG = 40  # rows; of a longer probe a suite shows only the rows that are not ok


def _part(result: Result, name: str, rows: list[Row]) -> Table:
    """Lay out one probe of a suite, without the environment, which stands above all probes."""
    shown = rows if len(rows) <= _LONG else [row for row in rows if row.status != "ok"]
    notes = [note.removeprefix(f"{name}: ") for note in result.notes if note.startswith(f"{name}: ")]
    if len(shown) < len(rows):
        notes.append(f"{len(rows) - len(shown)} ok rows are left out; aneperf {name} shows them.")
    part = msgspec.structs.replace(result, probe=name, rows=tuple(shown), notes=tuple(notes))
    table = lay_out_result(part)
    return dataclasses.replace(table, heading=(f"aneperf {name}",), header=table.header if shown else ())


def _reasons(rows: Iterable[Row]) -> list[str]:
    """Write a line for each reason, with the rows that share it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            names.setdefault(f"{row.status}: {row.reason}", []).append(str(row.params.get("config", row.key)))
    return [f"{', '.join(sharing)}: {reason}" for reason, sharing in names.items()]


def lay_out_environment(environment: Environment) -> Table:
    """Lay out the facts and their values."""
    memory = environment.memory_bytes
    facts = {
        "aneperf": environment.aneperf,
        "device": environment.device,
        "chip": environment.chip,
        **({} if environment.subtype is None else {"subtype": environment.subtype}),
        **environment.properties,
        "os": environment.os,
        "os build": environment.os_build,
        "cpu": environment.cpu,
        "cores": str(environment.cores),
        "memory": None if memory is None else f"{memory / 2**30:.1f} GiB",
        "python": environment.python,
        "numpy": environment.numpy,
        "power": environment.power,
        "thermal": environment.thermal,
        **environment.variables,
        "time": environment.started,
    }
    return Table(
        heading=heading(f"aneperf {environment.aneperf}", environment),
        header=(),
        align=("left", "left"),
        rows=tuple((name, "unavailable" if value is None else value) for name, value in facts.items()),
    )


def heading(title: str, environment: Environment) -> tuple[str, ...]:
    """Return the title, and a line that says what was measured."""
    label = environment.label[0].upper() + environment.label[1:] + "."
    return (title, label, environment.device_note) if environment.device_note else (title, label)


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
        *(_text(line) for line in table.lines),
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
    Console(file=stream, width=_width(table), color_system=None, force_terminal=False).print(to_rich(table))
    return "\n".join(line.rstrip() for line in stream.getvalue().split("\n")).rstrip("\n")


def _width(table: Table) -> int:
    gaps = [2 if table.header and align == "right" else 1 for align in table.align]
    needed = sum(_narrowest(table, place) + gap for place, gap in enumerate(gaps))
    return max(table.width, needed, *map(_width, table.parts))


def _text(content: str, style: str = "") -> Text:
    """Make text without markup or control characters: it may come from an untrusted file."""
    return Text("".join(map(_printable, content)), style)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
