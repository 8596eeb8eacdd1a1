"""Sections about where and how the numbers of a report were measured, and how sure they are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median

from ...files import one_line
from ...measure import DOUBTFUL
from ...results import Environment, Result, Row
from ..columns import UNKNOWN, significant
from ..flags import legend
from ..result_table import lay_out_environment
from ..table import Table
from .model import Block, Section
from .reading import Source

_SURE_WIDTH = 0.05  # of the median, a half interval: the margin within which `compare` says SAME


def machine_section(sources: Sequence[Source]) -> Section | None:
    """Return a table of facts for each machine, and the files that are from it."""
    machines: dict[tuple[tuple[str, ...], ...], tuple[Table, list[str]]] = {}
    for source in sources:
        if source.environment is not None:
            table = lay_out_environment(source.environment)
            varying = ("load", "time", "frequency", "temperature")
            same = tuple(row for row in table.rows if row[0] not in varying)
            machines.setdefault(same, (table, []))[1].append(source.name)
    blocks = []
    for table, names in machines.values():
        _, label, *others = table.heading
        table = replace(table, heading=(label,))
        files = f"{'File' if len(names) == 1 else 'Files'}: {', '.join(names)}."
        blocks.append(Block(label, table, (files, *others), folded=len(machines) > 3))
    return Section("The machine", tuple(blocks)) if blocks else None


def sureness_section(sources: Sequence[Source]) -> Section | None:
    """Return how far the numbers of each file can be relied on."""
    measured = [source for source in sources if source.result is not None]
    if not measured:
        return None
    table = Table(
        heading=("How sure the numbers are",),
        header=(
            "File",
            "Probe",
            "Device",
            "Rows",
            "Ok",
            "Error",
            "Skipped",
            "Sure",
            "±",
            "Processes",
            "Checked",
        ),
        align=("left", "left", "left", *("right",) * 8),
        rows=tuple(_sureness(source) for source in measured),
        lines=(
            f"Sure: ok rows whose interval is within {100 * _SURE_WIDTH:g} % of the median, and that have no "
            "flag against relying on it. ±: half the interval of the middle row, in percent of its median. "
            "Processes: how many measured each row. Checked: ok rows whose output was compared with a "
            "reference.",
        ),
    )
    flags = Counter(
        flag
        for source in measured
        if source.result
        for row in source.result
        if row.status == "ok"
        for flag in row.flags
    )
    meanings = [line.partition(": ") for line in legend(flags)]
    flagged = Table(
        heading=("Flags",),
        header=("Flag", "Rows", "Meaning"),
        align=("left", "right", "left"),
        rows=tuple((flag, str(flags[flag]), meaning) for flag, _, meaning in meanings),
    )
    blocks = (Block(table=table), *([Block("Flags", flagged)] if meanings else []))
    return Section("How sure the numbers are", blocks)


def _sureness(source: Source) -> tuple[str, ...]:
    result = source.result
    assert result is not None
    counts = Counter(row.status for row in result)
    ok = [row for row in result if row.status == "ok"]
    widths = [100 * width for row in ok if (width := _half_width(row)) is not None]
    middle = median(widths) if widths else math.nan
    processes = sorted({len(row.processes) or 1 for row in ok if row.median is not None})
    return (
        source.name,
        one_line(result.probe),
        result.environment.device,
        str(len(result)),
        str(counts["ok"]),
        str(counts["error"]),
        str(counts["skipped"] + counts["unsupported"]),
        str(sum(is_sure(row) for row in ok)),
        f"{significant(middle, 2)}%" if math.isfinite(middle) else UNKNOWN,
        "-".join(map(str, dict.fromkeys((processes[0], processes[-1])))) if processes else UNKNOWN,
        str(sum(row.error is not None for row in ok)),
    )


def is_sure(row: Row) -> bool:
    """Tell whether an ok row's interval is narrow, and no flag tells of another median in another run."""
    width = _half_width(row)
    return (
        row.status == "ok"
        and width is not None
        and width <= _SURE_WIDTH
        and not DOUBTFUL.intersection(row.flags)
    )


def _half_width(row: Row) -> float | None:
    """Return the larger half of a row's interval over its median, if both are known."""
    if not row.median or row.ci_low is None or row.ci_high is None:
        return None
    return max(row.ci_high - row.median, row.median - row.ci_low) / row.median


def software_warning(environments: Sequence[Environment]) -> tuple[str, ...]:
    """Say loudly that numbers are not an engine's, and that a report has both."""
    software = [environment for environment in environments if environment.is_software]
    if not software:
        return ()
    devices = " and ".join(dict.fromkeys(one_line(environment.device) for environment in software))
    if len(software) == len(environments):
        return (f"Not a Neural Engine: every number here is of the {devices}, which runs on a CPU.",)
    return (
        f"Some of these numbers are of the {devices}, which runs on a CPU, and some of a Neural Engine. Each "
        "section says which.",
    )


def label_of(result: Result) -> str:
    """Return the line that says what was measured, as a sentence."""
    return sentence(result.environment.label)


def sentence(text: str) -> str:
    """Return a text with a capital letter and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."
