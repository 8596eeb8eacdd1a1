"""Atomic writes, and bounded reads of regular files."""

import contextlib
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import AneError, ResultFileError
from .kinds import ADVICE, HEAD_BYTES, Kind, kind_of

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # O_NONBLOCK: a pipe must not block
LONGEST_QUOTE = 400  # characters of an error message that quotes a file


def check_writable(path: str | os.PathLike[str]) -> None:
    """Check that `path` can be written, before a long measurement. Raises ResultFileError."""
    _create_beside(_writable(path)).unlink()


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file that replaces the one at `path` on leaving the block without an error.

    Raises ResultFileError.
    """
    target = _writable(path)
    temporary = _create_beside(target)
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise ResultFileError(f"{target}: cannot write: {error.strerror}") from error
        raise


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file at `path` by `content`, atomically. Raises ResultFileError."""
    with whole_file(path) as file:
        file.write(content)


class Input:
    """A regular file, open for reading, which was recognized as of the expected kind.

    Reads are of exact lengths: a file that is cut or changed while it is open is an error, not a signal.
    """

    def __init__(
        self, path: str | os.PathLike[str], kind: Kind, error: type[AneError] = ResultFileError
    ) -> None:
        self._path, self._error = path, error
        self._file = self._opened()
        try:
            self._found = os.fstat(self._file.fileno())
            self.size = self._found.st_size
            if reason := _strange(self._found.st_mode):
                raise error(f"{path}: is {reason}, not {kind.value}")
            self._recognize(kind)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Input":
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes at `offset`."""
        parts: list[bytes] = []
        while size:
            try:
                parts.append(os.pread(self._file.fileno(), size, offset))
            except OSError as error:
                raise self._error(f"{self._path}: cannot read: {error.strerror}") from error
            if not parts[-1]:
                raise self._error(f"{self._path}: was cut short while it was read: it had {self.size} bytes")
            size, offset = size - len(parts[-1]), offset + len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def check_unchanged(self) -> None:
        """Check that nobody wrote to the file since it was opened."""
        found = os.fstat(self._file.fileno())
        if (found.st_size, found.st_mtime_ns) != (self.size, self._found.st_mtime_ns):
            raise self._error(
                f"{self._path}: was changed while it was in use: "
                f"it has {found.st_size} bytes now and had {self.size}"
            )

    def _opened(self) -> io.FileIO:
        try:
            # Opening a device may already do something.
            if reason := _strange(os.stat(self._path).st_mode):
                raise self._error(f"{self._path}: is {reason}, not a regular file")
            return io.FileIO(os.open(self._path, _FLAGS), "rb")
        except OSError as error:
            raise self._error(f"{self._path}: cannot read: {error.strerror}") from error
        except ValueError as error:  # a NUL in the path
            raise self._error(f"{self._path!r}: cannot read: {error}") from error

    def _recognize(self, kind: Kind) -> None:
        if not self.size and kind is not Kind.TEXT:
            raise self._error(f"{self._path}: is empty, not {kind.value}")
        found = kind_of(self.read(0, min(self.size, HEAD_BYTES)), self.size, kind)
        if found not in (None, kind):
            advice = f": {ADVICE[found]}" if found in ADVICE else ""
            raise self._error(f"{self._path}: is {found.value}, not {kind.value}{advice}")


def read_input(
    path: str | os.PathLike[str], kind: Kind, most: int, error: type[AneError] = ResultFileError
) -> bytes:
    """Read a file of a kind whole, if it has at most `most` bytes. Raises `error`."""
    with Input(path, kind, error) as file:
        if file.size > most:
            raise error(f"{path}: cannot read: it has {file.size} bytes, and {kind.value} at most {most}")
        return file.read(0, file.size)


def file_kind(path: str | os.PathLike[str]) -> Kind | None:
    """Return the kind of the file at `path`; None if there is none, or nothing gives it away."""
    try:
        if not Path(path).is_file():
            return None
        with io.FileIO(os.open(path, _FLAGS), "rb") as file:
            return kind_of(file.read(HEAD_BYTES), os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return None


def _strange(mode: int) -> str | None:
    """Say what a file is that is not regular."""
    known = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return None if stat.S_ISREG(mode) else known.get(stat.S_IFMT(mode), "not a regular file")


def one_line(error: object, longest: int | None = None) -> str:
    """Return an error's message, which may quote an untrusted file, as one printable line."""
    text = "".join(character if character.isprintable() else " " for character in str(error))
    text = " ".join(text.split())
    return text if longest is None or len(text) <= longest else f"{text[:longest]}..."


def _writable(path: str | os.PathLike[str]) -> Path:
    """Resolve symbolic links, and refuse folders, devices and missing folders."""
    try:
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise ResultFileError(f"{path}: the folder {target.parent} does not exist: create it first")
        if target.is_dir():
            raise ResultFileError(f"{path}: is a folder: give the name of a file")
        if target.exists() and not target.is_file():
            raise ResultFileError(f"{path}: is not a regular file: files are written by replacing them")
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path!r}: not a usable path: {error}") from error
    return target


def _create_beside(target: Path) -> Path:
    temporary = target.with_name(f".aneperf-{secrets.token_hex(8)}.tmp")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise ResultFileError(f"{target}: cannot write there: {error.strerror}") from error
    return temporary
