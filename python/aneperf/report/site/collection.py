"""Collect the submissions of a folder: those that are accepted, and those that are refused, with reasons."""

import os
from dataclasses import dataclass

from ...errors import AneError
from ...files import LONGEST_QUOTE, one_line
from .folder import find_submissions
from .submission import Submission, read_submission


@dataclass(frozen=True)
class Refusal:
    """A file that is refused, and why."""

    name: str
    contributor: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """What became of every submission, in the order of the files' names."""

    accepted: tuple[Submission, ...] = ()
    refused: tuple[Refusal, ...] = ()


def collect(folder: str | os.PathLike[str]) -> Collection:
    """Check every submission of a folder. Of two with the same calls, the later name is refused.

    Raises ArgumentError and ResultFileError for the folder itself, as `find_submissions` does.
    """
    accepted: list[Submission] = []
    refused: list[Refusal] = []
    owners: dict[bytes, str] = {}
    for found in find_submissions(folder):
        try:
            reason = found.refusal
            if reason is None:
                submission = read_submission(found)
                if (copied := next(filter(owners.get, submission.calls), None)) is None:
                    owners.update(dict.fromkeys(submission.calls, found.name))
                    accepted.append(submission)
                    continue
                reason = f"row {submission.calls[copied]!r} has the same calls as in {owners[copied]}"
        except AneError as error:
            reason = one_line(error, LONGEST_QUOTE)
        refused.append(Refusal(found.name, found.contributor, reason))
    return Collection(tuple(accepted), tuple(refused))
