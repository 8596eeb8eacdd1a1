"""Parameters of the model of `cost.py`, as shipped: `python -m aneperf.chips.fit` makes `parameters.csv`."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from statistics import NormalDist
from typing import cast

from .catalog import Chip, find_chip
from .cost import PARAMETERS, Parameter, Term, Traits, Values, traits_of
from .published import Route

COVERAGE = 0.9  # of intervals
HEADER = ("chip", "parameter", "value", "unit", "factor", "figures")
SCATTER = "all"  # what stands for the chip where a line is about every one


@dataclass(frozen=True)
class PredictedTime:
    """A time in ms, with the interval that holds the measured one in 90 % of cases."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Calibration:
    """How far figures lie from predictions, besides what the parameters leave open.

    By route, `scatter` is the standard deviation of the logarithm, and `stretch` widens an interval of normal
    errors until it holds as many figures as it should.
    """

    scatter: Mapping[Route, float]
    stretch: Mapping[Route, float]


@dataclass(frozen=True)
class ChipParameters:
    """The parameters of a chip: values, standard deviations of their logarithms, and figures behind each."""

    chip: str
    traits: Traits
    values: Values
    deviations: Mapping[Parameter, float]
    figures: Mapping[Parameter, int]
    calibration: Calibration

    @property
    def is_inherited(self) -> bool:
        """Tell whether no figure of this chip's calls was fitted, so that all come from its family."""
        return not any(self.figures.values())

    def interval(self, terms: list[Term], route: Route = "private") -> PredictedTime:
        """Return the sum of terms with its interval.

        A parameter that is off by a factor changes the sum by the share of its terms.
        """
        total = sum(term.ms for term in terms)
        if not total:
            return PredictedTime(0.0, 0.0, 0.0)
        variance = self.calibration.scatter[route] ** 2
        for name, share in shares_of(terms).items():
            variance += share**2 * self.deviations[name] ** 2
        factor = math.exp(z_of_coverage() * self.calibration.stretch[route] * math.sqrt(variance))
        return PredictedTime(total, total / factor, total * factor)


def shares_of(terms: list[Term]) -> dict[Parameter, float]:
    """Return by how much the logarithm of a sum of terms follows the logarithm of each parameter."""
    total = sum(term.ms for term in terms)
    shares: dict[Parameter, float] = {}
    for term in terms:
        for name, power in term.powers.items():
            shares[name] = shares.get(name, 0.0) + power * term.ms / total
    return shares


def z_of_coverage() -> float:
    """Return the standard deviations to either side of an interval of normal errors."""
    return NormalDist().inv_cdf((1 + COVERAGE) / 2)


def parameters_of(chip: str | Chip) -> ChipParameters:
    """Return the parameters of a chip. Raises ArgumentError for an unknown one."""
    name = chip.name if isinstance(chip, Chip) else find_chip(chip).name
    return shipped_parameters()[name]


@lru_cache(maxsize=1)
def shipped_parameters() -> Mapping[str, ChipParameters]:
    """Return the parameters that aneperf ships, by chip."""
    return read_parameters(files(__package__).joinpath("parameters.csv").read_text(encoding="utf-8"))


def read_parameters(text: str) -> dict[str, ChipParameters]:
    """Read the form of `parameters.csv`."""
    lines = list(csv.DictReader(io.StringIO(text)))
    shared = {line["parameter"]: float(line["value"]) for line in lines if line["chip"] == SCATTER}
    routes = [cast(Route, name.removeprefix("scatter ")) for name in shared if name.startswith("scatter ")]
    calibration = Calibration(
        {route: math.log(shared[f"scatter {route}"]) for route in routes},
        {route: shared[f"stretch {route}"] for route in routes},
    )
    by_chip: dict[str, dict[Parameter, dict[str, str]]] = {}
    for line in lines:
        if line["chip"] != SCATTER:
            by_chip.setdefault(line["chip"], {})[cast(Parameter, line["parameter"])] = line
    return {name: _chip(find_chip(name), by_chip[name], calibration) for name in by_chip}


def _chip(
    chip: Chip, lines: Mapping[Parameter, Mapping[str, str]], calibration: Calibration
) -> ChipParameters:
    return ChipParameters(
        chip.name,
        traits_of(chip),
        {name: float(lines[name]["value"]) for name in PARAMETERS},
        {name: math.log(float(lines[name]["factor"])) for name in PARAMETERS},
        {name: int(lines[name]["figures"]) for name in PARAMETERS},
        calibration,
    )
