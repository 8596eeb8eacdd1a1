"""Measure how far an output is from the reference."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# One spacing of fp16 at the largest result: room for one rounding in either direction.
ROUNDING = 2.0**-10


@dataclass(frozen=True)
class Errors:
    """The largest errors of `count` results against the reference.

    `relative` is `absolute` divided by the largest reference. `ulp` counts spacings of fp16 at each
    reference, which are small near 0. `exact` is the share of results that equal the reference rounded to
    nearest even.
    """

    absolute: float
    relative: float
    ulp: float
    exact: float
    count: int

    def metrics(self) -> dict[str, float]:
        """Return the errors as metrics of a result's row."""
        return {"max_abs": self.absolute, "max_ulp": self.ulp, "exact_share": self.exact}


@np.errstate(all="ignore")
def compare(output: NDArray[Any], reference: NDArray[np.float64]) -> Errors | None:
    """Return the errors of an output, or None if its shape differs or a result is not finite."""
    if output.shape != reference.shape or not np.isfinite(output).all():
        return None
    found = output.astype(np.float64)
    nearest = reference.astype(np.float16)
    error = np.abs(found - reference)
    largest = float(np.abs(reference).max())
    absolute = float(error.max())
    return Errors(
        absolute=absolute,
        relative=absolute / largest if largest else (math.inf if absolute else 0.0),
        ulp=float((error / np.spacing(np.abs(nearest)).astype(np.float64)).max()),
        exact=float(np.mean(found == nearest.astype(np.float64))),
        count=output.size,
    )


def worst(errors: Iterable[Errors]) -> Errors:
    """Combine the errors of one or more outputs."""
    found = list(errors)
    count = sum(one.count for one in found)
    return Errors(
        absolute=max(one.absolute for one in found),
        relative=max(one.relative for one in found),
        ulp=max(one.ulp for one in found),
        exact=sum(one.exact * one.count for one in found) / count,
        count=count,
    )
