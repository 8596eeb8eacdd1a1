"""The columns of each probe's table, as in the published tables."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ..comparison import Side
from ..files import LONGEST_QUOTE, one_line
from ..results import Row
from .flags import mark

UNKNOWN = "-"
_LONGEST_FINDING = 100  # of what did not fail; the file has all of it
# "[compile] LoadFailure: com.apple.appleneuralengine 10: ", and one that ends in "; caused by " and the next.
_CODED = re.compile(r"(\[\w+\] (\w+: )?)?com\.apple\.\S+ -?\d+: ")
_WRAPPED = re.compile(rf"({_CODED.pattern})((?!; caused by ).)*; caused by ")


@dataclass(frozen=True)
class Column:
    """A column: its heading, and a function that makes a row's cell."""

    title: str
    cell: Callable[[Row], str]
    align: Literal["left", "right"] = "right"
    is_spare: bool = False  # left out where a terminal is too narrow


def significant(value: float | None, digits: int) -> str:
    """Write `value` with `digits` significant digits and no exponent: 0.4349, 9.871, 120.5.

    A number that overflowed on its way here is unknown.
    """
    if value is None or not math.isfinite(value):
        return UNKNOWN
    exponent = int(f"{value:.{digits - 1}e}".partition("e")[2])
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def parameter(name: str) -> Callable[[Row], str]:
    """Make cells that show one of a row's parameters."""
    return lambda row: str(row.params.get(name, UNKNOWN))


def metric(name: str, decimals: int) -> Callable[[Row], str]:
    """Make cells that show one of a row's metrics."""
    return lambda row: f"{row.metrics[name]:.{decimals}f}" if name in row.metrics else UNKNOWN


def median(row: Row) -> str:
    """Write an ok row's median; a row with a wrong answer has no speed."""
    return significant(row.median, 4) if row.status == "ok" else UNKNOWN


def half_width(row: Row) -> str:
    """Write the larger half of an ok row's interval, in percent of the median."""
    return larger_half(row) if row.status == "ok" else UNKNOWN


def larger_half(estimate: Row | Side) -> str:
    """Write the larger half of the median's interval, in percent of the median."""
    middle, low, high = estimate.median, estimate.ci_low, estimate.ci_high
    if not middle or low is None or high is None:
        return UNKNOWN
    return f"{100 * max(high - middle, middle - low) / middle:.1f}%"


def remark(row: Row) -> str:
    """Write an ok row's flag that changes a decision, or the status of any other row."""
    return mark(row.flags) if row.status == "ok" else row.status


def all_flags(row: Row) -> str:
    """Write every flag of an ok row, or the status of any other row."""
    return ", ".join(row.flags) if row.status == "ok" else row.status


def p95(row: Row) -> str:
    """Write the time that 95 % of an ok row's calls take at most."""
    return significant(row.p95, 4) if row.status == "ok" else UNKNOWN


def number(name: str, digits: int) -> Callable[[Row], str]:
    """Make cells that show one of an ok row's metrics with `digits` significant digits."""
    return lambda row: significant(row.metrics.get(name), digits) if row.status == "ok" else UNKNOWN


def ratio(row: Row) -> str:
    """Write the ratio of a pair with the larger half of its interval: 1.85x ±0.4%; none without one."""
    value, low, high = (row.metrics.get(name) for name in ("ratio", "ratio_low", "ratio_high"))
    if value is None:
        return ""
    if not value or low is None or high is None:
        return UNKNOWN
    return f"{value:.2f}x ±{max(high / value - 1, 1 - low / value):.1%}"


def _finding(row: Row) -> str:
    if row.status == "error":
        return one_line(row.params.get("finding", row.reason), LONGEST_QUOTE)
    return one_line(_cause(str(row.params.get("finding", row.reason))), _LONGEST_FINDING)


def _cause(text: str) -> str:
    """Cut a refusal by Apple's framework down to its first cause, without domains and codes."""
    return _CODED.sub("", _WRAPPED.sub("", text))


def _verdict(row: Row) -> str:
    return str(row.params.get("verdict", row.status))


def _trial_verdict(row: Row) -> str:
    return one_line(_cause(_verdict(row)), _LONGEST_FINDING)


def _value(row: Row) -> str:
    return f"{row.metrics['value']:,.0f}" if "value" in row.metrics else "unavailable"


