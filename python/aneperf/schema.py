"""The JSON Schema of a result file, and a check of all its numbers that follow from others."""

import dataclasses
import datetime
import json
import math
import re
from collections.abc import Sequence

import msgspec
import numpy as np

from .chips import PROFILES
from .errors import ResultFileError
from .files import one_line
from .measure import UNSETTLED, Sample, analyze, flags_of, geometric_mean, join, summarize
from .power import ENERGY_METRICS, METHODS
from .results import SCHEMA_VERSION, Environment, Result, Row

_DEVICES = ("ane", "emulator", "stand-in")
_UNITS = ("ms", "x", "TFLOPS")  # "x" of a ratio
_NOT_OF_CALLS = ("limits", "engines", "idle")  # probes whose times are of compiles, of rounds, of first calls
_STACK = re.compile(r"/conv(\d{1,7})x(\d{1,7})/sp(\d{1,7})(?:x(\d{1,7}))?(?:/|$)", re.ASCII)
_MS_PER_NS = 1e-6
_COLDEST, _HOTTEST = -50.0, 150.0  # degrees Celsius of a CPU that runs
_LARGEST_ERROR = 1.0  # of the largest result: where it is exceeded, an output is wrong whatever was computed


def result_schema() -> str:
    """Return the JSON Schema (2020-12) of a result file, made from the types that read it."""
    schema = msgspec.json.schema(Result)
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "aneperf result", **schema}
    schema["$defs"]["Result"]["properties"]["schema_version"] = {"const": SCHEMA_VERSION}
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def stack_of(key: str) -> tuple[int, int, int] | None:
    """Return the channels, layers and positions of the stack that a key names, if it names one."""
    if not (found := _STACK.search(key)):
        return None
    channels, depth, *area = (int(number or 1) for number in found.groups())
    return channels, depth, math.prod(area)


def is_of_zeros(row: Row) -> bool:
    """Tell whether a row is of a program whose inputs are zero, as only `inputs` has them."""
    return row.key.startswith("inputs/") and row.key.endswith("/zero")


def check_numbers(result: Result) -> None:
    """Check that a file's facts are of a kind that aneperf writes, and all numbers that follow from others.

    The durations of a row's calls determine its statistics, intervals and flags; its key determines its work;
    work and times determine its rates. Raises ResultFileError.
    """
    try:
        _check_environment(result.environment)
        for row in result:
            try:
                _check_row(row)
                _check_energy(row, result.environment)
            except _Wrong as wrong:
                raise _Wrong(f"row {row.key!r}: {wrong}") from None
    except _Wrong as wrong:
        raise ResultFileError(one_line(wrong)) from None


class _Wrong(Exception):
    """A number or a fact that cannot be; the text says which and why."""


def _check_environment(environment: Environment) -> None:
    if environment.device not in _DEVICES:
        raise _Wrong(f"device is {environment.device!r}: it is one of {', '.join(_DEVICES)}")
    if environment.device != "emulator" and "simd" in environment.properties:
        raise _Wrong(f"device is {environment.device!r}, but its properties are not of such a device")
    if environment.device == "ane" and not environment.os.startswith("macOS "):
        raise _Wrong(f"device is 'ane' on {environment.os!r}: a Neural Engine is measured on macOS")
    if environment.device == "emulator" and environment.chip not in PROFILES:
        raise _Wrong(f"chip is {environment.chip!r}: the emulator has {', '.join(PROFILES)}")
    for name in ("cores", "memory_bytes", "frequency_mhz"):
        if (value := getattr(environment, name)) is not None and not value > 0:
            raise _Wrong(f"{name} is {value!r}: it must be above 0")
    if environment.load is not None and environment.load < 0:
        raise _Wrong(f"load is {environment.load!r}: it cannot be negative")
    if not _COLDEST <= (environment.temperature_c or 0.0) <= _HOTTEST:
        raise _Wrong(f"temperature_c is {environment.temperature_c!r}, no temperature of a CPU")
    for name in ("aneperf", "python", "numpy"):
        if not re.fullmatch(r"\d+(\.\d+)+[\w.+-]*", getattr(environment, name), re.ASCII):
            raise _Wrong(f"{name} is {getattr(environment, name)!r}, no version")
    try:
        is_aware = datetime.datetime.fromisoformat(environment.started).tzinfo is not None
    except ValueError:
        is_aware = False
    if not is_aware:
        raise _Wrong(f"started is {environment.started!r}, no time of ISO 8601 with its zone")


