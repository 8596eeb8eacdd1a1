"""Tables of results and environments: what stands in which column, and the text form.

A probe gives its list of columns in `COLUMNS`; the terminal, the pipe and the notebook all draw the same
`Table`.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import msgspec
import rich.box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

if TYPE_CHECKING:
    from ..results import Environment, Result, Row

WIDTH = 80
LONGEST = 26  # characters of a column that is never folded
UNKNOWN = "-"


@dataclass(frozen=True)
class Column:
    """A column: its heading and what it shows of a row."""

    title: str
    cell: Callable[[Row], str]
    align: Literal["left", "right"] = "right"


@dataclass(frozen=True)
class Table:
    """A table ready to draw: `heading` stands above it and `lines` below; `header` may be empty.

    Text that goes to no terminal is folded at `width`.
    """

    heading: tuple[str, ...]
    header: tuple[str, ...]
    align: tuple[Literal["left", "right"], ...]
    rows: tuple[tuple[str, ...], ...]
    best: int | None = None
    lines: tuple[str, ...] = ()
    width: int = WIDTH
    parts: tuple[Table, ...] = ()  # drawn between the heading and this table's own rows


def significant(value: float | None, digits: int) -> str:
    """`value` in so many significant digits, without an exponent: 0.4349, 9.871, 120.5."""
    if value is None:
        return UNKNOWN
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def parameter(name: str) -> Callable[[Row], str]:
    """A cell that shows one of the row's parameters."""
    return lambda row: str(row.params.get(name, UNKNOWN))


def metric(name: str, decimals: int) -> Callable[[Row], str]:
    """A cell that shows one of the row's metrics."""
    return lambda row: f"{row.metrics[name]:.{decimals}f}" if name in row.metrics else UNKNOWN


def rate(name: str) -> Callable[[Row], str]:
    """A cell that shows how fast a row was, which only an ok row does."""
    return lambda row: significant(row.metrics.get(name), 3) if row.status == "ok" else UNKNOWN


def median(row: Row) -> str:
    """The median duration, of an ok row only: a wrong answer has no speed."""
    return significant(row.median, 4) if row.status == "ok" else UNKNOWN


def half_width(row: Row) -> str:
    """The larger half of the median's interval, in per cent of the median."""
    if row.status != "ok" or not row.median or row.ci_low is None or row.ci_high is None:
        return UNKNOWN
    return f"{100 * max(row.ci_high - row.median, row.median - row.ci_low) / row.median:.1f}%"


def remark(row: Row) -> str:
    """The flags of an ok row, or what became of another."""
    return ", ".join(row.flags) if row.status == "ok" else row.status


def number(name: str, digits: int) -> Callable[[Row], str]:
    """A cell that shows one of an ok row's metrics in so many significant digits."""
    return lambda row: significant(row.metrics.get(name), digits) if row.status == "ok" else UNKNOWN


def ratio(row: Row) -> str:
    """The ratio of a pair with the larger half of its interval: 1.85x ±0.4%."""
    value, low, high = (row.metrics.get(name) for name in ("ratio", "ratio_low", "ratio_high"))
    if value is None:
        return ""
    half = "" if low is None or high is None else f" ±{max(high / value - 1, 1 - low / value):.1%}"
    return f"{value:.2f}x{half}"


def _verdict(row: Row) -> str:
    return str(row.params.get("verdict", row.status))


def _value(row: Row) -> str:
    return f"{row.metrics['value']:,.0f}" if "value" in row.metrics else "unavailable"


def _per_cent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{math.floor(10_000 * share) / 100:.2f}%"


REMARK = Column("", remark, "left")

GENERAL = (
    Column("Row", lambda row: row.key, "left"),
    Column("Median", median),
    Column("±", half_width),
    Column("Unit", lambda row: row.unit or UNKNOWN, "left"),
    REMARK,
)

RANKED = ("peak", "sweep", "latency", "int8", "sram")  # probes whose fastest row means something

_CONFIG = Column("Config", parameter("config"), "left")
_WEIGHTS = Column("W (MB)", metric("weights_mb", 1))
_GFLOP = Column("GFLOP", metric("gflop", 2))
_TIMES = (Column("ms/eval", median), Column("±", half_width))
_TFLOPS = Column("TFLOPS", rate("tflops"))
_STACKS = (_CONFIG, _WEIGHTS, _GFLOP, *_TIMES, _TFLOPS, REMARK)

_ITEM = Column("Item", lambda row: f"{row.params.get('group')}/{row.params.get('item')}", "left")
_ERROR = Column("Error", lambda row: UNKNOWN if row.error is None else f"{row.error:.1e}")

