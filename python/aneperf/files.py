"""Files written whole or not at all, and read only as far as they can be what they should be."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import ResultFileError

LARGEST_BYTES = 256 * 2**20  # a result of 2,000 rows that keep all durations they may
LONGEST_QUOTE = 400  # characters of a message that quotes a file


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise ResultFileError unless a file can be written to `path`; to be asked before a long measurement."""
    _create_beside(_writable(path)).unlink()


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that takes the place of that at `path` unless an error comes first. Raises ResultFileError."""
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
    """Replace the file at `path` by `content`, all of it or nothing. Raises ResultFileError."""
    with whole_file(path) as file:
        file.write(content)


def read_whole(path: str | os.PathLike[str]) -> bytes:
    """The content of a regular file of at most 256 MiB. Raises ResultFileError."""
    try:
        if not Path(path).is_file() and Path(path).exists():  # a pipe would block, a device would not end
            raise ResultFileError(f"{path}: cannot read: it is not a regular file")
        with Path(path).open("rb") as file:
            content = file.read(LARGEST_BYTES + 1)
    except OSError as error:
        raise ResultFileError(f"{path}: cannot read: {error.strerror}") from error
    except ValueError as error:
        raise ResultFileError(f"{path!r}: cannot read: {error}") from error
    if len(content) > LARGEST_BYTES:
        raise ResultFileError(f"{path}: larger than {LARGEST_BYTES} bytes, and so no result")
    return content


def one_line(error: object, longest: int | None = None) -> str:
    """An error's message, which may quote a stranger's file, in one printable line."""
    text = "".join(character if character.isprintable() else " " for character in str(error))
    text = " ".join(text.split())
    return text if longest is None or len(text) <= longest else f"{text[:longest]}..."


def _writable(path: str | os.PathLike[str]) -> Path:
    """The file that `path` leads to: a symbolic link is written through, and never a folder or device."""
    try:
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise ResultFileError(f"{path}: the folder {target.parent} does not exist: create it first")
        if target.is_dir():
            raise ResultFileError(f"{path}: is a folder: give the name of a file")
        if target.exists() and not target.is_file():
            raise ResultFileError(f"{path}: is not a regular file: a result is saved by replacing the file")
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
