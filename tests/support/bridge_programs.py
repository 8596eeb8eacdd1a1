"""Products for tests of the bridge."""

from aneperf import mil
from support.programs import normal_halves


def assert_same(got, expected):
    """The same outputs with the same bits."""
    assert got.keys() == expected.keys()
    for name in got:
        assert (got[name].dtype, got[name].shape) == (expected[name].dtype, expected[name].shape)
        assert got[name].tobytes() == expected[name].tobytes(), name


def product(weight):
    """y = weight x, with weight [C, C, 1, 1] and x [1, C, 1, 32]."""
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", (1, weight.shape[0], 1, 32)), weight))
    return b.build()


X = normal_halves(0, (1, 32, 1, 32))


WEIGHTS = [normal_halves(seed, (32, 32, 1, 1), 0.2) for seed in range(1, 9)]
