"""Turns of two processes that time the sides of a comparison: only one of them makes calls at any moment.

A machine changes its speed within a second. Medians of two processes that ran one after the other differ by
that, and turns of 10 ms do not. A process asks before each turn, and before and after each row, and waits for
the answer of the process that compares them (`referee.py`). Where a child process makes the calls, it asks:
it inherits the socket.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from contextvars import ContextVar

import numpy as np
from numpy.typing import NDArray

from ..errors import ArgumentError
from ..measure import Run

VARIABLE = "ANEPERF_TURNS"  # has the number of the inherited socket
# A row takes this long at least, with the turns of the other side: about 30 turns of each.
TURNS_SPAN_S = 0.6
GO = b"g"


class Turns:
    """This process's end of the socket. If the other end closes, this process goes on alone."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel: socket.socket | None = channel

    @contextlib.contextmanager
    def row(self, key: str) -> Iterator[None]:
        """Measure a row while the other side measures its row of the same key, if it has one."""
        self._ask(begin=key)
        try:
            yield
        finally:
            self._ask(end=key)

    def timed(self, key: str, run: Run) -> Run:
        """Return a run whose calls are made in this side's turns."""

        def in_turn(count: int) -> NDArray[np.int64]:
            self._ask(want=key)
            durations = run(count)
            self._tell(turn=key, ns=float(np.median(durations)))
            return durations

        return in_turn

    @property
    def descriptor(self) -> int | None:
        """Return the socket's number, or None if this process goes on alone."""
        return None if self._channel is None else self._channel.fileno()

    def _ask(self, **question: str) -> None:
        self._tell(**question)
        if self._channel is not None and self._channel.recv(1) != GO:
            self._leave()

    def _tell(self, **what: str | float) -> None:
        if self._channel is not None:
            try:
                self._channel.sendall(json.dumps(what).encode() + b"\n")
            except OSError:
                self._leave()

    def _leave(self) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None


_turns: ContextVar[Turns | None] = ContextVar("_turns", default=None)


def turns() -> Turns | None:
    """Return the turns that this process takes, if another side is timed beside it."""
    return _turns.get()


def inherited_turns() -> int | None:
    """Return the number of the socket that a child process needs to make calls in this one's turns."""
    mine = turns()
    return None if mine is None else mine.descriptor


@contextlib.contextmanager
def taking_turns(descriptor: int | None = None) -> Iterator[None]:
    """Take the turns of an inherited socket: by default the one that the environment names, if it does.

    Raises ArgumentError if that is no socket.
    """
    given: str | int | None = descriptor
    if given is None:
        given = os.environ.pop(VARIABLE, None)  # this process's alone, and no fact of the machine
    if given is None:
        yield
        return
    try:
        channel = socket.socket(fileno=int(given))
    except (ValueError, OverflowError, OSError):
        raise ArgumentError(f"{VARIABLE} is set by aneperf ab alone: unset it") from None
    os.set_inheritable(channel.fileno(), False)
    token = _turns.set(Turns(channel))
    try:
        yield
    finally:
        _turns.reset(token)
        channel.close()


def in_turns(key: str, run: Run) -> Run:
    """Return a run that makes its calls in this side's turns, if there is another side."""
    mine = turns()
    return run if mine is None else mine.timed(key, run)


def row_in_turns(key: str) -> contextlib.AbstractContextManager[None]:
    """Measure a row beside the other side's, if there is another side."""
    mine = turns()
    return contextlib.nullcontext() if mine is None else mine.row(key)
