"""A section about slow rows: what lint knows of their programs."""

from __future__ import annotations

from collections.abc import Sequence

from ...chips import profile_of
from ...errors import ArgumentError
from ...files import one_line
from ...linter import lint
from ...results import Environment, Result, Row
from ..table import Table
from .machine import is_sure
from .model import Block, Section
from .reading import Source, parts_of
from .stack_text import stack_of, stack_text

_SLOW = 0.7  # of the highest rate among a probe's rows of one precision
_MOST = 60  # rows of a file; each costs some ms
_NAMED = 8  # rows of a finding
_UNPROVEN = (
    "{}: measured on a CPU, whose times have other reasons. The findings are about the engine that the "
    "software imitates."
)


def slow_section(sources: Sequence[Source]) -> Section | None:
    """Return what lint says of the rows that reach less than 0.7 of their probe's highest rate."""
    blocks = []
    software: list[str] = []
    for source in sources:
        for part in parts_of(source.result) if source.result is not None else []:
            if (table := lay_out_slow(part)) is not None:
                blocks.append(
                    Block(f"{one_line(part.probe)} ({source.name})", table, folded=len(table.rows) > 20)
                )
                software += [source.name] if source.is_software else []
    warnings = (_UNPROVEN.format(", ".join(dict.fromkeys(software))),) if software else ()
    return Section("Lint findings for slow rows", tuple(blocks), warnings) if blocks else None


def lay_out_slow(result: Result) -> Table | None:
    """Lay out the slow rows with what lint finds in their programs; None if none can be read."""
    chip = _chip(result.environment)
    if chip is None:
        return None
    slow = _slow(result.rows)
    rows: dict[tuple[str, str], list[str]] = {}
    clean = 0
    for row, share in slow[:_MOST]:
        if (stack := stack_of(row)) is None:
            continue
        found = dict.fromkeys((finding.severity, finding.advice) for finding in lint(stack_text(stack), chip))
        clean += not found
        for finding in found:
            rows.setdefault(finding, []).append(f"{row.name} ({share:.0%})")
    if not rows:
        return None
    more = [f"{len(slow) - _MOST} more slow rows are not shown."] if len(slow) > _MOST else []
    silent = [f"Lint finds nothing slow in {clean} more slow rows."] if clean else []
    return Table(
        heading=(f"Lint findings for slow rows of {one_line(result.probe)}",),
        header=("Severity", "Finding", "Slow rows"),
        align=("left", "left", "left"),
        rows=tuple((severity, advice, _listed(names)) for (severity, advice), names in rows.items()),
        lines=(
            f"A slow row reaches less than {_SLOW:.0%} of the highest sure rate of its probe and precision; "
            f"its share is in parentheses. The rules are those of lint for {one_line(chip)}.",
            *silent,
            *more,
        ),
    )


def _listed(names: Sequence[str]) -> str:
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more])


def _slow(rows: Sequence[Row]) -> list[tuple[Row, float]]:
    """Return the slow rows, the slowest first, each with its share of the highest rate of its precision.

    A doubtful row sets no standard where one of its precision can be relied on.
    """
    groups: dict[object, list[Row]] = {}
    for row in rows:
        if row.status == "ok" and row.metrics.get("tflops", 0.0) > 0:
            groups.setdefault(row.params.get("precision"), []).append(row)
    shares = []
    for group in groups.values():
        sure = [row for row in group if is_sure(row)] or group
        best = max(row.metrics["tflops"] for row in sure)
        shares += [(row, row.metrics["tflops"] / best) for row in group]
    return sorted((pair for pair in shares if pair[1] < _SLOW), key=lambda pair: pair[1])


def _chip(environment: Environment) -> str | None:
    """Return the name by which lint knows the engine, or the imitated one; None if it knows neither."""
    name = environment.properties.get("imitates", environment.chip)
    try:
        return name if profile_of(name) != "none" else None
    except ArgumentError:
        return None
