"""Disks that fill up during a run: its logs end, its state is saved, nothing half-written stays."""

import errno
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import SafetensorError

import aneperf
from aneperf.training import checkpoint as checkpoints
from aneperf.training.checkpoint import Checkpoints
from aneperf.training.events import BatchDone, Event, LogStopped, StepDone
from aneperf.training.record import CheckpointError
from support import environment
from support.parameters import thorough
from support.training_runs import MODEL, RUN

pytest_plugins = ["support.disks"]

SHAPE = [
    f"--{name.replace('_', '-')}={getattr(MODEL, name)}"
    for name in ("dim", "hidden", "layers", "heads", "kv_heads", "head_dim", "vocab", "seq")
]


@pytest.fixture
def limit_files() -> Iterator[Callable[[int], None]]:
    """Return what limits the size of files: a write beyond it fails, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder for temporary files."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def after(batch: int, action: Callable[[], object]) -> Callable[[Event], None]:
    def progress(event: Event) -> None:
        if isinstance(event, BatchDone) and event.batch == batch:
            action()

    return progress


def test_a_full_disk_ends_a_run_that_cannot_save(
    train: Any, tmp_path: Path, temporary: Path, limit_files: Callable[[int], None]
) -> None:
    fill = after(1, lambda: limit_files(50_000))
    with pytest.raises(CheckpointError, match=r"step-00000006 cannot .*; no other folder took it$"):
        train(checkpoints=tmp_path / "c", progress=fill)
    assert [path.name for path in (tmp_path / "c").iterdir()] == ["step-00000003"]
    assert Checkpoints(tmp_path / "c").open().record.step == 3
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    "failure",
    [
        SafetensorError("I/O error: No space left"),
        *thorough(OSError(errno.ENOSPC, "No space left on device")),
    ],
)
def test_another_folder_takes_the_state(
    train: Any, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    whole, folder, save_file = train(), tmp_path / "c", checkpoints.save_file

    def save(arrays: Any, path: Path) -> None:
        if path.is_relative_to(folder) and ".step-00000006-" in str(path):
            path.write_bytes(b"half")
            raise failure
        save_file(arrays, path)

    monkeypatch.setattr(checkpoints, "save_file", save)
    message = r"step-00000006 cannot be written: .*No space left.*; it was saved in (\S+): resume from there$"
    with pytest.raises(CheckpointError, match=message):
        train(checkpoints=folder)
    assert [path.name for path in folder.iterdir()] == ["step-00000003"]
    (elsewhere,) = temporary.glob("aneperf-checkpoint-*")
    monkeypatch.undo()
    rest = train(checkpoints=elsewhere, resume=True)
    assert rest.losses == whole.losses[6:]
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(rest.parameters[name], value)


@pytest.mark.parametrize("log", ["telemetry", "trace"])
def test_a_run_outlives_its_logs(
    train: Any, tmp_path: Path, limit_files: Callable[[int], None], log: str
) -> None:
    whole, path, told = train(), tmp_path / "log", []

    def progress(event: Event) -> None:
        if isinstance(event, StepDone) and event.step == 4:
            limit_files(100)
        if isinstance(event, LogStopped):
            told.append(event.reason)

    result = train(progress=progress, **{log: path})
    assert result.losses == whole.losses
    assert told == result.logs_stopped == [f"{path}: cannot write: File too large"]
    assert f"The run continued without its log: {told[0]}." in result.notes
    assert [file.name for file in tmp_path.iterdir()] == ["log"] * (log == "telemetry")


def test_the_command_says_that_a_log_is_not_whole(
    run: Any, device_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, kind: str, **values: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("aneperf.training.telemetry.Telemetry._write", full)
    outcome = run(
        *("train", *SHAPE, "--steps", "2", "--device", device_name, "--telemetry", str(tmp_path / "log"))
    )
    assert outcome.code == 2
    assert outcome.err == (
        f"aneperf: {tmp_path}/log: cannot write: No space left on device; the run continues without it\n"
    )
    assert "Total steps: 2" in outcome.out


def test_a_model_that_cannot_be_saved_is_saved_elsewhere(
    run: Any, device_name: str, tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if target == tmp_path / "m.bin":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    outcome = run(
        *("train", *SHAPE, "--steps", "2", "--device", device_name, "--save", str(tmp_path / "m.bin"))
    )
    (saved,) = temporary.glob("aneperf-model-*/model.bin")
    assert outcome.code == 2
    assert outcome.err.endswith(
        f"m.bin: cannot write: No space left on device; the model was saved as {saved}\n"
    )
    assert "Total steps: 2" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk(device_name: str, tmp_path: Path, small_disk: Path) -> None:
    """Let checkpoints, telemetry and trace fill a disk of their own."""
    code = (
        "import aneperf\nfrom support.training_runs import MODEL, RUN\n"
        f"disk, device = {str(small_disk)!r}, {device_name!r}\n"
        "aneperf.train(MODEL, device=device, checkpoints=disk + '/c', telemetry=disk + '/t', **RUN)\n"
    )
    elsewhere = tmp_path / "temporary"
    elsewhere.mkdir()
    ended = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(TMPDIR=elsewhere),
    )
    assert "CheckpointError: " in ended.stderr.splitlines()[-1]
    assert "No space left on device" in ended.stderr.splitlines()[-1]
    (saved,) = elsewhere.glob("aneperf-checkpoint-*")
    assert Checkpoints(saved).open().record.step == 6
    assert sorted(path.name for path in (small_disk / "c").iterdir()) == ["step-00000003"]
    rest = aneperf.train(MODEL, device=device_name, checkpoints=saved, resume=True, **RUN)
    assert (rest.first_step, rest.end_step) == (6, 12)
