"""Show a training run: in a live view in a terminal, as lines in a file or a pipe."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, TextIO

from ..training.events import Event
from .lines import Lines
from .live import LiveView
from .terminal import console_on


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
    console = console_on(stream)
    return Lines(stream) if console is None else LiveView(console)
