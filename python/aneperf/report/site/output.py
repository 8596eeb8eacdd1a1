"""Write the site into its folder: over what an earlier run wrote there, and over nothing else."""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from ... import bounds
from ...errors import ArgumentError, ResultFileError
from ...files import LONGEST_QUOTE, one_line, read_input
from ...kinds import Kind
from ...outputs import make_folder, write_whole

_RECORD = "aneperf-site.json"  # the digests of the files that a run wrote, by name
_RECORD_BYTES = 1 << 20
AnyPath = str | os.PathLike[str]


def check_site_folder(path: AnyPath, submissions: AnyPath) -> None:
    """Check that a site can be written to a folder apart from that of the submissions, before the work.

    Raises ArgumentError and ResultFileError, also for a folder with files that no earlier run wrote.
    """
    target, source = Path(os.path.realpath(path)), Path(os.path.realpath(submissions))
    if target == source or target in source.parents or source in target.parents:
        raise ArgumentError(f"-o {path}: one of it and {submissions} contains the other: name another folder")
    if not target.parent.is_dir():
        raise ResultFileError(f"{path}: the folder {target.parent} does not exist: create it first")
    if os.path.lexists(target):
        _own_files(target)


def write_site(path: AnyPath, files: Mapping[str, bytes]) -> None:
    """Write the files of a site and their record, and delete those of an earlier run that are no more.

    Raises ResultFileError, also if the folder holds what no earlier run wrote.
    """
    target = make_folder(path)
    before = _own_files(target)
    after = {name: [hashlib.sha256(content).hexdigest()] for name, content in files.items()}
    # A run that is cut short leaves a record that knows the old file of a name and the new one.
    _write_record(target, {name: [*before.get(name, []), *after.get(name, [])] for name in {*before, *after}})
    for name in sorted(files):
        write_whole(target / name, Kind.PAGE, files[name])
    for name in sorted(before.keys() - after.keys()):
        (target / name).unlink(missing_ok=True)
    _write_record(target, after)


def _write_record(folder: Path, digests: Mapping[str, list[str]]) -> None:
    text = json.dumps({"aneperf_site": 1, "files": digests}, indent=1, sort_keys=True)
    write_whole(folder / _RECORD, Kind.JSON, f"{text}\n".encode())


def _own_files(folder: Path) -> dict[str, list[str]]:
    """Return the digests of the pages in a folder that an earlier run wrote, by name.

    Raises ResultFileError if there is anything else.
    """
    try:
        if not folder.is_dir():
            raise ResultFileError(f"{folder}: is no folder: name another one")
        with os.scandir(folder) as entries:
            names = {entry.name: entry.is_file(follow_symlinks=False) for entry in entries}
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{folder}: cannot read the folder: {one_line(error)}") from error
    record = _read_record(folder / _RECORD) if names.pop(_RECORD, False) else {}
    found = {}
    for name, is_file in sorted(names.items()):
        if not is_file or name not in record:
            raise ResultFileError(
                one_line(f"{folder}: holds {name!r}, which is not from aneperf: give the site its own folder")
            )
        digest = hashlib.sha256(read_input(folder / name, Kind.PAGE, bounds.JSON_BYTES)).hexdigest()
        if digest not in record[name]:
            raise ResultFileError(f"{folder / name}: was changed since aneperf wrote it: move it away first")
        found[name] = [digest]
    return found


def _read_record(path: Path) -> dict[str, list[str]]:
    try:
        return msgspec.json.decode(read_input(path, Kind.JSON, _RECORD_BYTES), type=_Record).files
    except (ValueError, RecursionError) as error:
        raise ResultFileError(f"{path}: no record of a site: {one_line(error, LONGEST_QUOTE)}") from error


class _Record(msgspec.Struct, forbid_unknown_fields=True):
    aneperf_site: int
    files: dict[str, list[str]]
