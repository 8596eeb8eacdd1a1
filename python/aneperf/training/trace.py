"""A run as a trace for Perfetto (ui.perfetto.dev) or chrome://tracing, in Chrome's trace event format."""

from __future__ import annotations

import os
import time
from types import TracebackType
from typing import Any

import msgspec

from ..files import whole_file
from .clock import Span
from .events import BatchDone, CheckpointSaved, Event, KernelsCompiled, RunStarted, StepDone, WorkerReplaced

ROWS = ("device", "CPU", "dW queue", "optimiser", "compile", "worker start", "checkpoint")
_US_PER_NS = 1e-3


class Trace:
    """A file that appears when the run ends, also if an error ends it. Raises ResultFileError."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._whole = whole_file(path)
        self._origin = time.monotonic_ns()
        self._about: dict[str, Any] = {}

    def __enter__(self) -> Trace:
        self._file = self._whole.__enter__()
        self._file.write(b'{"displayTimeUnit":"ms","traceEvents":[\n')
        names: list[tuple[str, int, dict[str, Any]]] = [("process_name", 0, {"name": "aneperf train"})]
        names += [("thread_name", row, {"name": name}) for row, name in enumerate(ROWS)]
        names += [("thread_sort_index", row, {"sort_index": row}) for row in range(len(ROWS))]
        events = [{"name": name, "ph": "M", "pid": 0, "tid": row, "args": args} for name, row, args in names]
        self._file.write(b",\n".join(map(msgspec.json.encode, events)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A run that failed is one that somebody wants to look at; one that was killed waits for nothing.
        if kind is None or issubclass(kind, Exception):
            self._file.write(b'\n],"otherData":' + msgspec.json.encode(self._about) + b"}\n")
            kind = error = trace = None
        self._whole.__exit__(kind, error, trace)

    def record(self, event: Event) -> None:
        """Write the spans of what happened."""
        args: dict[str, Any]
        if isinstance(event, RunStarted):
            self._about = {"model": event.model, "environment": event.environment, "config": event.config}
        elif isinstance(event, KernelsCompiled):
            # A worker starts while the one before it still compiles.
            for row, name, ready in (
                ("worker start", "kernels without weights", event.prepared),
                ("compile", "weights", event.ready),
            ):
                if ready is not None:
                    args = {"kernels": ready.compiled, "compiles_used": ready.compiles_used, "pid": event.pid}
                    self._span(row, (name, ready.begin, ready.end), args)
        elif isinstance(event, StepDone):
            stepped = event.stepped
            self._span("CPU", (f"step {event.step}", stepped.begin, stepped.end), {"loss": stepped.loss})
            for span in stepped.spans:
                self._span("device" if span[0].startswith("ane_") else "CPU", span)
            for span in stepped.products:
                self._span("dW queue", span)
        elif isinstance(event, BatchDone):
            args = {"learning_rate": event.update.learning_rate, "applied": event.update.applied}
            self._span("optimiser", (f"update {event.batch}", event.begin, event.end), args)
        elif isinstance(event, CheckpointSaved):
            self._span("checkpoint", (f"step {event.step}", event.begin, event.end))
        elif isinstance(event, WorkerReplaced):
            now = self._us(time.monotonic_ns())
            args = {"step": event.step, "reason": event.reason}
            self._write(
                {"name": "worker lost", "ph": "i", "s": "g", "pid": 0, "tid": 0, "ts": now, "args": args}
            )

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
