"""Options of a verb from a TOML file; those on the command line come before them."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click
from click.core import ParameterSource

from ..bounds import CONFIG_BYTES
from ..checks import number, shown
from ..errors import ArgumentError
from ..files import LONGEST_QUOTE, one_line, read_input
from ..kinds import Kind
from .options import FILE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_TYPES: Mapping[type[click.ParamType[Any]], tuple[str, tuple[type, ...]]] = {
    type(click.BOOL): ("true or false", (bool,)),
    type(click.INT): ("an integer", (int,)),
    type(click.FLOAT): ("a number", (int, float)),
    type(click.STRING): ("a text in quotes", (str,)),
    type(FILE): ("a path in quotes", (str,)),
}
_OFF = "no_"  # begins the name of the flag that takes an option back


@dataclass(frozen=True)
class _File:
    """The options in a file: values, and keys as they stand there, by the names of the parameters."""

    path: str
    values: Mapping[str, Any]
    keys: Mapping[str, str]


def config_option(words: Mapping[str, str]) -> click.Option:
    """Return the option that reads a file; `words` are values that name no file, by the option of a path."""

    def read(context: click.Context, option: click.Parameter, path: str | None) -> None:
        if path is not None and not context.resilient_parsing:
            options = [found for found in context.command.get_params(context) if found is not option]
            context.meta[__name__] = file = _read_options(path, options, words)
            context.default_map = dict(file.values)

    return click.Option(
        ["--config"],
        type=FILE,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=read,
        help="Read options from a TOML file, with paths relative to its folder. Options given here override "
        "it, and --no-NAME removes one.",
    )


def off_switches(options: Iterable[click.Parameter]) -> list[click.Parameter]:
    """Return a flag --no-NAME for each option that is one, or that may have no value."""
    return [
        click.Option([max(option.opts, key=len).replace("--", "--no-", 1)], is_flag=True, hidden=True)
        for option in options
        if isinstance(option, click.Option)
        and (option.is_flag or not isinstance(option.default, str | int | float))
    ]


def given_options(context: click.Context, instead: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """Return the options that are given on the command line or in a file: None or False if taken back.

    `instead` are the options of a file that count no more, by the one on the command line.
    """
    sources = {name: context.get_parameter_source(name) for name in context.params}
    given = {n: v for n, v in context.params.items() if sources[n] is not ParameterSource.DEFAULT}
    here = {name for name in given if sources[name] is ParameterSource.COMMANDLINE}
    for flag in [name for name in here if name.startswith(_OFF)]:
        name = flag.removeprefix(_OFF)
        if name in here:
            raise click.UsageError(f"--{_dashed(name)} goes without --{_dashed(flag)}.")
        del given[flag]
        given[name] = False if isinstance(context.params[name], bool) else None
    for name in here:
        for other in instead.get(name, ()):
            if other not in here:
                given.pop(other, None)
    return given


@contextlib.contextmanager
def blaming_file(context: click.Context) -> Iterator[None]:
    """Begin an error about an option with the file and the key that it comes from, if it does.

    An error that names no option at its beginning may be about the file's: it ends with the file's name.
    """
    try:
        yield
    except ArgumentError as error:
        file: _File | None = context.meta.get(__name__)
        if file is None:
            raise
        meant = [
            name
            for name in context.params
            if re.match(rf"(\w+: )?(no |\d+ )?({name}|--{_dashed(name)}) ", str(error))
        ]
        for name in meant:
            if context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
                key = file.keys[name]
                told = str(error) if str(error).startswith(f"{key} ") else f"{key}: {error}"
                raise ArgumentError(f"{file.path}: {told}") from error
        if any(context.get_parameter_source(name) is ParameterSource.COMMANDLINE for name in meant):
            raise
        raise ArgumentError(f"{error} (with the options of {file.path})") from error


def _read_options(path: str, options: Iterable[click.Parameter], words: Mapping[str, str]) -> _File:
    """Read the options in a TOML file. Raises ArgumentError."""
    known = {
        name.lstrip("-").replace("-", "_"): option
        for option in options
        if not getattr(option, "hidden", False)
        for name in option.opts
        if name.startswith("--") and name != "--help"
    }
    values: dict[str, Any] = {}
    keys: dict[str, str] = {}
    for key, value in _read(path).items():
        option = known.get(key.replace("-", "_"))
        if option is None or option.name is None:
            near = difflib.get_close_matches(key.replace("-", "_"), known, n=1)
            meant = f" Did you mean {_dashed(near[0])}?" if near else ""
            raise ArgumentError(f"{path}: {shown(key)} is no option of the command.{meant}")
        if option.name in values:
            raise ArgumentError(f"{path}: {key} is an option that stands there already, under another name")
        _check(f"{path}: {key}", option.type, value)
        if option.type is click.FLOAT:
            value = number(value)  # click cannot convert an integer beyond a float
        elif option.type is FILE and value != words.get(option.name):
            value = os.path.join(os.path.dirname(path), value)
        values[option.name], keys[option.name] = value, key
    return _File(path, values, keys)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _read(path: str) -> dict[str, Any]:
    text = read_input(path, Kind.TEXT, CONFIG_BYTES, ArgumentError)
    try:
        return tomllib.loads(text.decode())
    except (ValueError, RecursionError) as error:
        raise ArgumentError(f"{path}: is no TOML: {one_line(error, LONGEST_QUOTE)}") from None


def _check(where: str, kind: click.ParamType[Any], value: object) -> None:
    """Raise ArgumentError unless a value is of the kind that an option takes."""
    if isinstance(kind, click.Choice):
        if value not in kind.choices:
            raise ArgumentError(f"{where} must be one of {', '.join(kind.choices)}, not {shown(value)}")
        return
    expected, types = _TYPES[type(kind)]
    is_other = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    if is_other or (kind is FILE and (not value or "\0" in str(value))):
        raise ArgumentError(f"{where} must be {expected}, not {shown(value)}")
