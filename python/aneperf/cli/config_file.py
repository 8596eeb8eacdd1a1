"""Options of a verb from a TOML file; those on the command line come before them."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import click

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

_TYPES: Mapping[click.ParamType[Any], tuple[str, tuple[type, ...]]] = {
    click.BOOL: ("true or false", (bool,)),
    click.INT: ("an integer", (int,)),
    click.FLOAT: ("a number", (int, float)),
    click.STRING: ("a text in quotes", (str,)),
    FILE: ("a path in quotes", (str,)),
}


def config_option(words: Mapping[str, str]) -> click.Option:
    """Return the option that reads a file; `words` are values that name no file, by the option of a path."""

    def read(context: click.Context, option: click.Parameter, path: str | None) -> None:
        if path is not None and not context.resilient_parsing:
            options = [found for found in context.command.get_params(context) if found is not option]
            context.default_map = read_options(path, options, words)

    return click.Option(
        ["--config"],
        type=FILE,
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=read,
        help="Read options from a TOML file, where paths are relative to its folder; others here come first.",
    )


def read_options(
    path: str | os.PathLike[str], options: Iterable[click.Parameter], words: Mapping[str, str]
) -> dict[str, Any]:
    """Return the values in a TOML file by the names of the parameters. Raises ArgumentError."""
    keys = {
        name.lstrip("-").replace("-", "_"): option
        for option in options
        for name in option.opts
        if name.startswith("--") and name != "--help"
    }
    given: dict[str, Any] = {}
    for key, value in _read(path).items():
        option = keys.get(key.replace("-", "_"))
        if option is None or option.name is None:
            near = difflib.get_close_matches(key.replace("-", "_"), keys, n=1)
            meant = f" Did you mean {near[0].replace('_', '-')}?" if near else ""
            raise ArgumentError(f"{path}: {shown(key)} is no option of the command.{meant}")
        if option.name in given:
            raise ArgumentError(f"{path}: {key} is an option that stands there already, under another name")
        _check(f"{path}: {key}", option.type, value)
        if option.type is click.FLOAT:
            value = number(value)  # click cannot convert an integer beyond a float
        elif option.type is FILE and value != words.get(option.name):
            value = os.path.join(os.path.dirname(path), value)
        given[option.name] = value
    return given


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
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
    expected, types = _TYPES[kind]
    is_other = not isinstance(value, types) or (isinstance(value, bool) and bool not in types)
    if is_other or (kind is FILE and (not value or "\0" in str(value))):
        raise ArgumentError(f"{where} must be {expected}, not {shown(value)}")
