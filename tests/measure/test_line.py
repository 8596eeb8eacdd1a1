import numpy as np
import pytest
from numpy.typing import NDArray

from aneperf.errors import ArgumentError
from aneperf.measure.line import find_change, fit_line
from support.parameters import thorough

CHANNELS = np.array(
    [
        *(256, 512, 960, 1024, 1088, 1536, 1984, 2048, 2112, 2560),
        *(3072, 3584, 4032, 4096, 4160, 5120, 6144, 8128, 8192, 8256),
    ]
)
SIZES = CHANNELS**2 * 2 / 2**20  # MB
FLOOR, RATE = 0.1, 120.0  # ms, MB/ms


def times(cliff: float | None = None, factor: float = 3.0, jumps: bool = True) -> NDArray[np.float64]:
    line = FLOOR + SIZES / RATE
    if cliff is None:
        return line
    beyond = SIZES if jumps else SIZES - cliff
    return line + np.where(cliff < SIZES, beyond * (factor - 1) / RATE, 0)


def noisy(exact: NDArray[np.float64], share: float, seed: int) -> NDArray[np.float64]:
    return exact * np.exp(share * np.random.default_rng(seed).standard_normal(len(exact)))


def test_a_line_is_found() -> None:
    line = fit_line(SIZES, times())
    assert line.intercept.value == pytest.approx(FLOOR)
    assert line.slope.value == pytest.approx(1 / RATE)
    assert line.at(12.0) == pytest.approx(FLOOR + 12 / RATE)


def test_the_intervals_hold_what_they_should() -> None:
    """Cover the truth with 95 % of intervals: two standard errors of 400 are within 92 to 98 %."""
    held = np.zeros(2)
    for seed in range(400):
        line = fit_line(SIZES[:7], noisy(times(), 0.05, seed)[:7])
        held += [not line.intercept.excludes(FLOOR), not line.slope.excludes(1 / RATE)]
    assert (held >= 0.92 * 400).all()
    assert (held <= 0.98 * 400).all()


def test_two_points_have_no_interval() -> None:
    line = fit_line([1, 3], [2.0, 4.0])
    assert (line.intercept.value, line.slope.value) == (pytest.approx(1), pytest.approx(1))
    assert line.intercept.ci_low is None
    assert line.slope.ci_high is None


def test_the_order_of_points_does_not_matter() -> None:
    order = np.random.default_rng(0).permutation(len(SIZES))
    noise = noisy(times(32), 0.03, 0)
    assert find_change(SIZES[order], noise[order]) == find_change(SIZES, noise)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.05, 0.2])
def test_no_cliff_is_found_where_none_is(share: float) -> None:
    """Misjudge one in a hundred lines at 1 %; five in a hundred has a chance of 0.3 %."""
    found = sum(
        find_change(SIZES, noisy(times(), share, seed)) is not None for seed in range(100 if share else 1)
    )
    assert found <= (4 if share else 0)


@pytest.mark.parametrize("jumps", [True, False])
@pytest.mark.parametrize("factor", [2.0, 4.0])
@pytest.mark.parametrize("cliff", [32.0, *thorough(12.5, 50.0)])
def test_a_cliff_is_found(cliff: float, factor: float, jumps: bool) -> None:
    hits = 0
    for seed in range(20):
        change = find_change(SIZES, noisy(times(cliff, factor, jumps), 0.02, seed))
        hits += change is not None and change.low <= cliff <= change.high
        if change:
            assert change.factor == pytest.approx(factor, rel=0.5)
            assert change.chance <= 0.01
    assert hits >= 19


def test_a_jump_and_a_bend_are_told_apart() -> None:
    jump, bend = (find_change(SIZES, noisy(times(32, 3, jumps), 0.01, 0)) for jumps in (True, False))
    assert jump is not None
    assert jump.jumps
    assert bend is not None
    assert not bend.jumps


def test_getting_faster_is_no_cliff() -> None:
    assert find_change(SIZES, times(32, 0.3, False)) is None
    assert find_change(SIZES, noisy(times(32, 0.5, True), 0.02, 0)) is None


def test_what_is_too_short_is_no_cliff() -> None:
    assert find_change([1, 2, 3, 4, 5], [1, 1, 1, 9, 9]) is None
    steep = times()
    steep[-2:] *= 5  # two points beyond are no cliff but two points
    change = find_change(SIZES, steep)
    assert change is None or change.low < SIZES[-3]


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2, 3], "of one length"),
        ([[1, 2]], [[1, 2]], "vectors"),
        ([1, 1, 1], [1, 2, 3], "two different x"),
        ([1, 2], [0, 1], "positive"),
        ([1, 2], [1, np.nan], "finite"),
        ([1, np.inf], [1, 1], "finite"),
        ([], [], "two different x"),
    ],
)
def test_bad_points_are_refused(x: object, y: object, message: str) -> None:
    for function in (fit_line, find_change):
        with pytest.raises(ArgumentError, match=message):
            function(x, y)  # type: ignore[arg-type]
