"""Read power sensors of a Mac's system management controller, by their four-letter keys.

Apple documents neither the controller nor its keys. The interface is that of the kernel's driver AppleSMC,
which vladkens/macmon and other monitors use too: a structure of 80 bytes goes to it, and comes back filled.
"""

from __future__ import annotations

import ctypes
import math
import struct
from typing import Any

from .method import PowerError

_SERVICE, _ENDPOINT = b"AppleSMC", b"AppleSMCKeysEndpoint"
_SELECTOR = 2
_READ_BYTES, _READ_INFO = 5, 9  # commands
_KEY_MISSING = 132  # of the controller
_FLOAT = int.from_bytes(b"flt ", "big")
_REFUSED = {0xE00002C1: "it needs more rights", 0xE00002E2: "it is not permitted"}  # codes of IOKit


class _Info(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("kind", ctypes.c_uint32), ("attributes", ctypes.c_uint8)]


class Message(ctypes.Structure):
    """The driver's request and answer. Other commands use `version` and `limits`."""

    _fields_ = [
        ("key", ctypes.c_uint32),
        ("version", ctypes.c_uint8 * 6),
        ("limits", ctypes.c_uint32 * 4),
        ("info", _Info),
        ("result", ctypes.c_uint8),
        ("status", ctypes.c_uint8),
        ("command", ctypes.c_uint8),
        ("index", ctypes.c_uint32),
        ("data", ctypes.c_uint8 * 32),
    ]


def io_kit() -> Any:
    """Load IOKit, with the types of what is called. Raises PowerError."""
    try:
        library: Any = ctypes.CDLL("/System/Library/Frameworks/IOKit.framework/IOKit")
    except OSError as error:
        raise PowerError(f"IOKit does not load: {error}") from error
    pointer, number, port = ctypes.c_void_p, ctypes.c_int32, ctypes.c_uint32
    types: dict[str, tuple[Any, list[Any]]] = {
        "IOServiceMatching": (pointer, [ctypes.c_char_p]),
        "IOServiceGetMatchingServices": (number, [port, pointer, pointer]),
        "IOIteratorNext": (port, [port]),
        "IORegistryEntryGetName": (number, [port, ctypes.c_char_p]),
        "IOObjectRelease": (number, [port]),
        "IOServiceOpen": (number, [port, port, port, pointer]),
        "IOConnectCallStructMethod": (number, [port, port, pointer, ctypes.c_size_t, pointer, pointer]),
    }
    for name, (result, arguments) in types.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.this_task = ctypes.c_uint32.in_dll(library, "mach_task_self_").value
    return library


class Smc:
    """A connection to the controller, which lasts as long as the process. Raises PowerError."""

    def __init__(self, library: Any = None) -> None:
        self._library = io_kit() if library is None else library
        self._connection = self._open()
        self._infos: dict[str, _Info] = {}

    def watts(self, key: str) -> float:
        """Return a sensor's value. Raises PowerError, for a key that this machine lacks too."""
        if key not in self._infos:
            self._infos[key] = self._ask(key, _READ_INFO).info
        info = self._infos[key]
        if (info.kind, info.size) != (_FLOAT, 4):
            raise PowerError(f"the sensor {key} is not a 4-byte float")
        (watts,) = struct.unpack_from("<f", bytes(self._ask(key, _READ_BYTES, info).data))
        if not math.isfinite(watts):
            raise PowerError(f"the sensor {key} reads {watts}")
        return float(watts)

    def _open(self) -> int:
        services = ctypes.c_uint32()
        matching = self._library.IOServiceMatching(_SERVICE)
        self._check(self._library.IOServiceGetMatchingServices(0, matching, ctypes.byref(services)))
        connection, code = None, 0
        while service := self._library.IOIteratorNext(services):
            name = ctypes.create_string_buffer(128)
            self._library.IORegistryEntryGetName(service, name)
            if name.value == _ENDPOINT and connection is None:
                connection = ctypes.c_uint32()
                code = self._library.IOServiceOpen(
                    service, self._library.this_task, 0, ctypes.byref(connection)
                )
            self._library.IOObjectRelease(service)
        self._library.IOObjectRelease(services)
        if connection is None:
            raise PowerError("this machine has no AppleSMCKeysEndpoint")
        self._check(code)
        return connection.value

    def _ask(self, key: str, command: int, info: _Info | None = None) -> Message:
        question = Message(key=int.from_bytes(key.encode("ascii"), "big"), command=command)
        if info is not None:
            question.info = info
        answer = Message()
        size = ctypes.c_size_t(ctypes.sizeof(answer))
        self._check(
            self._library.IOConnectCallStructMethod(
                self._connection,
                _SELECTOR,
                ctypes.byref(question),
                ctypes.sizeof(question),
                ctypes.byref(answer),
                ctypes.byref(size),
            )
        )
        if answer.result == _KEY_MISSING:
            raise PowerError(f"this machine has no sensor {key}")
        if answer.result:
            raise PowerError(f"the sensor {key} cannot be read: the controller says {answer.result}")
        return answer

    @staticmethod
    def _check(code: int) -> None:
        if code:
            code %= 1 << 32
            raise PowerError(f"AppleSMC refuses: {_REFUSED.get(code, 'the code of IOKit is')} ({code:#x})")
