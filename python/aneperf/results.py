"""Row, Environment and Result, the data that every probe returns, and the JSON file that holds it."""

import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec
import numpy as np

from . import bounds
from .checks import count, shown
from .comparison import THRESHOLD, Comparison
from .display import Displayed, Picture, call_report
from .errors import ArgumentError, ResultFileError
from .files import LONGEST_QUOTE, one_line, read_input
from .kinds import Kind
from .measure import DOUBTFUL, geometric_mean
from .outputs import form_of, write_whole
from .power import Energy

if TYPE_CHECKING:
    import pandas

__all__ = ["MAXIMUM_DURATIONS", "MAXIMUM_PROCESSES", "SCHEMA_VERSION", "Environment", "Result", "Row"]

SCHEMA_VERSION = 1
MAXIMUM_DURATIONS = 10_000  # kept for a row: about 100 KB in a file; each of its processes has an even share
MAXIMUM_PROCESSES = 100
_MS_PER_NS = 1e-6

Status = Literal["ok", "unsupported", "skipped", "error"]
STATUSES: tuple[Status, ...] = get_args(Status)


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One measured configuration. An unknown number is None, never a sentinel; NaN and infinity are refused.

    median, mean, p05, p95, ci_low, ci_high (95 % interval of the median) and published_mean (mean of 50
    calls after 10, as in the published tables) are in `unit`, over `n` calls after dropping the first
    `warm_up`. `error` is the output's largest relative error against the reference. `metrics` holds derived
    numbers, such as "tflops". `durations_ns` holds the duration of each call in order, from which the
    statistics follow: `warm_up` + `n` durations, or the first 10,000 of more. `energy` holds the power that
    was read during calls, from which the metrics "power_w", "mj_per_eval" and their like follow.

    A row that two or more processes measured has `processes`, the number of `durations_ns` of each in their
    order, with its `warm_ups` and `medians`; `warm_up` is None then. Its statistics give each process the
    same weight, and its interval holds what varies between processes (`aneperf.measure.join`).
    Raises ArgumentError.
    """

    key: str  # what was measured: "latency/conv512x1/sp64/fp32-ports"; see `aneperf.chips`
    status: Status
    reason: str | None = None  # why the status is not ok
    params: dict[str, int | float | str] = {}  # the configuration, and findings in words
    unit: str | None = None  # of the times below: "ms"
    n: int | None = None  # calls that the statistics are of
    warm_up: int | None = None  # calls before these, which the statistics leave out
    median: float | None = None  # of the n calls
    mean: float | None = None
    p05: float | None = None  # 5 % of the calls took at most this
    p95: float | None = None  # 95 % of the calls took at most this
    ci_low: float | None = None  # 95 % interval of the median; None where it is not known
    ci_high: float | None = None
    published_mean: float | None = None  # mean of 50 calls after 10, as in the published tables
    error: float | None = None  # the output's largest error against float64, relative to the largest result
    metrics: dict[str, float] = {}  # numbers derived from these, such as "tflops"
    flags: tuple[str, ...] = ()  # doubts, such as "drift": docs/measurement.md
    processes: tuple[int, ...] = ()  # number of durations of each process, where two or more measured the row
    warm_ups: tuple[int, ...] = ()  # each process's warm-up, in calls
    medians: tuple[float, ...] = ()  # each process's median
    energy: Energy | None = None  # where it was asked for
    durations_ns: tuple[int, ...] = ()  # every call in order, warm-up included; the first 10,000 of more

    def __post_init__(self) -> None:
        where = f"row {self.key!r}"
        if not self.key:
            raise ArgumentError("a row needs a key")
        if self.status not in STATUSES:
            raise ArgumentError(f"{where}: status is {self.status!r}: choose from {', '.join(STATUSES)}")
        if len(self.params) + len(self.metrics) + len(self.flags) > bounds.NAMES:
            raise ArgumentError(f"{where}: has more than {bounds.NAMES} params, metrics and flags")
        if (self.status == "ok") == bool(self.reason):
            raise ArgumentError(f"{where}: a row has a reason exactly when its status is not ok")
        numbers = {name: getattr(self, name) for name in _NUMBERS if getattr(self, name) is not None}
        for name, value in {**numbers, **self.metrics}.items():
            if not _is_number(value):
                raise ArgumentError(f"{where}: {name} is {value!r}; unknown numbers are None, others finite")
        for name, parameter in self.params.items():
            if not isinstance(parameter, str) and not _is_number(parameter):
                raise ArgumentError(f"{where}: {name} is {parameter!r}; it must be a text or a finite number")
        for name, value in numbers.items():
            if value < 0:
                raise ArgumentError(f"{where}: {name} is {value!r}; it cannot be negative")
        for low, high in (("p05", "median"), ("median", "p95"), ("ci_low", "median"), ("median", "ci_high")):
            if low in numbers and high in numbers and numbers[low] > numbers[high]:
                raise ArgumentError(f"{where}: {low} {numbers[low]!r} is above {high} {numbers[high]!r}")
        if self.processes or self.warm_ups or self.medians:
            self._check_processes(where)
        if self.durations_ns:
            self._check_durations(where)
        names = Counter([*_COLUMNS, *self.params, *self.metrics])
        if twice := [name for name, count in names.items() if count > 1]:
            raise ArgumentError(f"{where}: {', '.join(twice)} would name two columns")

    @property
    def name(self) -> str:
        """Return the row's name in tables: its configuration, or else its key."""
        return str(self.params.get("config", self.key))

    @property
    def calls(self) -> int:
        """Return the number of calls, those of the warm-up included."""
        return (self.warm_up or 0) + sum(self.warm_ups) + (self.n or 0)

    @property
    def kept(self) -> tuple[int, ...]:
        """Return the durations in ns that the statistics are of: those after each process's warm-up."""
        return tuple(itertools.chain.from_iterable(trace[warm_up:] for trace, warm_up in self.traces()))

    def traces(self) -> Iterator[tuple[tuple[int, ...], int]]:
        """Yield each process's durations in ns, and the number of them that are its warm-up."""
        start = 0
        parts = zip(self.processes, self.warm_ups, strict=True)
        for length, warm_up in parts if self.processes else [(len(self.durations_ns), self.warm_up or 0)]:
            yield self.durations_ns[start : start + length], warm_up
            start += length

    def __repr__(self) -> str:
        """Show all fields, but only the number of durations."""
        fields = [f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__[:-1]]
        return f"Row({', '.join(fields)}, durations_ns=<{len(self.durations_ns)}>)"

    def _check_processes(self, where: str) -> None:
        number = len(self.processes)
        if not (2 <= number == len(self.warm_ups) == len(self.medians) and number <= MAXIMUM_PROCESSES):
            raise ArgumentError(
                f"{where}: processes, warm_ups and medians are empty, or of 2..{MAXIMUM_PROCESSES} processes"
            )
        if self.warm_up is not None:
            raise ArgumentError(f"{where}: a row of several processes has warm_ups, and no warm_up")
        if not all(type(count) is int and 0 <= count < 2**63 for count in (*self.processes, *self.warm_ups)):
            raise ArgumentError(f"{where}: processes and warm_ups must be integers, not negative")
        if not all(_is_number(median) and median >= 0 for median in self.medians):
            raise ArgumentError(f"{where}: medians must be finite numbers, not negative")
        if self.median is None or not math.isclose(
            self.median, geometric_mean(self.medians).value, rel_tol=1e-6
        ):
            raise ArgumentError(f"{where}: median is {self.median!r}, not the geometric mean of medians")
        if len(self.durations_ns) != sum(self.processes):
            raise ArgumentError(
                f"{where}: {len(self.durations_ns)} durations_ns, where processes has {sum(self.processes)}"
            )

    def _check_durations(self, where: str) -> None:
        kept, share = len(self.durations_ns), MAXIMUM_DURATIONS // (len(self.processes) or 1)
        is_whole = kept == self.calls and kept <= MAXIMUM_DURATIONS
        if not is_whole and not max(self.processes or [kept]) == share < self.calls:
            each = " of each process" if self.processes else ""
            raise ArgumentError(
                f"{where}: {kept} durations_ns for {self.calls} calls: keep all of them, or the first "
                f"{share}{each} of more"
            )
        if not all(type(call) is int and 0 <= call < 2**63 for call in self.durations_ns):
            raise ArgumentError(f"{where}: durations_ns must be integers of nanoseconds, not negative")


