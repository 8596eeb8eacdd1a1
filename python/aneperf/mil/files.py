"""Read programs from files: MIL text, the folders of Apple's compiler, and the packages of coremltools."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import msgspec

from .. import _ane_native as native
from ..bounds import PROGRAM_BYTES, STATEMENTS, VALUES, mebibytes
from ..errors import AneError, ArgumentError, CompileError, ResultFileError
from ..files import Input, one_line, read_input
from ..kinds import Kind
from .builder import Program
from .coreml import spell_model
from .types import DType, TensorType

_MODEL_PATH = "@model_path/"
_COMPILED, _MANIFEST, _MODEL = "model.mil", "Manifest.json", ".mlmodel"
_MANIFEST_BYTES = 1 << 20
_WEIGHT_BYTES = 4 << 30  # of all files; the engine takes half of that in one program


@dataclass(frozen=True)
class Source:
    """A program's text, which need not be right, and the weight files that it names."""

    text: str = field(repr=False)
    weights: dict[str, bytes] = field(default_factory=dict, repr=False)
    absent: str = ""  # why `weights` is not complete; empty if it is


class _Item(msgspec.Struct):
    path: str


class _Manifest(msgspec.Struct, rename="camel"):
    """The part of a package's manifest that leads to the model."""

    item_info_entries: dict[str, _Item]
    root_model_identifier: str


def read(path: str | os.PathLike[str]) -> Program:
    """Read a program: a .mil file, a .mlmodelc folder, an .mlpackage folder or a .mlmodel file.

    The text's weight files are read too; they lie below the folder of the model. The last two kinds need
    coremltools. Raises ResultFileError, and CompileError for text that is not MIL.
    """
    source = read_source(path)
    if source.absent:
        raise ResultFileError(source.absent)
    functions = native.parse(source.text)["functions"]
    if len(functions) != 1:
        raise ResultFileError(f"{path}: holds {len(functions)} functions: give each as a program of its own")
    inputs, outputs = (_ports(functions[0], side) for side in ("inputs", "outputs"))
    return Program(inputs, outputs, source.text, source.weights)


def read_source(path: str | os.PathLike[str]) -> Source:
    """Read a program without a look at what it says. Raises ResultFileError."""
    file = Path(path)
    if file.suffix == ".py":
        raise ResultFileError(
            f"{path}: is Python, not a program: `aneperf bench` and `profile` run it. In Python, pass the "
            "program that its function makes"
        )
    if not file.is_dir():
        return _read_model(file) if file.suffix == _MODEL else _read_text(file, may_lack_weights=True)
    if (file / _COMPILED).exists():
        return _read_text(_inside(file, file, _COMPILED))
    if (file / _MANIFEST).exists():
        return _read_model(_inside(file, file / "Data", _root_model(file)))
    raise ResultFileError(
        f"{path}: is a folder without {_COMPILED} (a .mlmodelc) or {_MANIFEST} (an .mlpackage)"
    )


def _root_model(package: Path) -> str:
    """Return the path of the model within the package's data."""
    content = read_input(_inside(package, package, _MANIFEST), Kind.JSON, _MANIFEST_BYTES)
    try:
        manifest = msgspec.json.decode(content, type=_Manifest)
        return manifest.item_info_entries[manifest.root_model_identifier].path
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ResultFileError(f"{package / _MANIFEST}: cannot read: {one_line(error)}") from None
    except KeyError:
        raise ResultFileError(f"{package / _MANIFEST}: names no root model among its items") from None


def _read_model(file: Path) -> Source:
    content = read_input(file, Kind.COREML, PROGRAM_BYTES)
    try:
        text = spell_model(content)
    except AneError as error:
        raise ResultFileError(f"{file}: {error}") from None
    return _with_weights(text, file)


def _read_text(file: Path, may_lack_weights: bool = False) -> Source:
    content = read_input(file, Kind.MIL, PROGRAM_BYTES)
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise ResultFileError(f"{file}: cannot read: {error}") from None
    return _with_weights(text, file, may_lack_weights)


def _with_weights(text: str, file: Path, may_lack_weights: bool = False) -> Source:
    """Read the weight files that the text of `file` names, if it can be parsed."""
    if text.count(";") > STATEMENTS:
        raise ResultFileError(f"{file}: has more than {STATEMENTS} statements, the most that are read")
    if text.count(",") > VALUES:
        raise ResultFileError(
            f"{file}: has more than {VALUES} values, the most that are read: give a weight file"
        )
    folder = file.parent
    weights: dict[str, bytes] = {}
    free = _WEIGHT_BYTES
    for name in _weight_paths(text):
        place = _inside(folder, folder, name.removeprefix(_MODEL_PATH))
        if not place.exists():
            reason = f"{folder / name.removeprefix(_MODEL_PATH)}: the weight file is missing"
            if may_lack_weights:
                return Source(text, {}, reason)
            raise ResultFileError(reason)
        with Input(place, Kind.WEIGHTS) as opened:
            free -= opened.size
            if free < 0:
                reason = f"{folder}: the weight files take more than {mebibytes(_WEIGHT_BYTES)}"
                return Source(text, {}, reason)
            weights[name] = opened.read(0, opened.size)
    return Source(text, weights)


def _weight_paths(text: str) -> Iterator[str]:
    """Yield the weight files that a text names, if it can be parsed. The checker reports unsafe ones."""
    try:
        functions = native.parse(text)["functions"]
    except CompileError:
        return
    values = (value for function in functions for value in function["values"])
    for path in dict.fromkeys(value["blob"][0] for value in values if value["blob"] is not None):
        with contextlib.suppress(ArgumentError):
            native.check_weight_path(path)
            yield path


def _inside(root: Path, folder: Path, name: str) -> Path:
    """Return a file of `folder`, a part of the model `root`. Links and paths do not lead out of the model."""
    try:
        place = (folder / name).resolve()
        if place.is_relative_to(root.resolve()):
            return place
    except (OSError, ValueError, RuntimeError) as error:  # a loop of links, a NUL
        raise ResultFileError(f"{root}: cannot read {name!r}: {error}") from None
    raise ResultFileError(f"{root}: {name!r} leads out of the model's folder")


def _ports(function: dict[str, Any], side: str) -> dict[str, TensorType]:
    values = (function["values"][index] for index in function[side])
    return {value["name"]: TensorType(cast(DType, value["dtype"]), tuple(value["shape"])) for value in values}
