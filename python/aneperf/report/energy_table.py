"""The table of the energy of rows, below that of their times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from ..files import LONGEST_QUOTE, one_line
from ..power import METHODS, Energy
from ..results import Row
from .columns import UNKNOWN, Column, significant
from .table import Table

_LONGEST_METHOD = 30  # characters, of a file of others


def lay_out_energy(rows: Iterable[Row]) -> Table | None:
    """Lay out power and energy with their method, and why they are unknown; None if no row was asked.

    There are only lines where none is known.
    """
    asked = [row for row in rows if row.energy is not None]
    if not asked:
        return None
    known = [row.energy for row in asked if row.energy is not None and row.energy.method is not None]
    if not known:
        return Table(heading=("Energy",), header=(), align=(), rows=(), lines=tuple(_lines(asked)))
    per = {energy.per for energy in known}
    each = {"evaluation": "mJ/eval", "token": "mJ/token"}
    columns = (
        Column("Config", lambda row: row.name, "left"),
        Column("W", _figure("power_w")),
        Column("±", lambda row: _half_width(row.metrics)),
        Column("Idle W", _figure("idle_w"), is_spare=True),
        *(Column(each[one], _figure(f"mj_per_{_short(one)}")) for one in sorted(per)),
        Column("pJ/op", _figure("pj_per_op")),
        Column("Method", _method, "left"),
    )
    return Table(
        heading=("Energy",),
        header=tuple(column.title for column in columns),
        align=tuple(column.align for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in asked),
        lines=tuple(_lines(asked)),
        spare=tuple(place for place, column in enumerate(columns) if column.is_spare),
    )


def energy_line(energy: Energy) -> str:
    """Write an energy in a sentence, with its method."""
    if energy.method is None:
        return f"Energy: unavailable: {one_line(energy.reason, LONGEST_QUOTE)}"
    metrics = energy.metrics()
    figures = [
        f"{significant(metrics['power_w'], 3)} W ±{_half_width(metrics)} above idle",
        f"{significant(metrics[f'mj_per_{_short(energy.per)}'], 3)} mJ a {energy.per}",
    ]
    if "pj_per_op" in metrics:
        figures.append(f"{significant(metrics['pj_per_op'], 3)} pJ an operation")
    said = (f"Energy: {', '.join(figures)}", f"by {_named(energy.method)}", energy.caveat)
    return "; ".join(one_line(part, LONGEST_QUOTE) for part in said if part)


def _method(row: Row) -> str:
    method = row.energy and row.energy.method
    return one_line(method, _LONGEST_METHOD) if method else "unavailable"


def _short(per: str) -> str:
    return {"evaluation": "eval"}.get(per, per)


def _figure(name: str) -> Callable[[Row], str]:
    return lambda row: significant(row.metrics.get(name), 3)


def _half_width(metrics: Mapping[str, float]) -> str:
    middle, low, high = (metrics.get(f"power_w{end}") for end in ("", "_low", "_high"))
    if not middle or low is None or high is None:
        return UNKNOWN
    return f"{max(high - middle, middle - low) / middle:.1%}"


def _lines(rows: Iterable[Row]) -> Iterator[str]:
    """Say what the figures are of, by method, and why others are unknown."""
    energies = {row.name: row.energy for row in rows if row.energy is not None}
    methods = dict.fromkeys(energy.method for energy in energies.values() if energy.method)
    if methods:
        yield (
            "W: above the idle machine, with the larger half of its 95 % interval. pJ/op: a multiply-add is "
            "two operations."
        )
    for method in methods:
        yield f"{_named(method)}."
    caveats = dict.fromkeys(one_line(energy.caveat, LONGEST_QUOTE) for energy in energies.values())
    yield from (f"{caveat[0].upper()}{caveat[1:]}." for caveat in caveats if caveat)
    reasons: dict[str, list[str]] = {}
    for name, energy in energies.items():
        if energy.reason:
            reasons.setdefault(energy.reason, []).append(name)
    for reason, names in reasons.items():
        yield f"{', '.join(names)}: energy unavailable: {one_line(reason, LONGEST_QUOTE)}"
    for name, energy in energies.items():
        if energy.zero_share:
            yield f"{name}: {energy.zero_share:.0%} of its inputs' elements are zero, which lowers power."


def _named(method: str) -> str:
    known = METHODS.get(method)
    return one_line(method, _LONGEST_METHOD) if known is None else f"{method}: {known.covers}"
