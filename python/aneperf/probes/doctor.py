"""Doctor: what a machine's system, framework and engine do, in one line and one verdict for each check."""

import time
from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

from .._ane_native import CompileBudget, Device
from ..checks import positive
from ..chips import find_chip
from ..device import info, opened
from ..errors import ArgumentError
from ..machine import without_names
from ..results import Environment, Result, Row
from ..runner.in_child import NOT_TRIED, each_in_child, is_blocked, run_in_child, time_limit_of
from ..runner.measured import Measured
from ..runner.progress import NO_TIME, Progress, ProgressCallback, reporter
from .conformance.probe import AGREES
from .doctor_checks import CHECKS, DIFFERS, QUESTIONS, doctor_row, run_checks
from .limits import count_released
from .registry import PROBES, default_budget

_CHECK_LIMIT_S = 60.0  # for one check, besides a compile
_SHARES = {
    "checks": 0.4,
    "peak": 0.4,
    "conformance": 0.4,
    "questions": 0.5,
    "budget": 1.0,
}  # of the seconds that are left
_SYSTEM = ("system/os", "system/engine", "system/power", "system/load")
_NAMES = (*_SYSTEM, *CHECKS, "peak/fp16", "arithmetic/conformance", *QUESTIONS, "budget/compiles")


def doctor(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("doctor"),
    progress: ProgressCallback | None = None,
) -> Result:
    """Check the system, the framework's classes, its routes, weight files, ports, peak and compile budget.

    Rows "doctor/..." have params "verdict", which is "ok", "differs", "unavailable", "failed" or "skipped",
    and "finding"; for the last three, the reason tells. The rows of peak, conformance and the compile budget
    follow under their probes' keys. Every check runs in a child process, so that a crash or a hang is its
    verdict. No text holds the name of a person, a machine or a folder. `budget` is in seconds.
    Raises ArgumentError, DeviceUnavailable.
    """
    end = time.monotonic() + positive("budget", budget)
    device = opened(device)
    examination = _Examination(device, reporter(progress))
    examination.check_system()

    def share(part: str) -> float:
        return max(0.0, end - time.monotonic()) * _SHARES[part]

    examination.check_in_children(tuple(CHECKS), share("checks"))
    examination.check_peak(share("peak"))
    examination.check_conformance(share("conformance"))
    examination.check_in_children(tuple(QUESTIONS), share("questions"))
    examination.check_budget(share("budget"))
    environment = examination.environment
    return Result(probe="doctor", environment=environment, rows=tuple(examination.rows))


