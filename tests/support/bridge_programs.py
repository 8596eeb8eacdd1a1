"""Define products for tests of the bridge, and names of weight files that it refuses."""

from pathlib import Path

from aneperf import mil
from support.programs import normal_halves


def assert_same(got, expected):
    """Check that outputs have the same names, types, shapes and bits."""
    assert got.keys() == expected.keys()
    for name in got:
        assert (got[name].dtype, got[name].shape) == (expected[name].dtype, expected[name].shape)
        assert got[name].tobytes() == expected[name].tobytes(), name


def product(weight):
    """Return the program y = weight x, with weight [C, C, 1, 1] and x [1, C, 1, 32]."""
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", (1, weight.shape[0], 1, 32)), weight))
    return b.build()


X = normal_halves(0, (1, 32, 1, 32))


WEIGHTS = [normal_halves(seed, (32, 32, 1, 1), 0.2) for seed in range(1, 9)]


PROGRAM = product(WEIGHTS[0])
(PATH,) = PROGRAM.weights

OUTSIDE = Path("/tmp/aneperf_escape")

# Each name with a part of the message.
HOSTILE = {
    "../escape": "must begin with @model_path/",
    f"{OUTSIDE}": "must begin with @model_path/",
    "": "must begin with @model_path/",
    "@model_path": "must begin with @model_path/",
    "@model_path/": "one of its parts is empty",
    f"@model_path/{OUTSIDE}": "one of its parts is empty",
    "@model_path/a//b": "one of its parts is empty",
    "@model_path/a/": "one of its parts is empty",
    "@model_path/../escape": "one of its parts is . or ..",
    "@model_path/a/../../escape": "one of its parts is . or ..",
    "@model_path/..": "one of its parts is . or ..",
    "@model_path/./a": "one of its parts is . or ..",
    "@model_path/..\\escape": "a backslash or a control character",
    "@model_path/a\0/../escape": "a backslash or a control character",
    "@model_path/a\n": "a backslash or a control character",
    "@model_path/" + "a" * 1024: "longer than 1024 bytes",
    "@model_path/model.mil": "in its place",
    "@model_path/Model.MIL": "in its place",
    "@model_path/data": "in its place",
    "@model_path/data/w.bin": "in its place",
    "@model_path/net.plist": "in its place",
    PATH.replace("weights", "Weights"): "in its place",
    f"{PATH}/w.bin": "in its place",
}
# Names that MIL text can spell, and that are refused for themselves.
NAMED = [path for path in HOSTILE if path.isprintable() and "\\" not in path and "weight.bin" not in path]
