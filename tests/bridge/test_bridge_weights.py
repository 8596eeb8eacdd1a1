"""Names of weight files and of the model's folder: the bridge writes into that folder, and nowhere else."""

import itertools
import json
import re

import pytest

import aneperf
from aneperf import mil
from support.bridge_programs import HOSTILE, NAMED, OUTSIDE, PATH, PROGRAM, WEIGHTS, X, assert_same, product
from support.standin import MODEL

pytest_plugins = ["support.standin"]


def test_hostile_names_are_refused_before_anything_is_written(standin, tmp_path):
    temporary = tmp_path / "one" / "two" / "three"
    temporary.mkdir(parents=True)
    output = standin.child("use_hostile_names()", TMP=str(temporary))
    files, unused, used, (tree, is_untouched) = map(json.loads, output.splitlines())
    # The folder is full when the compiler runs, and gone afterwards.
    folder = files[0].removesuffix(".lock")
    assert files == [f"{folder}.lock", f"{folder}/model.mil", f"{folder}/weights/weight.bin"]
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
def test_unusual_names_work(engine, emulator, path):
    text, weights = PROGRAM.text.replace(PATH, path), {path: PROGRAM.weights[PATH]}
    assert_same(engine.compile(text, weights).run(x=X), emulator.compile(text, weights).run(x=X))


def test_a_file_that_cannot_be_written_is_a_compile_error(standin):
    message, alive = standin.child("fail_to_write()").splitlines()
    assert message.startswith("[compile] DiskFailure: cannot write /")
    assert re.search(rf"/{'a' * 300} \(0\.0 MB; [\d.]+ [MG]B are free there\)(: |$)", message)
    assert "no reason" not in message
    assert alive == "0 0 0 0 0"


@pytest.mark.parametrize(
    "identifier", ["", ".", "..", "../escape", str(OUTSIDE), "a/b", "a.lock", "@", "a b", "é"]
)
def test_a_hostile_name_of_the_models_folder_is_refused(ane, standin, identifier):
    name, calls = standin.to_object(identifier), itertools.count()

    def hostile(call):
        return name if next(calls) == 1 else call()  # the first call is the framework's own

    with (
        standin.replaced(MODEL("hexStringIdentifier"), hostile),
        pytest.raises(aneperf.CompileError, match="no usable name for the model's folder"),
    ):
        PROGRAM.compile(ane)
    assert standin.compiles == 0
    assert not OUTSIDE.exists()


def test_weights_are_told_apart(engine, emulator):
    """Tell apart programs of equal text by their weights, and one program's weight files by their names."""
    b = mil.Builder()
    x = b.input("x", X.shape)
    for i, weight in enumerate(WEIGHTS):
        b.output(f"y{i}", mil.conv(x, weight))
    for program in (b.build(), b.build(weight_files="separate"), *map(product, WEIGHTS)):
        assert_same(program.compile(engine).run(x=X), program.compile(emulator).run(x=X))
    assert product(WEIGHTS[1]).text == PROGRAM.text