def _agreeing(part: str, whole: str) -> Callable[[Row], str]:
    """Make cells that show a part of a number of results: 311 of 312."""

    def cell(row: Row) -> str:
        number = row.metrics.get(whole)
        return f"{row.metrics[part]:,.0f} of {number:,.0f}" if number and part in row.metrics else UNKNOWN

    return cell


def _percent(share: float | None) -> str:
    percent = math.inf if share is None else 10_000 * share
    return f"{math.floor(percent) / 100:.2f}%" if math.isfinite(percent) else UNKNOWN


def _share(row: Row) -> str:
    return f"{row.metrics['share']:.1%}" if "share" in row.metrics else UNKNOWN


def _checked(row: Row) -> str:
    return "unchecked" if "output" in row.params else UNKNOWN if row.error is None else f"{row.error:.1e}"


def _predicted_interval(row: Row) -> str:
    low, high = (row.metrics.get(f"predicted_{end}_ms") for end in ("low", "high"))
    return UNKNOWN if None in (low, high) else f"{significant(low, 2)} to {significant(high, 2)}"


REMARK = Column("", remark, "left")

GENERAL = (
    Column("Row", lambda row: row.key, "left"),
    Column("Median", median),
    Column("±", half_width),
    Column("p95", p95, is_spare=True),
    Column("Unit", lambda row: row.unit or UNKNOWN, "left"),
    REMARK,
)
VERBOSE = (  # in place of REMARK
    Column("Calls", lambda row: UNKNOWN if row.n is None else str(row.n)),
    Column("Warm-up", lambda row: UNKNOWN if row.n is None else str((row.warm_up or 0) + sum(row.warm_ups))),
    Column("", all_flags, "left"),
)

RANKED = ("peak", "sweep", "latency", "int8", "sram")  # probes whose fastest row is marked as best

_CONFIG = Column("Config", parameter("config"), "left")
_WEIGHTS = Column("W (MiB)", metric("weights_mib", 1), is_spare=True)
_GFLOP = Column("GFLOP", metric("gflop", 2), is_spare=True)
_TIMES = (Column("ms/eval", median), Column("±", half_width), Column("p95", p95, is_spare=True))
_TFLOPS = Column("TFLOPS", number("tflops", 3))
_STACKS = (_CONFIG, _WEIGHTS, _GFLOP, *_TIMES, _TFLOPS, REMARK)

_ITEM = Column("Item", lambda row: row.key.partition("/")[2], "left")
_ERROR = Column("Error", lambda row: UNKNOWN if row.error is None else f"{row.error:.1e}")

