"""Inside a child process: what `aneperf.child` starts, and what the two say to each other."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from typing import Any, NoReturn

import msgspec

from .._ane_native import CompileBudget
from ..device import open as open_device
from ..errors import AneError
from ..results import Result, _plain_number
from .progress import Progress, Step


class Task(msgspec.Struct, frozen=True):
    """What a child is told to do."""

    function: str  # "module:name"
    device: str
    compile_budget: tuple[int, int]
    arguments: dict[str, Any]


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a child says: a step, or its result, or the exception that ended it."""

    step: Step | None = None
    result: Result | None = None
    exception: str | None = None
    text: str = ""


def main(pipe: int) -> NoReturn:
    """What a child does. Ends the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, who ends its children
    request = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(pipe, "wb", buffering=0) as messages:

        def send(message: Message) -> None:
            line = msgspec.json.encode(message, enc_hook=_plain_number) + b"\n"
            view = memoryview(line)
            while view:
                view = view[messages.write(view) or 0 :]

        try:
            result = _run(msgspec.json.decode(request, type=Task), lambda step: send(Message(step=step)))
            send(Message(result=result))
        except BaseException as error:
            name = type(error).__name__
            expected = isinstance(error, AneError)
            send(Message(exception=name, text=str(error) if expected else f"{name}: {error}"))
    # Threads that hang must not keep the process: everything that it had to say is said.
    os._exit(0)


def _run(task: Task, progress: Progress) -> Result:
    module, _, name = task.function.partition(":")
    function: Callable[..., Result] = getattr(import_module(module), name)
    device = open_device(task.device, compile_budget=CompileBudget(*task.compile_budget))
    return function(device, progress=progress, **task.arguments)


def _end_with_parent() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)
