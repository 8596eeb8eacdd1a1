"""Bounded reads of regular files."""

import contextlib
import io
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bounds import check_memory
from .errors import AneError, ResultFileError
from .kinds import HEAD_BYTES, Kind, kind_of, refusal

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY  # O_NONBLOCK: a pipe must not block
LONGEST_QUOTE = 400  # characters of an error message that quotes a file


class Input:
    """A regular file, open for reading, which was recognized as of the expected kind.

    Reads are of exact lengths. If the file is cut while it is open, they fail; a mapping would get a signal.
    """

    def __init__(
        self, path: str | os.PathLike[str], kind: Kind, error: type[AneError] = ResultFileError
    ) -> None:
        self._path, self._error = path, error
        self._descriptor = self._opened(kind)
        self._close = weakref.finalize(self, os.close, self._descriptor)
        self._found = os.fstat(self._descriptor)
        self.size = self._found.st_size
        try:
            self._check_regular(self._found.st_mode, kind)
            self._recognize(kind)
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> "Input":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._close()

    def read(self, offset: int, size: int) -> bytes:
        """Read exactly `size` bytes at `offset`."""
        parts: list[bytes] = []
        while size:
            with self._reading():
                parts.append(os.pread(self._descriptor, size, offset))
            count = self._not_cut(len(parts[-1]))
            size, offset = size - count, offset + count
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def fill(self, offset: int, array: "NDArray[Any]") -> None:
        """Read bytes at `offset` until a contiguous array is full."""
        rest = memoryview(array).cast("B")  # type: ignore[arg-type]  # NumPy lacks the protocol's type
        while rest:
            with self._reading():
                count = os.preadv(self._descriptor, [rest], offset)
            rest, offset = rest[self._not_cut(count) :], offset + count

    def check_unchanged(self) -> None:
        """Check that nobody wrote to the file since it was opened."""
        found = os.fstat(self._descriptor)
        if (found.st_size, found.st_mtime_ns) != (self.size, self._found.st_mtime_ns):
            raise self._error(
                f"{self._path}: was changed while it was in use: "
                f"it has {found.st_size} bytes now and had {self.size}"
            )

    def _not_cut(self, count: int) -> int:
        if not count:
            raise self._error(f"{self._path}: was cut short while it was read: it had {self.size} bytes")
        return count

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(f"{self._path}: cannot read: {error.strerror}") from error
        except ValueError as error:  # a NUL in the path
            raise self._error(f"{self._path!r}: cannot read: {error}") from error

    def _opened(self, kind: Kind) -> int:
        with self._reading():
            mode = os.stat(self._path).st_mode
        self._check_regular(mode, kind)  # first: opening a device may already do something
        with self._reading():
            return os.open(self._path, _FLAGS)

    def _check_regular(self, mode: int, kind: Kind) -> None:
        if reason := _strange(mode):
            raise self._error(f"{self._path}: is {reason}, not {kind.value}")

    def _recognize(self, kind: Kind) -> None:
        head = self.read(0, min(self.size, HEAD_BYTES))
        if reason := refusal(head, self.size, kind):
            raise self._error(f"{self._path}: {reason}")


def read_input(
    path: str | os.PathLike[str], kind: Kind, most: int, error: type[AneError] = ResultFileError
) -> bytes:
    """Read a file of a kind whole, if it has at most `most` bytes. Raises `error`."""
    with Input(path, kind, error) as file:
        if file.size > most:
            raise error(f"{path}: cannot read: it has {file.size} bytes, and {kind.value} at most {most}")
        check_memory(str(path), file.size, "free some", error)
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
