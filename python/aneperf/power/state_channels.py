"""Read the state channels of a group of IOReport: how long something was in each of its states.

IOReport is a private library of macOS, without documentation. Its functions are those that vladkens/macmon
and ml-energy/zeus-apple-silicon call. A state channel has to be read as such: read as a number it gives
garbage, and it may be listed twice (metaspartan/mactop, pull request 72).
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

from .method import PowerError

_UTF8 = 0x08000100  # of CoreFoundation
_LIBRARY = "/usr/lib/libIOReport.dylib"
_FOUNDATION = "/System/Library/Frameworks/CoreFoundation.framework/CoreFoundation"

Ticks = tuple[int, ...]  # in each state of a channel


def libraries() -> Any:
    """Load the functions of CoreFoundation and IOReport that are called here. Raises PowerError."""
    try:
        foundation, reports = ctypes.CDLL(_FOUNDATION), ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise PowerError(f"IOReport does not load: {error}") from error
    pointer, number, wide = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint64
    types: dict[str, tuple[Any, Any, list[Any]]] = {
        "CFStringCreateWithCString": (foundation, pointer, [pointer, ctypes.c_char_p, ctypes.c_uint32]),
        "CFStringGetCString": (
            foundation,
            ctypes.c_bool,
            [pointer, ctypes.c_char_p, ctypes.c_long, ctypes.c_uint32],
        ),
        "CFDictionaryGetValue": (foundation, pointer, [pointer, pointer]),
        "CFDictionaryCreateMutableCopy": (foundation, pointer, [pointer, ctypes.c_long, pointer]),
        "CFArrayGetCount": (foundation, ctypes.c_long, [pointer]),
        "CFArrayGetValueAtIndex": (foundation, pointer, [pointer, ctypes.c_long]),
        "CFRelease": (foundation, None, [pointer]),
        "IOReportCopyChannelsInGroup": (reports, pointer, [pointer, pointer, wide, wide, wide]),
        "IOReportCreateSubscription": (reports, pointer, [pointer, pointer, pointer, wide, pointer]),
        "IOReportCreateSamples": (reports, pointer, [pointer, pointer, pointer]),
        "IOReportChannelGetSubGroup": (reports, pointer, [pointer]),
        "IOReportChannelGetChannelName": (reports, pointer, [pointer]),
        "IOReportStateGetCount": (reports, number, [pointer]),
        "IOReportStateGetResidency": (reports, ctypes.c_int64, [pointer, number]),
    }
    functions = SimpleNamespace()
    for name, (library, result, arguments) in types.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
        setattr(functions, name, function)
    return functions


class StateChannels:
    """A subscription to a group's channels. Raises PowerError."""

    def __init__(self, group: str, library: Any = None) -> None:
        self._library = libraries() if library is None else library
        name = self._string(group)
        found = self._library.IOReportCopyChannelsInGroup(name, None, 0, 0, 0)
        self._library.CFRelease(name)
        self._key = self._string("IOReportChannels")
        if not found or not self._count(found):
            raise PowerError(f"IOReport shows no channel of the group {group} to this process")
        self._channels = self._library.CFDictionaryCreateMutableCopy(None, 0, found)
        self._library.CFRelease(found)
        kept = ctypes.c_void_p()
        self._subscription = self._library.IOReportCreateSubscription(
            None, self._channels, ctypes.byref(kept), 0, None
        )
        if not self._subscription:
            raise PowerError(f"IOReport refuses a subscription to the group {group}")

    def read(self) -> Iterator[tuple[str, str, Ticks]]:
        """Yield the subgroup, the name and the ticks of each channel, as often as it is listed."""
        for channel in self._sample():
            number = max(0, self._library.IOReportStateGetCount(channel))
            ticks = tuple(self._library.IOReportStateGetResidency(channel, at) for at in range(number))
            subgroup = self._text(self._library.IOReportChannelGetSubGroup(channel))
            yield subgroup, self._name(channel), ticks

    def names(self) -> list[str]:
        """Return the name of each channel, of any kind, as often as it is listed."""
        return [self._name(channel) for channel in self._sample()]

    def _sample(self) -> Iterator[Any]:
        sample = self._library.IOReportCreateSamples(self._subscription, self._channels, None)
        if not sample:
            raise PowerError("IOReport gives no sample")
        try:
            array = self._library.CFDictionaryGetValue(sample, self._key)
            for place in range(self._count(sample)):
                yield self._library.CFArrayGetValueAtIndex(array, place)
        finally:
            self._library.CFRelease(sample)

    def _count(self, channels: Any) -> int:
        array = self._library.CFDictionaryGetValue(channels, self._key)
        return int(self._library.CFArrayGetCount(array)) if array else 0

    def _name(self, channel: Any) -> str:
        return self._text(self._library.IOReportChannelGetChannelName(channel))

    def _string(self, text: str) -> Any:
        return self._library.CFStringCreateWithCString(None, text.encode(), _UTF8)

    def _text(self, string: Any) -> str:
        buffer = ctypes.create_string_buffer(256)
        if string and self._library.CFStringGetCString(string, buffer, len(buffer), _UTF8):
            return buffer.value.decode(errors="replace").strip()
        return ""
