"""Open a device, the Neural Engine or its emulator, and describe it."""

import contextlib
import datetime
import os
import platform
import weakref
from collections.abc import Iterator

import numpy as np

from ._ane_native import CompileBudget, Device, __version__, open_emulator, open_neural_engine
from .bounds import COMPILE_TIMEOUT, within
from .checks import count
from .chips import profile_of
from .errors import ArgumentError, DeviceUnavailable
from .machine import describe_machine
from .measure import load_average
from .results import Environment

DEFAULT_CHIP = "h16"
DEFAULT_COMPILE_TIMEOUT = 120.0  # seconds
STAND_IN = "aneperf stand-in"  # the system's name in the framework of tests/ane_framework

# Why open() returned the emulator although the machine should have a Neural Engine.
_notes: "weakref.WeakKeyDictionary[Device, str]" = weakref.WeakKeyDictionary()
_compile_timeouts: "weakref.WeakKeyDictionary[Device, float]" = weakref.WeakKeyDictionary()


def open(
    device: str | None = None,
    *,
    chip: str | None = None,
    compile_budget: CompileBudget | int | None = None,
    compile_timeout: float | None = None,
) -> Device:
    """Open a device: "ane", "emulator" or "emulator:CHIP".

    None takes the environment variable ANEPERF_DEVICE; if it is not set, the Neural Engine of an
    Apple-silicon Mac, or else the emulator. `chip` is what the emulator imitates, such as "M4 Max" or "h16"
    (by default ANEPERF_CHIP, or h16), and asks for the emulator if `device` is None, whatever ANEPERF_DEVICE
    says. An integer `compile_budget` is the soft limit.

    `compile_timeout` is how many seconds a compile or load may take in the child processes that probes and
    training start for this device (by default ANEPERF_COMPILE_TIMEOUT, or 120). It cannot end a compile in
    this process.
    Raises ArgumentError, and DeviceUnavailable if the device asked for does not exist here.
    """
    timeout = _compile_timeout(compile_timeout)
    opened = _open(device, chip, compile_budget)
    _compile_timeouts[opened] = timeout
    return opened


def compile_timeout_of(device: Device) -> float:
    """Return the seconds that a compile may take in a child process."""
    return _compile_timeouts.get(device, DEFAULT_COMPILE_TIMEOUT)


def _open(device: str | None, chip: str | None, compile_budget: CompileBudget | int | None) -> Device:
    variable = "ANEPERF_DEVICE" if device is None and chip is None else None
    with _blaming(variable):
        kind, chip = _choose(os.environ.get(variable) or None if variable else device, chip)
    note = None
    if kind == "ane" or (kind is None and _is_apple_silicon()):
        try:
            return open_neural_engine(_budget(compile_budget, "ane"))
        except DeviceUnavailable as error:
            if kind == "ane":
                raise
            note = f"The emulator stands in, since the Neural Engine did not open: {error}"
    if chip is None:
        variable, chip = "ANEPERF_CHIP", os.environ.get("ANEPERF_CHIP") or DEFAULT_CHIP
    budget = _budget(compile_budget, "emulator")
    with _blaming(variable):
        emulator = open_emulator(profile_of(chip), budget)
    if note:
        _notes[emulator] = note
    return emulator


def opened(device: Device | str | None) -> Device:
    """Return the device itself, or open the one of that name. Raises as `open` does."""
    if device is None or isinstance(device, str):
        return open(device)
    if not hasattr(device, "info"):
        raise ArgumentError(f"device must be a Device, its name or None, not {device!r}")
    return device


def name_of(device: Device) -> str:
    """Return the name by which another process opens a device of the same kind."""
    properties = device.info()
    return "ane" if properties["kind"] == "ane" else f"emulator:{properties['chip']}"


def info(device: Device | str | None = None) -> Environment:
    """Describe the device and this machine: prints as a table; `to_dict()` gives it as data."""
    device = opened(device)
    properties = device.info()
    kind = "stand-in" if properties.get("system") == STAND_IN else properties["kind"]
    del properties["kind"]
    properties.pop("cpu", None)  # the machine's, which has a field of its own
    return Environment(
        aneperf=__version__,
        device=kind,
        chip=properties.pop("chip"),
        subtype=properties.pop("subtype", None),
        properties=properties,
        device_note=_notes.get(device),
        numpy=np.__version__,
        load=load_average(),
        started=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        **describe_machine(),
    )


def _choose(device: str | None, chip: str | None) -> tuple[str | None, str | None]:
    """Return the kind of device, None for automatic, and the emulator's profile, None for the default."""
    for name, value in (("device", device), ("chip", chip)):
        if value is not None and not isinstance(value, str):
            raise ArgumentError(f"{name} must be a name or None, not {value!r}")
    if device is None:
        return (None, None) if chip is None else ("emulator", profile_of(chip))
    kind, colon, named_chip = device.partition(":")
    if kind not in ("ane", "emulator") or (colon and not named_chip):
        raise ArgumentError(
            f"no device is called {device!r}: choose ane, emulator, or emulator:{DEFAULT_CHIP}"
        )
    if kind == "ane" and (colon or chip):
        raise ArgumentError("a chip is for the emulator; the Neural Engine has its own")
    profiles = [profile_of(name) for name in (named_chip or None, chip) if name is not None]
    if len(set(profiles)) > 1:
        raise ArgumentError(f"device {device!r} and chip {chip!r} name two chips")
    return kind, profiles[0] if profiles else None


@contextlib.contextmanager
def _blaming(variable: str | None) -> Iterator[None]:
    """Name the environment variable that a refused value came from, if any, in the error's message."""
    try:
        yield
    except ArgumentError as error:
        if variable is None or "ANEPERF_" in str(error):
            raise
        raise ArgumentError(f"{variable}={os.environ.get(variable)}: {error}") from error


def _compile_timeout(seconds: float | None) -> float:
    variable = "ANEPERF_COMPILE_TIMEOUT" if seconds is None else None
    asked: object = seconds
    if variable is not None and not (asked := os.environ.get(variable)):
        return DEFAULT_COMPILE_TIMEOUT
    if isinstance(asked, str):
        with contextlib.suppress(ValueError):
            asked = float(asked)
    with _blaming(variable):
        return within("compile_timeout", asked, COMPILE_TIMEOUT)


def _budget(budget: CompileBudget | int | None, kind: str) -> CompileBudget:
    default = CompileBudget()
    if budget is None:
        return default
    if isinstance(budget, CompileBudget):
        return budget
    count("compile_budget", budget)
    if kind == "ane" and budget > default.hard:
        raise ArgumentError(
            f"a compile budget of {budget} is more than the {default.hard} compiles that the Neural Engine "
            "allows one process"
        )
    return CompileBudget(soft=budget, hard=max(budget, default.hard))


def _is_apple_silicon() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"
