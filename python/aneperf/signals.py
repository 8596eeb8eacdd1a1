"""End in good order at Ctrl-C, SIGTERM and SIGHUP: what is finished is kept, and no temporary file stays.

SIGTERM comes from `kill`, `docker stop`, a batch system or a shutdown, SIGHUP from a terminal that closes.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# `timeout`, shells and terminals that close send a signal twice, to the process and to its group.
REPEAT_S = 0.5


class Interrupted(KeyboardInterrupt):
    """A signal asks this process to end."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number.name)
        self.signal = number


def raise_interrupted(number: signal.Signals) -> NoReturn:
    """Raise Interrupted."""
    raise Interrupted(number)


def signal_of(error: KeyboardInterrupt) -> signal.Signals:
    """Return the signal that raised the error."""
    return error.signal if isinstance(error, Interrupted) else signal.SIGINT


def ignore_stops() -> None:
    """Ignore these signals from now on: this process is about to end."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)


class FirstSignal:
    """Handler that calls `action` at the first signal. Repetitions have no effect, later ones the usual."""

    def __init__(self, action: Callable[[signal.Signals], object]) -> None:
        self._action = action
        self._before: dict[signal.Signals, signal._HANDLER] = {}
        self._first: float | None = None

    @property
    def has_come(self) -> bool:
        """Tell whether there was a signal."""
        return self._first is not None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        if self._first is None:
            self._first = time.monotonic()
            self._action(signal.Signals(number))
        elif time.monotonic() - self._first >= REPEAT_S:
            self.restore()
            signal.raise_signal(number)

    def install(self) -> None:
        """Replace the usual handlers, and those of another FirstSignal."""
        for number in STOPS:
            before = signal.getsignal(number)
            if before in (signal.SIG_DFL, signal.default_int_handler) or isinstance(before, FirstSignal):
                self._before[number] = before
                signal.signal(number, self)

    def restore(self) -> None:
        """Restore the handlers that were there before."""
        for number, before in self._before.items():
            if signal.getsignal(number) is self:
                signal.signal(number, before)
            if isinstance(before, FirstSignal):
                before._first = before._first or self._first

    def ignore_more(self) -> None:
        """Ignore further signals, also after the block: nothing is left to do but to end the process."""
        self._before = dict.fromkeys(self._before, signal.SIG_IGN)


@contextlib.contextmanager
def at_first_signal(action: Callable[[signal.Signals], object]) -> Iterator[FirstSignal]:
    """Call `action` at the first signal in the block; a second one, REPEAT_S later, has its usual effect.

    Signals that the process ignores, or that have a handler of someone else's, are left alone. So are all of
    them outside the main thread, which alone receives signals.
    """
    handler = FirstSignal(action)
    if threading.current_thread() is threading.main_thread():
        handler.install()
    try:
        yield handler
    finally:
        handler.restore()
