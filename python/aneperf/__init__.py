"""Measure the Apple Neural Engine from Python.

The stub `__init__.pyi` lists the public names. Each is imported when it is first used, so that the command
can print its help without numpy.
"""

import sys as _sys

# `python -m aneperf` puts the current folder first, where a file may have the name of any module. Python has
# found this package by now; while it looks for its __main__, the first argument is "-m".
if (
    _sys.argv[:1] == ["-m"]
    and "aneperf" in _sys.orig_argv
    and not getattr(_sys.flags, "safe_path", _sys.flags.isolated)
):
    del _sys.path[0]

import ast as _ast
import importlib as _importlib

from .system import check_system as _check_system

with open(f"{__file__}i", "rb") as _stub:
    _MODULES = {
        alias.name: node.module
        for node in _ast.parse(_stub.read()).body
        if isinstance(node, _ast.ImportFrom)
        for alias in node.names
    }
__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _check_system()
    module = _importlib.import_module(f".{_MODULES[name] or name}", __name__)
    globals()[name] = value = getattr(module, name) if _MODULES[name] else module
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
