"""A child process: an interpreter of its own, which may crash, hang or wear out without harm to this one.

Parent and child exchange messages over a pair of sockets, a line of JSON each. What the child prints
therefore does not matter, and the messages it sent outlive it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

_Message = TypeVar("_Message")

# The child has its parent's path before it imports anything: `-c` puts the current folder first, and Python
# 3.10 has no -P.
_START = "import sys; sys.path[:] = sys.argv[3:]; from aneperf.runner.child_process import main; main()"
_LONGEST = 1 << 26  # bytes of a message; a result with all its durations has some 10 MB
_STDERR_BYTES = 4096  # read for the last line, which becomes part of a reason
_SEND_S = 60.0  # a child that is well reads at once
_LONGEST_WAIT_S = 1e6  # at a time; poll() counts milliseconds in 32 bits
_GRACE_S = 10.0  # for a child that has closed its connection to end


def above_standard_streams(descriptor: int) -> int:
    """Return a duplicate that a child can inherit. The caller closes it.

    Where standard streams are closed, other files get their numbers, which name a child's own streams.
    """
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


class ChildLost(Exception):
    """The child has ended, or cannot be understood; the text is the reason."""


class Child(Generic[_Message]):
    """A child that runs `target`, a function's "module:name", and sends what `decoder` reads.

    The child ends when this process does. Raises OSError if it cannot be started.
    """

    def __init__(
        self, target: str, decoder: msgspec.json.Decoder[_Message], *, descriptors: Sequence[int] = ()
    ) -> None:
        self._decoder = decoder
        self._lines: deque[bytes] = deque()
        self._rest = bytearray()  # of a line that is not complete
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_SEND_S)
        self._selector = selectors.PollSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        with theirs:
            inherited = above_standard_streams(theirs.fileno())
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, str(inherited), target, *module_path()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    pass_fds=(inherited, *descriptors),
                )
            except BaseException:
                self._socket.close()
                self._stderr.close()
                raise
            finally:
                os.close(inherited)

    def __enter__(self) -> Child[_Message]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Return the process's number."""
        return self._process.pid

    def send(self, message: msgspec.Struct) -> None:
        """Send a message. Raises ChildLost."""
        try:
            self._socket.sendall(msgspec.json.encode(message) + b"\n")
        except OSError:
            raise self._lost() from None

    def receive(self, timeout_s: float) -> _Message:
        """Return the next message. Raises TimeoutError after `timeout_s`, and ChildLost."""
        deadline = time.monotonic() + timeout_s
        while not self._lines:
            left_s = deadline - time.monotonic()
            # Waiting first, then reading: an interrupt of a read would lose what it read.
            if self._selector.select(min(max(0.0, left_s), _LONGEST_WAIT_S)):
                self._read()
            if left_s <= 0 and not self._lines:  # also of a message that does not come to its end
                raise TimeoutError
        line = self._lines.popleft()
        try:
            return self._decoder.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ChildLost(f"it sent what cannot be read: {error}") from None

    def kill(self) -> None:
        """End the process; any thread may call this. What the child sent before can still be received."""
        self._process.kill()

    def stop(self) -> None:
        """End the process and free what it took."""
        self._process.kill()
        self._process.wait()
        self._socket.close()
        self._stderr.close()

    def _read(self) -> None:
        try:
            data = self._socket.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            raise self._lost()
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        self._lines.extend(lines)
        if len(self._rest) > _LONGEST:
            raise ChildLost(f"it sent a message of more than {_LONGEST} bytes")

    def _lost(self) -> ChildLost:
        """Describe the end of the process, with the last line of its standard error."""
        try:
            code = self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return ChildLost("it closed its connection and did not end")
        ending = f"its process ended with exit code {code}"
        if code < 0:
            ending = f"its process was killed by {_signal_name(-code)}"
        descriptor = self._stderr.fileno()
        start = max(0, os.fstat(descriptor).st_size - _STDERR_BYTES)
        said = os.pread(descriptor, _STDERR_BYTES, start).decode(errors="replace").strip()
        return ChildLost(f"{ending}: {said.splitlines()[-1].strip()}" if said else ending)


def module_path() -> list[str]:
    """Return this process's `sys.path` for a child, without the current folder where Python put it first.

    A file there may have the name of any module that the child imports.
    """
    path = [entry for entry in sys.path if isinstance(entry, str) and entry]
    with contextlib.suppress(OSError):
        if path and os.path.samefile(path[0], os.curdir):
            del path[0]
    # The package may lie there: then it comes last, where it hides no other module.
    home = str(Path(__file__).resolve().parents[2])
    return path if home in path else [*path, home]


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
