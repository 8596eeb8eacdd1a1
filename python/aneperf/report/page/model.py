"""The parts of a report, which its page and its Markdown form both show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ..table import Table


@dataclass(frozen=True)
class Drawing:
    """A picture as SVG that a page contains, with the line below it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class Block:
    """A table, lines of text and pictures under a title. `hints` explain words of the table on hover."""

    title: str = ""
    table: Table | None = None
    texts: tuple[str, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    hints: Mapping[str, str] = field(default_factory=dict)
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """Blocks about one subject, after what a reader must know first."""

    title: str
    blocks: tuple[Block, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """Sections, after what a reader must know of all of them."""

    title: str
    sections: tuple[Section, ...]
    warnings: tuple[str, ...] = ()
