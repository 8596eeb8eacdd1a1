"""Where the time of a step goes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

Span = tuple[str, int, int]  # name, begin, end in ns of time.monotonic_ns


class Clock:
    """Takes the spans of a step's components, which do not overlap, each in the phase that was set last."""

    def __init__(self) -> None:
        self.phase = "fwd"
        self._spans: list[Span] = []

    @contextlib.contextmanager
    def __call__(self, component: str) -> Iterator[None]:
        """Take the time of what is done inside as that of `component`."""
        begin = time.monotonic_ns()
        try:
            yield
        finally:
            self._spans.append((f"{component}_{self.phase}", begin, time.monotonic_ns()))

    def take(self) -> list[Span]:
        """The spans since the last call."""
        spans, self._spans = self._spans, []
        return spans
