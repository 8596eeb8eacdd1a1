"""Programs are read from .mil files and the folders of Apple's tools, and weights from nowhere else."""

import json
import os
import shutil
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import ResultFileError, mil
from aneperf.mil import files

SHAPE = (1, 32, 1, 32)
WEIGHT = np.arange(32 * 32, dtype=np.float16).reshape(32, 32, 1, 1) / 1024
X = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float16)


def program() -> mil.Program:
    b = mil.Builder()
    b.output("y", mil.conv(b.input("x", SHAPE), WEIGHT))
    return b.build()


def save(folder: Path, program: mil.Program) -> Path:
    """Write the program as Apple's compiler does: model.mil, and the weight files beside it."""
    folder.mkdir(parents=True)
    (folder / "model.mil").write_text(program.text)
    for name, content in program.weights.items():
        file = folder / name.removeprefix("@model_path/")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save(tmp_path / "m.mlmodelc", program())


@pytest.mark.parametrize("name", ["", "model.mil"])
def test_a_compiled_model_is_the_program_it_was(folder: Path, name: str, emulator: aneperf.Device) -> None:
    expected = program()
    found = mil.read(folder / name)
    assert (found.inputs, found.outputs) == (expected.inputs, expected.outputs)
    assert (found.text, found.weights) == (expected.text, expected.weights)
    y = found.compile(emulator).run(x=X)["y"]
    np.testing.assert_array_equal(y, expected.compile(emulator).run(x=X)["y"])
    assert np.abs(y).max() > 1


def test_only_the_weights_that_the_text_names_are_read(folder: Path) -> None:
    (folder / "weights" / "other.bin").write_bytes(b"not a weight file")
    os.mkfifo(folder / "pipe")
    assert list(mil.read(folder).weights) == ["@model_path/weights/weight.bin"]


def test_lint_takes_what_read_takes(folder: Path, run: Any) -> None:
    b = mil.Builder()
    b.output("y", mil.mul(mil.reduce_sum(b.input("x", SHAPE), [3]), np.zeros((1, 32, 1, 1), np.float16)))
    zeros = save(folder.with_name("zeros.mlmodelc"), b.build())
    for path in (zeros, zeros / "model.mil"):
        assert ("mul", "fails") in [(f.op, f.severity) for f in aneperf.lint(path)]
    assert aneperf.lint(folder) == []
    outcome = run("lint", str(zeros))
    assert outcome.code == 1
    assert ": fails: mul: a reduction times 0 does not compile." in outcome.out
    assert run("lint", str(folder)).code == 0


def test_a_text_alone_is_checked_without_its_weights(folder: Path) -> None:
    shutil.rmtree(folder / "weights")
    text = folder.with_name("p.mil")
    shutil.move(folder / "model.mil", text)
    assert aneperf.lint(text) == []
    with pytest.raises(ResultFileError, match=r"weights/weight\.bin: the weight file is missing$"):
        mil.read(text)


def linked(path: Path) -> None:
    """Move a file or folder out of the model, and leave a link in its place."""
    outside = path.parents[2] / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)


def pointed(path: Path) -> None:
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4096\n")


