"""Check one submitted result: a Neural Engine's, with outputs checked and every number as its calls say."""

import hashlib
import math
import re
from dataclasses import dataclass

import numpy as np

from ...chips import Chip, find_chip, profile_of
from ...errors import AneError, ArgumentError, ResultFileError
from ...files import one_line
from ...kernels.conv_stack import ConvStack
from ...kernels.quantized_stack import QuantizedStack
from ...probes.registry import PROBES
from ...results import Environment, Result, Row
from ...schema import check_numbers, is_of_zeros, stack_of
from .entries import Entry, submitted_entries
from .folder import Found

_STACKS = {"peak", "int8", "sweep", "latency", "sram", "sustained", "qos", "ports", "inputs", "contention"}
COMPARABLE = {*PROBES, "training"}  # whose rows mean the same on every machine
_BUILD = re.compile(r"\d+[A-Z]\d+[a-z]?", re.ASCII)
_LONGEST_KEY = 120
_LEAST_ERROR = 2.0**-16  # of a column of fp16: rounding its values once leaves more than ten times that
_MOST_OF_PEAK = 2.0  # of the highest peak known; Winograd's transform and a wrong clock stay below
_LEAST_DISTINCT = 10  # durations that a row has, for equal ones to be a copy


@dataclass(frozen=True)
class Submission:
    """An accepted file, without its calls; a digest of each row's stands for them in `calls`, with its key.

    `compatible` holds the statuses of the items that `aneperf compat` tries, by their keys.
    """

    name: str
    contributor: str
    chip: Chip
    environment: Environment
    probe: str
    rows: int
    entries: tuple[Entry, ...]
    compatible: dict[str, str]
    calls: dict[bytes, str]


def read_submission(found: Found) -> Submission:
    """Read and check a file. Raises ResultFileError with the reason, which may quote the file at length."""
    try:
        result = Result.load(found.path)
    except ResultFileError as error:
        # The page names the file itself; where its folder lies is nobody's business.
        raise ResultFileError(str(error).removeprefix(f"{found.path}: ")) from None
    chip = check_engine(result.environment)
    check_numbers(result)
    if not any(row.status == "ok" for row in result):
        raise ResultFileError("no row is ok: there is nothing to list")
    for row in result:
        try:
            _check_row(row, chip)
        except ArgumentError as error:
            raise ResultFileError(f"row {row.key!r}: {error}") from None
    calls: dict[bytes, str] = {}
    for row in result:
        if (digest := _digest(row)) is not None:
            if digest in calls:
                raise ResultFileError(f"rows {calls[digest]!r} and {row.key!r} have the same calls")
            calls[digest] = row.key
    return Submission(
        name=found.name,
        contributor=found.contributor,
        chip=chip,
        environment=result.environment,
        probe=one_line(result.probe, 40),
        rows=len(result),
        entries=tuple(
            submitted_entries(result, result.environment, chip.name, found.contributor, found.name)
        ),
        compatible={row.key: row.status for row in result if row.key.startswith("compat/")},
        calls=calls,
    )


def check_engine(environment: Environment) -> Chip:
    """Return the chip whose Neural Engine an environment describes. Raises ResultFileError."""
    if environment.is_software:
        raise ResultFileError(
            f"measured on the {environment.device}: the community's figures are of Neural Engines"
        )
    try:
        chip = find_chip(environment.chip)
        if find_chip(environment.cpu) != chip:
            raise ArgumentError(f"the chip is {environment.chip!r}, and the CPU {environment.cpu!r}")
        if environment.subtype is None:
            raise ArgumentError("subtype is missing: a Neural Engine reports its name, such as h16g")
        if (profile := profile_of(environment.subtype)) != chip.profile:
            raise ArgumentError(
                f"subtype is {environment.subtype!r}, an engine of {profile}: {chip.name} has {chip.profile}"
            )
        if environment.os_build is None or not _BUILD.fullmatch(environment.os_build):
            raise ArgumentError(f"os_build is {environment.os_build!r}, no build of macOS such as 25D125")
        if not environment.memory_bytes:
            raise ArgumentError("memory_bytes is missing: macOS tells it")
    except AneError as error:
        raise ResultFileError(f"environment: {error}") from None
    return chip


def _check_row(row: Row, chip: Chip) -> None:
    """Check what `check_numbers` leaves open, because it is asked of a submission alone."""
    probe = row.key.partition("/")[0]
    if probe not in COMPARABLE:
        raise ArgumentError(f"{probe!r} is no probe whose rows are alike on all machines")
    if len(row.key) > _LONGEST_KEY or not row.key.isprintable():
        raise ArgumentError(f"a key has at most {_LONGEST_KEY} printable characters")
    if row.status != "ok":
        return
    if "output" in row.params:
        raise ArgumentError("its output was not checked")
    if probe == "training" and row.unit == "ms" and not row.durations_ns:
        raise ArgumentError("it has times, but no durations")
    if (stack := stack_of(row.key)) is not None:
        _check_stack(row, stack, chip)
    elif probe in _STACKS:
        raise ArgumentError("its key names no stack of convolutions")


def _check_stack(row: Row, stack: tuple[int, int, int], chip: Chip) -> None:
    """Check the output's error against what rounding explains, and the rate against the chip's peak."""
    channels, depth, positions = stack
    is_int8 = row.key.endswith("/w8a8")
    if row.error is not None and row.durations_ns:
        kind = QuantizedStack if is_int8 else ConvStack
        most = kind(channels=channels, depth=depth).tolerance
        if row.error > most:
            raise ArgumentError(f"error is {row.error!r}, where rounding explains {most:.2g}: a wrong output")
        if not is_int8 and not is_of_zeros(row) and row.error < _LEAST_ERROR:
            raise ArgumentError(
                f"error is {row.error!r}, less than rounding to fp16 leaves: the inputs were zero, "
                "or the number is made up"
            )
    dtype = "int8" if is_int8 else "fp16"
    peak = max((peak.tops for peak in chip.peaks if peak.dtype in (dtype, None)), default=math.inf)
    if row.median and (rate := 2 * depth * channels**2 * positions / (row.median * 1e9)) > (
        _MOST_OF_PEAK * peak
    ):
        raise ArgumentError(
            f"{rate:.4g} TFLOPS are more than {_MOST_OF_PEAK:g} times the highest peak known of {chip.name}, "
            f"{peak:g}"
        )


def _digest(row: Row) -> bytes | None:
    """Return a digest of a row's durations, if they differ enough to be a measurement's own."""
    if len(set(row.durations_ns)) < _LEAST_DISTINCT:
        return None
    return hashlib.sha256(np.array(row.durations_ns, np.int64).tobytes()).digest()
