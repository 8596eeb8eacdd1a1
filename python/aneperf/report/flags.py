"""Explain flags. Tables mark a row by those that change a decision; the others explain its interval."""

from collections.abc import Iterable

# The first one that a row has is its mark.
DECISIVE = {
    "preempted": "other work took the CPU during the calls. Measure on an idle machine.",
    "cold start": "the calls were still getting faster, and the median includes them. Give more seconds.",
    "unsettled": "measured for less than the second in which an engine's clocks settle. Give more seconds.",
    "few samples": "fewer than 20 calls. Give more seconds.",
    "drift": "the last third of the calls differs from the first: another run may give another median.",
    "bimodal": "the calls have two speeds, and the median may be of either.",
}
_OTHERS = {
    "correlated": "calls resemble those before them, which the interval accounts for.",
    "heavy tail": "1 % of the calls or more lie far above the rest: see p95.",
    "noisy": "the interval is wider than +-2 %.",
}
MEANINGS = {**DECISIVE, **_OTHERS}


def mark(flags: Iterable[str]) -> str:
    """Return the flag that says most against relying on a row's number; "" for none."""
    return next((flag for flag in DECISIVE if flag in flags), "")


def legend(shown: Iterable[str]) -> list[str]:
    """Return a line that explains each flag that a table shows, once."""
    found = set(shown)
    return [f"{flag}: {meaning}" for flag, meaning in MEANINGS.items() if flag in found]
