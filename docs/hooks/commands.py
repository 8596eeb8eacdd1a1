"""Write the reference of the command from what click knows, as `-h` shows it."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from inspect import cleandoc

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

from aneperf.cli.main import SECTIONS, app


class Recorder(click.HelpFormatter):
    """Keeps the lists that a command writes into its help, by the titles of their sections."""

    def __init__(self) -> None:
        super().__init__()
        self.lists: dict[str, list[tuple[str, str]]] = {}
        self.title = ""

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """Note the title of the lists to come."""
        self.title = name
        yield

    def write_dl(self, rows: Sequence[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Keep a list instead of writing it."""
        self.lists.setdefault(self.title, []).extend(rows)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Add all verbs to the page of the command."""
    if page.file.src_uri != "commands.md":
        return markdown
    parts = [markdown, *described(app, "aneperf", only="Options")]
    for title, verbs in SECTIONS.items():
        parts.append(f"## {title}")
        for verb in verbs:
            parts += [f"### {verb.name}", *described(verb, f"aneperf {verb.name}")]
    return "\n\n".join(parts) + "\n"


def described(command: click.Command, name: str, only: str = "") -> Iterator[str]:
    """Yield the blocks of a command: usage, help, and a table for each section of options."""
    context = click.Context(command, info_name=name, parent=click.Context(app, **app.context_settings))
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    yield f"```text\n{usage}\n```"
    for paragraph in cleandoc(command.help or "").split("\n\n"):
        verbatim = paragraph.startswith("\b\n")
        yield f"```text\n{paragraph[2:]}\n```" if verbatim else to_markdown(paragraph)
    recorder = Recorder()
    command.format_options(context, recorder)
    for title, rows in recorder.lists.items():
        if only in ("", title):
            lines = [f"| `{option}` | {to_markdown(text)} |" for option, text in rows]
            yield "\n".join([f"| {title} | |", "| --- | --- |", *lines])


def to_markdown(text: str) -> str:
    """Return text of a verb's help as one line of Markdown, with links to the pages that it names."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    parts[::2] = [re.sub(r"([\\*_<>|\[\]])", r"\\\1", part) for part in parts[::2]]
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", "".join(parts))
