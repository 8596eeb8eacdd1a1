"""Integers and other dtypes, there and back."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aneperf import mil
from support import intervals as iv
from support import oracle

from .maker import Family, Maker

_SCALE = 0.03125


def _quantization(m: Maker, name: str) -> None:
    x, dtype = m.operand(), m.choice(("int8", "uint8"))
    zero = np.dtype(dtype).type(m.integer(0, 5))
    stored = mil.quantize(x.tensor, _SCALE, zero, dtype)

    def point(a: NDArray) -> oracle.Array:
        q = oracle.quantize(a, _SCALE, zero, dtype, None)
        return oracle.dequantize(q, _SCALE, zero, None) if name == "dequantize" else q

    back = mil.dequantize(stored, _SCALE, zero) if name == "dequantize" else mil.cast(stored, "fp16")
    m.add(back, iv.rising(point, x.bounds))


def _cast(m: Maker, name: str) -> None:
    x, dtype = m.operand(), m.choice(("int8", "uint8", "int16", "uint16", "fp32", "bool"))
    if dtype == "bool":
        bounds = iv.opposite(iv.equal(x.bounds, iv.point(np.zeros(x.shape))))
    elif dtype == "fp32":
        bounds = x.bounds
    else:
        bounds = iv.rising(lambda a: oracle.to_integers(a, dtype), x.bounds)
    m.add(mil.cast(mil.cast(x.tensor, dtype), "fp16"), bounds)


OPERATIONS: dict[str, Family] = {"quantize": _quantization, "dequantize": _quantization, "cast": _cast}
