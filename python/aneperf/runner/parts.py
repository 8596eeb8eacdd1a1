"""The parts of a program's time: operations, alone or in groups, with how long each takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..measure import Statistics, summarize
from ..mil import Operation
from ..mil.work import Work
from ..results import Row
from .measured import Measured, Params

_MS_PER_NS = 1e-6
_NAMED = 3  # kinds of operations in a group


@dataclass(frozen=True)
class Part:
    """Operations that are timed together, or a port, in the order of the text; statistics are in ms.

    `typical` is the mean over the typical calls, in ms, which adds up to that of the whole. Noise can make it
    negative where it is a difference.
    """

    name: str
    operations: tuple[Operation, ...]
    statistics: Statistics
    typical: float
    port: str = ""  # the kind of port, of a part without operations

    @property
    def kind(self) -> str:
        """Return the operations' names in MIL, each once: "conv + silu"."""
        kinds = list(dict.fromkeys(operation.op for operation in self.operations)) or [self.port]
        more = [f"{len(kinds) - _NAMED} more"] if len(kinds) > _NAMED else []
        return " + ".join([*kinds[:_NAMED], *more])

    def row(self, title: str, total_ms: float, work: Mapping[str, Work]) -> Row:
        """Return the row of a profile, whose parts take `total_ms` in typical calls."""
        done = sum((work[operation.results[0].name] for operation in self.operations), Work())
        params: Params = {"config": self.name, "kind": self.kind, "operations": len(self.operations)}
        if self.operations:
            params["shape"] = str(list(self.operations[-1].results[0].shape))
            if (line := self.operations[0].line) is not None:
                params["line"] = line
        metrics = {"gflop": done.flops / 1e9, "bytes": float(done.bytes), "typical_ms": self.typical}
        if total_ms:
            metrics["share"] = self.typical / total_ms
        if self.statistics.ci_low:  # a time that may be 0 gives no rate
            median = self.statistics.median
            metrics |= {"gflop_per_s": done.flops / median / 1e6, "gb_per_s": done.bytes / median / 1e6}
        measured = Measured("ok", statistics=self.statistics, metrics=metrics)
        return measured.row(f"profile/{title}/{self.name}", params)


def typical_calls(totals: NDArray[Any]) -> NDArray[np.intp]:
    """Return the places of the typical calls [calls]: the half whose times are nearest to the median.

    Where times are skewed, medians of parts do not add up to that of the whole. Means over the same calls do,
    and over these the whole's mean is near its median.
    """
    distances = np.abs(totals - np.median(totals))
    return np.argsort(distances, kind="stable")[: -(-len(totals) // 2)]


def part_of(
    name: str,
    operations: Sequence[Operation],
    times_ns: NDArray[np.float64],
    typical: NDArray[np.intp],
    port: str = "",
) -> Part:
    """Return the part whose times [calls] are these, or the changes of the time that it makes."""
    times = times_ns * _MS_PER_NS
    lowest = min(0.0, float(times.min()))  # a summary takes no negative times
    found = summarize(times - lowest)

    def back(number: float) -> float:
        return max(0.0, number + lowest)

    statistics = replace(
        found,
        median=back(found.median),
        mean=back(found.mean),
        p05=back(found.p05),
        p95=back(found.p95),
        ci_low=None if found.ci_low is None else back(found.ci_low),
        ci_high=None if found.ci_high is None else back(found.ci_high),
    )
    return Part(name, tuple(operations), statistics, float(times[typical].mean()), port)
