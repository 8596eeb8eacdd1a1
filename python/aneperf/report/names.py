"""Short names of files, for the columns of a table."""

import os
from collections.abc import Sequence
from pathlib import PurePath

from ..comparison import Names
from ..files import one_line

_LONGEST = 12  # two such columns leave room for the rest in 80
_CUT = "..."


def name_sides(first: Sequence[str | os.PathLike[str]], second: Sequence[str | os.PathLike[str]]) -> Names:
    """Name each side by its only file; "before" and "after" where there are several, or names are alike.

    The names of two files differ by as many of their folders as it takes. Long ones lose their end, or their
    beginning where they differ by the end.
    """
    default = Names()
    for parts in range(1, 1 + max(len(PurePath(path).parts) for path in (*first, *second))):
        for cut in (_without_end, _without_beginning):
            names = Names(
                cut(_name(first[0], parts)) if len(first) == 1 else default.first,
                cut(_name(second[0], parts)) if len(second) == 1 else default.second,
            )
            if names.first != names.second:
                return names
    return default


def _name(path: str | os.PathLike[str], parts: int) -> str:
    """Return the last parts of a path, printable and without .json."""
    return one_line(PurePath(*PurePath(path).parts[-parts:]).as_posix()).removesuffix(".json") or "file"


def _without_end(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - len(_CUT)] + _CUT


def _without_beginning(name: str) -> str:
    return name if len(name) <= _LONGEST else _CUT + name[len(_CUT) - _LONGEST :]
