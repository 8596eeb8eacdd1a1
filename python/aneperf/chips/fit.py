"""Fit the model of `cost.py` to the published figures: `python -m aneperf.chips.fit > parameters.csv`.

A parameter of a chip is its prior times a factor of the chip's family, its generation of engines, and a
factor of the chip. `priors.csv` says by how much each may differ from 1, and why. The fit finds the most
likely parameters: it minimizes squares of the logarithm of measured over predicted time, less for what lies
far off, as Student's distribution asks. So a chip with many figures has parameters of its own, and one
without any has its family's, whose deviation contains what chips of a family differ by.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from statistics import median
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .catalog import CHIPS, Chip, chips_of
from .cost import PARAMETERS, UNITS, Call, Parameter, Term, Traits, Values, time_call, traits_of
from .parameters import (
    COVERAGE,
    HEADER,
    SCATTER,
    Calibration,
    ChipParameters,
    PredictedTime,
    shares_of,
)
from .published import Figure, Route, shipped_figures
from .workloads import Target, targets

Array = NDArray[np.float64]

_FREEDOM = 2.0  # of Student's distribution of residuals: some figures are off by a factor of 3
_SCATTER: Mapping[Route, float] = {"private": 0.06, "coreml": 0.1, "e5rt": 0.15}  # assumed of figures
# By how much the cost of a call differs between machines of a chip: 84 to 116 us on M4, 65 to 107 on M5.
_BETWEEN_MACHINES = math.log(1.25)
_CALLS: Mapping[Route, Parameter] = {"private": "call", "coreml": "call-coreml", "e5rt": "call-e5rt"}
_STEPS, _FEWER_STEPS = 40, 8  # of Gauss and Newton, from the priors and from a fit to nearly the same figures
_BEHIND = 0.1  # share of a time from which it tells of a parameter
_NO_PEAK = 16.0  # TFLOPS of an engine whose chip has no published peak, nor its family


class _Prior(NamedTuple):
    """The logarithms of a parameter of a chip: its center, and the deviations of families and of chips."""

    center: float
    family: float
    chip: float


class Machine(NamedTuple):
    """A contributor's machine, and the parameter of its calls."""

    chip: str
    contributor: str | None
    call: Parameter


def machine_of(target: Target) -> Machine:
    """Return the machine that a figure was measured on: one for a chip and contributor."""
    return Machine(target.figure.chip, target.figure.contributor, _CALLS[target.call.route])


@dataclass(frozen=True)
class FamilyFit:
    """The fitted logarithms of a family: [chips, parameters], then a factor of each machine.

    The covariance is of all of them, in that order.
    """

    chips: tuple[Chip, ...]
    machines: tuple[Machine, ...]
    logs: Array
    covariance: Array

    def values(self, chip: Chip, machine: Machine | None = None) -> Values:
        """Return the parameters of a chip, or of one machine of it. Unknown ones cost what the chip does."""
        values = self._values(self.chips.index(chip))
        if machine in self.machines:
            values[machine.call] *= math.exp(self.logs[self.factor(machine)])
        return values

    def predict(self, target: Target) -> list[Term]:
        """Return the terms of the time of a target."""
        chip = next(chip for chip in self.chips if chip.name == target.figure.chip)
        return time_call(target.call, self.values(chip, machine_of(target)), traits_of(chip))

    def deviations(self, chip: Chip, machine: Machine | None = None) -> dict[Parameter, float]:
        """Return the standard deviations of the logarithms of the parameters, on a machine or on any."""
        place = self.chips.index(chip) * len(PARAMETERS)
        variances = dict(zip(PARAMETERS, np.diag(self.covariance)[place:].tolist(), strict=False))
        for name in _CALLS.values():
            if machine in self.machines and machine.call == name:
                call, factor = place + PARAMETERS.index(name), self.factor(machine)
                variances[name] += self.covariance[factor, factor] + 2 * self.covariance[call, factor]
            else:
                variances[name] += _BETWEEN_MACHINES**2
        return {name: math.sqrt(variance) for name, variance in variances.items()}

    def slopes(self, target: Target, terms: list[Term]) -> tuple[list[int], Array]:
        """Return by how much the logarithm of a target's time follows which of the fitted logarithms."""
        place = next(i for i, chip in enumerate(self.chips) if chip.name == target.figure.chip)
        shares = shares_of(terms)
        machine = machine_of(target)
        indices = [place * len(PARAMETERS) + PARAMETERS.index(name) for name in shares]
        slopes = list(shares.values())
        if machine.call in shares:
            indices.append(self.factor(machine))
            slopes.append(shares[machine.call])
        return indices, np.array(slopes)

    def _values(self, place: int) -> dict[Parameter, float]:
        start = place * len(PARAMETERS)
        logs = self.logs[start : start + len(PARAMETERS)]
        return dict(zip(PARAMETERS, np.exp(logs).tolist(), strict=True))

    def factor(self, machine: Machine) -> int:
        """Return the place of a machine's factor."""
        return len(self.chips) * len(PARAMETERS) + self.machines.index(machine)


