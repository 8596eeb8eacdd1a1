"""Merge the rows of one key that several processes measured."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from ..measure import PREEMPTED, UNSETTLED, Sample, Statistics, flags_of, geometric_mean, join
from ..results import MAXIMUM_DURATIONS, Row

_ADDED = ("calls_s", "cpu_s", "preemptions", "retried_evaluations")
_OF_THE_FIRST = ("first_ms",)  # the row's first duration
_LEAST = ("loaded_s",)
_RATE = "_per_s"  # at the median
_WORST = ("error", "unsupported")


def merge(rows: Sequence[Row]) -> Row:
    """Merge rows of one key, one from each process.

    A process that failed makes the row fail. One that had no time adds nothing. Of rows that are all ok, the
    statistics are joined (`measure.join`), the errors' largest is kept, and each metric is added, averaged or
    computed anew. Durations are kept evenly: the first of each process. Rows that were fitted to others have
    none, and are joined by their medians.
    """
    for status in _WORST:
        if failed := [row for row in rows if row.status == status]:
            where = "" if len(failed) == len(rows) else f"in {len(failed)} of {len(rows)} processes: "
            return msgspec.structs.replace(failed[0], reason=f"{where}{failed[0].reason}")
    timed = [row for row in rows if row.status == "ok"]
    if len(timed) < 2:
        return timed[0] if timed else rows[0]
    if not all(row.durations_ns for row in timed):
        median = geometric_mean([row.median or 0.0 for row in timed])
        ends = {"median": median.value, "ci_low": median.ci_low, "ci_high": median.ci_high}
        return msgspec.structs.replace(timed[0], **ends, metrics=_merged_metrics(timed, ends))
    joined = join([_sample_of(row) for row in timed])
    share = MAXIMUM_DURATIONS // len(timed)
    kept = [row.durations_ns[:share] for row in timed]
    times: dict[str, Any] = joined.statistics.fields()
    metrics = _merged_metrics(timed, times)
    return msgspec.structs.replace(
        timed[0],
        **times,
        warm_up=None,
        published_mean=joined.published_mean,
        error=max((row.error for row in timed if row.error is not None), default=None),
        metrics=metrics,
        flags=(*joined.flags, *flags_of(metrics)),
        processes=tuple(map(len, kept)),
        warm_ups=tuple(row.warm_up or 0 for row in timed),
        medians=joined.medians,
        durations_ns=tuple(duration for part in kept for duration in part),
    )


def _sample_of(row: Row) -> Sample:
    """Return a row of one process as the sample that it was made of."""
    median, n = row.median or 0.0, row.n or 0
    return Sample(
        durations=np.array(row.durations_ns, dtype=np.int64),
        warm_up=row.warm_up or 0,
        statistics=Statistics(
            n=n,
            effective=n,
            median=median,
            mean=row.mean or 0.0,
            p05=row.p05 or 0.0,
            p95=row.p95 or 0.0,
            ci_low=row.ci_low,
            ci_high=row.ci_high,
        ),
        published_mean=row.published_mean,
        flags=tuple(flag for flag in row.flags if flag not in (PREEMPTED, UNSETTLED)),
    )


def _merged_metrics(rows: Sequence[Row], times: Mapping[str, float | None]) -> dict[str, float]:
    found: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows for name in row.metrics):
        values = [row.metrics[name] for row in rows if name in row.metrics]
        if name in _ADDED:
            found[name] = math.fsum(values)
        elif name in _OF_THE_FIRST:
            found[name] = values[0]
        elif name in _LEAST:
            found[name] = min(values)
        elif name.endswith(_RATE) and rows[0].median:
            found[name] = values[0] * rows[0].median / times["median"] if times["median"] else None
        else:
            found[name] = math.fsum(values) / len(values)
    if "tflops" in found and (work := found.get("gflop")):
        rates = {"tflops": times["median"], "tflops_low": times["ci_high"], "tflops_high": times["ci_low"]}
        found |= {name: work / ms if ms else None for name, ms in rates.items()}
    if len(ratios := [row.metrics["ratio"] for row in rows if "ratio" in row.metrics]) > 1:
        ratio = geometric_mean(ratios)
        found |= {"ratio": ratio.value, "ratio_low": ratio.ci_low, "ratio_high": ratio.ci_high}
    return {name: value for name, value in found.items() if value is not None}