def looped(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def repeated(path: Path) -> None:
    path.write_text("program(1.3)\n{" + "tensor<fp16, [1]> x = relu(x = x)[];\n" * 100_001 + "}")


BROKEN = {
    "too many statements": (repeated, "model.mil", "model.mil: has more than 100000 statements"),
    "too many values": (
        lambda path: path.write_text("program(1.3)" + "1," * 4_000_001),
        "model.mil",
        "model.mil: has more than 4000000 values",
    ),
    "missing weights": (Path.unlink, "weights/weight.bin", "weight.bin: the weight file is missing"),
    "a link out of the model": (linked, "weights/weight.bin", "leads out of the model's folder"),
    "a linked folder": (linked, "weights", "leads out of the model's folder"),
    "a loop of links": (looped, "weights/weight.bin", "weight.bin"),
    "a pipe for weights": (piped, "weights/weight.bin", "is a pipe"),
    "a pointer for weights": (pointed, "weights/weight.bin", "is a Git LFS pointer.*git lfs pull"),
    "empty weights": (emptied, "weights/weight.bin", "is empty"),
    "a pointer for text": (pointed, "model.mil", "model.mil: is a Git LFS pointer"),
    "a pipe for text": (piped, "model.mil", "model.mil: is a pipe"),
    "no text": (Path.unlink, "model.mil", "is a folder without model.mil .* or Manifest.json"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_model_is_named_in_one_line(folder: Path, case: str, run: Any) -> None:
    damage, name, message = BROKEN[case]
    damage(folder / name)
    with pytest.raises(ResultFileError, match=message) as caught:
        mil.read(folder)
    assert str(folder) in str(caught.value)
    outcome = run("lint", str(folder))
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("path", ["@model_path/../secret.bin", "@model_path//etc/passwd", "weights/w.bin"])
def test_a_path_out_of_the_folder_is_not_followed(folder: Path, path: str, emulator: aneperf.Device) -> None:
    (folder.parent / "secret.bin").write_bytes(next(iter(program().weights.values())))
    text = folder / "model.mil"
    text.write_text(text.read_text().replace("@model_path/weights/weight.bin", path))
    found = mil.read(folder)
    assert found.weights == {}
    with pytest.raises(aneperf.CompileError, match="weight path"):
        found.compile(emulator)


def test_weights_may_be_links_within_the_model(folder: Path) -> None:
    weights = folder / "weights" / "weight.bin"
    shutil.move(weights, folder / "blob")
    weights.symlink_to(folder / "blob")
    assert mil.read(folder).weights == program().weights


def test_weights_beyond_the_bound_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_WEIGHT_BYTES", 1000)
    with pytest.raises(ResultFileError, match="the weight files take more than 1 MiB"):
        mil.read(folder)
    assert aneperf.lint(folder) == []


def test_a_zipped_model_is_named(folder: Path) -> None:
    packed = folder.with_suffix(".mlpackage")
    with zipfile.ZipFile(packed, "w") as archive:
        archive.write(folder / "model.mil")
    with pytest.raises(ResultFileError, match=r"is a zip archive.*unpack it first"):
        mil.read(packed)


@pytest.mark.parametrize(
    ("text", "message"),
    [("program(1.3", "line 1"), ("<html><body>Sign in to GitHub</body></html>", "an HTML or XML page")],
)
def test_text_that_is_not_mil(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "p.mil").write_text(text)
    with pytest.raises(aneperf.AneError, match=message):
        mil.read(tmp_path / "p.mil")


def package(folder: Path, manifest: object) -> Path:
    folder.mkdir()
    (folder / "Manifest.json").write_text(json.dumps(manifest))
    data = folder / "Data" / "com.apple.CoreML"
    data.mkdir(parents=True)
    (data / "model.mlmodel").write_bytes(b"\x08\x07\x12\x02\x0a\x00")
    return folder


def manifest(path: str = "com.apple.CoreML/model.mlmodel", root: str = "a") -> object:
    items = {"a": {"path": path, "name": "model.mlmodel"}}
    return {"fileFormatVersion": "1.0.0", "itemInfoEntries": items, "rootModelIdentifier": root}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "Manifest.json: cannot read: Expected `object`, got `array`"),
        ({"itemInfoEntries": {}}, "missing required field `rootModelIdentifier`"),
        (manifest(root="b"), "Manifest.json: names no root model among its items"),
        (manifest("../../other.mlmodel"), "leads out of the model's folder"),
        (manifest("/etc/passwd"), "leads out of the model's folder"),
        (manifest("nothing.mlmodel"), "nothing.mlmodel: cannot read: No such file"),
        (manifest("com.apple.CoreML"), "is a folder"),
    ],
)
def test_a_manifest_that_leads_nowhere(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(ResultFileError, match=message):
        mil.read(package(tmp_path / "m.mlpackage", content))


def test_a_package_asks_for_coremltools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "coremltools"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", None)
    outcome = run("lint", str(package(tmp_path / "m.mlpackage", manifest())))
    assert outcome.code == 2
    assert outcome.err.endswith("needs coremltools: pip install '.[coreml]' in a checkout of aneperf\n")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["lint", "lint --fp16"])
def test_a_file_of_python_is_no_model(tmp_path: Path, verb: str, run: Any) -> None:
    (tmp_path / "m.py").write_text("# makes a program\n")
    outcome = run(*verb.split(), str(tmp_path / "m.py"))
    assert outcome.code == 2
    assert "m.py: is Python, not a program: `aneperf bench` and `profile` run it" in outcome.err
    assert outcome.err.count("\n") == 1