class _Examination:
    """The rows so far, each free of names and reported once."""

    def __init__(self, device: Device, report: ProgressCallback) -> None:
        environment = info(device)
        note = environment.device_note
        self.environment = msgspec.structs.replace(environment, device_note=note and without_names(note))
        self.rows: list[Row] = []
        self._device = device
        self._report = report

    def check_system(self) -> None:
        """Tell what the environment says."""
        for name, measured in zip(_SYSTEM, system_findings(self.environment), strict=True):
            self._add(doctor_row(name, measured))

    def check_in_children(self, names: Sequence[str], seconds: float) -> None:
        """Run checks that ask the framework or the engine."""
        if is_blocked(self.rows):
            for name in names:
                self._add(doctor_row(name, Measured("skipped", NOT_TRIED)))
            return
        rows = each_in_child(
            run_checks,
            names,
            self._device,
            budget=seconds,
            item_limit=_CHECK_LIMIT_S,
            lost=doctor_row,
            progress=self._pass_on,
        )
        for row in rows:  # also those for which no time was left
            self._add(row)

    def check_peak(self, seconds: float) -> None:
        """Run `peak`, and tell the fastest row."""
        self._run("peak/fp16", seconds, self._peak)

    def check_conformance(self, seconds: float) -> None:
        """Run `conformance`, and count the rules that the engine follows."""
        self._run("arithmetic/conformance", seconds, self._conformance)

    def check_budget(self, seconds: float) -> None:
        """Count the programs that a process compiles."""
        self._run("budget/compiles", seconds, self._compiles)

    def _run(self, name: str, seconds: float, check: Callable[[float], Measured]) -> None:
        self._report(Progress(self._done, len(_NAMES), name))
        if is_blocked(self.rows):
            measured = Measured("skipped", NOT_TRIED)
        elif seconds <= 0:
            measured = Measured("skipped", NO_TIME)
        else:
            measured = check(seconds)
        self._add(doctor_row(name, measured))

    def _peak(self, seconds: float) -> Measured:
        seconds = min(seconds, default_budget("peak"))
        outcome = run_in_child(
            PROBES["peak"].load(),
            self._device,
            time_limit=time_limit_of(seconds, self._device),
            progress=self._pass_on,
            budget=seconds,
        )
        result = outcome.as_result("peak", self.environment)
        for row in result.rows:
            self._add(row)
        failed = [row for row in result.rows if row.status == "error"]
        rated = [row for row in result.rows if row.status == "ok" and "tflops" in row.metrics]
        if not rated or failed:
            worst = (failed or list(result.rows))[0]
            return Measured(worst.status, f"{worst.name}: {worst.reason}")
        best = result.best or max(rated, key=lambda row: row.metrics["tflops"])
        finding = f"{best.metrics['tflops']:.3g} TFLOPS, {best.name}{_published_peak(self.environment)}"
        return Measured("ok", params={"finding": finding})

    def _conformance(self, seconds: float) -> Measured:
        probe = PROBES["conformance"]
        seconds = min(seconds, default_budget(probe.name))
        rows = probe.run(self._device, budget=seconds, progress=self._pass_on).rows
        for row in rows:  # also those for which no time was left
            self._add(row)
        verdicts = Counter(row.params.get("verdict", row.status) for row in rows)
        failed = [row for row in rows if row.status == "error"]
        if failed or not verdicts[AGREES] + verdicts[DIFFERS]:
            worst = (failed or list(rows))[0]
            return Measured(worst.status, f"{worst.name}: {worst.reason}")
        finding = ", ".join(f"{verdict} {number}" for verdict, number in verdicts.items())
        verdict = DIFFERS if verdicts[DIFFERS] else "ok"
        return Measured("ok", params={"finding": f"rules: {finding}", "verdict": verdict})

    def _compiles(self, seconds: float) -> Measured:
        row, reason = count_released(self._device, budget=seconds, progress=self._pass_on)
        self._add(row)
        if row.status != "ok":
            return Measured(row.status, row.reason)
        number, expected = int(row.metrics["programs"]), CompileBudget().hard
        is_known = number == expected or row.params["ending"] != "the next was refused"
        finding = f"{number} programs: {row.params['ending']}"
        verdict = "ok" if is_known else DIFFERS
        return Measured("ok", params={"finding": finding, "verdict": verdict, "refusal": reason})

    @property
    def _done(self) -> int:
        return sum(row.key.startswith("doctor/") for row in self.rows)

    def _pass_on(self, progress: Progress) -> None:
        if progress.row is not None:
            self._add(progress.row, progress.doing)
        else:
            self._report(Progress(self._done, len(_NAMES), progress.doing))

    def _add(self, row: Row, doing: str = "") -> None:
        if any(row.key == known.key for known in self.rows):
            return
        self.rows.append(_anonymous(row))
        self._report(Progress(self._done, len(_NAMES), doing, self.rows[-1]))


def system_findings(environment: Environment) -> Sequence[Measured]:
    """Return what the environment says of the system, of the engine and of what else runs."""
    build = f", build {environment.os_build}" if environment.os_build else ""
    power = _found(f"{environment.power}; thermal: {environment.thermal}")
    if environment.power == "unavailable":
        power = Measured("unsupported", "the system does not tell")
    if "battery" in environment.power.lower():
        power.params["verdict"] = DIFFERS
    load = Measured("unsupported", "the system does not tell")
    if environment.load is not None:
        load = _found(f"{environment.load:.1f} runnable threads on {environment.cores} cores")
    if environment.device_note:
        engine = Measured("error", environment.device_note)
    elif environment.device == "emulator":
        engine = Measured("unsupported", f"the emulator of {environment.chip} answers")
    else:
        engines = environment.properties.get("engines", "unavailable")
        engine = _found(f"{environment.chip}, {environment.subtype}, engines: {engines}")
    return _found(f"{environment.os}{build}"), engine, power, load


def _found(finding: str) -> Measured:
    return Measured("ok", params={"finding": finding})


def _published_peak(environment: Environment) -> str:
    if environment.is_software:
        return ""
    try:
        peaks = find_chip(environment.chip).peaks
    except ArgumentError:  # a chip that the table does not have
        return ""
    told = [f"{peak.tops:g} {peak.status}" for peak in peaks if peak.dtype == "fp16" and not peak.is_winograd]
    return f" ({', '.join(told)})" if told else ""


def _anonymous(row: Row) -> Row:
    params = {
        name: without_names(str(value)) if name in ("finding", "ending", "refusal") else value
        for name, value in row.params.items()
    }
    return msgspec.structs.replace(row, params=params, reason=row.reason and without_names(row.reason))
