"""A table of what compiles and computes right on the generations: published verdicts, and submissions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from ...chips import PROFILES, SOURCES, Figure, chips_of
from ...chips.compatibility import FINDINGS
from ..columns import UNKNOWN
from ..table import Table
from .submission import Submission

_ENGINES = tuple(profile for profile in PROFILES if profile != "none")
_LEFT: tuple[Literal["left"], ...] = tuple("left" for _ in _ENGINES)
_MEANINGS = {"ok": "ok", "unsupported": "unsupported", "error": "wrong or failed", "skipped": "skipped"}


def compatibility_table(submissions: Iterable[Submission]) -> Table:
    """Lay out the items of the published verdicts by generation, with what submissions found of them."""
    counts = _counts(submissions)
    items = list(dict.fromkeys(finding.item for finding in FINDINGS))
    return _table(
        "MIL compatibility by generation",
        items,
        counts,
        ("A cell has the published verdict, then how many submissions found what. Published verdicts are as "
         "old as their sources, and aneperf writes weight files and dialects in its own way. More rules: "
         "docs/lint.md.",),
    )  # fmt: skip


def submitted_compatibility(submissions: Iterable[Submission]) -> Table | None:
    """Lay out the other items that submissions tried; None if there are none."""
    counts = _counts(submissions)
    known = {finding.item for finding in FINDINGS}
    items = sorted({item for item, _ in counts} - known)
    return _table("Other items that submissions tried", items, counts, ()) if items else None


def failures_table(figures: Iterable[Figure]) -> Table:
    """Lay out the published runs that failed, by chip and probe."""
    failed = [figure for figure in figures if figure.status == "failed"]
    groups = Counter(
        (
            figure.chip,
            figure.key.partition("/")[0],
            figure.macos or "unavailable",
            SOURCES[figure.source].name,
        )
        for figure in failed
    )
    return Table(
        heading=("Published runs that failed",),
        header=("Chip", "Probe", "Configurations", "macOS", "Source"),
        align=("left", "left", "right", "left", "left"),
        rows=tuple(
            (chip, probe, str(number), macos, source)
            for (chip, probe, macos, source), number in sorted(groups.items())
        ),
    )


def _counts(submissions: Iterable[Submission]) -> dict[tuple[str, str], Counter[str]]:
    """Count the statuses of each item on each profile."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for submission in submissions:
        for item, status in submission.compatible.items():
            counts.setdefault((item, submission.chip.profile), Counter())[status] += 1
    return counts


def _table(
    title: str,
    items: Sequence[str],
    counts: Mapping[tuple[str, str], Counter[str]],
    lines: tuple[str, ...],
) -> Table:
    verdicts = {(finding.item, finding.profile): finding.verdict for finding in FINDINGS}
    return Table(
        heading=(title,),
        header=("Item", *(_heading(profile) for profile in _ENGINES), "Source of the published verdicts"),
        align=("left", *_LEFT, "left"),
        rows=tuple(
            (
                item.removeprefix("compat/"),
                *(_cell(verdicts.get((item, profile)), counts.get((item, profile))) for profile in _ENGINES),
                "; ".join(dict.fromkeys(one.source for one in FINDINGS if one.item == item)) or UNKNOWN,
            )
            for item in items
        ),
        lines=lines,
    )


def _heading(profile: str) -> str:
    families = dict.fromkeys(chip.name.split()[0] for chip in chips_of(profile))
    return f"{profile} ({', '.join(families)})"


def _cell(verdict: str | None, statuses: Counter[str] | None) -> str:
    found = [] if verdict is None else [verdict]
    if statuses:
        found += [
            f"{statuses[status]} {meaning}" for status, meaning in _MEANINGS.items() if statuses[status]
        ]
    return ", ".join(found) or UNKNOWN
