"""Ranks in one process: threads that communicate through memory, without MPI."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from aneperf.cluster.communicator import Communicator, Request, wait

_T = TypeVar("_T")
_SECONDS = 120.0  # for a rank that another one waits for


class _Meeting:
    """One call of all ranks: what each brings, and what is done with it once all have come."""

    def __init__(self) -> None:
        self.brought: dict[int, Any] = {}
        self.kind = ""
        self.done = threading.Event()

    def is_done(self) -> bool:
        return self.done.is_set()


class _Table:
    def __init__(self, size: int) -> None:
        self.size = size
        self.lock = threading.Lock()
        self.meetings: defaultdict[int, _Meeting] = defaultdict(_Meeting)


class ThreadCommunicator:
    """A rank among threads. Sums are made in the order of the ranks, in fp32."""

    def __init__(self, table: _Table, rank: int, lost: Callable[[], None] = lambda: None) -> None:
        self.rank, self.size = rank, table.size
        self.hosts = [f"host{index}" for index in range(table.size)]
        self.library = "threads"
        self.calls: list[str] = []  # in the order of this rank
        self._table, self.check = table, lost

    def sum(self, array: NDArray[np.float32]) -> Request:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        return self._come("sum", array, _sum)

    def broadcast(self, array: NDArray[Any]) -> Request:
        return self._come("broadcast", array, _broadcast)

    def gather(self, message: bytes) -> list[bytes]:
        meeting = self._come("gather", bytes(message), lambda brought: None)
        wait(meeting, self.check, _SECONDS)
        return [meeting.brought[rank] for rank in range(self.size)]

    def watch(self, check: Callable[[bool], None] | None) -> None:
        self.check = (lambda: None) if check is None else partial(check, False)

    def _come(self, kind: str, brought: Any, finish: Callable[[list[Any]], None]) -> _Meeting:
        with self._table.lock:
            meeting = self._table.meetings[len(self.calls)]
            assert meeting.kind in ("", kind), f"{kind} meets {meeting.kind}"
            meeting.kind = kind
            self.calls.append(kind)
            meeting.brought[self.rank] = brought
            if len(meeting.brought) == self.size:
                finish([meeting.brought[rank] for rank in range(self.size)])
                meeting.done.set()
        return meeting


def run_ranks(size: int, act: Callable[[Communicator], _T]) -> list[_T]:
    """Call `act` on each of `size` ranks at once, and return their results. Raises the first error."""
    table = _Table(size)
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: act(ThreadCommunicator(table, rank)), range(size)))


def _sum(arrays: list[NDArray[np.float32]]) -> None:
    total = arrays[0].copy()
    for array in arrays[1:]:
        total += array
    for array in arrays:
        array[...] = total


def _broadcast(arrays: list[NDArray[Any]]) -> None:
    for array in arrays[1:]:
        array[...] = arrays[0]
