"""Benchmark programs under pytest.

`pytest test_speed.py --ane-result speed.json` prints the table of pytest-benchmark, which it needs, and
aneperf's, which has intervals. `aneperf gate --baseline FOLDER speed.json` fails if a later run is slower.
"""

import numpy as np
import pytest

from aneperf import mil


def projection(kind: str) -> mil.Builder:
    """Build a product of 256 x 256 with 64 positions, in two spellings."""
    weight = np.random.default_rng(0).standard_normal((256, 256)) / 16
    b = mil.Builder()
    x = b.input("x", (1, 256, 1, 64))
    if kind == "conv":
        b.output("y", mil.conv(x, weight[:, :, None, None]))
    else:
        columns = mil.matmul(weight, mil.reshape(x, (256, 64)))
        b.output("y", mil.reshape(columns, (1, 256, 1, 64)))
    return b


@pytest.mark.parametrize("kind", ["conv", "matmul"])
def test_projection(ane_bench, kind):
    """Time both. A wrong output, or a program that the device refuses, fails the test."""
    row = ane_bench(projection(kind), budget=3)
    assert row.error < 0.01
