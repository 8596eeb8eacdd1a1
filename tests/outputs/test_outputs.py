"""Outputs: whole or not at all, never over an input, nor over a file of another kind."""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.errors import ArgumentError, ResultFileError
from aneperf.kinds import Kind
from aneperf.outputs import (
    check_log_folder,
    check_new_folder,
    check_output,
    check_outputs,
    make_folder,
    open_log,
    whole_file,
    whole_folder,
    write_whole,
)
from aneperf.training.llama2c import save_llama2c
from aneperf.training.models import random_parameters
from support.fakes import a_result
from support.training_runs import MODEL

OTHERS: dict[str, bytes] = {
    "text": b"Notes on a summer's day, which took long to write and are nowhere else.\n",
    "JSON": b'{"name": "package", "version": "1.0"}\n',
    "a zip archive": b"PK\x03\x04" + bytes(60),
    "a PNG image": b"\x89PNG\r\n\x1a\n" + bytes(60),
    "of an unknown kind": b"\x00\x01\x02\x03" * 20,
}
WRITERS = [
    Kind.RESULT,
    Kind.TELEMETRY,
    Kind.TRACE,
    Kind.LLAMA2C,
    Kind.SVG,
    Kind.PICTURE,
    Kind.ENVIRONMENT,
    Kind.COMPARISON,
    Kind.COMMUNITY,
]


