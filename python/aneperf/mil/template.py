"""Load a file of Python that makes programs: a function whose parameters are the axes of a benchmark.

The file runs as a script does, except that its folder is not on the path: it imports what is installed, and
nothing that lies beside it or in the current folder by accident.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType

from ..bounds import TEMPLATE_BYTES
from ..checks import shown
from ..errors import AneError, ArgumentError, CompileError, ProgramError, ResultFileError
from ..files import LONGEST_QUOTE, one_line, read_input
from ..kinds import Kind
from .builder import Builder, Program
from .files import read

AxisValue = int | float | str
Source = Program | Builder | Callable[..., object] | str | os.PathLike[str]
_MODULE = "aneperf_template"
_SUFFIX = ".py"  # of templates


@dataclass(frozen=True)
class Template:
    """A function that returns a Builder or a Program, and a name of it for people."""

    name: str
    function: Callable[..., object]
    file: str = ""  # to name a place in errors
    convert: Callable[[Program], Program] = lambda program: program

    def check_axes(self, axes: Iterable[str]) -> None:
        """Raise ArgumentError unless the function takes these axes, and needs no others."""
        given = set(axes)
        parameters = inspect.signature(self.function).parameters.values()
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            known = [parameter.name for parameter in parameters]
            if unknown := sorted(given.difference(known)):
                has = f"it has {', '.join(known)}" if known else "it has none"
                raise ArgumentError(f"{self.name} has no parameter {shown(unknown[0])} for an axis: {has}")
        needed = (p for p in parameters if p.default is p.empty and p.kind not in _VARIADIC)
        if missing := [parameter.name for parameter in needed if parameter.name not in given]:
            raise ArgumentError(f"{self.name} needs a value of {missing[0]}: --axis {missing[0]}=64,128")

    def program(self, **axes: AxisValue) -> Program:
        """Make the program of a point. Raises CompileError, ProgramError."""
        with _blaming(self.file or self.name, CompileError):
            made = self.function(**axes)
            program = made.build() if isinstance(made, Builder) else made
        if not isinstance(program, Program):
            raise ProgramError(
                f"{self.name} returned {shown(made)}: it must return a mil.Builder or mil.Program"
            )
        return self.convert(program)


_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def template_of(program: object) -> Template:
    """Return what makes the programs. Raises ArgumentError, ProgramError, ResultFileError."""
    if isinstance(program, Program):
        return Template("program", lambda: program)
    if isinstance(program, Builder):
        return Template("program", program.build)
    if callable(program):
        return Template(getattr(program, "__name__", "program"), program)
    if not isinstance(program, (str, os.PathLike)):
        raise ArgumentError(
            f"a program is a mil.Program, a mil.Builder, a function or a path, not {shown(program)}"
        )
    path, function = _split(os.fspath(program))
    if Path(path).suffix == _SUFFIX:
        return load_template(path, function)
    try:
        found = read(program)
    except CompileError as error:
        raise ResultFileError(f"{program}: {error}") from None
    return Template(Path(program).name, lambda: found)


def _split(path: str) -> tuple[str, str]:
    """Split FILE:function, unless the whole is a file."""
    file, _, function = path.rpartition(":")
    return (file, function) if file.endswith(_SUFFIX) and not Path(path).exists() else (path, "")


def load_template(path: str | os.PathLike[str], function: str = "") -> Template:
    """Run the file, and return its function of that name, or else the only public one that it defines.

    Raises ResultFileError, ArgumentError, ProgramError.
    """
    file = os.fspath(path)
    source = read_input(path, Kind.TEXT, TEMPLATE_BYTES)
    module = ModuleType(_MODULE)
    module.__file__ = file
    sys.modules[_MODULE] = module  # where dataclasses look for it
    with _blaming(file):
        exec(compile(source, file, "exec"), module.__dict__)
    defined = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == _MODULE and not name.startswith("_")
    }
    if not function and len(defined) != 1:
        found = f"has {len(defined)} functions" if defined else "has no function"
        choose = f": choose one with {file}:{next(iter(defined))}" if defined else " that makes a program"
        raise ArgumentError(f"{file}: {found}{choose}")
    name = function or next(iter(defined))
    if name not in defined:
        has = f"it has {', '.join(defined)}" if defined else "it has none"
        raise ArgumentError(f"{file}: has no function {shown(name)}: {has}")
    return Template(f"{Path(file).name}:{name}", defined[name], file)


@contextlib.contextmanager
def _blaming(file: str, *passed: type[Exception]) -> Iterator[None]:
    """Run code of the user's: what it prints goes to standard error, and its errors name the line."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except passed:
        raise
    except (Exception, SystemExit) as error:
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file
        ]
        if isinstance(error, SyntaxError) and error.filename == file:
            lines = [error.lineno]
        place = f"{file}: line {lines[-1]}" if lines else file
        kind = "" if isinstance(error, AneError) else f"{type(error).__name__}: "
        text = error.msg if isinstance(error, SyntaxError) else str(error)
        raise ProgramError(f"{place}: {kind}{one_line(text, LONGEST_QUOTE)}") from None
