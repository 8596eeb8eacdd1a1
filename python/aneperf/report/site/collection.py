"""Collect the submissions of a folder: those that are accepted, those refused with reasons, and copies."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ...errors import AneError
from ...files import LONGEST_QUOTE, one_line
from .entries import as_copy
from .folder import find_submissions
from .submission import Submission, read_submission


@dataclass(frozen=True)
class Refusal:
    """A file that is refused, and why."""

    name: str
    contributor: str
    reason: str


@dataclass(frozen=True)
class Copy:
    """Rows of a file, by their keys, whose calls are those of rows in the same other files."""

    name: str
    contributor: str
    keys: tuple[str, ...]
    others: tuple[str, ...]

    def __str__(self) -> str:
        more = f" and {len(self.keys) - 1} more rows have" if len(self.keys) > 1 else " has"
        return (
            f"row {self.keys[0]!r}{more} the same calls as in {', '.join(self.others)}: nothing tells which "
            "is the original"
        )


@dataclass(frozen=True)
class Collection:
    """The fate of every submission, in the order of the files' names."""

    accepted: tuple[Submission, ...] = ()
    refused: tuple[Refusal, ...] = ()
    copies: tuple[Copy, ...] = ()  # of accepted ones


def collect(folder: str | os.PathLike[str]) -> Collection:
    """Check every submission of a folder.

    Files that share calls are all accepted, and their rows marked: whoever makes a copy chooses its name and
    its times, so neither may decide which file is the original. Raises ArgumentError and ResultFileError for
    the folder itself, as `find_submissions` does.
    """
    accepted: list[Submission] = []
    refused: list[Refusal] = []
    for found in find_submissions(folder):
        reason = found.refusal
        try:
            if reason is None:
                accepted.append(read_submission(found))
        except AneError as error:
            reason = one_line(error, LONGEST_QUOTE)
        if reason is not None:
            refused.append(Refusal(found.name, found.contributor, reason))
    holders: dict[bytes, list[str]] = {}
    for submission in accepted:
        for digest in submission.calls:
            holders.setdefault(digest, []).append(submission.name)
    copies = [copy for submission in accepted for copy in _copies(submission, holders)]
    marked = [_marked(submission, copies) for submission in accepted]
    return Collection(tuple(marked), tuple(refused), tuple(copies))


def _copies(submission: Submission, holders: Mapping[bytes, Sequence[str]]) -> list[Copy]:
    keys: dict[tuple[str, ...], list[str]] = {}
    for digest, key in submission.calls.items():
        if others := tuple(name for name in holders[digest] if name != submission.name):
            keys.setdefault(others, []).append(key)
    by = submission.contributor
    return [Copy(submission.name, by, tuple(same), others) for others, same in keys.items()]


def _marked(submission: Submission, copies: Sequence[Copy]) -> Submission:
    """Mark the entries whose calls are in other files too."""
    keys = {key for copy in copies if copy.name == submission.name for key in copy.keys}
    entries = tuple(as_copy(entry) if entry.key in keys else entry for entry in submission.entries)
    return replace(submission, entries=entries)
