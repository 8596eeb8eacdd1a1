"""Tables as HTML for notebooks, without scripts or external styles."""

from html import escape

from .table import Table, printable


def to_html(table: Table) -> str:
    """Convert a table to an HTML fragment. Every text is escaped."""
    title, *others = map(_escaped, table.heading)
    parts = ["<div>", f"<p><strong>{title}</strong></p>", *(f"<p>{line}</p>" for line in others)]
    parts += map(to_html, table.parts)
    if table.header or table.rows:
        parts += _grid(table)
    parts += [f"<div>{_escaped(line)}</div>" for line in (*table.lines, *table.paths)]
    parts.append("</div>")
    return "\n".join(parts)


def _grid(table: Table) -> list[str]:
    header = ["<thead>", _row("th", table.header, table.align), "</thead>"] if table.header else []
    rows = [
        _row("td", row, table.align, "font-weight: bold" if index == table.best else "")
        for index, row in enumerate(table.rows)
    ]
    return ["<table>", *header, "<tbody>", *rows, "</tbody></table>"]


def _row(tag: str, cells: tuple[str, ...], align: tuple[str, ...], style: str = "") -> str:
    pairs = zip(cells, align, strict=True)
    drawn = "".join(f'<{tag} style="text-align: {side}">{_escaped(cell)}</{tag}>' for cell, side in pairs)
    return f'<tr style="{style}">{drawn}</tr>' if style else f"<tr>{drawn}</tr>"


def _escaped(text: str) -> str:
    return escape(printable(text))
