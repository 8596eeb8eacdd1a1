"""A profile as a trace for Perfetto (ui.perfetto.dev), in Chrome's trace event format."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec

from ..kinds import Kind
from ..outputs import check_output, write_whole
from ..results import Result, Row

_US_PER_MS = 1000.0


def prepare_trace(path: str | os.PathLike[str]) -> Callable[[Result], None]:
    """Return what writes a profile's trace to `path`. Raises ResultFileError, at once for a bad path."""
    check_output(path, Kind.TRACE)
    return lambda result: write_whole(path, Kind.TRACE, trace_of(result))


def trace_of(result: Result) -> bytes:
    """Return the trace: the parts one after another, each as long as its median, under the whole."""
    *parts, whole = result.rows
    events: list[dict[str, Any]] = [
        {"name": name, "ph": "M", "pid": 0, "tid": row, "args": {"name": text}}
        for name, row, text in (
            ("process_name", 0, f"aneperf profile, {result.environment.label}"),
            ("thread_name", 0, "whole"),
            ("thread_name", 1, "parts"),
        )
    ]
    events.append(_event(whole, 0, 0.0))
    begin = 0.0
    for part in parts:
        events.append(_event(part, 1, begin))
        begin += events[-1]["dur"]
    trace = {"displayTimeUnit": "ms", "traceEvents": events, "otherData": {"notes": list(result.notes)}}
    return msgspec.json.encode(trace) + b"\n"


def _event(row: Row, thread: int, begin_us: float) -> dict[str, Any]:
    return {
        "name": row.name,
        "ph": "X",
        "pid": 0,
        "tid": thread,
        "ts": begin_us,
        "dur": _US_PER_MS * (row.median or 0.0),
        "args": {**row.params, **row.metrics},
    }
