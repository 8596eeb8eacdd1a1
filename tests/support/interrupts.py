"""Interrupt a call at any of its points."""

import gc
import itertools
import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

_Value = TypeVar("_Value")


def call_or_interrupt(function: Callable[[], _Value], number: int) -> _Value | None:
    """Call `function`; None if its event `number`, a call or return inside it, raised KeyboardInterrupt."""
    events = itertools.count()
    own = sys._getframe()

    def interrupt(frame: FrameType, event: str, argument: object) -> None:
        if frame is not own and next(events) == number:
            raise KeyboardInterrupt

    before = sys.getprofile()
    gc.disable()  # what is raised in a finalizer goes no further
    sys.setprofile(interrupt)
    try:
        return function()
    except KeyboardInterrupt:
        return None
    finally:
        sys.setprofile(before)
        gc.enable()
