"""A progress bar below the cell of a notebook, for what takes long and was given no other."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import Any

_EVERY_S = 0.1  # between two drawings of the same count


class Bar:
    """A bar in the output of the cell that runs; nothing of it stays at its end."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._handle: Any = None
        self._done, self._drawn = -1, 0.0

    def show(self, done: int, total: int, doing: str) -> None:
        """Draw that `done` of `total` are finished, and what is done now."""
        if done >= total:
            self.end()
            return
        if done == self._done and time.monotonic() - self._drawn < _EVERY_S:
            return
        self._done, self._drawn = done, time.monotonic()
        text = f"{done} of {total}: {doing}".rstrip(": ")
        bar = f'<progress value="{done}" max="{total}" style="width: 20em"></progress> {escape(text)}'
        self._draw(text, bar)

    def end(self) -> None:
        """Take the bar away."""
        if self._handle is not None:
            self._draw("", "")
            self._handle, self._done = None, -1

    def _draw(self, text: str, html: str) -> None:
        content = {"text/plain": text, "text/html": html}
        if self._handle is None:
            self._handle = self._display(content, raw=True, display_id=True)
        else:
            self._handle.update(content, raw=True)


def bar() -> Bar | None:
    """Return a bar where a notebook's kernel runs this; else None."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None or not hasattr(shell, "kernel"):  # a terminal's prompt has no kernel
        return None
    from IPython.display import display

    return Bar(display)
