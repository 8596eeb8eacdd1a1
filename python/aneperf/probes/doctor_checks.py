"""The doctor's checks that a child process makes: each is one question to the framework or the engine."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np

from .. import device as devices
from .. import mil
from .._ane_native import Device
from ..errors import REFUSALS, CompileBudgetError
from ..measure import summarize
from ..power import METHODS, PowerError, own_providers
from ..reference.precision import ROUNDING
from ..results import Result, Row
from ..runner.measured import Measured, refused
from ..runner.progress import Progress, ProgressCallback
from ..runner.question import question_of
from . import compat
from .doctor_framework import CLIENT, FILE_HASHES, IN_MEMORY, STATISTICS, Needed, find_methods
from .weights import reload_other_files

DIFFERS = "differs"
_CALLS = 200
_READING_S = 0.3  # between two readings of power
_WIDTHS = (12, 33, 64)  # of fp16: below a boundary of 64 bytes, beyond one, and on one


def doctor_row(check: str, measured: Measured) -> Row:
    """Return a check's row: its verdict and, where it is not the reason, its finding are params."""
    verdicts = {"ok": "ok", "unsupported": "unavailable", "error": "failed", "skipped": "skipped"}
    params = {"check": check, "verdict": verdicts[measured.status], **measured.params}
    return replace(measured, params={}).row(f"doctor/{check}", params)


def run_checks(device: Device, *, items: list[str], budget: float, progress: ProgressCallback) -> Result:
    """Return the rows of `items`, measured in this process. Raises CompileBudgetError."""
    rows: list[Row] = []
    for item in items:
        progress(Progress(len(rows), len(items), item))
        try:
            measured = (CHECKS | QUESTIONS)[item](device)
        except CompileBudgetError:
            raise
        except REFUSALS as refusal:
            measured = refused(refusal)
        rows.append(doctor_row(item, measured))
        progress(Progress(len(rows), len(items), item, rows[-1]))
    return Result(probe="doctor", environment=devices.info(device), rows=tuple(rows))


def _framework(needed: Needed, device: Device, *, required: bool = False) -> Measured:
    if device.info()["kind"] != "ane":
        return Measured("unsupported", "the emulator calls no framework")
    return find_methods(needed, required=required)


def _file_hashes(device: Device) -> Measured:
    measured = _framework(FILE_HASHES, device)
    if measured.status == "ok":
        return _found("the framework hashes each weight file", measured)
    return measured


def _found(finding: str, measured: Measured, verdict: str = "ok") -> Measured:
    return replace(measured, params={**measured.params, "finding": finding, "verdict": verdict})


def _power(method: str, device: Device) -> Measured:
    """Read power by a method, twice, since the first reading of some is not of any time yet."""
    try:
        providers = own_providers(device.info()["kind"])
        provider = next(one for one in providers if one.method.name == method)
        provider.read()
        time.sleep(_READING_S)
        value = provider.read()
    except PowerError as error:
        return Measured("unsupported", str(error))
    if value is None:
        return Measured("unsupported", f"it has no value after {_READING_S:g} s")
    if provider.method.kind == "gauge":
        return Measured("ok", params={"finding": f"{value:.3g} W now", "verdict": "ok"})
    finding = f"{value:.6g} J so far"  # a dead counter stands at 0
    return Measured("ok", params={"finding": finding, "verdict": "ok" if value > 0 else DIFFERS})


def _route(name: str, device: Device) -> Measured:
    """Run a small program by a route, whichever is the device's own."""
    own = device.info().get("route", devices.ROUTES[0])
    if own != name and device.info()["kind"] != "ane":
        return Measured("unsupported", "the emulator has one route")
    return _small_program(device if own == name else devices.open("ane", route=name))


def _small_program(device: Device) -> Measured:
    """Compile, load and evaluate a small program, and time its calls without a pause."""
    b = mil.Builder()
    b.output("y", mil.mul(b.input("x", (1, 32, 1, 32)), 0.5))
    x = np.random.default_rng(0).standard_normal((1, 32, 1, 32)).astype(np.float16)
    question = question_of(b.build(), [{"x": x}], ROUNDING)
    measured = question.ask(device)
    if measured.status != "ok":
        return measured
    with device.compile(question.text, question.weights) as program:
        source, result = device.make_surface(program.inputs[0]), device.make_surface(program.outputs[0])
        source.write(x)
        times = {
            "compile": program.stats.compile_ns,
            "load": program.stats.load_ns,
            "call": summarize(program.bind({"x": source}, {"y": result}).time(_CALLS)).median,
        }
    known = {name: ns * 1e-3 for name, ns in times.items() if ns is not None}
    finding = ", ".join(f"{name} {_duration(us)}" for name, us in known.items())
    metrics = {**measured.metrics, **{f"{name}_us": us for name, us in known.items()}}
    return _found(finding, replace(measured, metrics=metrics))


