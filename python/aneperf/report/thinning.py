"""Thin what is too long to show: every second, third, ... of a sequence."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def stride(count: int, most: int) -> int:
    """Return the distance between the items to show, so that of `count` at most `most` are shown."""
    return max(1, -(-count // most))


def thinned(items: Sequence[T], most: int) -> Sequence[T]:
    """Return all items, or at most `most` that are evenly spaced, with the last one."""
    every = stride(len(items), most)
    return items[(len(items) - 1) % every :: every]
