"""The child's side of `runner.child`."""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from pkgutil import resolve_name
from typing import NoReturn, TypeVar

import msgspec

from ..results import plain_number
from ..signals import STOPS

_Message = TypeVar("_Message")

INTERRUPT = signal.SIGUSR1  # from the parent
COMPILING = b"!"  # before a line that is a Compile; messages are objects of JSON

_ending = threading.Lock()


class Compile(msgspec.Struct, frozen=True, array_like=True):
    """Tells the parent that a compile begins, or, without a `program`, that it has ended."""

    number: int
    program: str | None
    begin: int  # ns of time.monotonic_ns, the same clock in both processes


class Parent:
    """The parent, as the child sees it. When the parent is gone, this process ends at once.

    Unless it `outlives` the parent: then `receive` raises EOFError.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._folder = os.environ["TMPDIR"]  # this process's own: see Child
        self._sending = threading.Lock()
        self._compiles = itertools.count()
        self._lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.outlives = False
        threading.Thread(target=self._listen, daemon=True).start()

    def receive(self, decoder: msgspec.json.Decoder[_Message]) -> _Message:
        """Wait for the next message."""
        if (line := self._lines.get()) is None:
            raise EOFError
        return decoder.decode(line)

    def send(self, message: msgspec.Struct) -> None:
        """Send a message."""
        self._send(msgspec.json.encode(message, enc_hook=plain_number))

    @contextlib.contextmanager
    def compiling(self, program: str) -> Iterator[None]:
        """Let the parent watch the time of a compile, which has a deadline."""
        number = next(self._compiles)
        self._send(COMPILING + msgspec.json.encode(Compile(number, program, time.monotonic_ns())))
        try:
            yield
        finally:
            self._send(COMPILING + msgspec.json.encode(Compile(number, None, 0)))

    def _send(self, line: bytes) -> None:
        with self._sending:  # threads compile at once
            self._connection.sendall(line + b"\n")

    def _listen(self) -> None:
        try:
            for line in self._connection.makefile("rb"):
                self._lines.put(line)
        except OSError:
            pass  # reset, as by a parent killed before it read everything
        finally:
            if not self.outlives:
                _end(self._folder, 1)
            self._lines.put(None)


def main() -> NoReturn:
    """Call the function that the command line names, with the parent, and end the process."""
    for number in STOPS:  # which reach the parent too, who ends its children
        signal.signal(number, signal.SIG_IGN)
    signal.signal(INTERRUPT, signal.default_int_handler)
    descriptor, target = sys.argv[1:3]
    del sys.argv[1:]
    folder, code = os.environ["TMPDIR"], 0
    try:
        connection = socket.socket(fileno=int(descriptor))
        connection.set_inheritable(False)
        resolve_name(target)(Parent(connection))
    except BaseException:
        traceback.print_exc()
        code = 1
    _end(folder, code)


def ended(folder: str) -> str:
    """Return the name that a child gives to its temporary folder when it ends."""
    return f"{folder}-ended"


def _end(folder: str, code: int) -> NoReturn:
    """Remove the process's temporary folder, for its parent may be gone, and end the process.

    Threads that hang must not keep the process: everything that it had to say is said.
    """
    _ending.acquire()  # for good: another thread must not end the process before the folder is gone
    # Threads that still write models find no folder then, and add nothing to what is removed.
    with contextlib.suppress(OSError):
        os.rename(folder, ended(folder))
    for leftover in (ended(folder), folder):  # the framework may make it again
        shutil.rmtree(leftover, ignore_errors=True)
    os._exit(code)