def _duration(us: float) -> str:
    return f"{us:.3g} µs" if us < 999.5 else f"{us / 1000:,.4g} ms"


def _ask(item: str, device: Device) -> Measured:
    """Ask a question of `compat`; a known wrong answer differs."""
    question = compat.ITEMS[item]()
    if not question.strict and device.info()["kind"] != "ane":
        return Measured("unsupported", "the emulator is not Apple's compiler")
    measured = question.ask(device)
    if measured.status == "ok":
        exactness = f"to {measured.error:.1g} of the largest value" if measured.error else "exact"
        return _found(f"right, {exactness}", measured)
    if question.departure is not None and measured.reason == question.departure[0]:
        return _found(measured.reason, replace(measured, status="ok", reason=None), DIFFERS)
    return measured


def _several_files(device: Device) -> Measured:
    """Ask for a program of several weight files, which the bridge may have to put into one."""
    measured = _ask("weights/a file each", device)
    rule = device.info().get("weight files")
    if measured.status != "ok" or rule is None:
        return measured
    return _found(f"{measured.params['finding']}; the system takes: {rule}", measured)


def _port_order(device: Device) -> Measured:
    measured = _ask("ports/q, k, v, mask", device)
    if measured.params.get("verdict") != "ok":
        return measured
    question = compat.ITEMS["ports/q, k, v, mask"]()
    with device.compile(question.text, question.weights) as program:
        names = [port.name for port in program.inputs]
    if names == sorted(names):
        return _found("by name", measured)
    return _found(f"as the system says: {', '.join(names)}", measured, DIFFERS)


def _row_pitch(device: Device) -> Measured:
    pitches = []
    for width in _WIDTHS:
        shape = (1, 32, 4, width)
        b = mil.Builder()
        b.output("y", mil.mul(b.input("x", shape), 0.5))
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
        question = question_of(b.build(), [{"x": x}], ROUNDING)
        with device.compile(question.text, question.weights) as program:
            pitches.append(program.inputs[0].row_pitch)
        measured = question.ask(device)
        if measured.status != "ok":
            return measured
    told = "/".join(map(str, pitches))
    finding = f"{told} bytes for rows of {'/'.join(str(2 * width) for width in _WIDTHS)}"
    rule = [(2 * width + 63) // 64 * 64 for width in _WIDTHS]
    return _found(finding, measured, "ok" if pitches == rule else DIFFERS)


def _reload(device: Device) -> Measured:
    measured = reload_other_files(device)
    return _found(str(measured.params["verdict"]), measured) if measured.status == "ok" else measured


CHECKS: dict[str, Callable[[Device], Measured]] = {
    "framework/in-memory": partial(_framework, IN_MEMORY, required=True),
    "framework/client": partial(_framework, CLIENT),
    "framework/statistics": partial(_framework, STATISTICS),
    "framework/file hashes": _file_hashes,
    **{f"power/{method}": partial(_power, method) for method in METHODS},
    "route/in-memory": partial(_route, "memory"),
    "route/client": partial(_route, "client"),
    "weights/one file": partial(_ask, "weights/chunks of one file"),
    "weights/several files": _several_files,
    "weights/reload": _reload,
    "ports/order": _port_order,
    "ports/row pitch": _row_pitch,
    "ports/fp32": partial(_ask, "ports/fp32"),
    "attention/mask": partial(_ask, "semantics/attention mask"),
}
# Compiles that are likely to fail: after the peak, as failures are reported to slow down later compiles.
QUESTIONS: dict[str, Callable[[Device], Measured]] = {
    "weights/not packed": partial(_ask, "weights/a file each, as they are"),
    **{item: partial(_ask, item) for item in compat.ITEMS if item.startswith("text/")},
}
