"""The lock on a folder of checkpoints: one run at a time, until it ends, however it ends."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from aneperf.training.checkpoint import Checkpoints, load_model
from aneperf.training.events import Event, RunStarted, StepDone
from aneperf.training.folder_lock import FolderLock
from aneperf.training.record import CheckpointError
from support import environment

HERE = (
    f"is in use by process {os.getpid()} on {socket.gethostname()}: wait for its end, or name another folder"
)


def test_one_owner_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    for _ in range(3):
        lock = FolderLock(folder)
        with pytest.raises(CheckpointError, match=HERE):
            FolderLock(folder)
        lock.close()
        assert list(tmp_path.iterdir()) == []
    lock = FolderLock(folder)
    (folder / "kept").touch()
    lock.close()
    assert [path.name for path in folder.iterdir()] == ["kept"]


def test_a_child_keeps_the_lock_that_its_parent_hands_over(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "a")
    inherited = FolderLock.inherited(tmp_path / "a", os.dup(lock.descriptor))
    lock.hand_over()
    lock.close()
    with pytest.raises(CheckpointError, match=HERE):
        FolderLock(tmp_path / "a")
    inherited.close()
    assert list((tmp_path / "a").iterdir()) == []
    FolderLock(tmp_path / "a").close()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys, time\nfrom aneperf.training.folder_lock import FolderLock\n"
        "lock = FolderLock(pathlib.Path(sys.argv[1]))\nprint('locked', flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=environment()
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "locked\n"
        with pytest.raises(CheckpointError, match=f"is in use by process {owner.pid} on "):
            FolderLock(tmp_path)
        owner.send_signal(signal.SIGKILL)
    FolderLock(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_two_runs_in_one_folder(train: Any, tmp_path: Path) -> None:
    """Begin a second run during the first: it is refused, and what it may read it may read."""
    whole, refused, folder = train(), [], tmp_path / "c"

    def progress(event: Event) -> None:
        if isinstance(event, RunStarted) or (isinstance(event, StepDone) and event.step == 7):
            for resume in (False, True):
                with pytest.raises(CheckpointError, match=HERE):
                    train(checkpoints=folder, resume=resume)
                refused.append(resume)
        if isinstance(event, StepDone) and event.step == 7:
            load_model(folder)

    result = train(checkpoints=folder, progress=progress)
    assert len(refused) == 4
    assert result.losses == whole.losses
    assert Checkpoints(folder).steps()[-2:] == [9, 12]
    assert not (folder / ".lock").exists()


def test_a_folder_that_cannot_be_written_is_found_first(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[Event] = []
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="file/c: cannot be written: Not a directory"):
        train(checkpoints=tmp_path / "file" / "c", progress=events.append)
    open_file = os.open

    def read_only(path: Any, flags: int, *mode: int) -> int:
        if str(path).endswith(".lock"):
            raise OSError(errno.EROFS, "Read-only file system")
        return open_file(path, flags, *mode)

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(CheckpointError, match="c: cannot be written: Read-only file system"):
        train(checkpoints=tmp_path / "c", progress=events.append)
    assert events == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
