"""Export a result as an entry of the community's list of machines.

The list is `training_results` in maderix/ANE, benchmarks/community_results.json. A range is [low, high].
"""

import re
from typing import Any

from ..errors import ArgumentError
from ..files import one_line
from ..kernels.conv_stack import PUBLISHED
from ..results import Result, Row

UNAVAILABLE = "unavailable"
_TRAINING = {
    "ms_per_step": "training/static/stories110m/step",
    "ane_ms": "training/static/stories110m/ane",
    "compile_ms": "training/static/stories110m/compile",
    "ane_tflops": "training/static/stories110m/ane-rate",
}
_DECIMALS = 3


def community_entry(result: Result, *, contributor: str | None = None) -> dict[str, Any]:
    """Return the entry, with "unavailable" for each value that the result lacks.

    `peak_tflops_inmem` is the fastest of the ten published stacks with fp32 ports. Raises ArgumentError for a
    result that was not measured on a Neural Engine, and for one that has no value of an entry.
    """
    environment = result.environment
    if environment.is_software:
        raise ArgumentError(
            f"measured on the {one_line(environment.device)}: the community's list holds Neural Engines only"
        )
    rows = {row.key: row for row in result if row.status == "ok"}
    measured = {name: _range(rows.get(key)) for name, key in _TRAINING.items()}
    peak = _peak(result)
    if peak is None and all(value == UNAVAILABLE for value in measured.values()):
        probe = one_line(result.probe)
        raise ArgumentError(f"this {probe} result has neither a training step nor a published stack")
    version = re.search(r"\d+(\.\d+)*", environment.os)
    memory = environment.memory_bytes
    return {
        "chip": environment.chip.removeprefix("Apple "),
        "cores": f"{environment.cores}-core CPU",
        "ram_gb": UNAVAILABLE if memory is None else round(memory / 2**30),
        "macos": version[0] if version else UNAVAILABLE,
        **measured,
        "peak_tflops_inmem": UNAVAILABLE if peak is None else round(peak, _DECIMALS),
        "notes": _notes(result),
        "contributor": contributor or UNAVAILABLE,
    }


def _range(row: Row | None) -> list[float] | str:
    """Return the range of the middle nine tenths of the calls."""
    if row is None or row.p05 is None or row.p95 is None:
        return UNAVAILABLE
    return [round(row.p05, _DECIMALS), round(row.p95, _DECIMALS)]


def _peak(result: Result) -> float | None:
    published = {stack.name for stack in PUBLISHED}
    rates = [
        row.metrics["tflops"]
        for row in result
        if row.status == "ok"
        and row.key.startswith("peak/")
        and row.params.get("config") in published
        and row.params.get("ports") == "fp32"
        and "tflops" in row.metrics
    ]
    return max(rates, default=None)


def _notes(result: Result) -> str:
    environment = result.environment
    build = f", build {environment.os_build}" if environment.os_build else ""
    flagged = sum(bool(row.flags) for row in result if row.status == "ok")
    return (
        f"aneperf {environment.aneperf} {result.probe}, medians, outputs checked, {environment.started[:10]}"
        f"{build}, {flagged} of {len(result)} rows flagged."
    )
