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
        names: list[tuple[str, int, dict[str, Any]]] = [("process_name", 0, {"name": "aneperf train"})]
        names += [("thread_name", row, {"name": name}) for row, name in enumerate(ROWS)]
        names += [("thread_sort_index", row, {"sort_index": row}) for row in range(len(ROWS))]
        events = [{"name": name, "ph": "M", "pid": 0, "tid": row, "args": args} for name, row, args in names]
        self._whole = whole_file(path, Kind.TRACE)
        self._file = self._whole.__enter__()
        self._file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        self._file.write(b",\n".join(map(msgspec.json.encode, events)))

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

    def _compilation(self, row: str, name: str, compiled: Compiled | None, pid: int) -> None:
        if compiled is not None:
            args = {"kernels": compiled.kernels, "compiles_used": compiled.compiles_used, "pid": pid}
            self._span(row, (name, compiled.begin, compiled.end), args)

    def _span(self, row: str, span: Span, args: dict[str, Any] | None = None) -> None:
        name, begin, end = span
        self._write(
            {
                "name": name,
                "ph": "X",
                "pid": 0,
                "tid": ROWS.index(row),
                "ts": self._us(begin),
                "dur": (end - begin) * _US_PER_NS,
                **({"args": args} if args else {}),
            }
        )

    def _us(self, ns: int) -> float:
        return (ns - self._origin) * _US_PER_NS

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(b",\n" + msgspec.json.encode(event))
