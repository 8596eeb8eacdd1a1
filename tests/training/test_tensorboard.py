"""The event file for TensorBoard, read back by frames and messages."""

import errno
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.training.accounting import COMPONENTS
from support.training_runs import MODEL

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")
record_writer = pytest.importorskip("tensorboardX.record_writer")
RecordWriter, masked_crc32c = record_writer.RecordWriter, record_writer.masked_crc32c


def messages(path: Path) -> Iterator[Any]:
    """Read the frames of a file: a length, its checksum, a message and its checksum."""
    data = path.read_bytes()
    while data:
        length, crc = struct.unpack("<QI", data[:12])
        message, (last,) = data[12 : 12 + length], struct.unpack("<I", data[12 + length : 16 + length])
        assert (crc, last) == (masked_crc32c(data[:8]), masked_crc32c(message))
        yield event_pb2.Event.FromString(message)
        data = data[16 + length :]


def scalars(path: Path) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for message in messages(path):
        for value in message.summary.value:
            found[value.tag][message.step] = value.simple_value
    return found


def test_the_figures_of_a_run(train: Any, tmp_path: Path, tokens: Path) -> None:
    folder = tmp_path / "board"
    result = train(steps=8, tensorboard=folder, eval_data=tokens, eval_every=2, warmup=2)
    (path,) = folder.iterdir()
    assert next(messages(path)).file_version == "brain.Event:2"
    found = scalars(path)
    steps = [3, 6, 8]
    assert all(list(values) == steps for tag, values in found.items() if tag != "loss/validation")

    def same(tag: str, values: list[float]) -> None:
        assert list(found.pop(tag).values()) == pytest.approx(values, rel=1e-6)

    assert list(found["loss/validation"]) == [6, 8]
    same("loss/validation", [validation.loss for validation in result.validations])
    same("loss/training", [batch.mean_loss for batch in result.batches])
    same("optimizer/learning_rate", [0.005, 0.01, 0.01])
    same("optimizer/gradient_norm", [batch.gradient_norm for batch in result.batches])
    same("rate/tokens_per_s", [1e3 * MODEL.seq * batch.steps / batch.train_ms for batch in result.batches])
    same("ms_batch/update", [batch.update_ms for batch in result.batches])
    same("ms_batch/compile", [batch.compile_ms for batch in result.batches])
    same("ms_batch/staging", [0.0] * 3)
    parts = [result.times[:3], result.times[3:6], result.times[6:]]
    for name in COMPONENTS:
        same(f"ms_forward/{name}", [np.mean([t.forward[name] for t in part]) for part in parts])
        same(f"ms_backward/{name}", [np.mean([t.backward[name] for t in part]) for part in parts])
    for name in ("wall", "other", "dw"):
        same(f"ms_step/{name}", [np.mean([getattr(t, name) for t in part]) for part in parts])
    assert found == {}


def test_a_resumed_run_continues_its_figures(train: Any, tmp_path: Path) -> None:
    folder = tmp_path / "c" / "board"
    folder.parent.mkdir()
    train(steps=9, checkpoints=tmp_path / "c", tensorboard=folder)
    aneperf.train(checkpoints=tmp_path / "c", resume=6, steps=12)
    first, second = sorted(folder.iterdir())
    assert list(scalars(first)["loss/training"]) == [3, 6, 9]
    assert list(scalars(second)["loss/training"]) == [9, 12]
    start = next(message for message in messages(second) if message.HasField("session_log"))
    assert (start.step, start.session_log.status) == (7, event_pb2.SessionLog.START)
    for path in folder.iterdir():
        path.unlink()
    aneperf.train(checkpoints=tmp_path / "c", resume=True, steps=15)
    assert list(folder.iterdir()) == []


def test_a_full_disk_ends_the_file_and_not_the_run(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RecordWriter.write

    def full(self: Any, data: bytes) -> None:
        if len(data) > 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    monkeypatch.setattr(RecordWriter, "write", full)
    (tmp_path / "board").mkdir()
    result = train(steps=3, tensorboard=tmp_path / "board")
    assert len(result.losses) == 3
    assert result.logs_stopped == [f"{tmp_path / 'board'}: cannot write: No space left on device"]


def test_where_no_event_file_can_be(train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("mine")
    for folder, message in (
        ("file", "file: is there and is no folder: name another one"),
        ("none/board", "none does not exist: create it first"),
        ("c", "c: is a place for checkpoints"),
        ("c/best/board", "c/best does not exist"),
    ):
        with pytest.raises(aneperf.AneError, match=message):
            train(tensorboard=tmp_path / folder, checkpoints=tmp_path / "c")
    monkeypatch.setitem(sys.modules, "tensorboardX.record_writer", None)
    with pytest.raises(aneperf.ArgumentError, match=r"event files need tensorboardX: pip .*\[tensorboard\]'"):
        train(tensorboard=tmp_path / "board")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
