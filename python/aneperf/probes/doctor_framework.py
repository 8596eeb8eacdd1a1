"""Which classes and methods Apple's framework has, asked from the Objective-C runtime by name."""

import ctypes
import functools
import sys
from collections.abc import Iterator, Mapping, Sequence

from ..runner.measured import Measured

_FRAMEWORK = "/System/Library/PrivateFrameworks/AppleNeuralEngine.framework/AppleNeuralEngine"
# The stand-in's is that of its device, which is open.
_RUNTIME = "/usr/lib/libobjc.A.dylib" if sys.platform == "darwin" else "libobjc.so.4"
_MOST = 10_000  # methods of a class

Needed = Mapping[str, Sequence[str]]  # methods by class, with the sign of the Objective-C notation

IN_MEMORY: Needed = {
    "_ANEInMemoryModelDescriptor": ("+modelWithMILText:weights:optionsPlist:",),
    "_ANEInMemoryModel": (
        "+inMemoryModelWithDescriptor:",
        "-hexStringIdentifier",
        "-compileWithQoS:options:error:",
        "-loadWithQoS:options:error:",
        "-evaluateWithQoS:options:request:error:",
        "-unloadWithQoS:error:",
    ),
    "_ANEIOSurfaceObject": ("+objectWithIOSurface:",),
    "_ANERequest": (
        "+requestWithInputs:inputIndices:outputs:outputIndices:weightsBuffer:perfStats:procedureIndex:",
    ),
    "_ANEDeviceInfo": ("+hasANE",),
}
# As freedomtan/measure_ane_capacity calls it.
CLIENT: Needed = {
    "_ANEClient": (
        "+sharedConnection",
        "-compileModel:options:qos:error:",
        "-loadModel:options:qos:error:",
        "-evaluateWithModel:options:request:qos:error:",
        "-unloadModel:options:qos:error:",
    ),
    "_ANEModel": ("+modelAtURL:key:",),
    "_ANERequest": ("+requestWithInputs:inputIndices:outputs:outputIndices:perfStats:procedureIndex:",),
}
STATISTICS: Needed = {
    "_ANEInMemoryModel": ("-modelAttributes", "-perfStatsMask", "-setPerfStatsMask:", "-queueDepth"),
    "_ANERequest": ("-perfStats",),
    "_ANEPerformanceStats": ("-hwExecutionTime", "-perfCounterData"),
    "_ANEPerformanceStatsIOSurface": ("+objectWithIOSurface:statType:",),
}
# In the framework since the rule of one weight file: blacktop/ipsw-diffs, 27.
FILE_HASHES: Needed = {"_ANEInMemoryModelDescriptor": ("-perFileHashes",)}


def find_methods(needed: Needed, *, required: bool) -> Measured:
    """Return which methods are there. Params hold all that each class has, by the class's name."""
    objc = _runtime()
    missing = []
    found: dict[str, int | float | str] = {}
    for name, methods in needed.items():
        cls = objc.objc_getClass(name.encode())
        if not cls:
            missing.append(name)
            continue
        missing += [f"{method[0]}[{name} {method[1:]}]" for method in methods if not _has(cls, method)]
        found[name] = " ".join(sorted(_methods(name)))
    if missing:
        return Measured("error" if required else "unsupported", f"no {', '.join(missing)}", params=found)
    number = sum(map(len, needed.values()))
    finding = f"{len(needed)} classes, {number} methods: all there"
    return Measured("ok", params={"finding": finding, **found})


@functools.cache
def _runtime() -> ctypes.CDLL:
    """Load the runtime and, on a Mac, the framework. Raises OSError."""
    if sys.platform == "darwin":
        ctypes.CDLL(_FRAMEWORK)
    objc = ctypes.CDLL(_RUNTIME)
    for name in ("objc_getClass", "objc_getMetaClass", "sel_registerName", "method_getName"):
        getattr(objc, name).restype = ctypes.c_void_p
    for name in ("class_getInstanceMethod", "class_getClassMethod"):
        getattr(objc, name).restype = ctypes.c_void_p
        getattr(objc, name).argtypes = (ctypes.c_void_p, ctypes.c_void_p)
    objc.method_getName.argtypes = objc.sel_getName.argtypes = (ctypes.c_void_p,)
    objc.sel_getName.restype = ctypes.c_char_p
    objc.class_copyMethodList.restype = ctypes.POINTER(ctypes.c_void_p)
    objc.class_copyMethodList.argtypes = (ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint))
    return objc


def _has(cls: int, method: str) -> bool:
    objc = _runtime()
    find = objc.class_getClassMethod if method[0] == "+" else objc.class_getInstanceMethod
    return bool(find(cls, objc.sel_registerName(method[1:].encode())))


def _methods(name: str) -> Iterator[str]:
    """Yield a class's own methods."""
    objc = _runtime()
    for sign, find in (("-", objc.objc_getClass), ("+", objc.objc_getMetaClass)):
        number = ctypes.c_uint(0)
        methods = objc.class_copyMethodList(find(name.encode()), ctypes.byref(number))
        for place in range(min(number.value, _MOST)):
            yield f"{sign}{objc.sel_getName(objc.method_getName(methods[place])).decode(errors='replace')}"
