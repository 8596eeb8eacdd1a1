"""The chips: their engine's generation, its cores, and the peak claimed for it."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ArgumentError

T = TypeVar("T")

_REPORT = "maderix/ANE, benchmarks/community_results.json and ANE_BENCHMARK_REPORT.md, as rated"


@dataclass(frozen=True)
class Chip:
    """An Apple chip. `claimed_tops` is a claim, not a measurement; None if none was published."""

    name: str
    generation: str  # of the engine: "h16"; M(n) had h(n + 12) wherever it was read out
    subtype: str | None  # the engine's own name, such as "h16g"; None if nobody published it
    cores: int  # of all its engines, from a table in Apple's framework rather than from the hardware
    claimed_tops: float | None
    claim: str  # who claims it, and for which data type


CHIPS: tuple[Chip, ...] = (
    Chip("M1", "h13", "h13g", 16, 11, "Apple Newsroom, 2020-11-10"),
    Chip("M1 Pro", "h13", None, 16, 11, _REPORT),
    Chip("M1 Max", "h13", None, 16, 11, _REPORT),
    Chip("M1 Ultra", "h13", None, 32, 22, _REPORT),
    Chip("M2", "h14", None, 16, 15.8, _REPORT),
    Chip("M2 Pro", "h14", "h14g", 16, None, "none found"),
    Chip("M2 Max", "h14", None, 16, 15.8, _REPORT),
    Chip("M2 Ultra", "h14", None, 32, 31.6, _REPORT),
    Chip("M3", "h15", None, 16, 18, "Apple, by Ars Technica, 2024-05-07; 15.8 in maderix/ANE"),
    Chip("M3 Pro", "h15", "h15g", 16, 15.8, _REPORT),
    Chip("M3 Max", "h15", None, 16, 15.8, _REPORT),
    Chip("M3 Ultra", "h15", None, 32, 31.6, _REPORT),
    Chip("M4", "h16", "h16g", 16, 38, "Apple, by Engadget, 2024-05-07; of int8, half as many of fp16"),
    Chip("M4 Pro", "h16", None, 16, 38, _REPORT + "; of int8"),
    Chip("M4 Max", "h16", None, 16, 38, _REPORT + "; of int8"),
    Chip("M5", "h17", "h17g", 16, None, "not disclosed"),
    Chip("M5 Pro", "h17", None, 16, None, "not disclosed"),
    Chip("M5 Max", "h17", "h17g", 16, None, "not disclosed"),
    Chip("M6", "h18", "h18g", 32, None, "none found"),
    Chip("A19 Pro", "h18", "h18", 16, None, "none found"),
    Chip("A20 Pro", "h19", "h19", 32, None, "none found"),
)
PROFILES = (*dict.fromkeys(chip.generation for chip in CHIPS), "none")


_PROFILES: dict[str, str] = {
    **{chip.name: chip.generation for chip in CHIPS},
    **{profile: profile for profile in PROFILES},
}
_SUBTYPES = {chip.subtype: chip.generation for chip in CHIPS if chip.subtype}


def find_chip(name: str) -> Chip:
    """Return the chip called "M4 Max", "m4max" or "Apple M4 Max". Raises ArgumentError with near matches."""
    return _find(name, {chip.name: chip for chip in CHIPS})


def profile_of(name: str) -> str:
    """Return the emulator's profile of a chip or an engine: "h16" for "M4 Max", "h16" and "h16g".

    "none", plain fp16 arithmetic without an engine's limits, is its own profile. Raises ArgumentError with
    near matches.
    """
    return _SUBTYPES.get(str(name).lower()) or _find(name, _PROFILES)


def _find(name: str, known: Mapping[str, T]) -> T:
    if not isinstance(name, str):
        raise ArgumentError(f"a chip is a name such as 'M4 Max', not {name!r}")
    names = {_plain(spelled): spelled for spelled in known}
    if found := names.get(_plain(name)):
        return known[found]
    near = difflib.get_close_matches(_plain(name), names, n=6, cutoff=0.5) or list(names)
    raise ArgumentError(
        f"no chip is called {name!r}: choose from {', '.join(names[match] for match in near)}"
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower())).removeprefix("apple")