@pytest.mark.parametrize("kind", WRITERS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("found", OTHERS)
def test_a_file_of_another_kind_is_refused_and_kept(tmp_path: Path, kind: Kind, found: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(OTHERS[found])
    message = f"file: is there and is {found}, not {kind.value}: name another file, or delete this one first"
    with pytest.raises(ResultFileError, match=message):
        check_output(path, kind)
    with pytest.raises(ResultFileError, match=message):
        write_whole(path, kind, b"new")
    with pytest.raises(ResultFileError, match=message):
        open_log(path, kind, append=True)
    assert path.read_bytes() == OTHERS[found]
    assert os.listdir(tmp_path) == ["file"]


def test_tokens_replace_no_plain_numbers_for_these_have_no_signature(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"hello", *OTHERS.values(), np.arange(100, dtype="<u2").tobytes()):
        path.write_bytes(content)
        with pytest.raises(ResultFileError, match="is there and is "):
            check_output(path, Kind.TOKENS)


def test_a_loop_of_links_is_no_output(tmp_path: Path) -> None:
    (tmp_path / "one").symlink_to("other")
    (tmp_path / "other").symlink_to("one")
    with pytest.raises(ResultFileError, match=r"one'?: (is a loop of symbolic links|not a usable path)"):
        check_output(tmp_path / "one", Kind.RESULT)
    assert (tmp_path / "one").is_symlink()


def test_an_empty_file_and_one_of_the_same_kind_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(b"")
    for _ in range(2):
        a_result().save(path)
    model = tmp_path / "m.bin"
    for _ in range(2):
        save_llama2c(model, MODEL, random_parameters(MODEL))
    assert sorted(os.listdir(tmp_path)) == ["m.bin", "r.json"]


@pytest.mark.parametrize("how", ["itself", "a hard link", "a symbolic link", "a dotted path"])
def test_an_input_is_no_output(tmp_path: Path, how: str) -> None:
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_bytes(b"")
    if how == "itself":
        path = source
    elif how == "a hard link":
        path.hardlink_to(source)
    elif how == "a symbolic link":
        path.symlink_to(source)
    else:
        path = tmp_path / ".." / tmp_path.name / "source"
    with pytest.raises(ArgumentError, match="is also read, as --data: name another file"):
        check_output(path, Kind.RESULT, {"--weights": tmp_path, "--none": None, "--data": source})


def test_two_outputs_are_two_files(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with pytest.raises(ArgumentError, match="out: is also written, as --trace: name another file"):
        check_outputs({"--trace": (path, Kind.TRACE), "-o": (path, Kind.RESULT)}, {})
    check_outputs({"--trace": (path, Kind.TRACE), "-o": (None, Kind.RESULT)}, {})


@pytest.mark.parametrize(
    ("path", "checkpoints"),
    [("ck", "ck"), ("ck", "ck/today/first"), ("link", "ck"), ("there/step-00000004/out", "there")],
)
def test_an_output_takes_no_place_of_checkpoints(tmp_path: Path, path: str, checkpoints: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "ck")
    (tmp_path / "there" / "step-00000004").mkdir(parents=True)
    with pytest.raises(ArgumentError, match=f"{path}: is a place for checkpoints: name a file outside of"):
        check_outputs({"-o": (tmp_path / path, Kind.RESULT)}, {}, tmp_path / checkpoints)
    check_outputs({"-o": (tmp_path / "there" / "out", Kind.RESULT)}, {}, tmp_path / "there")


def test_a_read_only_file_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    a_result().save(path)
    path.chmod(0o444)
    if os.access(path, os.W_OK):
        pytest.skip("this user may write to every file")
    with pytest.raises(ResultFileError, match="it is read-only"):
        check_output(path, Kind.RESULT)


def test_a_log_begins_on_a_line_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = b'{"type":"run","aneperf":"0"}\n'
    for content, before in ((None, b""), (whole, whole), (whole + b'{"typ', whole + b'{"typ\n')):
        if content is not None:
            path.write_bytes(content)
        with open_log(path, Kind.TELEMETRY, append=True) as file:
            file.write(b"{}\n")
        assert path.read_bytes() == before + b"{}\n"
    with open_log(tmp_path / "new", Kind.TELEMETRY, append=False) as file:
        file.write(b"{}\n")
    assert (tmp_path / "new").read_bytes() == b"{}\n"


def test_files_obey_the_umask_and_a_failure_leaves_none(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_whole(tmp_path / "file", Kind.RESULT, b"{}")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    with pytest.raises(KeyboardInterrupt), whole_file(tmp_path / "other", Kind.RESULT):
        raise KeyboardInterrupt
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("option", ["telemetry", "trace", "output"])
def test_training_writes_over_none_of_its_files(tmp_path: Path, option: str) -> None:
    data, model = tmp_path / "tokens.bin", tmp_path / "m.bin"
    np.random.default_rng(0).integers(0, MODEL.vocab, 500).astype("<u2").tofile(data)
    save_llama2c(model, MODEL, random_parameters(MODEL))
    (tmp_path / "link").hardlink_to(data)
    files = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in files:
        options: dict[str, Any] = {"data": data, "weights": model, option: path}
        with pytest.raises(ArgumentError, match=r"is also read, as (data|weights)"):
            aneperf.train(device="emulator", steps=1, **options)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == files


@pytest.mark.parametrize(
    "arguments",
    [
        ["peak", "-o", "FILE"],
        ["suite", "--only", "peak", "-o", "FILE"],
        ["info", "-o", "FILE"],
        ["train", "--steps", "1", "-o", "FILE"],
        ["train", "--steps", "1", "--telemetry", "FILE"],
        ["train", "--steps", "1", "--trace", "FILE"],
        ["train", "--steps", "1", "--save", "FILE"],
        ["train", "--steps", "1", "--plot", "FILE"],
        ["compare", "RESULT", "RESULT", "-o", "FILE"],
        ["compare", "RESULT", "RESULT", "-o", "RESULT"],
        ["data", "TEXT", "--tokenizer", "bytes", "-o", "FILE"],
        ["data", "TEXT", "--tokenizer", "bytes", "-o", "TEXT"],
    ],
    ids=" ".join,
)
def test_no_verb_writes_over_a_strangers_file(run: Any, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "TEXT").write_text("hello")
    (tmp_path / "FILE").write_bytes(OTHERS["text"])
    a_result().save(tmp_path / "RESULT")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    outcome = run(*(str(tmp_path / a) if (tmp_path / a).exists() else a for a in arguments))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert "is there and is " in outcome.err or "is also read, as " in outcome.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new", "empty"):
        with whole_folder(tmp_path / name) as temporary:
            (temporary / "file").write_bytes(b"content")
            assert not list((tmp_path / "empty").iterdir()) or name == "new"
        assert (tmp_path / name / "file").read_bytes() == b"content"
        with pytest.raises(ResultFileError, match="is there and is no empty folder: name another one"):
            check_new_folder(tmp_path / name, {})
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "other"):
        raise KeyboardInterrupt
    with (
        pytest.raises(ResultFileError, match="other: cannot write: No such file"),
        whole_folder(tmp_path / "other") as temporary,
    ):
        (temporary / "missing" / "file").write_bytes(b"")
    assert sorted(os.listdir(tmp_path)) == ["empty", "new"]


def test_a_new_folder_is_apart_from_other_outputs(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    (tmp_path / "ck").mkdir()
    for path, message in (
        ("file", "is there and is no empty folder"),
        ("missing/folder", "does not exist: create it first"),
    ):
        with pytest.raises(ResultFileError, match=message):
            check_new_folder(tmp_path / path, {})
    for path, output, checkpoints in (
        ("out", "out", None),
        ("ck", "ck/o.json", None),
        ("out", None, "out"),
        ("out", None, "out/ck"),
        ("ck/out", None, "ck"),
        ("link", "gone", None),
    ):
        outputs = {"-o": None if output is None else tmp_path / output}
        with pytest.raises(ArgumentError, match=f"{path}: is also the place of .*: name another folder"):
            check_new_folder(
                tmp_path / path, outputs, None if checkpoints is None else tmp_path / checkpoints
            )
    check_new_folder(tmp_path / "out", {"-o": tmp_path / "o.json"}, tmp_path / "ck")
    assert sorted(os.listdir(tmp_path)) == ["ck", "file", "link"]


def test_a_folder_of_logs_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "ck").mkdir()
    for path, message in (
        ("file", "is there and is no folder: name another one"),
        ("missing/folder", "does not exist: create it first"),
        ("\0", "not a usable path"),
    ):
        with pytest.raises(ResultFileError, match=message):
            check_log_folder(tmp_path / path)
    for path in ("ck", ".", "ck/step-00000004/logs"):
        (tmp_path / "ck" / "step-00000004").mkdir(exist_ok=True)
        with pytest.raises(ArgumentError, match="is a place for checkpoints"):
            check_log_folder(tmp_path / path, tmp_path / "ck")
    before = sorted(os.listdir(tmp_path))
    for path in ("new", "ck/logs"):
        check_log_folder(tmp_path / path, tmp_path / "ck")
    assert sorted(os.listdir(tmp_path)) == before
    for _ in range(2):
        (make_folder(tmp_path / "new") / "kept").touch()
        check_log_folder(tmp_path / "new")
    assert os.listdir(tmp_path / "new") == ["kept"]
