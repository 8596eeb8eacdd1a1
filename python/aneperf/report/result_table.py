"""The tables of a probe's result, a suite's and an environment."""

import dataclasses
from collections.abc import Iterable

import msgspec

from ..measure import PREEMPTED
from ..results import STATUSES, Environment, Result, Row
from .chip_facts import published_facts
from .columns import COLUMNS, GENERAL, RANKED
from .table import Table

_LONG = 40  # rows; of a longer probe a suite shows only the rows that are not ok


def lay_out_result(result: Result) -> Table:
    """Lay out a probe's rows, with the reasons of those that are not ok below; for a suite, each probe's."""
    if result.probe == "suite":
        return _lay_out_suite(result)
    if result.probe == "doctor":
        return _lay_out_doctor(result)
    columns = COLUMNS.get(result.probe, GENERAL)
    best = result.best if result.probe in RANKED else None
    place = None if best is None else [row.key for row in result.rows].index(best.key)
    rows = [[column.cell(row) for column in columns] for row in result.rows]
    if place is not None:
        rows[place][-1] = ", ".join(filter(None, ["best", rows[place][-1]]))
    lines = _reasons(result.rows)
    if any(row.ci_low is not None for row in result.rows):
        lines.append("±: the larger half of the 95 % interval of the median.")
    if any(PREEMPTED in row.flags for row in result.rows):
        lines.append("preempted: other work took the CPU during the calls. Measure on an idle machine.")
    if retried := sum(row.metrics.get("retried_evaluations", 0) for row in result.rows):
        lines.append(
            f"{retried:.0f} of the calls were cancelled by the system and made again; the times show it."
        )
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
        (name, str(len(rows)), *(str(sum(row.status == status for row in rows)) for status in STATUSES))
        for name, rows in probes.items()
    ]
    return Table(
        heading=heading("aneperf suite", result.environment),
        header=("Probe", "Rows", *STATUSES),
        align=("left", "right", "right", "right", "right", "right"),
        rows=tuple(counts),
        lines=tuple(note for note in result.notes if note.partition(": ")[0] not in probes),
        parts=tuple(_part(result, name, rows) for name, rows in probes.items()),
    )


def _lay_out_doctor(result: Result) -> Table:
    """Lay out a line for each check; the rows of the probes that it ran are in the file."""
    columns = COLUMNS["doctor"]
    checks = [row for row in result.rows if row.key.startswith("doctor/")]
    return Table(
        heading=heading("aneperf doctor", result.environment),
        header=tuple(column.title for column in columns),
        align=tuple(column.align for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in checks),
        lines=result.notes,
    )


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
            names.setdefault(f"{row.status}: {row.reason}", []).append(row.name)
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
        **published_facts(environment),
        "os": environment.os,
        "os build": environment.os_build,
        "cpu": environment.cpu,
        "cores": str(environment.cores),
        "memory": None if memory is None else f"{memory / 2**30:.1f} GiB",
        "python": environment.python,
        "numpy": environment.numpy,
        "power": environment.power,
        "thermal": environment.thermal,
        "load": None if environment.load is None else f"{environment.load:.2f}",
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