class HeldOut(NamedTuple):
    """A figure and its prediction by a fit that did not know it."""

    target: Target
    terms: list[Term]
    deviations: Mapping[Parameter, float]

    @property
    def error(self) -> float:
        """Return the logarithm of measured over predicted time."""
        return math.log(self.target.ms / sum(term.ms for term in self.terms))

    def interval(self, calibration: Calibration) -> PredictedTime:
        """Return the predicted time with its interval."""
        chip = self.target.figure.chip
        traits = Traits("", 1)  # the terms are known
        parameters = ChipParameters(chip, traits, {}, self.deviations, {}, calibration)
        return parameters.interval(self.terms, self.target.call.route)

    def is_inside(self, calibration: Calibration) -> bool:
        """Tell whether the figure lies in the interval."""
        interval = self.interval(calibration)
        return interval.low <= self.target.ms <= interval.high


def fit_family(chips: Sequence[Chip], known: Sequence[Target], start: FamilyFit | None = None) -> FamilyFit:
    """Fit the parameters of a family's chips to targets."""
    priors = [[prior_of(chip, name) for name in PARAMETERS] for chip in chips]
    machines = tuple(dict.fromkeys(machine_of(target) for target in known))
    center = np.array([prior.center for row in priors for prior in row] + [0.0] * len(machines))
    precision = np.linalg.inv(_prior_covariance(priors, len(machines)))
    covariance = np.linalg.inv(precision)
    fit = FamilyFit(tuple(chips), machines, _start(center, machines, start), covariance)
    for step in range(_STEPS if start is None else _FEWER_STEPS):
        gradient, hessian = precision @ (center - fit.logs), precision.copy()
        for target in known:
            terms = fit.predict(target)
            residual = math.log(target.ms / sum(term.ms for term in terms))
            scatter = _SCATTER[target.call.route]
            weight = (_FREEDOM + 1) / (_FREEDOM * scatter**2 + residual**2)
            indices, slopes = fit.slopes(target, terms)
            gradient[indices] += weight * residual * slopes
            hessian[np.ix_(indices, indices)] += weight * np.outer(slopes, slopes)
        # A half step first: where the slowest part of an operation changes, so does the slope.
        damping = 0.5 if start is None and step < _STEPS // 2 else 1.0
        logs = fit.logs + damping * np.linalg.solve(hessian, gradient)
        fit = FamilyFit(fit.chips, machines, logs, np.linalg.inv(hessian))
    return fit


def _start(center: Array, machines: Sequence[Machine], start: FamilyFit | None) -> Array:
    """Return the logarithms to begin with: the priors, or those of a fit to nearly the same figures."""
    if start is None:
        return center.copy()
    factors = {machine: start.logs[start.factor(machine)] for machine in start.machines}
    fitted = start.logs[: len(center) - len(machines)]
    return np.concatenate([fitted, [factors[machine] for machine in machines]])


def prior_of(chip: Chip, name: Parameter) -> _Prior:
    """Return the prior of a chip's parameter."""
    value, family, own = _priors()[name, chip.profile]
    return _Prior(math.log(value or peak_of(chip)), math.log(family), math.log(own))


def peak_of(chip: Chip) -> float:
    """Return the TFLOPS in fp16 of one engine: computed, or else rated, or else those of its generation."""
    for status in ("computed", "rated"):
        for peak in chip.peaks:
            if peak.status == status and not peak.is_winograd:
                halved = 2 if peak.dtype == "int8" else 1
                return peak.tops / halved / (chip.engines or 1)
    peaks = [peak_of(other) for other in chips_of(chip.profile) if other.peaks]
    return peaks[0] if peaks else _NO_PEAK


@lru_cache(maxsize=1)
def _priors() -> Mapping[tuple[str, str], tuple[float | None, float, float]]:
    """Return value and factors of `priors.csv`, by parameter and generation."""
    text = files(__package__).joinpath("priors.csv").read_text(encoding="utf-8")
    profiles = list(dict.fromkeys(chip.profile for chip in CHIPS))
    found: dict[tuple[str, str], tuple[float | None, float, float]] = {}
    for line in csv.DictReader(io.StringIO(text)):
        value = float(line["value"]) if line["value"] else None
        for profile in profiles if line["engines"] == "all" else line["engines"].split():
            factors = float(line["family_factor"]), float(line["chip_factor"])
            found[line["parameter"], profile] = (value, *factors)
    return found


