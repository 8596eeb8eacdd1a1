import math

import numpy as np
import pytest

from aneperf.checks import choice, count, positive
from aneperf.errors import ArgumentError


def test_good_values_are_returned() -> None:
    assert positive("x", np.float32(0.5)) == 0.5
    assert type(positive("x", 3)) is float
    assert [count("x", value, 0, 2**70) for value in (0, 1, 2**70)] == [0, 1, 2**70]
    assert count("x", 10**30) == 10**30
    assert choice("probe", "peak", {"peak": 1, "sram": 2}) == "peak"


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, True, "1", None, 1j, [1]])
def test_positive_refuses(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^x must be a positive, finite number, not "):
        positive("x", value)


@pytest.mark.parametrize("value", [0, 9, -1, True, 2.0, "2", None])
def test_count_refuses(value: object) -> None:
    with pytest.raises(ArgumentError, match=r"^x must be an integer from 1 to 8, not "):
        count("x", value, 1, 8)


def test_a_count_without_an_upper_bound() -> None:
    with pytest.raises(ArgumentError, match=r"^x must be an integer of at least 2, not 1$"):
        count("x", 1, 2)


@pytest.mark.parametrize("name", ["sram", "", None, 7, ["peak"]])
def test_choice_refuses(name: object) -> None:
    with pytest.raises(ArgumentError, match=r"^no probe is called .*: choose from latency, peak$"):
        choice("probe", name, ("latency", "peak"))
