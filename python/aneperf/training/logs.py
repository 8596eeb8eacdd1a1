"""The files that record a run as it goes. A run outlives them: one that cannot be written is given up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from ..errors import ResultFileError
from .events import Event, LogStopped


class Log(Protocol):
    """A file that records a run."""

    def record(self, event: Event) -> None:
        """Write an event."""

    def close(self, *, keep: bool) -> None:
        """End the file, or leave none if it only makes sense whole."""


class Logs:
    """Logs of one run. `tell` learns of each that ended early, as a full disk makes it."""

    def __init__(self, tell: Callable[[LogStopped], None]) -> None:
        self._tell = tell
        self._logs: dict[str, Log] = {}

    def add(self, path: str | os.PathLike[str], log: Log) -> None:
        """Record the run in this log, too."""
        self._logs[os.fsdecode(path)] = log

    def record(self, event: Event) -> None:
        """Write an event to all logs."""
        for path, log in list(self._logs.items()):
            try:
                log.record(event)
            except (OSError, ResultFileError) as error:
                with contextlib.suppress(OSError, ResultFileError):
                    log.close(keep=False)
                self._stop(path, error)

    def __enter__(self) -> Logs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A failed run is of interest too. KeyboardInterrupt and SystemExit do not wait for its record.
        keep = kind is None or issubclass(kind, Exception)
        for path, log in list(self._logs.items()):
            try:
                log.close(keep=keep)
            except (OSError, ResultFileError) as failure:
                with contextlib.suppress(OSError, ResultFileError):
                    log.close(keep=False)
                self._stop(path, failure)

    def _stop(self, path: str, error: OSError | ResultFileError) -> None:
        del self._logs[path]
        if isinstance(error, OSError):
            error = ResultFileError(f"{path}: cannot write: {error.strerror or error}")
        self._tell(LogStopped(str(error)))
