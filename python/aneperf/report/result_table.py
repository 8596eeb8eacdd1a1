"""The tables of a probe's result, a suite's and an environment."""

import dataclasses
from collections.abc import Iterable

import msgspec

from ..results import STATUSES, Environment, Result, Row, Status
from .chip_facts import published_facts
from .columns import COLUMNS, GENERAL, PREDICTED, RANKED, REMARK, VERBOSE
from .energy_table import lay_out_energy
from .flags import legend, mark
from .table import Table

_INTERVAL = "±: the larger half of the 95 % interval of the median."
_NOT_COMPARABLE = (
    "Predicted times are of a Neural Engine, and the measured ones of a CPU: the two do not compare."
)
_UNBOUNDED = " -: too few independent calls to tell."
_FEW = 3  # skipped rows that are named
_SMALL, _SHORT = 0.01, 25  # of a profile: the share of a small part, and the rows that are always shown
_LONG = 40  # rows; of a longer probe a suite shows only the rows that are not ok


def lay_out_result(result: Result, *, verbose: bool = False) -> Table:
    """Lay out a probe's rows, with the reasons of those that are not ok below; for a suite, each probe's.

    `verbose` shows every flag of a row and how many calls it has, and each skipped row.
    """
    if result.probe == "suite":
        return _lay_out_suite(result, verbose)
    if result.probe == "doctor":
        return _lay_out_doctor(result)
    times, energy = lay_out_times(result, verbose=verbose), lay_out_energy(result.rows)
    if energy is None:
        return times
    if not energy.rows:
        return dataclasses.replace(times, lines=(*times.lines, *energy.lines))
    parts = (dataclasses.replace(times, heading=("Time",)), energy)
    return Table(heading=times.heading, header=(), align=(), rows=(), parts=parts)


def lay_out_times(result: Result, *, verbose: bool = False) -> Table:
    """Lay out the rows of one probe, without their energy."""
    columns = COLUMNS.get(result.probe, GENERAL)
    if _is_predicted(result):
        columns = tuple(
            new for column in columns for new in ((*PREDICTED, column) if column is REMARK else (column,))
        )
    if verbose:
        columns = tuple(new for column in columns for new in (VERBOSE if column is REMARK else (column,)))
    shown = result.rows if verbose else _without_small(_without_skipped(result.rows))
    best = result.best if result.probe in RANKED else None
    place = None if best is None else [row.key for row in shown].index(best.key)
    rows = [[column.cell(row) for column in columns] for row in shown]
    if place is not None:
        rows[place][-1] = ", ".join(filter(None, ["best", rows[place][-1]]))
    return Table(
        heading=heading(f"aneperf {result.probe}", result.environment),
        header=tuple(column.title for column in columns),
        align=tuple(column.align for column in columns),
        rows=tuple(map(tuple, rows)),
        best=place,
        lines=(
            *_reasons(result.rows),
            *_left_out(result.rows, shown),
            *_legend(result, verbose),
            *result.notes,
        ),
        spare=tuple(place for place, column in enumerate(columns) if column.is_spare),
    )


def _is_predicted(result: Result) -> bool:
    """Tell whether rows have a predicted time beside the measured one."""
    return any("predicted_ms" in row.metrics for row in result.rows)