def _is_number(value: object) -> bool:
    """Tell whether JSON can hold it: a finite float or a 64-bit integer."""
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float):
        return math.isfinite(plain)
    return isinstance(plain, int) and not isinstance(plain, bool) and -(2**63) <= plain < 2**63


_NUMBERS = ("n", "warm_up", "median", "mean", "p05", "p95", "ci_low", "ci_high", "published_mean", "error")
_COLUMNS = ("probe", "key", "status", "reason", "unit", *_NUMBERS, "energy", "flags", "device", "chip")


_BUSY_SHARE = 0.75  # of the cores; half a minute of aneperf's own work leaves 0.4


class Environment(Displayed, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and when something was measured. A fact the system does not tell is None or "unavailable"."""

    aneperf: str  # its version
    device: str  # "ane", "emulator", or "stand-in": the bridge on a replacement of Apple's framework
    chip: str  # name of the chip, or of the profile that is emulated
    subtype: str | None = None  # the engine's own name, such as "h16g"
    properties: dict[str, str] = {}  # everything else the device reports, in display order
    device_note: str | None = None  # why the automatic choice fell back to the emulator, if it did
    os: str  # name and version
    os_build: str | None = None
    cpu: str  # name of the processor
    cores: int  # available to this process
    memory_bytes: int | None = None  # of the machine
    python: str  # its version
    numpy: str  # its version
    model: str = "unavailable"  # of the machine, such as "Mac16,10"
    commit: str = "unavailable"  # of the current folder's repository
    power: str = "unavailable"  # source of power: "AC Power"
    thermal: str = "unavailable"  # warning of heat by the system
    governor: str = "unavailable"  # what chooses the CPU's frequency
    frequency_mhz: float | None = None  # of the CPU's fastest core, at the start
    temperature_c: float | None = None  # of the CPU, at the start
    load: float | None = None  # runnable threads of the whole machine, over the minute before
    variables: dict[str, str] = {}  # environment variables that change speed
    cluster: dict[str, str] = {}  # of a run on several ranks: their number, "hosts" and "mpi"
    started: str  # ISO 8601, UTC

    def __post_init__(self) -> None:
        if len(self.properties) + len(self.variables) + len(self.cluster) > bounds.NAMES:
            raise ArgumentError(
                f"environment: has more than {bounds.NAMES} properties, variables and cluster"
            )
        for name, value in (("cores", self.cores), ("memory_bytes", self.memory_bytes)):
            if value is not None:
                count(f"environment: {name}", value, 0, 2**63 - 1)

    @property
    def is_software(self) -> bool:
        """Tell whether the numbers describe a CPU and not a Neural Engine."""
        return self.device != "ane"

    @property
    def busy(self) -> str | None:
        """Say in one line that other work keeps the machine busy, if the load says so."""
        if self.load is None or self.load < _BUSY_SHARE * self.cores:
            return None
        return (
            f"The machine was busy before: {self.load:.1f} threads ran on {self.cores} cores, and times will "
            "vary. Measure on an idle one."
        )

    @property
    def label(self) -> str:
        """Say in one printable line what was measured."""
        ranks = f", {self.layout}" if self.cluster else ""
        if not self.is_software:
            return one_line(f"Apple Neural Engine, {self.chip}{ranks}")
        what = "software emulator" if self.device == "emulator" else "stand-in for Apple's framework"
        return one_line(f"{what} on {self.cpu}{ranks}; not a Neural Engine measurement")

    @property
    def layout(self) -> str:
        """Say on how many ranks and hosts it was measured; "" for one process."""
        if not self.cluster:
            return ""
        ranks, hosts = (self.cluster.get(name, "unavailable") for name in ("ranks", "hosts"))
        return f"{ranks} ranks on {hosts} {'host' if hosts == '1' else 'hosts'}"

    def to_dict(self) -> dict[str, Any]:
        """Return every field by name, as in a result file."""
        fields: dict[str, Any] = msgspec.to_builtins(self)
        return fields


class Result(Displayed, msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The rows that a probe measured: a table where it is printed, at a prompt and in a notebook."""

    schema_version: int = SCHEMA_VERSION
    probe: str  # the verb: "peak"
    environment: Environment
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()  # findings and caveats for the reader

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ArgumentError(f"schema_version is {self.schema_version}; this is version {SCHEMA_VERSION}")
        if len(self.notes) > bounds.ROWS:
            raise ArgumentError(f"{self.probe}: has more than {bounds.ROWS} notes")
        if twice := [key for key, count in Counter(row.key for row in self.rows).items() if count > 1]:
            raise ArgumentError(f"{self.probe}: two rows have the key {twice[0]!r}")

    @property
    def best(self) -> Row | None:
        """Return the row with the highest "tflops" among those that can be relied on; None if none can.

        Such a row is ok and has an interval, and none of its flags says that another run may give another
        median. "tflops" is the rate at the median: rows within its interval, tflops_low to tflops_high, may
        be as fast.
        """
        rated = [
            row
            for row in self.rows
            if row.status == "ok" and "tflops" in row.metrics and None not in (row.ci_low, row.ci_high)
        ]
        sure = [row for row in rated if not DOUBTFUL.intersection(row.flags)]
        return max(sure, key=lambda row: row.metrics["tflops"], default=None)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a flat dict for each row, with params and metrics: `pandas.DataFrame(result.to_dicts())`.

        `durations_ns` is left out.
        """
        return [
            {
                "probe": self.probe,
                "key": row.key,
                **row.params,
                "status": row.status,
                "reason": row.reason,
                "unit": row.unit,
                **{name: getattr(row, name) for name in _NUMBERS},
                **row.metrics,
                **({} if row.energy is None else {"energy": row.energy.label}),
                "flags": ", ".join(row.flags),
                "device": self.environment.device,
                "chip": self.environment.chip,
            }
            for row in self.rows
        ]

    def to_pandas(self) -> "pandas.DataFrame":
        """Return `to_dicts()` as a DataFrame. Raises ArgumentError without pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ArgumentError(f"to_pandas needs pandas: pip install pandas ({error})") from error
        return pandas.DataFrame(self.to_dicts())

    def to_json(self) -> bytes:
        """Return the UTF-8 text that `save` writes, with a row's durations on one line.

        Raises ResultFileError.
        """
        return json_text(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON to `path`, or a table if it ends in .csv, .md or .html, atomically.

        Raises ResultFileError.
        """
        if (form := form_of(path, Kind.RESULT)) is not Kind.RESULT:
            write_whole(path, form, str(call_report("to_form", self, form)).encode())
            return
        try:
            text = self.to_json()
        except ResultFileError as error:
            raise ResultFileError(f"{path}: {error}") from error
        write_whole(path, Kind.RESULT, text)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> "Result":
        """Read a file that `save` wrote. Raises ResultFileError, naming the place in the file."""
        text = read_input(path, Kind.RESULT, bounds.JSON_BYTES)
        if bounds.has_many_rows(text):
            raise ResultFileError(f"{path}: has more than {bounds.ROWS} rows, the most that a result has")
        try:
            version = msgspec.json.decode(text, type=_Header).schema_version
            if version > SCHEMA_VERSION:
                raise ResultFileError(
                    f"{path}: schema version {version} is newer than this aneperf, which reads "
                    f"{SCHEMA_VERSION}: upgrade it"
                )
            result = msgspec.json.decode(text, type=Result)
        except msgspec.ValidationError as error:
            raise ResultFileError(
                f"{path}: not a result of aneperf: {one_line(error, LONGEST_QUOTE)}"
            ) from error
        except (msgspec.DecodeError, ValueError, RecursionError) as error:
            raise ResultFileError(
                f"{path}: not JSON, or cut short: {one_line(error, LONGEST_QUOTE)}"
            ) from error
        for row in result.rows:
            for name in _RENAMED.keys() & row.metrics.keys():
                row.metrics.setdefault(_RENAMED[name], row.metrics.pop(name))
            if misstated := _misstated(row):
                raise ResultFileError(f"{path}: row {shown(row.key)}: {misstated}")
        return result

    def compare(self, other: "Result | str", threshold: float = THRESHOLD) -> "Comparison":
        """Judge a later result against this one, or this one against a chip's published figures ("M4 Max").

        A difference of up to `threshold` is neither FASTER nor SLOWER. `aneperf.report.verdicts` states the
        rules, and `aneperf.report.compare_results` takes several results a side. Raises ArgumentError for an
        unknown chip, and for sides of different probes, or a chip, without a row in common.
        """
        comparison: Comparison = call_report("compare", self, other, threshold)
        return comparison

    def plot(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        kind: Literal["scan", "roofline", "histogram", "rows"] | None = None,
    ) -> Picture:
        """Draw the picture that suits the rows, or the one of `kind`, and save it if there is a path.

        Rows that differ in a numeric parameter are a scan over it. Others, of known work and bytes, are a
        roofline; a few rows with durations, histograms; else medians with their intervals. A notebook shows
        the returned picture. Needs `pip install '.[report]'`. Raises ArgumentError, ResultFileError.
        """
        picture: Picture = call_report("plot", self, path, kind)
        return picture

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def _misstated(row: Row) -> str | None:
    """Say how a number differs from what it follows from: slices of power, or durations that are all kept."""
    for name, value in () if row.energy is None else row.energy.metrics().items():
        if name in row.metrics and not math.isclose(row.metrics[name], value, rel_tol=1e-6, abs_tol=1e-9):
            return f"{name} is {row.metrics[name]!r}, but its slices of power give {value!r}"
    most = MAXIMUM_DURATIONS // (len(row.processes) or 1)
    for stated, (trace, warm_up) in zip(row.medians or (row.median,), row.traces(), strict=True):
        if row.unit == "ms" and stated is not None and warm_up < len(trace) < most:
            found = float(np.median(trace[warm_up:])) * _MS_PER_NS
            if not math.isclose(stated, found, rel_tol=1e-6, abs_tol=1e-9):
                return f"median is {stated!r}, but its durations give {found!r}"
    return None


# Older files call 2^20 bytes a MB.
_RENAMED = {
    "weights_mb": "weights_mib",
    "activations_mb": "activations_mib",
    "total_mb": "total_mib",
    "gflops_per_mb": "gflops_per_mib",
}


class _Header(msgspec.Struct):
    schema_version: int


def json_text(data: object) -> bytes:
    """Return indented JSON, with a list of numbers on one line. Raises ResultFileError."""
    try:
        text = msgspec.json.format(msgspec.json.encode(data, enc_hook=plain_number), indent=2)
    except (ValueError, TypeError) as error:
        raise ResultFileError(f"the result holds a value that JSON cannot: {error}") from error
    # JSON strings contain no raw line breaks.
    return re.sub(rb"\[\n[\s\d,.e+-]+\]", lambda calls: b"".join(calls[0].split()), text) + b"\n"


def plain_number(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a result cannot hold a {type(value).__name__}")