COLUMNS: dict[str, tuple[Column, ...]] = {
    "peak": _STACKS,
    "sweep": _STACKS,
    "latency": (_CONFIG, _WEIGHTS, *_TIMES, _TFLOPS, REMARK),
    "int8": (
        _CONFIG,
        _WEIGHTS,
        Column("GOP", metric("gflop", 2)),
        *_TIMES,
        Column("TOPS", rate("tflops")),
        Column("Ratio", ratio, "left"),
        REMARK,
    ),
    "ports": (_CONFIG, _GFLOP, *_TIMES, Column("Ratio", ratio, "left"), REMARK),
    "dispatch": (_CONFIG, Column("GFLOP", number("gflop", 3)), *_TIMES, REMARK),
    "sram": (
        _CONFIG,
        _WEIGHTS,
        Column("Act", metric("activations_mb", 2)),
        Column("Tot", metric("total_mb", 1)),
        *_TIMES,
        _TFLOPS,
        Column("GFLOPS/MB", metric("gflops_per_mb", 1)),
        REMARK,
    ),
    "sustained": (
        _CONFIG,
        Column("Calls", lambda row: UNKNOWN if row.n is None else str(row.n)),
        *_TIMES,
        _TFLOPS,
        REMARK,
    ),
    "qos": (
        _CONFIG,
        *_TIMES,
        Column("Ratio", ratio, "left"),
        Column("First", number("first_ms", 4)),
        Column("Compile", number("compile_ms", 3)),
        Column("Load", number("load_ms", 3)),
        REMARK,
    ),
    "compat": (_ITEM, _ERROR, REMARK),
    "parity": (
        _ITEM,
        _ERROR,
        Column("ulp", number("max_ulp", 3)),
        Column("exact", lambda row: _per_cent(row.metrics.get("exact_share"))),
        Column("Allowed", number("tolerance", 2)),
        REMARK,
    ),
    "weights": (Column("Trial", parameter("trial"), "left"), Column("Verdict", _verdict, "left")),
    "counters": (
        Column("Counter", parameter("counter"), "left"),
        Column("Value", _value),
        Column("Unit", parameter("in"), "left"),
    ),
    "limits": (
        Column("Limit", parameter("limit"), "left"),
        Column("Programs", metric("programs", 0)),
        Column("Median", median),
        Column("±", half_width),
        Column("", lambda row: row.unit or "", "left"),
        Column("", lambda row: str(row.params.get("ending", row.params.get("verdict", remark(row)))), "left"),
    ),
}


def lay_out_result(result: Result) -> Table:
    """A probe's table, with the reasons of the rows that are not ok below it; a suite's, with its probes'."""
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
    """The table of each probe, and one that counts their rows."""
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
_LONG = 40  # rows, beyond which a suite shows only those that are not ok


def _part(result: Result, name: str, rows: list[Row]) -> Table:
    """The table of one probe of a suite. The environment stands above them all."""
    shown = rows if len(rows) <= _LONG else [row for row in rows if row.status != "ok"]
    notes = [note.removeprefix(f"{name}: ") for note in result.notes if note.startswith(f"{name}: ")]
    if len(shown) < len(rows):
        notes.append(f"{len(rows) - len(shown)} rows that are ok are left out; aneperf {name} shows them.")
    part = msgspec.structs.replace(result, probe=name, rows=tuple(shown), notes=tuple(notes))
    table = lay_out_result(part)
    return dataclasses.replace(table, heading=(f"aneperf {name}",), header=table.header if shown else ())


def _reasons(rows: Iterable[Row]) -> list[str]:
    """A line for each reason, with the rows that share it."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.reason:
            names.setdefault(f"{row.status}: {row.reason}", []).append(str(row.params.get("config", row.key)))
    return [f"{', '.join(sharing)}: {reason}" for reason, sharing in names.items()]


def lay_out_environment(environment: Environment) -> Table:
    """A table of facts and their values."""
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
    """A title, and what the numbers below are numbers of."""
    label = environment.label[0].upper() + environment.label[1:] + "."
    return (title, label, environment.device_note) if environment.device_note else (title, label)


def to_rich(table: Table) -> Group:
    """For `rich.console.Console.print`."""
    box = rich.box.SIMPLE_HEAD if table.header else None
    # rich wraps a column one character too wide if it has padding: the gap is part of the cells instead.
    grid = RichTable(
        box=box, show_header=box is not None, show_edge=False, padding=(0, 0 if box else 1, 0, 0)
    )
    gaps = [" " if box and align == "right" else "" for align in table.align]
    titles = table.header or ("",) * len(table.align)
    for place, (title, align, gap) in enumerate(zip(titles, table.align, gaps, strict=True)):
        narrowest = _narrowest(table, place)
        # The last column holds remarks, and is the one to fold, unless another is too long.
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
    """Characters that a column needs: the last one holds remarks, and folds between words."""
    cells = [row[place] for row in table.rows] + list(table.header[place : place + 1])
    if place + 1 == len(table.align):
        cells = [word for cell in cells for word in cell.split()]
    return min(max(map(len, cells), default=0), LONGEST)


def to_text(table: Table) -> str:
    """Plain text, for `str()` and pipes; wider than the table's `width` where numbers would be cut."""
    stream = io.StringIO()
    Console(file=stream, width=_width(table), color_system=None, force_terminal=False).print(to_rich(table))
    return "\n".join(line.rstrip() for line in stream.getvalue().split("\n")).rstrip("\n")


def _width(table: Table) -> int:
    gaps = [2 if table.header and align == "right" else 1 for align in table.align]
    needed = sum(_narrowest(table, place) + gap for place, gap in enumerate(gaps))
    return max(table.width, needed, *map(_width, table.parts))


def _text(content: str, style: str = "") -> Text:
    """Text that holds no markup and cannot steer a terminal: it may come from somebody else's file."""
    return Text("".join(map(_printable, content)), style)


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
