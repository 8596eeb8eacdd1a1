"""Facts of the device and the machine in which two sides of a comparison differ."""

from collections.abc import Sequence

from ..comparison import Difference
from ..files import one_line
from ..machine import UNAVAILABLE
from ..results import Environment

_TOLD_OTHERWISE = frozenset(
    {"cluster", "device_note", "load", "memory_bytes", "properties", "started", "variables"}
)
_EVER_NEW = frozenset({"commit", "frequency_mhz", "temperature_c"})
_LOAD = "load"
_LONGEST = 40  # characters of a value
_ABSENT = "none"


def find_differences(first: Sequence[Environment], second: Sequence[Environment]) -> tuple[Difference, ...]:
    """Return the facts that do not have one value in all environments of both sides.

    A fact that the system did not tell is no difference; a variable or a property that is not there is one.
    Load is one where every environment of a side has another load than every one of the other side: the first
    of several runs in turns begins on an idle machine, and the others in the minute after one before them.
    """
    sides = [[facts(environment) for environment in side] for side in (first, second)]
    names = dict.fromkeys(name for side in sides for known in side for name in known)
    found = []
    for name in names:
        values = [[known.get(name, _ABSENT) for known in side] for side in sides]
        before, after = (set(side) - {UNAVAILABLE} for side in values)
        if len(before | after) > 1 and not (name == _LOAD and before & after):
            found.append(Difference(name, *map(_listed, values)))
    return tuple(found)


def facts(environment: Environment) -> dict[str, str]:
    """Return what may change speed, by name, as text; what the system did not tell is "unavailable"."""
    known = environment.to_dict()
    memory = environment.memory_bytes
    found = {
        **{name: value for name, value in known.items() if name not in _TOLD_OTHERWISE | _EVER_NEW},
        # In whole GiB, since a kernel takes some KB of its own.
        "memory": None if memory is None else f"{memory / 2**30:.0f} GiB",
        _LOAD: None if environment.load is None else "busy" if environment.busy else "idle",
    }
    told = {name: UNAVAILABLE if value is None else str(value) for name, value in found.items()}
    return {**told, **environment.properties, **environment.variables, **environment.cluster}


def _listed(values: Sequence[str]) -> str:
    return " or ".join(one_line(value, _LONGEST) for value in dict.fromkeys(values))
