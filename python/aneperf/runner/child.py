"""A child process: an interpreter of its own, which may crash, hang or wear out without harm to this one.

Parent and child exchange messages over a pair of sockets, a line of JSON each. What the child prints
therefore does not matter, and the messages it sent outlive it.

Nothing in the engine's framework, its daemon or its compiler has a deadline: a compile may never return, and
nothing unblocks its thread. So a child announces its compiles, and the parent gives them a deadline.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import secrets
import selectors
import shutil
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

from ..cluster.launch import is_rank, without_launcher
from ..files import one_line
from .child_process import COMPILING, INTERRUPT, Compile, ended

_Message = TypeVar("_Message")

# The child has its parent's path before it imports anything: `-c` puts the current folder first, and Python
# 3.10 has no -P. It makes its temporary folder itself: if this process dies meanwhile, the child removes it.
_START = (
    "import os, sys; os.mkdir(os.environ['TMPDIR'], 0o700); sys.path[:] = sys.argv[3:]; "
    "from aneperf.runner.child_process import main; main()"
)
_LONGEST = 1 << 26  # bytes of a message; a result with all its durations has some 10 MB
_STDERR_BYTES = 4096  # read for the last line, which becomes part of a reason
_SEND_S = 60.0  # a child that is well reads at once
_LONGEST_WAIT_S = 1e6  # at a time; poll() counts milliseconds in 32 bits
_END_S = 1.0  # for a child that can end by itself
_GRACE_S = 10.0  # for a child that has closed its connection to end


def above_standard_streams(descriptor: int) -> int:
    """Return a duplicate that a child can inherit. The caller closes it.

    Where standard streams are closed, other files get their numbers, which name a child's own streams.
    """
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


class ChildLost(Exception):
    """The child has ended, or cannot be understood; the text is the reason."""


class CompileExpired(ChildLost):
    """A compile or load in the child has not ended by its deadline. Kill the child."""

    def __init__(self, program: str, seconds: float) -> None:
        self.program = one_line(program, 200)
        self.seconds = seconds
        super().__init__(f"the compile of {self.program} did not end within {seconds:g} s")


class Child(Generic[_Message]):
    """A child that runs `target`, a function's "module:name", and sends what `decoder` reads.

    The child has a temporary folder of its own, for the files of its models, and ends when this process does.
    A launcher that kills this rank and its process group does not kill the child, which so has the time to
    clean up. Raises OSError if it cannot be started.
    """

    def __init__(
        self,
        target: str,
        decoder: msgspec.json.Decoder[_Message],
        *,
        compile_timeout: float = math.inf,
        descriptors: Sequence[int] = (),
    ) -> None:
        self._decoder = decoder
        self._compile_timeout = compile_timeout
        self._compiles: dict[int, Compile] = {}  # those that have begun and not ended
        self._lines: deque[bytes] = deque()
        self._is_taken = False  # the first of them, by `receive`
        self._kill_at = math.inf  # for one that does not end by itself
        self._longest_wait_s = _END_S if is_rank() else _LONGEST_WAIT_S
        self._parts = [b""]  # what was received and is not in `_lines` yet
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(_SEND_S)
        self._selector = selectors.PollSelector()
        self._selector.register(self._socket, selectors.EVENT_READ)
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  closed with the child
        # A killed process leaves its models' folders behind.
        self._folder = os.path.join(tempfile.gettempdir(), f"aneperf-{secrets.token_hex(8)}")
        temporary = dict.fromkeys(("TMPDIR", "TMP", "TEMP"), self._folder)
        with theirs:
            inherited = above_standard_streams(theirs.fileno())
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _START, str(inherited), target, *module_path()],
                    env={**without_launcher(), **temporary},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=self._stderr,
                    pass_fds=(inherited, *descriptors),
                    start_new_session=is_rank(),
                )
            except BaseException:
                self._free()
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
        """Return the next message. Raises TimeoutError after `timeout_s`, CompileExpired, and ChildLost."""
        deadline = time.monotonic() + timeout_s
        self.forget()
        self._sort()
        while not self._lines:
            now = time.monotonic()
            left_s, compile_left_s = deadline - now, self._compile_deadline() - now
            if now >= self._kill_at:
                self._process.kill()
            if self._selector.select(min(max(0.0, min(left_s, compile_left_s)), self._longest_wait_s)):
                self._read()
            elif compile_left_s <= 0:  # and everything that the child said before is heard
                raise CompileExpired(self._first_compile().program or "", self._compile_timeout)
            if left_s <= 0 and not self._lines:  # also of a message that does not come to its end
                raise TimeoutError
        self._is_taken = True
        try:
            return self._decoder.decode(self._lines[0])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ChildLost(f"it sent what cannot be read: {error}") from None

    def forget(self) -> None:
        """Drop the last message that `receive` returned; otherwise `interrupt` lets it return once more."""
        if self._is_taken:
            self._lines.popleft()
            self._is_taken = False

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the child, which may still say something then."""
        self._is_taken = False
        self._process.send_signal(INTERRUPT)

    def kill(self) -> None:
        """End the process; any thread may call this. What the child sent before can still be received."""
        if is_rank():  # which a launcher may kill now: the child ends by itself, and removes its folder
            self._kill_at = min(self._kill_at, time.monotonic() + _END_S)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)
        else:
            self._process.kill()

    def release(self) -> None:
        """Close the connection: the child, if it outlives its parent, does what is left."""
        self._socket.close()

    def wait(self) -> None:
        """Wait until a child that was released has ended, and free what it took."""
        self._process.wait()
        self.stop()

    def stop(self) -> None:
        """End the process and free what it took."""
        # Before and after: if this process is killed here, nothing is left either.
        self._remove_folder()
        self._process.kill()
        # One that is stuck in the kernel ends only when its call returns.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE_S)
        self._free()

    def _free(self) -> None:
        self._socket.close()
        self._stderr.close()
        self._remove_folder()

    def _remove_folder(self) -> None:
        for folder in (self._folder, ended(self._folder)):
            shutil.rmtree(folder, ignore_errors=True)

    def _first_compile(self) -> Compile:
        return min(self._compiles.values(), key=lambda compile: compile.begin)

    def _compile_deadline(self) -> float:
        """Return when the first of the compiles that run must have ended, in seconds of time.monotonic."""
        return self._first_compile().begin * 1e-9 + self._compile_timeout if self._compiles else math.inf

    def _read(self) -> None:
        # An interrupt loses nothing: map() leaves no bytecode between receiving and keeping, and what is kept
        # is sorted in one assignment, or anew.
        try:
            self._parts.extend(map(self._socket.recv, (1 << 20,)))
        except OSError:
            raise self._lost() from None
        if not self._parts[-1]:
            raise self._lost()
        self._sort()

    def _sort(self) -> None:
        """Take whole lines out of what was received; only the last part can have an end of a line."""
        if b"\n" not in self._parts[-1]:
            if sum(map(len, self._parts)) > _LONGEST:
                raise ChildLost(f"it sent a message of more than {_LONGEST} bytes")
            return
        *lines, rest = b"".join(self._parts).split(b"\n")
        for line in lines:
            if line.startswith(COMPILING):
                self._note(line[len(COMPILING) :])
        messages = [line for line in lines if not line.startswith(COMPILING)]
        self._lines, self._parts = deque([*self._lines, *messages]), [rest]

    def _note(self, line: bytes) -> None:
        """Note that a compile begins or has ended."""
        try:
            compile = msgspec.json.decode(line, type=Compile)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise ChildLost(f"it sent what cannot be read: {error}") from None
        if compile.program is None:
            self._compiles.pop(compile.number, None)
        else:
            self._compiles[compile.number] = compile

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
