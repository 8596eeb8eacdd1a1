"""The chips: their engines' generation, what the engines are rated at, and what was measured of them.

A field is None where nobody published the fact. Sources, as often as they are named here:

    751K        751K/Apple-Neural-Engine-Microarchitecture-Study-M6, notes/ane_naming.md and compute_array.md
    freedomtan  freedomtan/measure_ane_capacity, docs/ANE_H19_Theoretical_Peak_and_Winograd_FP8_Analysis.md
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeVar

from ..checks import shown
from ..errors import ArgumentError

T = TypeVar("T")

_REPORT = "maderix/ANE, benchmarks/community_results.json and ANE_BENCHMARK_REPORT.md, as rated"
_TABLE = "16 cores of 256 products a cycle, 512 of int8, at the highest clock of the compiler's table: 751K"
_H17S = _TABLE + ", which names it for h17s"
_CLOCK = "16 cores of 512 products a cycle, 256 of fp16, at {}: freedomtan"


@dataclass(frozen=True)
class Peak:
    """A throughput in TOPS, by all engines of a chip unless the source says otherwise.

    Winograd's transform saves products of 3x3 kernels.
    """

    dtype: Literal["fp16", "int8"] | None  # None: its source does not say
    tops: float  # 10^12 operations a second; a multiply-add is two
    status: Literal["rated", "computed", "measured"]  # by Apple, from cores and clock, or by a run
    source: str  # who says so
    is_winograd: bool = False

    def __str__(self) -> str:
        how = " with Winograd's transform" if self.is_winograd else ""
        unit = "TFLOPS" if self.dtype == "fp16" else "TOPS"
        dtype = "" if self.dtype is None else f" of {self.dtype}"
        return f"{self.tops:g} {unit}{dtype}{how}"


@dataclass(frozen=True)
class Chip:
    """An Apple chip. `profile` is the emulator's: "h16"; assumed where nobody read `subtype` out."""

    name: str  # such as "M4 Max"
    profile: str
    subtype: str | None  # the engine's own name, such as "h16g"
    engines: int | None  # None: unknown
    clock_mhz: int | None = None  # the highest of an engine's cores
    peaks: tuple[Peak, ...] = ()

    @property
    def cores(self) -> int | None:
        """Return the cores of all engines: 16 in each, by tables of the framework and of the compiler."""
        return None if self.engines is None else 16 * self.engines


def _rated(tops: float, source: str, dtype: Literal["fp16", "int8"] | None = None) -> tuple[Peak, ...]:
    return (Peak(dtype, tops, "rated", source),)


_M6 = (
    Peak("fp16", 42.3, "computed", "32 cores of 256 products a cycle at 2,580 MHz: 751K"),
    Peak("int8", 84.5, "computed", "32 cores of 512 products a cycle at 2,580 MHz: 751K"),
    Peak("fp16", 39.5, "measured", "751K, 1x1 convolutions"),
    Peak("fp16", 31.0, "measured", "751K, on one engine", is_winograd=True),
    Peak("int8", 62.1, "measured", "751K, on one engine", is_winograd=True),
)
_A19_PRO = (
    Peak("fp16", 17.8, "computed", _CLOCK.format("2,172 MHz")),
    Peak("int8", 35.6, "computed", _CLOCK.format("2,172 MHz")),
    Peak("fp16", 20.88, "measured", "freedomtan", is_winograd=True),
    Peak("int8", 41.29, "measured", "freedomtan", is_winograd=True),
)
_A20_PRO = (
    Peak("fp16", 34.9, "computed", "both engines, " + _CLOCK.format("2,130 MHz")),
    Peak("int8", 69.8, "computed", "both engines, " + _CLOCK.format("2,130 MHz")),
    Peak("fp16", 43.8, "measured", "freedomtan", is_winograd=True),
    Peak("int8", 90.25, "measured", "freedomtan", is_winograd=True),
)
_M4 = (
    *_rated(38, "Apple, by Engadget, 2024-05-07", "int8"),
    Peak("fp16", 19.4, "computed", _TABLE),
    Peak("int8", 38.7, "computed", _TABLE),
    Peak("fp16", 18.6, "measured", "maderix/ANE, README.md, 1x1 convolutions"),
    Peak("int8", 37.5, "measured", "751K/apple-neural-engine-monitor, 5x5 convolutions through Core ML"),
)
_M5 = (Peak("fp16", 19.4, "computed", _H17S), Peak("int8", 38.7, "computed", _H17S))
_M5_MAX = (
    *_M5,
    Peak("fp16", 19.27, "measured", "maderix/ANE PR #50, 1x1 convolutions"),
    Peak("int8", 35.94, "measured", "maderix/ANE PR #50, 1x1 convolutions"),
)

