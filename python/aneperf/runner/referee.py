"""The referee of two processes that take turns: it says which one makes calls, and keeps what each turn took.

Both sides begin a row of one key together, take turns A, B, B, A until both have enough, and end it together.
A row that only one side has is measured while the other side waits.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .turns import GO

Turns = Sequence[dict[str, list[float]]]  # of each side, in ns, by the key of a row

_LONGEST_LINE = 65_536  # bytes
_LEAST_TURNS = 5  # of each side, after the first: a median of fewer ratios is one turn's


@dataclass
class _Side:
    """One side's process: what it asks for, if it waits, and what its turns took, by key."""

    channel: socket.socket
    common: Callable[[str], str]
    asks: str = ""  # "begin", "want", "end", or "" while it works
    key: str = ""
    begun: set[str] = field(default_factory=set)
    turns: dict[str, list[float]] = field(default_factory=dict)
    closed: bool = False
    _buffer: bytes = b""

    def read(self) -> None:
        """Take what has arrived. A process that breaks the rules is treated as one that has ended."""
        try:
            received = self.channel.recv(_LONGEST_LINE)
            *lines, self._buffer = (self._buffer + received).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
            self.closed |= not received or len(self._buffer) > _LONGEST_LINE
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self.closed = True

    def _take(self, message: dict[str, Any]) -> None:
        if "turn" in message:
            self.turns.setdefault(self.common(message["turn"]), []).append(float(message["ns"]))
            return
        ((self.asks, key),) = message.items()
        self.key = self.common(key)

    def go(self) -> None:
        """Let the process work on."""
        if self.asks == "begin":
            self.begun.add(self.key)
        self.asks = ""
        try:
            self.channel.sendall(GO)
        except OSError:
            self.closed = True

    @property
    def waits(self) -> bool:
        """Tell whether the process makes no calls."""
        return self.closed or bool(self.asks)


def referee(
    channels: Sequence[socket.socket], common: Callable[[str], str], *, time_limit: float, first: int = 0
) -> Turns:
    """Give turns until both processes have closed their ends; return the ns of each turn, by side and key.

    `common` makes the name that a row has on both sides of its key. Side `first` has the first turn of each
    row. After `time_limit` seconds it gives up.
    """
    sides = [_Side(channel, common) for channel in channels]
    deadline = time.monotonic() + time_limit
    given = -1  # number of the turn in its row
    with selectors.DefaultSelector() as selector:
        for side in sides:
            selector.register(side.channel, selectors.EVENT_READ, side)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                break
            for event, _ in ready:
                event.data.read()
                if event.data.closed:
                    selector.unregister(event.fileobj)
            if all(side.waits for side in sides):
                begins = all(side.asks == "begin" for side in sides)
                given = -1 if begins else given + 1
                for side in _choose(sides, first ^ (given // 2 + given) % 2):
                    side.go()
    return [side.turns for side in sides]


def _choose(sides: Sequence[_Side], turn: int) -> Sequence[_Side]:
    """Return the sides that may go on, of two that wait. If both want a turn, it is that of side `turn`."""
    open_sides = [side for side in sides if not side.closed]
    if len(open_sides) < 2:
        return open_sides
    for asks in ("want", "end"):
        asking = [side for side in sides if side.asks == asks]
        if asking:
            return asking if asks == "end" else asking[:1] if len(asking) < 2 else [sides[turn]]
    first, second = sides
    if first.key == second.key:
        return sides
    if second.key in first.begun:
        return [second]
    if first.key in second.begun or len(first.begun) <= len(second.begun):
        return [first]
    return [second]


def ratios_of(turns: Turns) -> dict[str, float]:
    """Return the median ratio of the second side's turns to the first side's, for each key of both.

    The first turn of each side warms up.
    """
    first, second = turns
    found = {}
    for key in first.keys() & second.keys():
        count = min(len(first[key]), len(second[key]))
        base, judged = (np.array(side[key][1:count]) for side in (first, second))
        if len(base) >= _LEAST_TURNS and (base > 0).all() and (judged > 0).all():
            found[key] = float(np.median(judged / base))
    return found
