"""The durations of a row's calls, for programs of one's own."""

import difflib

from ..errors import ArgumentError
from ..files import one_line
from ..results import Result, Row

_MOST = 6  # keys in an error


def find_row(result: Result, key: str) -> Row:
    """Return the row with a key or a name, or the only one whose key or name contains the text.

    Raises ArgumentError, with the nearest keys.
    """
    exact = [row for row in result if key in (row.key, row.name)]
    found = exact or [row for row in result if key in row.key or key in row.name]
    if len(found) == 1:
        return found[0]
    keys = [row.key for row in found or result]
    near = keys if found else difflib.get_close_matches(key, keys, n=_MOST, cutoff=0.0)
    shown = one_line(", ".join(near[:_MOST])) + (", ..." if len(near) > _MOST else "")
    what = f"{len(found)} rows have {key!r}" if found else f"no row has {key!r}"
    raise ArgumentError(f"{what} in their key or name: choose from {shown or 'no rows'}")


def calls_of(row: Row, *, warm_up: bool = False) -> list[dict[str, int]]:
    """Return a record of each call: its number and its process, from 1, if it is warm-up (1), and its ns.

    Calls of the warm-up are left out unless `warm_up`. Raises ArgumentError for a row without durations.
    """
    calls: list[dict[str, int]] = []
    number = 0
    for process, (trace, dropped) in enumerate(row.traces(), 1):
        for place, duration in enumerate(trace):
            number += 1
            is_warm_up = int(place < dropped)
            if warm_up or not is_warm_up:
                calls.append({"call": number, "process": process, "warm_up": is_warm_up, "ns": duration})
    if not calls and row.durations_ns:
        many = len(row.durations_ns)
        raise ArgumentError(
            f"row {one_line(row.key)!r}: the first {many} calls are kept, all of them warm-up"
        )
    if not calls:
        why = one_line(f"{row.status}: {row.reason}" if row.reason else "its numbers are not of calls")
        raise ArgumentError(f"row {one_line(row.key)!r} has no durations ({why})")
    return calls
