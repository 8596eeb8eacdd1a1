"""Write the options of `aneperf.train` below its entry in the reference, from the class that defines them."""

from dataclasses import fields
from inspect import signature

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

import aneperf

MARK = "<!-- options -->"


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Replace the mark by a table of the options."""
    if MARK not in markdown:
        return markdown
    from aneperf.training.options import TrainOptions

    helps = {
        field.name: field.metadata.get("help", "called with every event") for field in fields(TrainOptions)
    }
    rows = []
    for option in signature(aneperf.train).parameters.values():
        cells = [escape(option.annotation), f"`{option.default!r}`", escape(helps[option.name])]
        rows.append(" | ".join([f"| `{option.name}`", *cells]) + " |")
    table = "\n".join(["| option | type | default | meaning |", "| --- | --- | --- | --- |", *rows])
    return markdown.replace(MARK, table)


def escape(text: object) -> str:
    """Return text that a cell of a table can hold."""
    return str(text).replace("_Path", "path").replace("|", r"\|").replace("*", r"\*")
