"""Names of weight files and of the model's folder: the bridge writes into that folder, and nowhere else."""

import itertools
import json
from pathlib import Path

import pytest

import aneperf
from aneperf import mil
from support.bridge_programs import WEIGHTS, X, assert_same, product

pytest_plugins = ["support.standin"]

PROGRAM = product(WEIGHTS[0])
(PATH,) = PROGRAM.weights
OUTSIDE = Path("/tmp/aneperf_escape")

# Each with a part of the message.
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
# Those that MIL text can name, and that are refused for themselves.
NAMED = [path for path in HOSTILE if path.isprintable() and "\\" not in path and "weight_0" not in path]

ATTEMPTS = """
import json, os
from pathlib import Path
import aneperf, standin, test_bridge_weights as test

root, ane = Path(os.environ["TMP"]).parents[2], aneperf.open("ane")


def tree():
    return {str(path.relative_to(root)): path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}


def refusal(text, weights):
    try:
        ane.compile(text, weights)
    except aneperf.AneError as error:
        return type(error).__name__, str(error)


def list_files(call, *_):
    print(json.dumps(sorted(path for path in tree() if (root / path).is_file())))
    return call()


with standin.Standin().replaced("-[_ANEInMemoryModel compileWithQoS:options:error:]", list_files):
    test.PROGRAM.compile(ane)
before = tree()
text, weights = test.PROGRAM.text, test.PROGRAM.weights
print(json.dumps([refusal(text, {**weights, path: b"outside"}) for path in test.HOSTILE]))
print(json.dumps([refusal(text.replace(test.PATH, path), {path: weights[test.PATH]}) for path in test.NAMED]))
print(json.dumps([list(before), tree() == before]))
"""


def test_hostile_names_are_refused_before_anything_is_written(standin, tmp_path):
    temporary = tmp_path / "one" / "two" / "three"
    temporary.mkdir(parents=True)
    output = standin.python(ATTEMPTS, TMP=str(temporary))
    files, unused, used, (tree, is_untouched) = map(json.loads, output.splitlines())
    # The folder is full when the compiler runs, and gone afterwards.
    folder = files[0].removesuffix(".lock")
    assert files == [f"{folder}.lock", f"{folder}/model.mil", f"{folder}/weights/weight_0.bin"]
    assert tree == [".", "one", "one/two", "one/two/three", folder.rpartition("/")[0]]

    for path, (error, message) in zip(HOSTILE, unused, strict=True):
        assert error == "ArgumentError", path
        assert message.startswith("weight path '")
        assert HOSTILE[path] in message
        if path.isprintable() and "\\" not in path:
            assert path[:40].lower() in message.lower()
    for path, (error, message) in zip(NAMED, used, strict=True):
        assert error == ("ArgumentError" if HOSTILE[path] == "in its place" else "CompileError"), path
        assert f"weight path '{path[:40]}" in message
        assert HOSTILE[path] in message
    assert is_untouched
    assert not OUTSIDE.exists()


@pytest.mark.parametrize(
    "path", ["@model_path/w", "@model_path/..a/b..", "@model_path/a b/é", "@model_path/Data.bin"]
)
def test_unusual_names_work(ane, emulator, path):
    text, weights = PROGRAM.text.replace(PATH, path), {path: PROGRAM.weights[PATH]}
    assert_same(ane.compile(text, weights).run(x=X), emulator.compile(text, weights).run(x=X))


UNWRITABLE = """
import os
os.close(2)  # GNUstep complains there of what it cannot write
import aneperf, standin, test_bridge_weights as test

path = "@model_path/" + "a" * 300
text, weights = test.PROGRAM.text.replace(test.PATH, path), {path: test.PROGRAM.weights[test.PATH]}
try:
    aneperf.open("ane").compile(text, weights)
except aneperf.CompileError as error:
    print(error)
print(*standin.Standin().alive())
"""


def test_a_file_that_cannot_be_written_is_a_compile_error(standin):
    message, alive = standin.python(UNWRITABLE).splitlines()
    assert message.startswith("[compile] CompilationFailure: cannot write /")
    assert f"/{'a' * 300}: " in message
    assert alive == "0 0 0 0 0"


@pytest.mark.parametrize(
    "identifier", ["", ".", "..", "../escape", str(OUTSIDE), "a/b", "a.lock", "@", "a b", "é"]
)
def test_a_hostile_name_of_the_models_folder_is_refused(ane, standin, identifier):
    name, calls = standin.to_object(identifier), itertools.count()

    def hostile(call):
        return name if next(calls) == 1 else call()  # the first call is the framework's own

    with (
        standin.replaced("-[_ANEInMemoryModel hexStringIdentifier]", hostile),
        pytest.raises(aneperf.CompileError, match="no usable name for the model's folder"),
    ):
        PROGRAM.compile(ane)
    assert standin.compiles == 0
    assert not OUTSIDE.exists()


def test_weights_are_told_apart(ane, emulator):
    """Programs of equal text by their weights, and the weight files of one program by their names."""
    b = mil.Builder()
    x = b.input("x", X.shape)
    for i, weight in enumerate(WEIGHTS):
        b.output(f"y{i}", mil.conv(x, weight))
    for program in (b.build(), b.build(weight_files="single"), *map(product, WEIGHTS)):
        assert_same(program.compile(ane).run(x=X), program.compile(emulator).run(x=X))
    assert product(WEIGHTS[1]).text == PROGRAM.text
