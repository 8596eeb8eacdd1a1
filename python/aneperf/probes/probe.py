"""The description of a probe: its verb with options, its place in the suite, and its function.

A probe's function, and what turns an option's text into a value, are named as "module:name" and imported at
the first use: the command lists its verbs without loading numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .._ane_native import Device
    from ..results import Result

PROCESSES = "Fresh processes that measure each row; fewer if the budget is short."


@dataclass(frozen=True)
class Option:
    """An option of a probe's verb, and the keyword argument that it becomes.

    A `default` of None leaves the value to the function. `type` is bool for a flag. A repeatable option
    becomes a list of `type`.
    """

    name: str
    help: str
    type: type[bool | int | float | str] = str
    keyword: str = ""  # the name, unless given
    default: bool | int | float | str | None = None
    metavar: str | None = None
    choices: tuple[str, ...] = ()
    repeatable: bool = False
    parser: str | None = None  # the "module:name" of a function of the option's text

    @property
    def argument(self) -> str:
        """Return the keyword argument's name."""
        return self.keyword or self.name

    def value(self, given: Any) -> Any:
        """Return the argument for what the command was given. Raises ArgumentError if the text means none."""
        return given if self.parser is None else resolve_name(self.parser)(given)


@dataclass(frozen=True)
class Export:
    """An option of a probe's verb that names one more file for the result.

    `prepare` is the "module:name" of a function that checks the path and returns what writes to it.
    """

    name: str
    help: str
    prepare: str


@dataclass(frozen=True)
class Probe:
    """A probe: its verb, its place in the suite and its function, `function(device, budget=..., ...)`.

    `share` weighs its part of the suite's budget. `in_child`: the suite starts a process for it, because it
    spends compiles, may hang, or must not see the state that another probe left. The other probes start
    processes themselves. `processes`: how many measure each row, for the verb of a probe that times rows.
    `is_collective`: every rank that a launcher started runs it, and rank 0 has the output.
    """

    name: str
    summary: str  # a line
    budget: float | None  # seconds, by default
    options: tuple[Option, ...] = ()  # besides the budget
    details: str = ""  # further lines of help
    budget_help: str = "Time for all rows."
    function: str = ""  # its "module:name"; by default the one of its name in `aneperf.probes`
    target: str | None = None  # what the verb takes besides options, the keyword argument "file"
    exports: tuple[Export, ...] = ()
    share: float = 0.0
    in_child: bool = True
    processes: int | None = None
    is_collective: bool = False
    file: str | None = None  # that the verb writes without -o

    def load(self) -> Callable[..., Result]:
        """Import and return the function."""
        function: Callable[..., Result] = resolve_name(
            self.function or f"aneperf.probes.{self.name}:{self.name}"
        )
        return function

    def run(self, device: Device | str | None = None, **arguments: Any) -> Result:
        """Call the function with keyword arguments."""
        return self.load()(device, **arguments)

    @property
    def verb_options(self) -> tuple[Option, ...]:
        """Return every option of the verb: the probe's own, then processes and budget."""
        budget = Option("budget", self.budget_help, float, default=self.budget, metavar="SECONDS")
        processes = Option("processes", PROCESSES, int, default=self.processes, metavar="N")
        return (*self.options, *([processes] if self.processes else []), budget)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the keyword arguments for options given by name; None and an empty list are not given.

        Raises ArgumentError for a text that is no value of its option.
        """
        options = {option: given.get(option.name.replace("-", "_")) for option in self.verb_options}
        target = {} if self.target is None else {"file": given["file"]}
        return target | {
            option.argument: option.value(value)
            for option, value in options.items()
            if value not in (None, [], ())
        }
