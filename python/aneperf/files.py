"""Atomic writes, and bounded reads of regular files."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import ResultFileError

LARGEST_BYTES = 256 * 2**20  # enough for a result of 2,000 rows with 10,000 durations each
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


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """Read a regular file of at most 256 MiB. Raises ResultFileError."""
    try:
        if not Path(path).is_file() and Path(path).exists():  # a pipe blocks, a device may not end
            raise ResultFileError(f"{path}: cannot read: it is not a regular file")
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ResultFileError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise ResultFileError(f"{path!r}: cannot read: {error}") from error
    if len(content) > LARGEST_BYTES:
        raise ResultFileError(f"{path}: cannot read: it is larger than {LARGEST_BYTES} bytes")
    return content


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
