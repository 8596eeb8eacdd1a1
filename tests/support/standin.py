"""Drive the stand-in for Apple's framework: what is alive in it, its faults, and its methods.

A pytest plugin. Its fixtures skip where the build has no stand-in.
"""

import ctypes
import gc
import plistlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import aneperf
from aneperf import _ane_native as native
from support import environment
from support.programs import NO_BUDGET

LIBRARY = Path(native.__file__).parent / "_libraries" / "libane_standin_framework.so"
ABSENT = "this build has no stand-in for Apple's framework: build with -C cmake.define.ANEPERF_STANDIN=ON"

MODEL = "-[_ANEInMemoryModel {}]".format  # a method's name
CLIENT = "-[_ANEClient {}]".format
ATTRIBUTES = "-[_ANEModel modelAttributes]"
_BOOL, _QOS, _ID = ctypes.c_uint8, ctypes.c_uint32, ctypes.c_void_p

# Functions of the Objective-C runtime that return a pointer.
_RUNTIME = (
    "objc_lookUpClass",
    "objc_msg_lookup",
    "sel_registerName",
    "class_getClassMethod",
    "class_getInstanceMethod",
    "method_getImplementation",
    "method_setImplementation",
)

# Methods that tests replace: the type of the result, then those of the arguments.
_METHODS: dict[str, tuple[Any, ...]] = {
    "-[_ANEInMemoryModel hexStringIdentifier]": (_ID,),
    ATTRIBUTES: (_ID,),
    "-[_ANEInMemoryModel compileWithQoS:options:error:]": (_BOOL, _QOS, _ID, _ID),
    "-[_ANEInMemoryModel loadWithQoS:options:error:]": (_BOOL, _QOS, _ID, _ID),
    "-[_ANEInMemoryModel evaluateWithQoS:options:request:error:]": (_BOOL, _QOS, _ID, _ID, _ID),
    "-[_ANEInMemoryModel unloadWithQoS:error:]": (_BOOL, _QOS, _ID),
    "-[_ANEClient compileModel:options:qos:error:]": (_BOOL, _ID, _ID, _QOS, _ID),
    "-[_ANEClient loadModel:options:qos:error:]": (_BOOL, _ID, _ID, _QOS, _ID),
    "-[_ANEClient evaluateWithModel:options:request:qos:error:]": (_BOOL, _ID, _ID, _ID, _QOS, _ID),
    "-[_ANEClient unloadModel:options:qos:error:]": (_BOOL, _ID, _ID, _QOS, _ID),
    "+[_ANEClient sharedConnection]": (_ID,),
    "+[_ANEDeviceInfo hasANE]": (_BOOL,),
}


class Alive(NamedTuple):
    """Count what the framework holds for this process."""

    surfaces: int
    models: int
    loaded_models: int
    requests: int
    folders: int


