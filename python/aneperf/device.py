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
from .checks import count, shown
from .chips import PROFILES, find_chip, profile_of
from .errors import ArgumentError, DeviceUnavailable
from .files import one_line
from .machine import describe_machine
from .measure import load_average
from .results import Environment

DEFAULT_CHIP = "h16"
DEFAULT_COMPILE_TIMEOUT = 120.0  # seconds
ROUTES = ("memory", "client")  # through the engine's framework; the first is the default
STAND_IN = "aneperf stand-in"  # the system's name in the framework of tests/ane_framework

# Why open() returned the emulator although the machine should have a Neural Engine.
_notes: "weakref.WeakKeyDictionary[Device, str]" = weakref.WeakKeyDictionary()
_imitated: "weakref.WeakKeyDictionary[Device, str]" = weakref.WeakKeyDictionary()  # the chip asked for
_compile_timeouts: "weakref.WeakKeyDictionary[Device, float]" = weakref.WeakKeyDictionary()


def open(
    device: str | None = None,
    *,
    chip: str | None = None,
    route: str | None = None,
    compile_budget: CompileBudget | int | None = None,
    compile_timeout: float | None = None,
) -> Device:
    """Open a device: "ane", "ane:ROUTE", "emulator" or "emulator:CHIP".

    None takes the environment variable ANEPERF_DEVICE; if it is not set, the Neural Engine of an
    Apple-silicon Mac, or else the emulator. `chip` is what the emulator imitates, such as "M4 Max" or "h16"
    (by default ANEPERF_CHIP, or h16), and asks for the emulator if `device` is None, whatever ANEPERF_DEVICE
    says. An integer `compile_budget` is the soft limit.

    `route` is the way through the engine's framework: "memory", a model from memory, or "client", the client
    of the engine's service (by default ANEPERF_ROUTE, or memory). It asks for the Neural Engine if `device`
    is None. The emulator has no routes: it refuses the argument and ignores the variable.

    `compile_timeout` is how many seconds a compile or load may take in the child processes that probes and
    training start for this device (by default ANEPERF_COMPILE_TIMEOUT, or 120). It cannot end a compile in
    this process.
    Raises ArgumentError, and DeviceUnavailable if the device asked for does not exist here.
    """
    timeout = asked_compile_timeout(compile_timeout)
    opened = _open(device, chip, route, compile_budget)
    _compile_timeouts[opened] = timeout
    return opened


def asked_compile_timeout(seconds: float | None) -> float:
    """Return the seconds that `open` takes: those given, or else the environment's. Raises ArgumentError."""
    variable = "ANEPERF_COMPILE_TIMEOUT" if seconds is None else None
    asked: object = seconds
    if variable is not None and not (asked := os.environ.get(variable)):
        return DEFAULT_COMPILE_TIMEOUT
    if isinstance(asked, str):
        with contextlib.suppress(ValueError):
            asked = float(asked)
    with _blaming(variable):
        return within("compile_timeout", asked, COMPILE_TIMEOUT)


def compile_timeout_of(device: Device) -> float:
    """Return the seconds that a compile may take in a child process."""
    return _compile_timeouts.get(device, DEFAULT_COMPILE_TIMEOUT)


def _open(
    device: str | None, chip: str | None, route: str | None, compile_budget: CompileBudget | int | None
) -> Device:
    variable = "ANEPERF_DEVICE" if device is None and chip is None and route is None else None
    with _blaming(variable):
        kind, chip, route = _choose(os.environ.get(variable) or None if variable else device, chip, route)
    with _blaming("ANEPERF_ROUTE"):
        default_route = _known_route(os.environ.get("ANEPERF_ROUTE") or ROUTES[0])
    note = None
    if kind == "ane" or (kind is None and _is_apple_silicon()):
        try:
            return open_neural_engine(
                _budget(compile_budget, "ane"), client=(route or default_route) == "client"
            )
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
    if chip.lower() not in PROFILES:
        with contextlib.suppress(ArgumentError):  # an engine that several chips have
            _imitated[emulator] = find_chip(chip).name
    return emulator


def opened(device: Device | str | None) -> Device:
    """Return the device itself, or open the one of that name. Raises as `open` does."""
    if device is None or isinstance(device, str):
        return open(device)
    if not hasattr(device, "info"):
        raise ArgumentError(f"device must be a Device, its name or None, not {shown(device)}")
    return device


def name_of(device: Device) -> str:
    """Return the name by which another process opens a device of the same kind."""
    properties = device.info()
    return f"ane:{properties['route']}" if properties["kind"] == "ane" else f"emulator:{properties['chip']}"


def info(device: Device | str | None = None) -> Environment:
    """Describe the device and this machine: prints as a table; `to_dict()` gives it as data."""
    device = opened(device)
    properties = device.info()
    kind = "stand-in" if properties.get("system") == STAND_IN else properties["kind"]
    del properties["kind"]
    properties.pop("cpu", None)  # the machine's, which has a field of its own
    if imitated := _imitated.get(device):
        properties["imitates"] = imitated
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


def _choose(
    device: str | None, chip: str | None, route: str | None
) -> tuple[str | None, str | None, str | None]:
    """Return the kind of device, None for automatic; the emulator's chip; and the engine's route.

    None is the default of the chip and the route.
    """
    for name, value in (("device", device), ("chip", chip), ("route", route)):
        if value is not None and not isinstance(value, str):
            raise ArgumentError(f"{name} must be a name or None, not {shown(value)}")
    if device is None:
        if chip is None and route is None:
            return None, None, None
        device = "ane" if chip is None else "emulator"
    kind, colon, named = device.partition(":")
    if kind not in ("ane", "emulator") or (colon and not named):
        raise ArgumentError(
            f"no device is called {shown(device)}: choose ane, emulator, or emulator:{DEFAULT_CHIP}"
        )
    if kind == "ane" and chip is not None:
        raise ArgumentError("a chip is for the emulator; the Neural Engine has its own")
    if kind == "emulator" and route is not None:
        raise ArgumentError("a route is for the Neural Engine; the emulator has none")
    known = profile_of if kind == "emulator" else _known_route
    asked = {known(name): name for name in (named or None, chip, route) if name is not None}
    if len(asked) > 1:
        what = "chips" if kind == "emulator" else "routes"
        raise ArgumentError(f"device {shown(device)} and {shown(chip or route)} name two {what}")
    only = next(iter(asked.values()), None)
    return (kind, only, None) if kind == "emulator" else (kind, None, only)


def _known_route(name: str) -> str:
    if name not in ROUTES:
        raise ArgumentError(f"no route is called {shown(name)}: choose {' or '.join(ROUTES)}")
    return name


@contextlib.contextmanager
def _blaming(variable: str | None) -> Iterator[None]:
    """Name the environment variable that a refused value came from, if any, in the error's message."""
    try:
        yield
    except ArgumentError as error:
        if variable is None or "ANEPERF_" in str(error):
            raise
        raise ArgumentError(f"{variable}={one_line(os.environ.get(variable), 60)}: {error}") from error


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
