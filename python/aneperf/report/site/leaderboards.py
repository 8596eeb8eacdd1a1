"""Lay out the figures of a probe: a leaderboard for each key, and one table of figures without another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ...chips import read_key
from ..columns import UNKNOWN
from ..page.model import Block, Section
from ..table import Table
from .charts import draw_by_chip
from .entries import Board, Entry, boards_of
from .overview import by_chip, hints_of, how, names_of, shown


def leaderboards(entries: Sequence[Entry]) -> tuple[Section, ...]:
    """Return a leaderboard for each key that has several figures, and one table of the others."""
    boards = boards_of(entries)
    compared = [board for board in boards if len(board.entries) > 1]
    single = [board for board in boards if len(board.entries) == 1]
    sections = []
    if compared:
        largest = max(compared, key=lambda board: len(board.entries))
        pictures = draw_by_chip(
            "board",
            largest.title,
            by_chip(largest.entries),
            lambda entry: entry.value,
            f"{largest.unit}{_direction(largest)}",
        )
        tables = (Block(board.title, _board(board), hints=hints_of(board.entries)) for board in compared)
        keys = (read_key(board.key) for board in compared)
        meanings = tuple(dict.fromkeys(key.form.meaning for key in keys if key is not None))
        sections.append(Section("Leaderboards", (Block(texts=meanings, drawings=pictures), *tables)))
    if single:
        alone = [entry for board in single for entry in board.entries]
        title = "Figures without another to compare with"
        table = _table(title, ("Key", "left"), [(one.key, one) for one in alone])
        sections.append(Section(title, (Block(table=table, hints=hints_of(alone)),)))
    return tuple(sections)


def _direction(board: Board) -> str:
    return {"lower": ": less is better", "higher": ": more is better", None: ""}[board.better]


def _board(board: Board) -> Table:
    return _table(
        f"{board.title}, in {board.unit}{_direction(board)}",
        ("Place", "right"),
        [(UNKNOWN if entry.place is None else str(entry.place), entry) for entry in board.entries],
    )


def _table(
    title: str, first: tuple[str, Literal["left", "right"]], entries: Iterable[tuple[str, Entry]]
) -> Table:
    """Lay out entries, each behind the cell of a first column."""
    return Table(
        heading=(title,),
        header=(
            *(first[0], "Chip", "Value", "Interval", "TFLOPS", "By", "Remarks", "How it was obtained"),
            *("macOS", "Machine", "Date"),
        ),
        align=(first[1], "left", "right", "right", "right", *("left",) * 6),
        rows=tuple(
            (
                cell,
                entry.chip,
                f"{shown(entry.value)} {entry.unit}",
                _interval(entry),
                shown(entry.tflops),
                entry.by,
                names_of(entry),
                how(entry),
                entry.macos,
                entry.machine,
                entry.date,
            )
            for cell, entry in entries
        ),
    )


def _interval(entry: Entry) -> str:
    if entry.low is None or entry.high is None:
        return UNKNOWN
    return f"{shown(entry.low)} to {shown(entry.high)}"
