"""The native module and the interpreter's own life: its end, handles without a value, subinterpreters."""

import copy
import inspect
import itertools
import os
import pickle
import subprocess
import sys

import pytest

from aneperf import _ane_native as native
from support.parameters import thorough

HANDLES = [kind for _, kind in inspect.getmembers(native, inspect.isclass) if not issubclass(kind, Exception)]

DAEMONS = """
import threading
import numpy as np
import aneperf
from aneperf import _ane_native as native
from aneperf.kernels import ConvStack

device = aneperf.open("emulator")
stack = ConvStack(channels=64, depth=8)
built = stack.build()
program = device.compile(built.text, built.weights)
(source,), (result,) = program.inputs, program.outputs
surfaces = {source.name: device.make_surface(source)}, {result.name: device.make_surface(result)}
request = program.bind(*surfaces)
x = stack.input()
square = np.zeros((64, 64), np.float32)
queue = native.GradientQueue()

def multiply():
    queue.add(square, square, np.zeros((64, 64), np.float32))
    queue.wait()

def compile():
    try:
        device.compile(built.text, built.weights)
    except aneperf.CompileBudgetError:
        pass

calls = {
    "evaluate": request.evaluate,
    "time": lambda: request.time(3),
    "program": lambda: program.evaluate(*surfaces),
    "run": lambda: program.run(**{source.name: x}),
    "compile": compile,
    "surface": lambda: surfaces[0][source.name].read(),
    "queue": multiply,
    "infer": lambda: native.parse(built.text),
}
ready = threading.Barrier(3)

def forever(call):
    call()
    ready.wait()
    while True:
        call()

for _ in range(2):
    threading.Thread(target=forever, args=(calls[CALL],), daemon=True).start()
ready.wait()
"""


def in_a_process(program: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize(
    "call", ["evaluate", "compile", *thorough("time", "program", "run", "surface", "queue", "infer")]
)
def test_the_interpreter_ends_while_threads_are_in_native_code(call: str) -> None:
    ended = in_a_process(f"CALL = {call!r}\n{DAEMONS}")
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("kind", HANDLES, ids=lambda kind: kind.__name__)
def test_a_handle_without_a_value_is_a_type_error(kind: type) -> None:
    class Forgetful(kind):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:
            pass

    with pytest.raises(TypeError):
        Forgetful()
    for empty in (kind.__new__(kind), Forgetful.__new__(Forgetful)):
        public = [name for name in vars(kind) if not name.startswith("_")]
        for name in [*public, *({"__eq__", "__exit__", "__repr__"} & vars(kind).keys())]:
            with pytest.raises(TypeError):
                use(empty, name)


def use(empty: object, name: str) -> None:
    """Read a member, and call it with each number of arguments until one fits."""
    member = getattr(type(empty), name)
    if isinstance(member, property):
        getattr(empty, name)
    elif name == "__eq__":
        assert empty == empty
    else:
        for count, keywords in itertools.product(range(7), ({}, {"scale": 1.0})):
            try:
                member(empty, *({},) * count, **keywords)
            except TypeError as error:
                if "incompatible function arguments" not in str(error):
                    raise


@pytest.mark.parametrize("kind", HANDLES, ids=lambda kind: kind.__name__)
def test_a_handle_is_neither_pickled_nor_copied(kind: type) -> None:
    handles = [kind.__new__(kind)]
    handles += [native.open_emulator()] if kind is native.Device else []
    for handle in handles:
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError, match=f"cannot pickle or copy {kind.__name__}"):
                pickle.dumps(handle, protocol)
        for duplicate in (copy.copy, copy.deepcopy, kind.__reduce__):
            with pytest.raises(TypeError, match="cannot pickle or copy"):
                duplicate(handle)


def test_a_handle_without_a_value_is_no_argument() -> None:
    device = native.open_emulator()
    port, surface = native.Port.__new__(native.Port), native.Surface.__new__(native.Surface)
    with pytest.raises(TypeError):
        device.make_surface(port)
    with pytest.raises(TypeError):
        native.read_channels(surface, 0, None)
    budget = native.CompileBudget.__new__(native.CompileBudget)
    with pytest.raises(TypeError):
        native.open_emulator("h16", budget)


@pytest.mark.parametrize("own_lock", [False, True])
def test_a_subinterpreter_is_refused(own_lock: bool) -> None:
    if sys.version_info >= (3, 13):
        create = f"import _interpreters as s; i = s.create({'isolated' if own_lock else 'legacy'!r})"
    else:
        create = f"import _xxsubinterpreters as s; i = s.create(isolated={own_lock})"
    attempt = """
try:
    import aneperf._ane_native
except ImportError as error:
    print("refused:", error, flush=True)
"""
    ended = in_a_process(f"{create}\ns.run_string(i, {attempt!r})")
    assert ended.stdout.startswith("refused: ")
    assert (ended.returncode, ended.stderr) == (0, "")
