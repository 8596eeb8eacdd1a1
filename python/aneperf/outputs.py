"""Write files: whole or not at all, never over an input of the run, nor over a file of another kind."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from .errors import ArgumentError, ResultFileError
from .files import file_kind
from .kinds import Kind

AnyPath = str | os.PathLike[str]
_FORMS = {".csv": Kind.CSV, ".md": Kind.MARKDOWN, ".html": Kind.PAGE}


def form_of(path: AnyPath | None, kind: Kind) -> Kind:
    """Return the kind of file that a name asks for by its suffix: .csv, .md, .html, or else `kind`."""
    return kind if path is None else _FORMS.get(Path(path).suffix.lower(), kind)


def check_output(
    path: AnyPath, kind: Kind, inputs: Mapping[str, AnyPath | None] | None = None, *, replace: bool = True
) -> None:
    """Check that a file of a kind can be written to `path`, before long work.

    `inputs` are the files that the work reads, by name. Raises ArgumentError for one of them, also under
    another name, and ResultFileError, without `replace` also for a file of the same kind.
    """
    target = _target(path)
    _check_other(path, target, inputs or {}, "read")
    _check_kind(path, target, kind)
    if not replace and target.exists() and target.stat().st_size:
        raise ResultFileError(f"{path}: is there: name another file, or replace it with --force")
    with _beside(target):
        pass


def check_outputs(
    outputs: Mapping[str, tuple[AnyPath | None, Kind]],
    inputs: Mapping[str, AnyPath | None],
    checkpoints: AnyPath | None = None,
) -> None:
    """Check every output by name, as `check_output` does, and that no two are one file.

    None may take the place of the folder `checkpoints`, which the work may create, or lie in a checkpoint,
    which it may delete.
    """
    for path, kind in outputs.values():
        if path is not None:
            check_output(path, kind, inputs)
            if checkpoints is not None:
                _check_beside_checkpoints(path, _target(path), Path(os.path.realpath(checkpoints)))
    check_apart({name: path for name, (path, _) in outputs.items()})


def check_apart(outputs: Mapping[str, AnyPath | None]) -> None:
    """Check that no two outputs are one file. Raises ArgumentError, and ResultFileError for a bad path."""
    before: dict[str, AnyPath] = {}
    for name, path in outputs.items():
        if path is not None:
            _check_other(path, _target(path), before, "written")
            before[name] = path


@contextlib.contextmanager
def whole_file(path: AnyPath, kind: Kind) -> Iterator[BinaryIO]:
    """Open a file that replaces the one at `path` on leaving the block without an error.

    Raises ResultFileError.
    """
    target = _target(path)
    _check_kind(path, target, kind)
    with _beside(target) as temporary:
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except OSError as error:
            raise ResultFileError(f"{target}: cannot write: {error.strerror}") from error


@contextlib.contextmanager
def whole_folder(path: AnyPath) -> Iterator[Path]:
    """Make a folder to fill, which appears at `path` on leaving the block without an error.

    Raises ResultFileError, also if something but an empty folder is there.
    """
    target = _folder(path)
    temporary = _temporary(target)
    try:
        temporary.mkdir()
        yield temporary
        for file in temporary.iterdir():
            flush(file)
        temporary.rename(target)
        flush(target.parent)
    except OSError as error:
        raise ResultFileError(f"{target}: cannot write: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_new_folder(
    path: AnyPath, outputs: Mapping[str, AnyPath | None], checkpoints: AnyPath | None = None
) -> None:
    """Check that a folder can be made at `path`, before long work, apart from other outputs and checkpoints.

    Raises ArgumentError and ResultFileError.
    """
    target = _folder(path)
    places = [*outputs.values(), checkpoints]
    for place in (Path(os.path.realpath(place)) for place in places if place is not None):
        if target in (place, *place.parents) or place in target.parents:
            raise ArgumentError(f"{path}: is also the place of {place}: name another folder")
    temporary = _temporary(target)
    try:
        temporary.mkdir()
        temporary.rmdir()
    except OSError as error:
        raise ResultFileError(f"{target}: cannot write there: {error.strerror}") from error


def check_log_folder(path: AnyPath, checkpoints: AnyPath | None = None) -> None:
    """Check that logs can be written to a folder, new or not, apart from checkpoints, before long work.

    Raises ArgumentError and ResultFileError.
    """
    target = _folder(path, empty=False)
    if checkpoints is not None:
        _check_beside_checkpoints(path, target, Path(os.path.realpath(checkpoints)))
    with _beside(target / "log" if target.is_dir() else target):
        pass


def make_folder(path: AnyPath) -> Path:
    """Return a folder, made if there is none. Raises ResultFileError."""
    target = _folder(path, empty=False)
    try:
        target.mkdir(exist_ok=True)
    except OSError as error:
        raise ResultFileError(f"{target}: cannot write there: {error.strerror}") from error
    return target


def write_whole(path: AnyPath, kind: Kind, content: bytes) -> None:
    """Replace the file at `path` by `content`, atomically. Raises ResultFileError."""
    with whole_file(path, kind) as file:
        file.write(content)


def open_log(path: AnyPath, kind: Kind, *, append: bool) -> BinaryIO:
    """Open a file of lines that grows as they come: a new one, or at the end of one that is there.

    A last line that a full disk cut short is ended first. Raises ResultFileError.
    """
    target = _target(path)
    _check_kind(path, target, kind)
    try:
        file = target.open("ab+" if append else "wb")
        if append and file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                file.write(b"\n")
    except OSError as error:
        raise ResultFileError(f"{target}: cannot write: {error.strerror}") from error
    return file


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folder(path: AnyPath, *, empty: bool = True) -> Path:
    """Resolve symbolic links, and refuse what is there, unless it is a folder, or an empty one."""
    try:
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise ResultFileError(f"{path}: the folder {target.parent} does not exist: create it first")
        if os.path.lexists(target) and (not target.is_dir() or (empty and any(target.iterdir()))):
            kind = "empty folder" if empty else "folder"
            raise ResultFileError(f"{path}: is there and is no {kind}: name another one")
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path!r}: not a usable path: {error}") from error
    return target


def _temporary(target: Path) -> Path:
    """Return a name beside `target` that nothing has."""
    return target.with_name(f".aneperf-{secrets.token_hex(8)}.tmp")


def _target(path: AnyPath) -> Path:
    """Resolve symbolic links, and refuse folders, devices and missing folders."""
    try:
        target = Path(os.path.realpath(path))
        if not target.parent.is_dir():
            raise ResultFileError(f"{path}: the folder {target.parent} does not exist: create it first")
        if target.is_dir():
            raise ResultFileError(f"{path}: is a folder: give the name of a file")
        if target.exists() and not target.is_file():
            raise ResultFileError(f"{path}: is not a regular file: files are written by replacing them")
        if target.is_symlink():
            raise ResultFileError(f"{path}: is a loop of symbolic links")
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{path!r}: not a usable path: {error}") from error
    return target


def _check_other(path: AnyPath, target: Path, others: Mapping[str, AnyPath | None], use: str) -> None:
    for name, other in others.items():
        if other is not None and _is_same(target, Path(os.path.realpath(other))):
            raise ArgumentError(f"{path}: is also {use}, as {name}: name another file")


def _check_beside_checkpoints(path: AnyPath, target: Path, folder: Path) -> None:
    if target in (folder, *folder.parents) or folder in target.parent.parents:
        raise ArgumentError(f"{path}: is a place for checkpoints: name a file outside of {folder}")


def _check_kind(path: AnyPath, target: Path, kind: Kind) -> None:
    """Refuse to replace what is there, unless it is of this kind or empty."""
    try:
        if not target.exists() or not target.stat().st_size:
            return
        if not os.access(target, os.W_OK):
            raise ResultFileError(f"{path}: cannot write: it is read-only")
    except OSError as error:
        raise ResultFileError(f"{path}: cannot write: {error.strerror}") from error
    found = file_kind(target)
    if found is not kind:  # a file of tokens has no signature, and may be anything
        what = "of an unknown kind" if found is None else found.value
        raise ResultFileError(
            f"{path}: is there and is {what}, not {kind.value}: name another file, or delete this one first"
        )


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one == other or one.samefile(other)  # also by a hard link
    except OSError:
        return False


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Create a file beside `target`, which is not there after the block."""
    temporary = _temporary(target)
    try:
        try:
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise ResultFileError(f"{target}: cannot write there: {error.strerror}") from error
        yield temporary
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
