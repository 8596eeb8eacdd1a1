"""Show a training run: in a live view in a terminal, as lines in a file or a pipe."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, TextIO

from rich.console import Console

from ..cluster.launch import is_rank
from ..training.events import Event
from .launcher import launcher_terminal
from .lines import Lines
from .live import LiveView
from .terminal import terminal


class View(Protocol):
    """Something that shows a run."""

    def record(self, event: Event) -> None:
        """Show an event."""
        ...

    def __enter__(self) -> View: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def view(stream: TextIO | None) -> View:
    """Return a live view for a terminal, also for one behind a launcher, and lines for a file or a pipe."""
    if stream is None or not stream.isatty():
        return Lines(stream)
    if not is_rank():
        return LiveView(Console(file=terminal(stream)))
    size = launcher_terminal()
    if size is None:
        return Lines(stream)
    # A terminal may not know its size; 0 stands for that, and lets the console take its defaults.
    width, height = (number or None for number in size)
    return LiveView(Console(file=terminal(stream), width=width, height=height))
