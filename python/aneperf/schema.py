"""The JSON Schema of a result file, and a check that a result's numbers are consistent."""

import json
import math

import msgspec
import numpy as np

from .errors import ResultFileError
from .measure import summarize
from .results import MAXIMUM_DURATIONS, SCHEMA_VERSION, Result, Row

_CHECKED = ("median", "mean", "p05", "p95")
_MS_PER_NS = 1e-6


def result_schema() -> str:
    """Return the JSON Schema (2020-12) of a result file, made from the types that read it."""
    schema = msgspec.json.schema(Result)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "aneperf result", **schema}
    schema["$defs"]["Result"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def check_numbers(result: Result) -> None:
    """Check each row's statistics against its durations, and its rate against its median.

    Raises ResultFileError.
    """
    for row in result:
        if row.status == "ok" and row.unit == "ms" and row.n and row.durations_ns:
            _check_row(row)
        if row.status == "ok" and row.unit == "ms" and row.median:
            _check_rate(row, row.median)


def _check_rate(row: Row, median: float) -> None:
    stated, work = row.metrics.get("tflops"), row.metrics.get("gflop")
    if stated is not None and work is not None and not math.isclose(stated, work / median, rel_tol=1e-6):
        raise ResultFileError(
            f"row {row.key!r}: tflops is {stated!r}, but {work:.6g} GFLOP in {median:.6g} ms are "
            f"{work / median:.6g}"
        )


def _check_row(row: Row) -> None:
    warm_up = row.warm_up or 0
    if warm_up + (row.n or 0) > MAXIMUM_DURATIONS:
        return  # not all durations were kept
    found = summarize(np.array(row.durations_ns[warm_up:]) * _MS_PER_NS)
    for name in _CHECKED:
        stated, computed = getattr(row, name), getattr(found, name)
        if stated is not None and not math.isclose(stated, computed, rel_tol=1e-6, abs_tol=1e-9):
            raise ResultFileError(
                f"row {row.key!r}: {name} is {stated!r}, but its durations give {computed:.6g}"
            )