# The chips by series and generation.
CHIPS: tuple[Chip, ...] = (
    Chip("M1", "h13", "h13g", 1, 1428, _rated(11, "Apple Newsroom, 2020-11-10")),
    Chip("M1 Pro", "h13", None, 1, None, _rated(11, _REPORT)),
    Chip("M1 Max", "h13", None, 1, None, _rated(11, _REPORT)),
    Chip("M1 Ultra", "h13", "h13g", 2, None, _rated(22, _REPORT)),
    Chip("M2", "h14", "h14g", 1, None, _rated(15.8, _REPORT)),
    Chip("M2 Pro", "h14", "h14g", 1),
    Chip("M2 Max", "h14", None, 1, None, _rated(15.8, _REPORT)),
    Chip("M2 Ultra", "h14", None, 2, None, _rated(31.6, _REPORT)),
    Chip("M3", "h15", None, 1, None, _rated(18, "Apple, by Ars Technica, 2024-05-07; 15.8 in maderix/ANE")),
    Chip("M3 Pro", "h15", "h15g", 1, None, _rated(15.8, _REPORT)),
    Chip("M3 Max", "h15", None, 1, None, _rated(15.8, _REPORT)),
    Chip("M3 Ultra", "h15", "h15g", 2, None, _rated(31.6, _REPORT)),
    Chip("M4", "h16", "h16g", 1, 2364, _M4),
    Chip("M4 Pro", "h16", None, 1, None, _rated(38, _REPORT, "int8")),
    Chip("M4 Max", "h16", None, 1, None, _rated(38, _REPORT, "int8")),
    Chip("M5", "h17", "h17", 1, 2364, _M5),
    Chip("M5 Pro", "h17", None, 1),
    Chip("M5 Max", "h17", "h17", 1, 2364, _M5_MAX),
    Chip("M6", "h18g", "h18g", 2, 2580, _M6),
    Chip("A17 Pro", "h16", None, None),
    Chip("A18", "h17", None, None),
    Chip("A18 Pro", "h17", "h17", 1),
    Chip("A19", "h18", None, None),
    Chip("A19 Pro", "h18", "h18", 1, 2172, _A19_PRO),
    Chip("A20", "h19", None, None),
    Chip("A20 Pro", "h19", "h19", 2, 2130, _A20_PRO),
)
# The emulator's: one for each generation of engines, and plain fp16 arithmetic.
PROFILES = ("h13", "h14", "h15", "h16", "h17", "h18", "h18g", "h19", "none")


# The targets that the compiler of macOS 27 takes (751K): a profile, and a letter for the variant.
_TARGETS = {
    **{profile: profile for profile in PROFILES},
    **{f"h{number}g": f"h{number}" for number in range(13, 18)},
    **{f"h16{variant}": "h16" for variant in "cs"},
    **{f"h17{variant}": "h17" for variant in "acds"},
}
_PROFILES = {chip.name: chip.profile for chip in CHIPS} | {profile: profile for profile in PROFILES}


def find_chip(name: str) -> Chip:
    """Return the chip called "M4 Max", "m4max" or "Apple M4 Max", or the only one whose engine is "h18g".

    Raises ArgumentError with near matches.
    """
    engine = _plain(name) if isinstance(name, str) else ""
    if engine in _TARGETS and engine != "none":
        named = [chip for chip in CHIPS if chip.subtype == engine]
        if len(named) == 1:
            return named[0]
        others = ", ".join(chip.name for chip in chips_of(_TARGETS[engine]))
        raise ArgumentError(f"{name!r} is an engine, not one chip: choose from {others}")
    return _find(name, {chip.name: chip for chip in CHIPS})


def chips_of(profile: str) -> list[Chip]:
    """Return the chips that a profile of the emulator stands for."""
    return [chip for chip in CHIPS if chip.profile == profile]


def profile_of(name: str) -> str:
    """Return the emulator's profile of a chip or an engine: "h16" for "M4 Max", "h16" and "h16g".

    "none", plain fp16 arithmetic without an engine's limits, is its own profile. Raises ArgumentError with
    near matches.
    """
    return _TARGETS.get(str(name).lower()) or _find(name, _PROFILES)


def _find(name: str, known: Mapping[str, T]) -> T:
    if not isinstance(name, str):
        raise ArgumentError(f"a chip is a name such as 'M4 Max', not {shown(name)}")
    names = {_plain(spelled): spelled for spelled in known}
    if found := names.get(_plain(name)):
        return known[found]
    near = difflib.get_close_matches(_plain(name), names, n=6, cutoff=0.5) or list(names)
    raise ArgumentError(
        f"no chip is called {shown(name)}: choose from {', '.join(names[match] for match in near)}"
    )


def _plain(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower())).removeprefix("apple")