class Standin:
    """Wrap the C interface of tests/ane_framework/standin.h, and the framework's classes."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(LIBRARY))
        self._hooks: list[Any] = []  # which the runtime may still call
        for name in _RUNTIME:
            getattr(self._library, name).restype = _ID

    def _count(self, name: str) -> int:
        function = getattr(self._library, f"ane_standin_{name}")
        function.restype = ctypes.c_long
        return int(function())

    def alive(self) -> Alive:
        gc.collect()
        names = ("live_surfaces", "live_models", "loaded_models", "live_requests", "temp_folders")
        return Alive(*map(self._count, names))

    @property
    def lock_errors(self) -> int:
        return self._count("lock_errors")

    @property
    def compiles(self) -> int:
        return self._count("compiles")

    @property
    def client_compiles(self) -> int:
        return self._count("client_compiles")

    @property
    def evaluations(self) -> int:
        return self._count("evaluations")

    def set_compile_budget(self, compiles: int) -> None:
        self._library.ane_standin_set_compile_budget(ctypes.c_long(compiles))

    def system_value(self, name: str) -> str:
        """Return a text of sysctl."""
        value, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
        function = self._library.sysctlbyname
        assert function(name.encode(), value, ctypes.byref(size), None, ctypes.c_size_t(0)) == 0
        return value.value.decode()

    def reset(self) -> None:
        self._library.ane_standin_reset()

    def inject(self, faults: str) -> None:
        assert self._library.ane_standin_inject(faults.encode()) == 0, faults

    @contextmanager
    def faults(self, faults: str) -> Iterator[None]:
        self.inject(faults)
        try:
            yield
        finally:
            self.inject("")

    def send(self, receiver: int | str, selector: str, *arguments: Any, returns: Any = _ID) -> Any:
        """Send a message to an object, or to a class by its name."""
        if isinstance(receiver, str):
            receiver = int(self._library.objc_lookUpClass(receiver.encode()))
        name = _ID(self._library.sel_registerName(selector.encode()))
        method = self._library.objc_msg_lookup(_ID(receiver), name)
        prototype = ctypes.CFUNCTYPE(returns, _ID, _ID, *map(type, arguments))
        return prototype(method)(receiver, name, *arguments)

    @contextmanager
    def pool(self) -> Iterator[None]:
        pool = self.send("NSAutoreleasePool", "new")
        try:
            yield
        finally:
            self.send(pool, "release", returns=None)

    def reread_environment(self) -> None:
        """Let GNUstep see a changed TMP: it reads the environment once."""
        arguments = (ctypes.c_char_p * 2)(b"python", None)
        variables = _ID.in_dll(ctypes.CDLL(None), "environ")
        selector = "initializeWithArguments:count:environment:"
        with self.pool():
            self.send("NSProcessInfo", selector, arguments, ctypes.c_int(1), variables, returns=None)

    def to_object(self, value: Any) -> int:
        """Return the Objective-C object of a plain value; it is never freed."""
        text = plistlib.dumps(value)
        with self.pool():
            data = self.send(
                "NSData", "dataWithBytes:length:", ctypes.c_char_p(text), ctypes.c_ulong(len(text))
            )
            selector = "propertyListWithData:options:format:error:"
            nothing = ctypes.c_ulong(0), _ID(None), _ID(None)
            return int(
                self.send(self.send("NSPropertyListSerialization", selector, _ID(data), *nothing), "retain")
            )

    def to_value(self, object: int) -> Any:
        with self.pool():
            xml, nothing = ctypes.c_ulong(100), (ctypes.c_ulong(0), _ID(None))
            selector = "dataWithPropertyList:format:options:error:"
            data = self.send("NSPropertyListSerialization", selector, _ID(object), xml, *nothing)
            length = self.send(data, "length", returns=ctypes.c_ulong)
            return plistlib.loads(ctypes.string_at(self.send(data, "bytes"), length))

    def _method(self, name: str) -> ctypes.c_void_p:
        owner, selector = name[2:-1].split()
        get = self._library.class_getInstanceMethod if name[0] == "-" else self._library.class_getClassMethod
        named = self._library.sel_registerName(selector.encode())
        return _ID(get(_ID(self._library.objc_lookUpClass(owner.encode())), _ID(named)))

    @contextmanager
    def _implemented(self, name: str, implementation: ctypes.c_void_p) -> Iterator[None]:
        method = self._method(name)
        original = self._library.method_setImplementation(method, implementation)
        try:
            yield
        finally:
            self._library.method_setImplementation(method, _ID(original))

    def replaced(self, name: str, replacement: Callable[..., Any]) -> AbstractContextManager[None]:
        """Replace a method meanwhile by `replacement(call, *arguments)`; call() runs the original."""
        prototype = ctypes.CFUNCTYPE(_METHODS[name][0], _ID, _ID, *_METHODS[name][1:])
        original = prototype(self._library.method_getImplementation(self._method(name)))
        hook = prototype(
            lambda receiver, command, *arguments: replacement(
                lambda: original(receiver, command, *arguments), *arguments
            )
        )
        self._hooks.append(hook)
        return self._implemented(name, ctypes.cast(hook, _ID))

    def raising(self, name: str) -> AbstractContextManager[None]:
        """Let a method raise meanwhile the NSInvalidArgumentException of an abstract one."""
        abstract = self._library.method_getImplementation(self._method("-[NSString length]"))
        return self._implemented(name, _ID(abstract))

    def attributes(self, edit: Callable[[Any], Any]) -> AbstractContextManager[None]:
        """Change modelAttributes by `edit` meanwhile."""
        return self.replaced(ATTRIBUTES, lambda call: self.to_object(edit(self.to_value(call()))))

    def child(self, call: str, **variables: str) -> str:
        """Return what a new process prints that makes a call of bridge_children, in silence."""
        command = [sys.executable, "-c", f"from support.bridge_children import *\n{call}"]
        done = subprocess.run(
            command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=600
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout


@pytest.fixture
def standin(capfd: pytest.CaptureFixture[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    """Return the stand-in as after its start, with a temporary folder of its own and no limit of compiles.

    A test must leave it as it was, and print nothing.
    """
    if not LIBRARY.exists():
        pytest.skip(ABSENT)
    standin = Standin()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMP", str(tmp_path_factory.mktemp("standin")))
        standin.reread_environment()
        standin.reset()
        standin.set_compile_budget(-1)
        before = standin.alive()
        capfd.readouterr()
        yield standin
        standin.inject("")
        after, output, lock_errors = standin.alive(), capfd.readouterr(), standin.lock_errors
        standin.reset()
    standin.reread_environment()
    assert after == before
    assert lock_errors == 0
    assert output == ("", "")


@pytest.fixture
def ane(standin: Standin) -> aneperf.Device:
    """Open the engine of the stand-in."""
    return aneperf.open("ane:memory", compile_budget=NO_BUDGET)


@pytest.fixture
def client(standin: Standin) -> aneperf.Device:
    """Open the engine of the stand-in by the client of its service."""
    return aneperf.open("ane:client", compile_budget=NO_BUDGET)


@pytest.fixture(params=["ane", "client"])
def engine(request: pytest.FixtureRequest) -> aneperf.Device:
    """Open the engine of the stand-in by each route."""
    device: aneperf.Device = request.getfixturevalue(request.param)
    return device
