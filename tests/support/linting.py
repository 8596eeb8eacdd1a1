"""Small programs, and what lint finds in them."""

from collections.abc import Callable
from typing import Any

import numpy as np

import aneperf
from aneperf import mil


def program(define: Callable[..., Any], *shapes: tuple[int, ...], dtype: Any = "fp16") -> mil.Program:
    builder = mil.Builder()
    builder.output("y", define(*(builder.input(f"x{i}", shape, dtype) for i, shape in enumerate(shapes))))
    return builder.build(weight_files="single")


def findings(
    define: Callable[..., Any], *shapes: tuple[int, ...], chip: str = "h16", dtype: Any = "fp16"
) -> list[tuple[str, str]]:
    found = aneperf.lint(program(define, *shapes, dtype=dtype), chip)
    return [(finding.op, finding.severity) for finding in found]


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float16)
