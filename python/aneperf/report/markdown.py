"""Tables as Markdown, as GitHub and the editors of notebooks draw it."""

import re

from .table import Table, printable


def to_markdown(table: Table) -> str:
    """Convert to Markdown that ends with a line break. No text of the table can become markup."""
    title, *others = map(paragraph, table.heading)
    return "\n\n".join([f"**{title}**", *others, *_body(table)]) + "\n"


def _body(table: Table) -> list[str]:
    blocks = [to_markdown(part).rstrip("\n") for part in table.parts]
    if table.rows or table.header:
        marks = {"left": ":--", "right": "--:"}
        rows = [
            [_bold(cell) if at == table.best else cell for cell in map(_escaped, row)]
            for at, row in enumerate(table.rows)
        ]
        header = [_escaped(title) for title in table.header or ("",) * len(table.align)]
        lines = [header, [marks[side] for side in table.align], *rows]
        blocks.append("\n".join(f"| {' | '.join(cells)} |" for cells in lines))
    return [*blocks, *(paragraph(line) for line in (*table.lines, *table.paths) if line)]


def _bold(text: str) -> str:
    return f"**{text}**" if text.strip() else text


def _escaped(text: str) -> str:
    """Escape what Markdown and HTML give a meaning to."""
    text = printable(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_\[\]|~#])", r"\\\1", text)


def paragraph(text: str) -> str:
    """Escape a text that may not begin a list or the line under a title."""
    return re.sub(r"^(\s*\d*)([-+=.)])(?=\s|$)", r"\1\\\2", _escaped(text))
