"""The child's side of `runner.child`."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import traceback
from pkgutil import resolve_name
from typing import NoReturn, TypeVar

import msgspec

from ..results import plain_number
from ..signals import STOPS

_Message = TypeVar("_Message")


class Parent:
    """The parent, as the child sees it. When the parent is gone, this process ends at once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()

    def receive(self, decoder: msgspec.json.Decoder[_Message]) -> _Message:
        """Wait for the next message."""
        return decoder.decode(self._lines.get())

    def send(self, message: msgspec.Struct) -> None:
        """Send a message."""
        self._connection.sendall(msgspec.json.encode(message, enc_hook=plain_number) + b"\n")

    def _listen(self) -> None:
        try:
            for line in self._connection.makefile("rb"):
                self._lines.put(line)
        finally:  # also of a connection that is reset, as by a parent killed before it read everything
            os._exit(1)


def main() -> NoReturn:
    """Call the function that the command line names, with the parent, and end the process."""
    for number in STOPS:  # which reach the parent too, who ends its children
        signal.signal(number, signal.SIG_IGN)
    descriptor, target = sys.argv[1:3]
    del sys.argv[1:]
    code = 0
    try:
        connection = socket.socket(fileno=int(descriptor))
        connection.set_inheritable(False)
        resolve_name(target)(Parent(connection))
    except BaseException:
        traceback.print_exc()
        code = 1
    # Threads that hang must not keep the process: everything that it had to say is said.
    os._exit(code)
