"""Find the result files in a folder of submissions, without following links and within bounds.

A submission is FOLDER/NAME/FILE.json, where NAME is the contributor's account, or FOLDER/FILE.json without
one. Accounts have GitHub's form: no name looks like another one because of letters from elsewhere.
"""

import itertools
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ... import bounds
from ...errors import ArgumentError, ResultFileError
from ...files import one_line

_SUFFIX = ".json"
_SEEN = 20 * bounds.SUBMISSIONS  # names in the folder and its subfolders, of any kind
_LONGEST_NAME = 60
UNNAMED = "not named"
_ACCOUNT = re.compile(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", re.ASCII)
_LONGEST_ACCOUNT = 39


@dataclass(frozen=True, order=True)
class Found:
    """A name in the folder that may be a submission, and why it cannot be one, if that is plain."""

    name: str  # below the folder, printable
    contributor: str
    path: Path
    size: int
    refusal: str | None = None


def find_submissions(folder: str | os.PathLike[str]) -> list[Found]:
    """List the .json files of a folder and of its subfolders, in the order of their names.

    Links, folders below the subfolders, and what is no regular file come with a refusal. Raises
    ArgumentError if there are too many, and ResultFileError for a folder that cannot be read.
    """
    root = Path(folder)
    try:
        if root.is_symlink():
            raise ResultFileError(f"{folder}: is a symbolic link: name the folder itself")
        if not root.is_dir():
            raise ResultFileError(f"{folder}: is no folder: name the one with the submissions")
        seen = list(itertools.islice(_walk(root), _SEEN + 1))
    except (OSError, ValueError) as error:
        raise ResultFileError(f"{folder}: cannot read the folder: {one_line(error)}") from error
    if len(seen) > _SEEN:
        raise ArgumentError(f"{folder}: holds more than {_SEEN} names: give a folder of submissions")
    found = [one for one in seen if one is not None]
    total = sum(one.size for one in found)
    if len(found) > bounds.SUBMISSIONS or total > bounds.SUBMITTED_BYTES:
        raise ArgumentError(
            f"{folder}: has {len(found)} submissions of {bounds.mebibytes(total)}, and at most "
            f"{bounds.SUBMISSIONS} of {bounds.mebibytes(bounds.SUBMITTED_BYTES)} are read: divide it"
        )
    return sorted(found)


def _walk(root: Path) -> Iterator[Found | None]:
    """Yield what may be a submission, and None for every other name."""
    with os.scandir(root) as entries:
        for entry in entries:
            if not _is_hidden(entry) and entry.is_dir(follow_symlinks=False):
                with os.scandir(entry.path) as inner:
                    yield None
                    yield from (_found(file, entry.name) for file in inner)
            else:
                yield _found(entry, None)


def _found(entry: "os.DirEntry[str]", contributor: str | None) -> Found | None:
    path = Path(entry.path)
    state = entry.stat(follow_symlinks=False)
    is_folder, is_link = stat.S_ISDIR(state.st_mode), stat.S_ISLNK(state.st_mode)
    if _is_hidden(entry) or not (path.suffix.lower() == _SUFFIX or is_folder or is_link):
        return None
    refusal = None
    if is_link:
        refusal = "is a symbolic link, and links are not followed: submit the file itself"
    elif is_folder:
        refusal = "is a folder in a contributor's folder: put all files in that one"
    elif not stat.S_ISREG(state.st_mode):
        refusal = "is no regular file"
    elif contributor is not None and not _is_account(contributor):
        refusal = "its folder's name is no GitHub account's: letters, digits and single hyphens"
    elif state.st_size > bounds.SUBMISSION_BYTES:
        refusal = f"has {state.st_size} bytes, and a submission at most {bounds.SUBMISSION_BYTES}"
    name = entry.name if contributor is None else f"{contributor}/{entry.name}"
    size = state.st_size if refusal is None else 0
    return Found(_printable(name), _printable(contributor or UNNAMED, _LONGEST_NAME), path, size, refusal)


def _is_account(name: str) -> bool:
    return len(name) <= _LONGEST_ACCOUNT and _ACCOUNT.fullmatch(name) is not None


def _is_hidden(entry: "os.DirEntry[str]") -> bool:
    return entry.name.startswith(".")


def _printable(name: str, longest: int | None = None) -> str:
    """Return a name as one printable line; bytes that are no UTF-8 become question marks."""
    return one_line(name.encode(errors="replace").decode(), longest)
