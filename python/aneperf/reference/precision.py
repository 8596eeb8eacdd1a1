"""How far an output is from the reference, and how far it may be."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# One spacing of fp16 at the largest result: room for one rounding, whichever way it goes.
ROUNDING = 2.0**-10

# Operations that move or choose elements, or whose results on the cases' inputs are fp16: nothing to round.
EXACT = {
    "maximum", "minimum", "floor_div", "equal", "not_equal", "greater", "greater_equal", "less",
    "less_equal", "logical_not", "select", "abs", "ceil", "clip", "floor", "relu", "relu6", "round",
    "sign", "threshold", "reduce_max", "reduce_min", "max_pool", "upsample_nearest_neighbor",
    "resize_nearest_neighbor", "reshape", "transpose", "expand_dims", "squeeze", "slice_by_size",
    "slice_by_index", "concat", "split", "stack", "flatten2d", "reverse", "tile", "pad", "crop",
    "depth_to_space", "space_to_depth", "space_to_batch", "batch_to_space", "pixel_shuffle",
    "pixel_unshuffle", "topk", "cast", "quantize", "dequantize", "clamped_relu", "leaky_relu",
    "thresholded_relu",
}  # fmt: skip

# Errors that others have measured on engines, most of which come from tables that the engine looks up: the
# sweep of aneforge on an M5 Pro (relative, in the norm); for matmul, linear, softplus and softsign the probes
# of deverik and ironmill.
MEASURED = {
    "atan": 0.019,
    "exp": 4.7e-4,
    "gelu": 2.4e-3,
    "log": 8e-4,
    "matmul": 1.9e-3,
    "linear": 1.1e-3,
    "rsqrt": 1e-3,
    "sigmoid": 3.8e-3,
    "silu": 1.0e-2,
    "softplus": 6e-3,
    "softsign": 1e-3,
    "tanh": 1.3e-3,
    "erf": 7e-4,
}


def tolerance(operation: str) -> float:
    """The largest error that is no fault, relative to the largest result: twice what others measured."""
    if operation in EXACT:
        return 0.0
    return max(ROUNDING, 2 * MEASURED.get(operation, 0.0))


@dataclass(frozen=True)
class Errors:
    """Of `count` results against the reference.

    `relative` is `absolute` over the largest result of the reference; `ulp` is in spacings of fp16 at each
    reference, which near 0 can be many. `exact` is the share of results that are the reference rounded to
    nearest even.
    """

    absolute: float
    relative: float
    ulp: float
    exact: float
    count: int

    def metrics(self) -> dict[str, float]:
        """As a row has them."""
        return {"max_abs": self.absolute, "max_ulp": self.ulp, "exact_share": self.exact}


@np.errstate(all="ignore")
def compare(output: NDArray[Any], reference: NDArray[np.float64]) -> Errors | None:
    """The errors of an output; None if it is not finite where the reference is, or of another shape."""
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
    """Of several outputs together, at least one."""
    found = list(errors)
    count = sum(one.count for one in found)
    return Errors(
        absolute=max(one.absolute for one in found),
        relative=max(one.relative for one in found),
        ulp=max(one.ulp for one in found),
        exact=sum(one.exact * one.count for one in found) / count,
        count=count,
    )
