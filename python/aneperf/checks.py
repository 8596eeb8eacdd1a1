"""Checks of arguments: each returns the value, or raises ArgumentError naming the argument and the value."""

import math
from collections.abc import Iterable
from numbers import Real

from .errors import ArgumentError

_LONGEST = 60  # characters of a value in a message


def shown(value: object) -> str:
    """Return a value for a message, where it must not be longer than the message."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def number(value: object) -> float:
    """Return a real number as a float, infinite if it is too large, and NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def positive(name: str, value: object) -> float:
    """Return `value` as a float if it is a positive, finite number."""
    if not 0 < (found := number(value)) < math.inf:
        raise ArgumentError(f"{name} must be a positive, finite number, not {shown(value)}")
    return found


def count(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """Return `value` if it is an integer of at least `least` and at most `most`."""
    largest = math.inf if most is None else most
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= largest:
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ArgumentError(f"{name} must be an integer {allowed}, not {shown(value)}")
    return value


def choice(kind: str, name: object, known: Iterable[str]) -> str:
    """Return `name` if it is one of `known`, the names of a kind of thing such as "probe"."""
    names = tuple(known)
    if not isinstance(name, str) or name not in names:
        raise ArgumentError(f"no {kind} is called {shown(name)}: choose from {', '.join(names)}")
    return name
