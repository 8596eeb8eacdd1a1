"""Decode JSON from files that may be damaged or hostile."""

from __future__ import annotations

import json
from typing import TypeVar

import msgspec

from ..files import LONGEST_QUOTE, one_line

_Type = TypeVar("_Type")


def decode_strictly(text: bytes, type: type[_Type]) -> _Type:
    """Decode JSON of a type. Raises ValueError, also for a key that stands twice in an object."""
    try:
        json.loads(text, object_pairs_hook=_refuse_doubled)
        return msgspec.json.decode(text, type=type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise ValueError(one_line(error, LONGEST_QUOTE)) from None


def _refuse_doubled(pairs: list[tuple[str, object]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice in it")
