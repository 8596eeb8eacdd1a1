"""A report as Markdown, for issues and summaries of jobs: its tables and texts, without its pictures."""

from __future__ import annotations

from dataclasses import replace
from html import escape

from ..markdown import paragraph, to_markdown
from ..table import printable
from .model import Block, Report

_LONG = 50  # rows of a folded table: GitHub takes 65,536 characters of an issue


def report_markdown(report: Report) -> str:
    """Convert to Markdown. No text of the files can become markup."""
    parts = [f"**{paragraph(report.title)}**"]
    parts += [f"> **{paragraph(text)}**" for text in report.warnings]
    for section in report.sections:
        parts.append(f"## {paragraph(section.title)}")
        parts += [f"> **{paragraph(text)}**" for text in section.warnings]
        for block in section.blocks:
            parts += _block(block)
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> list[str]:
    if not block.texts and block.table is None:
        return []
    if block.folded and block.table is not None and len(block.table.rows) > _LONG:
        return [f"{paragraph(block.title)}: left out here; a page (.html) has them."]
    parts = [paragraph(text) for text in block.texts]
    if block.table is not None:
        table = block.table
        parts.append(
            to_markdown(replace(table, heading=(block.title or table.heading[0], *table.heading[1:])))
        )
    elif block.title:
        parts.insert(0, f"**{paragraph(block.title)}**")
    if block.folded:
        return [f"<details><summary>{escape(printable(block.title))}</summary>", *parts, "</details>"]
    return [part.rstrip("\n") for part in parts]
