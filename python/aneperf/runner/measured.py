"""The measured part of a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any

from ..errors import CompileBudgetError, CompileError
from ..measure import PREEMPTED, Estimate, Sample, Statistics
from ..results import MAXIMUM_DURATIONS, Environment, Row, Status

Params = dict[str, int | float | str]


@dataclass(frozen=True)
class Measured:
    """A row without its key and without the parameters that were known before.

    `statistics` are in `unit`. A `sample` has its own, in ms. `params` are those that only a measurement
    tells, such as a verdict.
    """

    status: Status
    reason: str | None = None
    _: KW_ONLY
    sample: Sample | None = None
    statistics: Statistics | None = None
    unit: str = "ms"
    error: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    params: Params = field(default_factory=dict)

    def row(self, key: str, params: Params) -> Row:
        """Return the row."""
        fields: dict[str, Any] = {}
        statistics = self.statistics if self.sample is None else self.sample.statistics
        if statistics is not None:
            fields |= {"unit": self.unit, **statistics.fields()}
        if self.sample is not None:
            fields |= {
                "warm_up": self.sample.warm_up,
                "published_mean": self.sample.published_mean,
                "flags": self.sample.flags,
                "durations_ns": tuple(self.sample.durations[:MAXIMUM_DURATIONS].tolist()),
            }
        return Row(
            key=key,
            status=self.status,
            reason=self.reason,
            params={**params, **self.params},
            error=self.error,
            metrics=dict(self.metrics),
            **fields,
        )

    def with_ratio(self, ratio: Estimate) -> Measured:
        """Add the metrics "ratio", "ratio_low" and "ratio_high", those that are known."""
        bounds = {"ratio": ratio.value, "ratio_low": ratio.ci_low, "ratio_high": ratio.ci_high}
        known = {name: bound for name, bound in bounds.items() if bound is not None}
        return replace(self, metrics={**self.metrics, **known})


def ratio_in(row: Measured | Row) -> Estimate | None:
    """Return the ratio in the metrics, if there is one."""
    metrics = row.metrics
    if "ratio" not in metrics:
        return None
    return Estimate(metrics["ratio"], metrics.get("ratio_low"), metrics.get("ratio_high"))


def refused(refusal: Exception) -> Measured:
    """Describe a program that the device refused: skipped for want of compiles, unsupported, or an error."""
    if isinstance(refusal, CompileBudgetError):
        return Measured("skipped", str(refusal))
    if isinstance(refusal, CompileError) and refusal.kind != "DiskFailure":
        return Measured("unsupported", str(refusal))
    return Measured("error", str(refusal))


def doubt_of(environment: Environment, rows: Iterable[Row] = ()) -> list[str]:
    """Return a note that a verdict on times is none, if other work kept the machine busy."""
    if not environment.busy and not any(PREEMPTED in row.flags for row in rows):
        return []
    return ["Not decided: other work took the CPU. Measure again on an idle machine."]
