"""Tables and their records as files for spreadsheets, pages and pull requests."""

import csv
import io
from collections.abc import Mapping, Sequence
from html import escape

from ..kinds import PAGE_HEAD, Kind
from .html import to_html
from .markdown import to_markdown
from .table import Table, printable

_STYLE = """<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em; color: #222; background: #fff; }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums; }
th, td { padding: 0.15em 0.6em; white-space: nowrap; }
th { border-bottom: 1px solid #888; }
</style>
"""


def to_form(form: Kind, table: Table, records: Sequence[Mapping[str, object]]) -> str:
    """Return the content of a file: a table as Markdown or as an HTML page, or records as CSV."""
    if form is Kind.MARKDOWN:
        return to_markdown(table)
    if form is Kind.PAGE:
        title = escape(printable(table.heading[0]))
        return f"{PAGE_HEAD}<title>{title}</title>\n{_STYLE}{to_html(table)}\n"
    return to_csv(records)


def facts_of(table: Table) -> list[dict[str, object]]:
    """Return a record for each row of a table of names and values."""
    return [{"fact": name, "value": value} for name, value in table.rows]


def to_csv(records: Sequence[Mapping[str, object]]) -> str:
    """Write records as CSV, with the names of all of them in the first line; None is an empty cell."""
    names = dict.fromkeys(name for record in records for name in record) or ["key"]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(map(_cell, names))
    writer.writerows([_cell(record.get(name)) for name in names] for record in records)
    return stream.getvalue()


def _cell(value: object) -> object:
    """Keep a text, which may come from elsewhere, from being a formula in a spreadsheet."""
    if not isinstance(value, str):
        return value
    return printable(f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value)
