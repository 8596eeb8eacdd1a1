"""Write a run as a trace for Perfetto (ui.perfetto.dev), in Chrome's trace event format."""

from __future__ import annotations

import os
import time
from typing import Any

import msgspec

from ..kinds import Kind
from ..outputs import whole_file
from .accounting import Span
from .events import (
    BatchDone,
    CheckpointSaved,
    Communication,
    Evaluated,
    Event,
    KernelsCompiled,
    RunStarted,
    StepDone,
    WorkerReplaced,
)
from .worker import Compiled

ROWS = ("device", "CPU", "dW queue", "optimizer", "compile", "worker start", "evaluation", "checkpoint")
_US_PER_NS = 1e-3


class _Unwanted(Exception):
    """Ends the writing of a trace that is not to be kept."""


class Trace:
    """A trace file, which appears when the run ends or fails. Raises ResultFileError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._origin = time.monotonic_ns()
        self._about: dict[str, Any] = {}
        self._rows: list[str] = []
        self._whole = whole_file(path, Kind.TRACE)
        self._file = self._whole.__enter__()
        self._file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        self._file.write(msgspec.json.encode(_metadata("process_name", 0, name="aneperf train")))
        for name in ROWS:
            self._add_row(name)

    def close(self, *, keep: bool) -> None:
        """End the file, or leave none. Raises ResultFileError."""
        if not keep:
            self._whole.__exit__(_Unwanted, _Unwanted(), None)
            return
        self._file.write(b'\n],"otherData":' + msgspec.json.encode(self._about) + b"}\n")
        self._whole.__exit__(None, None, None)

    def record(self, event: Event) -> None:
        """Write an event's spans."""
        if isinstance(event, RunStarted):
            self._about = {"model": event.model, "environment": event.environment, "config": event.config}
        elif isinstance(event, KernelsCompiled):
            # Two rows: a worker starts while the one before it still compiles.
            self._compilation("worker start", "kernels without weights", event.prepared, event.pid)
            self._compilation("compile", "weights", event.compiled, event.pid)
        elif isinstance(event, StepDone):
            report = event.report
            self._span("CPU", (f"step {event.step}", report.begin, report.end), {"loss": report.loss})
            for span in report.spans:
                self._span("device" if span[0].startswith("ane_") else "CPU", span)
            for span in report.products:
                self._span("dW queue", span)
        elif isinstance(event, BatchDone):
            done = event.update
            update = {"learning_rate": done.learning_rate, "applied": done.applied}
            self._span("optimizer", (f"update {event.batch}", event.begin, event.end), update)
            if event.communication is not None:
                self._allreduce(event.communication)
        elif isinstance(event, Evaluated):
            self._span("evaluation", (f"step {event.step}", event.begin, event.end), {"loss": event.loss})
        elif isinstance(event, CheckpointSaved):
            name = f"best, step {event.step}" if event.is_best else f"step {event.step}"
            self._span("checkpoint", (name, event.begin, event.end))
        elif isinstance(event, WorkerReplaced):
            now = self._us(time.monotonic_ns())
            args = {"step": event.step, "reason": event.reason}
            self._write(
                {"name": "worker lost", "ph": "i", "s": "g", "pid": 0, "tid": 0, "ts": now, "args": args}
            )

    def _allreduce(self, done: Communication) -> None:
        """Write the buckets' spans: those that overlap in rows of their own, since spans of a row may not."""
        ends: dict[int, int] = {}  # of the last span in each row
        for span in sorted(done.spans, key=lambda span: span[1]):
            row = next((row for row, end in ends.items() if end <= span[1]), len(ends))
            ends[row] = span[2]
            self._span("allreduce" if row == 0 else f"allreduce {row + 1}", span)
        waited = {"waited_for_ranks_ms": done.waited_ms}
        self._span("allreduce exposed", ("exposed", done.begin, done.end), waited)

    def _compilation(self, row: str, name: str, compiled: Compiled | None, pid: int) -> None:
        if compiled is not None:
            args = {"kernels": compiled.kernels, "compiles_used": compiled.compiles_used, "pid": pid}
            self._span(row, (name, compiled.begin, compiled.end), args)

    def _span(self, row: str, span: Span, args: dict[str, Any] | None = None) -> None:
        name, begin, end = span
        if row not in self._rows:
            self._add_row(row)
        self._write(
            {
                "name": name,
                "ph": "X",
                "pid": 0,
                "tid": self._rows.index(row),
                "ts": self._us(begin),
                "dur": (end - begin) * _US_PER_NS,
                **({"args": args} if args else {}),
            }
        )

    def _add_row(self, name: str) -> None:
        row = len(self._rows)
        self._rows.append(name)
        # Those of allreduce, which come later, are shown below the queue whose gradients they take.
        place = row if name in ROWS else ROWS.index("dW queue")
        self._write(_metadata("thread_name", row, name=name))
        self._write(_metadata("thread_sort_index", row, sort_index=100 * place + row))

    def _us(self, ns: int) -> float:
        return (ns - self._origin) * _US_PER_NS

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(b",\n" + msgspec.json.encode(event))


def _metadata(kind: str, row: int, **about: Any) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": 0, "tid": row, "args": about}