PREDICTED = (  # where rows have it, before REMARK
    Column("Predicted", number("predicted_ms", 3)),
    Column("90 % interval", _predicted_interval, is_spare=True),
)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "peak": _STACKS,
    "sweep": _STACKS,
    "latency": (_CONFIG, _WEIGHTS, *_TIMES, _TFLOPS, REMARK),
    "int8": (
        _CONFIG,
        _WEIGHTS,
        Column("GOP", metric("gflop", 2), is_spare=True),
        *_TIMES,
        Column("TOPS", number("tflops", 3)),
        Column("Ratio", ratio, "left"),
        REMARK,
    ),
    "ports": (_CONFIG, _GFLOP, *_TIMES, Column("Ratio", ratio, "left"), REMARK),
    "dispatch": (_CONFIG, Column("GFLOP", number("gflop", 3)), *_TIMES, REMARK),
    "sram": (
        _CONFIG,
        _WEIGHTS,
        Column("Act", metric("activations_mib", 2), is_spare=True),
        Column("Tot", metric("total_mib", 1), is_spare=True),
        *_TIMES,
        _TFLOPS,
        Column("GFLOPS/MiB", metric("gflops_per_mib", 1)),
        REMARK,
    ),
    "sustained": (
        _CONFIG,
        Column("Calls", lambda row: UNKNOWN if row.n is None else str(row.n)),
        *_TIMES,
        _TFLOPS,
        REMARK,
    ),
    "qos": (
        _CONFIG,
        *_TIMES,
        Column("Ratio", ratio, "left"),
        Column("First", number("first_ms", 4), is_spare=True),
        Column("Compile", number("compile_ms", 3), is_spare=True),
        Column("Load", number("load_ms", 3), is_spare=True),
        REMARK,
    ),
    "bench": (
        _CONFIG,
        *_TIMES,
        Column("calls/s", number("calls_per_s", 4)),
        Column("GFLOP/s", number("gflop_per_s", 4)),
        Column("GB/s", number("gb_per_s", 3)),
        Column("Error", _checked),
        REMARK,
    ),
    "profile": (
        Column("Operation", parameter("config"), "left"),
        Column("Kind", parameter("kind"), "left"),
        Column("Shape", parameter("shape"), "left"),
        Column("ms", median),
        Column("±", half_width),
        Column("Share", _share),
        Column("GFLOP/s", number("gflop_per_s", 3)),
        REMARK,
    ),
    "engines": (
        _CONFIG,
        Column("ms/call", median),
        Column("±", half_width),
        Column("calls/s", number("calls_per_s", 4)),
        _TFLOPS,
        Column("Ratio", ratio, "left"),
        REMARK,
    ),
    "inputs": (_CONFIG, _GFLOP, *_TIMES, _TFLOPS, Column("Ratio", ratio, "left"), REMARK),
    "contention": (_CONFIG, *_TIMES, Column("Ratio", ratio, "left"), REMARK),
    "idle": (
        Column("First call", parameter("config"), "left"),
        Column("ms", median),
        Column("±", half_width),
        Column("Second", number("second_ms", 4)),
        Column("Steady", number("steady_ms", 4)),
        Column("More", number("extra_ms", 3)),
        Column("Times", number("times_steady", 3)),
        Column("Pauses", lambda row: UNKNOWN if row.n is None else str(row.n)),
        REMARK,
    ),
    "allreduce": (
        Column("Size", parameter("config"), "left"),
        Column("Bytes", parameter("bytes"), is_spare=True),
        Column("ms", median),
        Column("±", half_width),
        Column("p95", p95, is_spare=True),
        Column("algbw (GB/s)", number("algbw_gb_per_s", 3)),
        Column("busbw (GB/s)", number("busbw_gb_per_s", 3)),
        Column("Wrong", metric("wrong", 0)),
        REMARK,
    ),
    "depth": (
        Column("Chain", parameter("config"), "left"),
        Column("Layers", lambda row: str(row.params.get("layers", f"{row.metrics.get('layers', 0):.0f}"))),
        Column("Compile (ms)", number("compile_ms", 4)),
        Column("Load (ms)", number("load_ms", 3)),
        Column("Error", _checked),
        REMARK,
    ),
    "memory": (
        Column("Limit", parameter("config"), "left"),
        Column("MiB", metric("loaded_mib", 0)),
        Column("Programs", metric("programs", 0)),
        Column("Resident", metric("resident_ratio", 2)),
        REMARK,
    ),
    "compat": (_ITEM, _ERROR, REMARK),
    "parity": (
        _ITEM,
        _ERROR,
        Column("ulp", number("max_ulp", 3)),
        Column("exact", lambda row: _percent(row.metrics.get("exact_share"))),
        Column("Allowed", number("tolerance", 2)),
        REMARK,
    ),
    "conformance": (
        Column("Rule", parameter("rule"), "left"),
        Column("Agree", _agreeing("agree", "cases")),
        Column("Published", _agreeing("published_agree", "published")),
        Column("Known", parameter("known"), "left"),
        Column("Verdict", _verdict, "left"),
    ),
    "weights": (Column("Trial", parameter("trial"), "left"), Column("Verdict", _trial_verdict, "left")),
    "counters": (
        Column("Counter", parameter("config"), "left"),
        Column("Value", _value),
        Column("Unit", parameter("in"), "left"),
    ),
    "doctor": (
        Column("Check", parameter("check"), "left"),
        Column("Verdict", parameter("verdict"), "left"),
        Column("Finding", _finding, "left"),
    ),
    "limits": (
        Column("Limit", parameter("limit"), "left"),
        Column("Programs", metric("programs", 0)),
        Column("Bytes each", metric("bytes_each", 0)),
        Column("Median", median),
        Column("±", half_width),
        Column("", lambda row: row.unit or "", "left"),
        Column("", lambda row: str(row.params.get("ending", row.params.get("verdict", remark(row)))), "left"),
    ),
}
