"""Reading files: every stranger is named, nothing blocks, and a file that changes is an error."""

import bz2
import gzip
import io
import json
import lzma
import os
import socket
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from aneperf import bounds, mil
from aneperf.errors import AneError, ArgumentError, ResultFileError
from aneperf.files import Input, file_kind, read_input
from aneperf.kinds import Kind
from aneperf.training.token_file import token_writer
from aneperf.training.tokenizer import Bytes
from support.fakes import a_result

EXPECTED = (
    Kind.RESULT,
    Kind.CHECKPOINT,
    Kind.TELEMETRY,
    Kind.MIL,
    Kind.WEIGHTS,
    Kind.SAFETENSORS,
    Kind.LLAMA2C,
    Kind.TOKENS,
    Kind.TOKENIZER,
    Kind.LLAMA2C_TOKENIZER,
    Kind.SENTENCEPIECE,
    Kind.TEXT,
)
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 4096\n"
PROSE = "Once upon a time, there was a déjà vu. ".encode() * 9
TOKENS = np.arange(300, dtype="<u2").tobytes()


def llama2c() -> bytes:
    return struct.pack("<7i", 2, 4, 1, 1, 1, 3, 2) + bytes(4 * (6 + 2 * (2 + 4 + 4 + 12) + 2 + 4))


def llama2c_tokenizer() -> bytes:
    tokens = (b"<unk>", b"<s>", b"</s>", b" a")
    return struct.pack("<I", 5) + b"".join(struct.pack("<fI", -1.0, len(t)) + t for t in tokens)


def sentencepiece() -> bytes:
    piece = b"\x0a\x05<unk>\x15\x00\x00\x00\x00\x18\x02"
    return b"\x0a" + bytes([len(piece)]) + piece + b"\x12\x04\x0a\x02m3"


def weights() -> bytes:
    return mil.write_blob([np.ones(64, np.float16)])[0]


def archive(write: str) -> bytes:
    content = io.BytesIO()
    if write != "tar":
        with zipfile.ZipFile(content, "w") as zipped:
            zipped.writestr("archive/data.pkl" if write == "torch" else "a", "b")
    else:
        with tarfile.open(fileobj=content, mode="w") as tarred:
            tarred.addfile(tarfile.TarInfo("a"))
    return content.getvalue()


def tensors(folder: Path) -> bytes:
    save_file({"a": np.ones(3, np.float32)}, folder / "t")
    content = (folder / "t").read_bytes()
    (folder / "t").unlink()
    return content


def described_tokens(folder: Path) -> bytes:
    with token_writer(folder / "t", Bytes.vocabulary) as add:
        add([1, 2, 3])
    content = (folder / "t").read_bytes()
    (folder / "t").unlink()
    return content


def contents(folder: Path) -> dict[Kind, bytes]:
    """Return a file of every kind that is recognized."""
    return {
        Kind.LFS: LFS,
        Kind.ANNEX: b"/annex/objects/SHA256E-s3--00.bin\n",
        Kind.HTML: b"\n<!DOCTYPE html><html><body>404</body></html>",
        Kind.GZIP: gzip.compress(PROSE),
        Kind.BZIP2: bz2.compress(PROSE),
        Kind.XZ: lzma.compress(PROSE),
        Kind.ZSTD: b"\x28\xb5\x2f\xfd\x04\x00",
        Kind.ZIP: archive("zip"),
        Kind.TAR: archive("tar"),
        Kind.UTF16: "a result".encode("utf-16"),
        Kind.NUMPY: b"\x93NUMPY\x01\x00",
        Kind.TORCH: archive("torch"),
        Kind.PDF: b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
        Kind.HDF5: b"\x89HDF\r\n\x1a\n\0",
        Kind.COREML: b"\x08\x07\x12\x08\x0a\x06\x0a\x01x\x1a\x01\0",
        Kind.GGUF: b"GGUF\x03\x00\x00\x00",
        Kind.RESULT: a_result().to_json(),
        Kind.CHECKPOINT: b'{\n  "format": 1,\n  "step": 8,\n  "applied_updates": 2\n}\n',
        Kind.TELEMETRY: b'{"type":"run","aneperf":"0.1.0"}\n{"type":"step"}\n',
        Kind.TRACE: b'{"displayTimeUnit":"ms","traceEvents":[\n]}',
        Kind.MIL: b"program(1.3)\n[buildInfo = dict<string, string>({})]\n{}\n",
        Kind.WEIGHTS: weights(),
        Kind.SAFETENSORS: tensors(folder),
        Kind.TOKENS: described_tokens(folder),
        Kind.LLAMA2C: llama2c(),
        Kind.TOKENIZER: json.dumps({"version": "1.0", "added_tokens": [], "model": {}}).encode(),
        Kind.LLAMA2C_TOKENIZER: llama2c_tokenizer(),
        Kind.SENTENCEPIECE: sentencepiece(),
    }


TEXTS = {Kind.RESULT, Kind.CHECKPOINT, Kind.TELEMETRY, Kind.TRACE, Kind.MIL, Kind.TOKENIZER, Kind.HTML}


@pytest.mark.parametrize("expected", EXPECTED)
def test_a_file_of_another_kind_is_named(tmp_path: Path, expected: Kind) -> None:
    path = tmp_path / "file"
    for kind, content in contents(tmp_path).items():
        path.write_bytes(content)
        if kind is expected or (expected is Kind.TEXT and kind in TEXTS):
            assert read_input(path, expected, 1 << 20) == content
            continue
        with pytest.raises(ResultFileError) as refusal:
            read_input(path, expected, 1 << 20)
        assert str(refusal.value).startswith(f"{path}: is {kind.value}, not {expected.value}"), (
            kind,
            expected,
        )


