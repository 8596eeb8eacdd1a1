"""The chips: the generation of their engine, its cores, and the peak that is claimed for it."""

import difflib
from dataclasses import dataclass

from ..errors import ArgumentError

_REPORT = "maderix/ANE, benchmarks/community_results.json and ANE_BENCHMARK_REPORT.md, as rated"


@dataclass(frozen=True)
class Chip:
    """A chip of Apple's. `claimed_tops` is a claim, not a measurement, and None where none was published."""

    name: str
    generation: str  # of the engine: "h16"; M(n) has h(n + 12) on every chip that was asked
    subtype: str | None  # as the engine names itself: "h16g"; None where nobody published it
    cores: int  # of the engine, from a table in Apple's framework rather than from the hardware
    claimed_tops: float | None
    claim: str  # whose, and of what


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
)


def find_chip(name: str) -> Chip:
    """The chip of that name: "M4 Max", "m4max" or "Apple M4 Max". Raises ArgumentError with near matches."""
    if not isinstance(name, str):
        raise ArgumentError(f"a chip is a name such as 'M4 Max', not {name!r}")
    chips = {_plain(chip.name): chip for chip in CHIPS}
    if chip := chips.get(_plain(name)):
        return chip
    near = difflib.get_close_matches(_plain(name), chips, n=6, cutoff=0.5) or list(chips)
    meant = ", ".join(chips[match].name for match in near)
    raise ArgumentError(f"no chip is called {name!r}; there are {meant}")


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower())).removeprefix("apple")
