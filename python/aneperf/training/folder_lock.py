"""The lock on a folder that a run writes to. It ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from pathlib import Path

from ..files import one_line
from .record import CheckpointError

_NAME = ".lock"
_LONGEST_OWNER = 200  # bytes


class FolderLock:
    """The right to write to a folder, which one process has at a time. Creates the folder if there is none.

    Raises CheckpointError where another process has it, or this one cannot write.
    """

    _is_mine = True

    def __init__(self, folder: Path) -> None:
        self._file = folder / _NAME
        self._made: list[Path] = []  # the innermost first
        try:
            self._made = [path for path in (folder, *folder.parents) if not path.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            self.descriptor = self._locked()
            self._sign()
        except OSError as error:
            self._remove_folders()
            raise CheckpointError(f"{folder}: cannot be written: {error.strerror}") from error

    @classmethod
    def inherited(cls, folder: Path, descriptor: int) -> FolderLock:
        """Take over the lock of a parent that is gone, by the descriptor that it passed on."""
        lock = cls.__new__(cls)
        lock._file, lock._made, lock.descriptor = folder / _NAME, [], descriptor
        lock._sign()
        return lock

    def hand_over(self) -> None:
        """Leave the right to a child that inherited it, and that removes the file when it ends."""
        self._is_mine = False

    def close(self) -> None:
        """Give up the right, and remove folders that were created and have remained empty."""
        if self._is_mine:
            with contextlib.suppress(OSError):
                self._file.unlink()  # before another process can have it
        os.close(self.descriptor)
        self._remove_folders()

    def _sign(self) -> None:
        """Write who has the lock."""
        with contextlib.suppress(OSError):  # a full disk: then the owner is not known
            os.ftruncate(self.descriptor, 0)
            os.pwrite(self.descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)

    def _locked(self) -> int:
        while True:
            descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The last owner may have removed the file after it was opened here.
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), self._file.stat()):
                        return os.dup(descriptor)  # which has the lock, too
            except BlockingIOError:
                owner = one_line(os.pread(descriptor, _LONGEST_OWNER, 0).decode(errors="replace"))
                raise CheckpointError(
                    f"{self._file.parent}: is in use by {owner or 'another process'}: "
                    "wait for its end, or name another folder"
                ) from None
            finally:
                os.close(descriptor)

    def _remove_folders(self) -> None:
        with contextlib.suppress(OSError):
            for path in self._made:
                path.rmdir()