def _without_skipped(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return the rows without the skipped ones, which a line below the table counts."""
    return tuple(row for row in rows if row.status != "skipped") or rows


def _without_small(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Return the rows of a profile without the parts that take next to no time, if there are many."""
    large = tuple(row for row in rows if abs(row.metrics.get("share", 1.0)) >= _SMALL)
    return rows if len(rows) <= _SHORT else large


def _left_out(rows: tuple[Row, ...], shown: tuple[Row, ...]) -> list[str]:
    """Count the parts of a profile that are not shown."""
    drawn = set(map(id, shown))
    small = [row for row in rows if id(row) not in drawn and {"share", "typical_ms"} <= row.metrics.keys()]
    if not small:
        return []
    total = sum(row.metrics["typical_ms"] for row in small)
    return [f"{len(small)} parts of less than {_SMALL:.0%} take {total:.3g} ms in all: --verbose shows them."]


def _legend(result: Result, verbose: bool) -> list[str]:
    """Explain the signs that are in a table."""
    rows = [row for row in result.rows if row.status == "ok"]
    lines = legend({flag for row in rows for flag in (row.flags if verbose else [mark(row.flags)])})
    timed = [row for row in rows if row.median is not None]
    if result.probe in RANKED and timed and result.best is None:
        lines.append("No row is best: none has an interval and no flag.")
    if timed:
        unknown = any(row.ci_low is None for row in timed)
        lines.append(_INTERVAL + (_UNBOUNDED if unknown else ""))
    if _is_predicted(result) and result.environment.is_software:
        lines.append(_NOT_COMPARABLE)
    if retried := sum(row.metrics.get("retried_evaluations", 0) for row in result.rows):
        lines.append(
            f"Calls that the system canceled and that were made again: {retried:.0f}; the times show it."
        )
    return lines


def _lay_out_suite(result: Result, verbose: bool) -> Table:
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
        parts=tuple(_part(result, name, rows, verbose) for name, rows in probes.items()),
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


def _part(result: Result, name: str, rows: list[Row], verbose: bool) -> Table:
    """Lay out one probe of a suite, without the environment, which stands above all probes."""
    shown = rows if len(rows) <= _LONG else [row for row in rows if row.status != "ok"]
    notes = [note.removeprefix(f"{name}: ") for note in result.notes if note.startswith(f"{name}: ")]
    if len(shown) < len(rows):
        notes.append(f"{len(rows) - len(shown)} ok rows are left out; aneperf {name} shows them.")
    part = msgspec.structs.replace(result, probe=name, rows=tuple(shown), notes=tuple(notes))
    table = dataclasses.replace(lay_out_times(part, verbose=verbose), heading=(f"aneperf {name}",))
    if len(shown) < len(rows) and all(row.status == "skipped" for row in shown):
        return dataclasses.replace(table, header=(), rows=())
    return table


def _reasons(rows: Iterable[Row]) -> list[str]:
    """Write a line for each reason, with the rows that share it; of many skipped ones, their number."""
    names: dict[tuple[Status, str], list[str]] = {}
    for row in rows:
        if row.reason:
            names.setdefault((row.status, row.reason), []).append(row.name)
    lines = []
    for (status, reason), sharing in names.items():
        if status == "skipped" and len(sharing) > _FEW:
            sharing = [*sharing[: _FEW - 1], f"{len(sharing) - _FEW + 1} more rows"]
        lines.append(f"{', '.join(sharing)}: {status}: {reason}")
    return lines


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
        "model": environment.model,
        "cpu": environment.cpu,
        "cores": str(environment.cores),
        "memory": None if memory is None else f"{memory / 2**30:.1f} GiB",
        "python": environment.python,
        "numpy": environment.numpy,
        "commit": environment.commit,
        "power": environment.power,
        "thermal": environment.thermal,
        "governor": environment.governor,
        "frequency": _with_unit(environment.frequency_mhz, "MHz"),
        "temperature": _with_unit(environment.temperature_c, "C"),
        "load": None if environment.load is None else f"{environment.load:.2f}",
        **environment.variables,
        **environment.cluster,
        "time": environment.started,
    }
    return Table(
        heading=heading(f"aneperf {environment.aneperf}", environment),
        header=(),
        align=("left", "left"),
        rows=tuple((name, "unavailable" if value is None else value) for name, value in facts.items()),
    )


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value:.0f} {unit}"


def heading(title: str, environment: Environment) -> tuple[str, ...]:
    """Return the title, a line that says what was measured, and notes on the device and a busy machine."""
    label = environment.label[0].upper() + environment.label[1:] + "."
    return tuple(filter(None, (title, label, environment.device_note, environment.busy)))