def _check_row(row: Row) -> None:
    if row.unit not in (None, *_UNITS):
        raise _Wrong(f"unit is {row.unit!r}: it is one of {', '.join(_UNITS)}")
    probe = row.key.partition("/")[0]
    is_part = "start_s" in row.params  # an interval of a load, whose durations stand in the row of all of it
    if row.durations_ns:
        if row.unit != "ms":
            raise _Wrong(f"unit is {row.unit!r}, but a row with durations is in ms")
        _check_durations(row, sampled=probe != "training")
    elif row.unit == "ms" and probe not in _NOT_OF_CALLS and not is_part and _is_timed(row):
        raise _Wrong("it has times, but no durations")
    elif row.published_mean is not None or row.flags:
        raise _Wrong("without durations it has neither flags nor a published mean")
    if row.status == "ok" and row.error is not None and row.error > _LARGEST_ERROR:
        raise _Wrong(f"error is {row.error!r}, more than the largest result: such an output is wrong")
    if row.unit == "ms" and row.n and row.median is None:
        raise _Wrong(f"it has {row.n} calls, but no median")
    _check_work(row, row.mean if is_part else row.median)
    low, value, high = (row.metrics.get(name, 0.0) for name in ("ratio_low", "ratio", "ratio_high"))
    if high and not low <= value <= high:
        raise _Wrong(f"ratio is {value!r}, outside its interval from {low!r} to {high!r}")
    _check_prediction(row)


def _check_prediction(row: Row) -> None:
    """Check that a predicted time has an interval around it, and a chip."""
    low, value, high = (row.metrics.get(f"predicted_{name}") for name in ("low_ms", "ms", "high_ms"))
    if low is None and value is None and high is None:
        return
    if low is None or value is None or high is None or not 0 < low <= value <= high:
        raise _Wrong(f"predicted_ms is {value!r}, and its interval from {low!r} to {high!r}")
    if not isinstance(row.params.get("predicted_chip"), str):
        raise _Wrong("predicted_ms is of no chip: predicted_chip is missing")


def _is_timed(row: Row) -> bool:
    """Tell whether a row has times of calls; others are fitted to those of several rows."""
    return row.n is not None or (
        row.status == "ok" and row.median is not None and stack_of(row.key) is not None
    )


def _check_durations(row: Row, *, sampled: bool) -> None:
    """Compare with what `measure.analyze` finds, or for rows of training with their statistics alone."""
    is_whole = len(row.durations_ns) == row.calls  # a long trace is kept in part
    found: dict[str, object] = {}
    if sampled:
        found |= _of_processes(row, is_whole=is_whole) if row.processes else _of_one(row, is_whole=is_whole)
        if row.status == "ok" and row.error is None:
            raise _Wrong("error is missing: every timed output is checked")
        is_inexact = stack_of(row.key) and "w8a8" not in row.key and not is_of_zeros(row)
        if row.status == "ok" and row.error == 0 and is_inexact:
            raise _Wrong("error is 0, but no convolution in fp16 is exact")
        if "first_ms" in row.metrics:
            found["first_ms"] = float(row.durations_ns[0]) * _MS_PER_NS
    elif is_whole:
        found |= summarize(np.array(row.kept) * _MS_PER_NS).fields()
    if not is_whole and not row.processes and row.median is not None:
        kept = np.array(row.kept) * _MS_PER_NS
        if 2 * max(np.sum(kept < row.median * 0.999), np.sum(kept > row.median * 1.001)) > (row.n or 0) + 2:
            raise _Wrong(f"median is {row.median!r}, on the wrong side of most durations")
    for name, value in found.items():
        stated = row.metrics[name] if name in row.metrics else getattr(row, name)
        if not _agree(stated, value):
            raise _Wrong(f"{name} is {stated!r}, but its durations give {value!r}")


def _of_one(row: Row, *, is_whole: bool) -> dict[str, object]:
    """Return what the durations of one process determine."""
    sample = _analyzed(row, row.durations_ns)
    if not is_whole:
        return {"published_mean": sample.published_mean}
    return {
        **sample.statistics.fields(),
        "warm_up": sample.warm_up,
        "published_mean": sample.published_mean,
        "flags": (*sample.flags, *flags_of(row.metrics)),
    }