def _prior_covariance(priors: Sequence[Sequence[_Prior]], machines: int) -> Array:
    """Return the covariance of all chips' parameters, by factors of family and chip, and of machines."""
    count, size = len(priors), len(PARAMETERS)
    covariance = np.zeros((count * size + machines, count * size + machines))
    covariance[range(count * size, len(covariance)), range(count * size, len(covariance))] = (
        _BETWEEN_MACHINES**2
    )
    for index in range(size):
        places = [chip * size + index for chip in range(count)]
        covariance[np.ix_(places, places)] = priors[0][index].family ** 2
        covariance[places, places] += priors[0][index].chip ** 2
    return covariance


def families() -> list[tuple[Chip, ...]]:
    """Return the chips by generation."""
    return [tuple(chips_of(profile)) for profile in dict.fromkeys(chip.profile for chip in CHIPS)]


@lru_cache(maxsize=1)
def all_targets() -> tuple[Target, ...]:
    """Return the targets of the shipped figures."""
    return tuple(targets(shipped_figures()))


def hold_out(
    chips: Sequence[Chip], fit: FamilyFit, known: Sequence[Target], left_out: Sequence[Target]
) -> list[HeldOut]:
    """Predict targets by a fit to the others."""
    rest = [target for target in known if not any(target is one for one in left_out)]
    refit = fit_family(chips, rest, fit)
    named = {chip.name: chip for chip in chips}
    return [
        HeldOut(
            target,
            refit.predict(target),
            refit.deviations(named[target.figure.chip], machine_of(target)),
        )
        for target in left_out
    ]


def leave_out(by_owner: bool = False) -> list[HeldOut]:
    """Predict every fitted target by a fit without it and its like.

    The like have its chip and the same call, by whatever key; with `by_owner`, its chip and contributor.
    """
    found = []
    for chips, fit, known in fits():
        groups: dict[tuple[str, str | Call | None], list[Target]] = {}
        for target in known:
            like = target.figure.contributor if by_owner else target.call
            groups.setdefault((target.figure.chip, like), []).append(target)
        for group in groups.values():
            found += hold_out(chips, fit, known, group)
    return found


@lru_cache(maxsize=1)
def fits() -> tuple[tuple[tuple[Chip, ...], FamilyFit, tuple[Target, ...]], ...]:
    """Return each family's chips, fit and fitted targets."""
    found = []
    for chips in families():
        names = {chip.name for chip in chips}
        known = tuple(one for one in all_targets() if one.is_fitted and one.figure.chip in names)
        found.append((chips, fit_family(chips, known), known))
    return tuple(found)


def calibrate(held_out: Sequence[HeldOut]) -> Calibration:
    """Return the scatter of figures around predictions, and how far intervals must be stretched, by route."""
    plain = Calibration(dict(_SCATTER), dict.fromkeys(_SCATTER, 1.0))
    scatter, stretch = dict(plain.scatter), dict(plain.stretch)
    for route in _SCATTER:
        if not (mine := [one for one in held_out if one.target.call.route == route]):
            continue
        scatter[route] = 1.4826 * median(abs(one.error) for one in mine)
        unstretched = Calibration(scatter, plain.stretch)
        intervals = [one.interval(unstretched) for one in mine]
        wide = sorted(
            abs(one.error) / math.log(interval.high / interval.value)
            for one, interval in zip(mine, intervals, strict=True)
        )
        place = min(len(wide), math.ceil(COVERAGE * (len(wide) + 1)))
        stretch[route] = max(1.0, wide[place - 1])
    return Calibration(scatter, stretch)


def coverage_apart(held_out: Sequence[HeldOut], group_of: Callable[[Figure], str]) -> float:
    """Return the share of figures in intervals whose width is chosen without the figure's group."""
    groups: dict[str, list[HeldOut]] = {}
    for one in held_out:
        groups.setdefault(group_of(one.target.figure), []).append(one)
    inside = 0
    for group in groups.values():
        calibration = calibrate([one for one in held_out if not any(one is other for other in group)])
        inside += sum(one.is_inside(calibration) for one in group)
    return inside / len(held_out)


def write_parameters() -> str:
    """Return `parameters.csv`."""
    calibration = calibrate(leave_out())
    rows: list[Sequence[str]] = [HEADER]
    for route, scatter in calibration.scatter.items():
        rows.append((SCATTER, f"scatter {route}", _number(math.exp(scatter)), "times", "", ""))
    for route, stretch in calibration.stretch.items():
        rows.append((SCATTER, f"stretch {route}", _number(stretch), "times", "", ""))
    for chips, fit, known in fits():
        for chip in chips:
            values, deviations = fit.values(chip), fit.deviations(chip)
            shares = [shares_of(fit.predict(one)) for one in known if one.figure.chip == chip.name]
            for name in PARAMETERS:
                count = sum(abs(share.get(name, 0.0)) >= _BEHIND for share in shares)
                factor = math.exp(deviations[name])
                rows.append(
                    (chip.name, name, _number(values[name]), UNITS[name], _number(factor), str(count))
                )
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def _number(value: float) -> str:
    return f"{value:.4g}"


if __name__ == "__main__":
    sys.stdout.write(write_parameters())