def test_what_to_do_is_said(tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(LFS)
    with pytest.raises(ArgumentError, match=r"is a Git LFS pointer, not a llama2.c model: .* git lfs pull$"):
        read_input(tmp_path / "w", Kind.LLAMA2C, 1 << 20, ArgumentError)


def test_prose_is_no_binary_file_and_tokens_are_no_prose(tmp_path: Path) -> None:
    (tmp_path / "story").write_bytes(PROSE)
    (tmp_path / "tokens").write_bytes(TOKENS)
    for kind in (Kind.TOKENS, Kind.LLAMA2C, Kind.SAFETENSORS, Kind.WEIGHTS):
        with pytest.raises(AneError, match="story: is text, not "):
            read_input(tmp_path / "story", kind, 1 << 20)
        assert read_input(tmp_path / "tokens", kind, 1 << 20) == TOKENS
    for kind in (Kind.TEXT, Kind.MIL, Kind.RESULT):
        assert read_input(tmp_path / "story", kind, 1 << 20) == PROSE


@pytest.mark.parametrize("word", ["GGUF", "%PDF-1.7", "24ka", "BZh91AY&SY", "7z", "lmgg"])
def test_text_that_begins_like_a_binary_file_is_text(tmp_path: Path, word: str) -> None:
    (tmp_path / "story").write_text(f"{word} is a format, " + "é" * 3000)  # of which one is cut
    read_input(tmp_path / "story", Kind.TEXT, 1 << 20)


def test_a_file_that_does_not_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(TOKENS)
    monkeypatch.setattr(bounds, "available_memory", lambda: len(TOKENS) - 1)
    with pytest.raises(ResultFileError, match="file takes 1 MiB, and 1 MiB are free: free some"):
        read_input(tmp_path / "file", Kind.TOKENS, 1 << 20)


def test_any_two_tokens_may_begin_a_file(tmp_path: Path) -> None:
    rest = np.random.default_rng(1).integers(0, 1 << 16, 100).astype("<u2").tobytes()
    for content in contents(tmp_path).values():
        (tmp_path / "tokens").write_bytes((content[:3] + rest)[: len(rest)])
        read_input(tmp_path / "tokens", Kind.TOKENS, 1 << 20)


@pytest.mark.parametrize("expected", EXPECTED)
def test_what_is_no_regular_file_is_named_without_reading_it(tmp_path: Path, expected: Kind) -> None:
    os.mkfifo(tmp_path / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    place = os.getcwd()
    os.chdir(tmp_path)  # a socket's path is short
    listening.bind("socket")
    os.chdir(place)
    listening.close()
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path, what in (
        (tmp_path, "a folder"),
        (tmp_path / "pipe", "a pipe"),
        (tmp_path / "link", "a pipe"),
        (tmp_path / "socket", "a socket"),
        (Path("/dev/zero"), "a device"),
        (Path("/dev/urandom"), "a device"),
    ):
        for error in (ResultFileError, ArgumentError):
            with pytest.raises(error, match=rf"^{path}: is {what}, not "):
                read_input(path, expected, 1 << 20, error)


def test_an_empty_file_is_one_of_text_only(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for kind in EXPECTED[:-1]:
        with pytest.raises(ResultFileError, match="empty: is empty, not "):
            read_input(tmp_path / "empty", kind, 1 << 20)
    assert read_input(tmp_path / "empty", Kind.TEXT, 1) == b""


def test_a_path_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (tmp_path / "loop", "symbolic links"),
        (tmp_path / ("x" * 300), "name too long"),
        (f"{tmp_path}/a\0b", "null"),
    ):
        with pytest.raises(ResultFileError, match=f"cannot read: .*{reason}"):
            read_input(path, Kind.RESULT, 1)


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 40)  # sparse
    with pytest.raises(ResultFileError, match="has 1099511627776 bytes, and a result of aneperf at most 100"):
        read_input(tmp_path / "large", Kind.RESULT, 100)


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(TOKENS)
    with Input(path, Kind.TOKENS) as file:
        file.check_unchanged()
        assert file.read(10, 4) == TOKENS[10:14]
        os.truncate(path, 12)
        with pytest.raises(ResultFileError, match="was cut short while it was read: it had 600 bytes"):
            file.read(10, 4)
        with pytest.raises(ResultFileError, match=r"was changed .*: it has 12 bytes now and had 600"):
            file.check_unchanged()


def test_a_file_that_is_overwritten_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_bytes(TOKENS)
    os.utime(path, ns=(0, 0))
    with Input(path, Kind.TOKENS) as file:
        with path.open("r+b") as other:
            other.write(b"\x07")
        with pytest.raises(ResultFileError, match="was changed while it was in use"):
            file.check_unchanged()


def test_the_kind_of_an_output_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert file_kind(path) is None
    os.mkfifo(tmp_path / "pipe")
    for strange in (tmp_path, tmp_path / "pipe", "/dev/zero", "a\0b"):
        assert file_kind(strange) is None
    path.touch()
    assert file_kind(path) is None
    for kind, content in contents(tmp_path).items():
        path.write_bytes(content)
        assert file_kind(path) is kind


def test_bytes_that_are_no_weight_file_are_named(tmp_path: Path) -> None:
    for kind, content in {**contents(tmp_path), Kind.TEXT: PROSE}.items():
        if kind is not Kind.WEIGHTS:
            with pytest.raises(ArgumentError, match=f"^is {kind.value}, not a weight file of MIL"):
                mil.read_blob(content, 64, mil.TensorType("fp16", (64,)))
    with pytest.raises(ArgumentError, match=r"^is empty, not a weight file of MIL"):
        mil.read_blob(b"", 64, mil.TensorType("fp16", (64,)))