def _of_processes(row: Row, *, is_whole: bool) -> dict[str, object]:
    """Return what the durations of several processes determine, or only their medians if they are cut."""
    if not is_whole:
        median = geometric_mean(row.medians)
        return {"median": median.value, "ci_low": median.ci_low, "ci_high": median.ci_high}
    samples = [_analyzed(row, trace) for trace, _ in row.traces()]
    joined = join(samples)
    return {
        **joined.statistics.fields(),
        "warm_ups": tuple(sample.warm_up for sample in samples),
        "medians": joined.medians,
        "published_mean": joined.published_mean,
        "flags": (*joined.flags, *flags_of(row.metrics)),
    }


def _analyzed(row: Row, trace: Sequence[int]) -> Sample:
    """Analyze a trace; a device whose clocks settle under load has told how long it was at work."""
    loaded_s = row.metrics.get("loaded_s")
    sample = analyze(np.array(trace, dtype=np.int64), loaded_s=loaded_s)
    return dataclasses.replace(sample, flags=tuple(flag for flag in sample.flags if flag != UNSETTLED))


def _check_work(row: Row, time_ms: float | None) -> None:
    """Check the work against the key, and the rates against work and times."""
    work = row.metrics.get("gflop")
    if stack := stack_of(row.key):
        channels, depth, positions = stack
        nominal = 2 * depth * channels**2 * positions / 1e9
        if work is not None and not _agree(work, nominal):
            raise _Wrong(f"gflop is {work!r}, but the key says {nominal!r}")
        work = nominal
        for name, value in zip(("channels", "depth"), (channels, depth), strict=True):
            if row.params.get(name, value) != value:
                raise _Wrong(f"{name} is {row.params[name]!r}, but the key says {value}")
    if work is None or row.unit != "ms":
        return
    times = {"tflops": time_ms, "tflops_low": row.ci_high, "tflops_high": row.ci_low}
    for name, time in times.items():
        stated = row.metrics.get(name)
        if stated is not None and not _agree(stated, work / time if time else None):
            rate = f"{work / time:.6g}" if time else "unknown"
            raise _Wrong(f"{name} is {stated!r}, but {work:.6g} GFLOP in {time or 0:.6g} ms are {rate}")


def _check_energy(row: Row, environment: Environment) -> None:
    """Check that the device has a power, and the metrics that follow from the slices of power."""
    energy = row.energy
    found = {} if energy is None else energy.metrics()
    if unfounded := sorted(name for name in row.metrics if name in ENERGY_METRICS and name not in found):
        raise _Wrong(f"it has {unfounded[0]}, but no power from which it follows")
    for name, value in found.items():
        if not _agree(row.metrics.get(name), value):
            raise _Wrong(f"{name} is {row.metrics.get(name)!r}, but its slices of power give {value!r}")
    if energy is None or energy.method is None:
        return
    if environment.device != "ane":
        raise _Wrong(
            f"it has a power by {energy.method}, but {environment.device} is no engine that takes any"
        )
    method = METHODS.get(energy.method)
    if method is None:
        raise _Wrong(f"the method of its energy is {energy.method!r}: it is one of {', '.join(METHODS)}")
    if not any(_agree(energy.doubt_w, doubt) for doubt in (method.doubt_w, method.busy_doubt_w)):
        raise _Wrong(f"doubt_w is {energy.doubt_w!r}, but that of {method.name} is {method.doubt_w!r}")
    if math.fsum(energy.load_s) > energy.seconds * 1.000001:
        raise _Wrong(f"its slices last longer than the {energy.seconds!r} s of the load")
    work = row.metrics.get("gflop")
    if work is not None and energy.per == "evaluation" and not _agree(energy.gflop, work):
        raise _Wrong(f"its energy is of {energy.gflop!r} GFLOP, but gflop is {work!r}")


def _agree(stated: object, found: object) -> bool:
    """Compare numbers but for rounding; None agrees with None."""
    if isinstance(stated, tuple) and isinstance(found, tuple):
        return len(stated) == len(found) and all(map(_agree, stated, found))
    if isinstance(stated, (int, float)) and isinstance(found, (int, float)):
        return math.isclose(stated, found, rel_tol=1e-6, abs_tol=1e-9)
    return stated == found
