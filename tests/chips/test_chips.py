import re

import pytest

from aneperf import _ane_native as native
from aneperf.chips import (
    CAVEATS,
    CHIPS,
    PROFILES,
    SOURCES,
    chips_of,
    find_chip,
    profile_of,
    published,
    read_figures,
    shipped_figures,
)
from aneperf.errors import ArgumentError
from aneperf.kernels.conv_stack import PUBLISHED
from aneperf.probes.peak import peak as peak_probe
from support.fakes import FakeDevice, FakeStack

HEADER = "key,chip,value,low,high,unit,tflops,status,macos,machine,date,contributor,source,caveats"
FIGURES = shipped_figures()


def test_every_chip_has_its_figures() -> None:
    assert len(FIGURES) > 650
    named = {figure.chip for figure in FIGURES}
    assert {"M6", "A19 Pro", "A20 Pro", "M2 Pro"} < named
    for name in named:
        assert published(name) == tuple(figure for figure in FIGURES if figure.chip == name)


def test_every_source_and_caveat_is_used() -> None:
    assert {figure.source for figure in FIGURES} == set(SOURCES)
    assert {caveat for figure in FIGURES for caveat in figure.caveats} == set(CAVEATS)


def test_no_figure_is_listed_twice() -> None:
    seen = [(f.key, f.chip, f.value, f.unit, f.contributor, f.status) for f in FIGURES]
    assert len(seen) == len(set(seen))


def test_the_peak_probe_makes_the_keys_of_the_published_table() -> None:
    device = FakeDevice()
    stacks = [FakeStack(stack.channels, stack.depth, stack.height, stack.width) for stack in PUBLISHED]
    keys = {row.key for row in peak_probe(device, configs=stacks, budget=600, clock=device.clock)}  # type: ignore[arg-type]
    m5_max = {figure.key for figure in published("M5 Max") if figure.key.startswith("peak/")}
    assert keys == m5_max


def test_known_figures() -> None:
    (stack,) = [f for f in published("M5 Max") if f.key == "peak/conv512x128/sp64/fp32-ports"]
    assert (stack.value, stack.unit, stack.tflops) == (0.311, "ms", 13.8)
    assert SOURCES[stack.source].name.startswith("maderix/ANE PR #50")
    swapped = [f for f in published("M5") if "swapped" in f.caveats]
    assert {f.contributor for f in swapped} == {"GitBubble", "elijah-pelton"}
    forward = [f for f in published("M4 Max") if f.key == "training/static/stories110m/ane"]
    assert forward
    assert all("forward-only" in f.caveats for f in forward)
    failed = [f for f in published("M3 Ultra") if f.status == "failed"]
    assert failed
    assert all(f.value is None for f in failed)


@pytest.mark.parametrize("name", ["M4 Max", "m4 max", "M4Max", "Apple M4 Max", "m4-max"])
def test_chips_are_found_by_any_spelling(name: str) -> None:
    assert find_chip(name).name == "M4 Max"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("M4 Mac", "no chip is called 'M4 Mac': choose from M4 Max,"),
        ("M9", "choose from M6, M5, M4, M3, M2, M1"),
        ("Exynos", "choose from M1, M1 Pro, .*M5 Max, M6, A17 Pro, .*A20, A20 Pro$"),
        ("h16", "'h16' is an engine, not one chip: choose from M4, M4 Pro, M4 Max, A17 Pro$"),
        ("H13g", "'H13g' is an engine, not one chip: choose from M1, M1 Pro, M1 Max, M1 Ultra$"),
        ("none", "no chip is called 'none': choose from M1"),
        ("", "no chip is called ''"),
        (7, "a chip is a name such as 'M4 Max', not 7"),
    ],
)
def test_unknown_chips(name: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        find_chip(name)


def test_every_chip_and_engine_has_a_profile_that_the_emulator_knows() -> None:
    for chip in CHIPS:
        for name in (chip.name, chip.profile, chip.subtype or chip.name.lower()):
            assert profile_of(name) == chip.profile
        assert chip in chips_of(chip.profile)
    for profile in PROFILES:
        assert native.chip_profile(profile)["is_engine"] == (profile != "none")
    with pytest.raises(ArgumentError, match=r"no chip is called 'h12': choose from h"):
        profile_of("h12")
    with pytest.raises(ArgumentError, match=r"choose from M1, .*M5 Max, M6, .*h13, .*, h18g, h19, none$"):
        profile_of("zzz")


def test_a_chip_without_figures() -> None:
    with pytest.raises(ArgumentError, match="no figures are published for M3 Max: choose from M1, M1 Pro, "):
        published("M3 Max")


def test_generations_follow_the_names() -> None:
    for chip in CHIPS:
        series, number = chip.name[0], int(re.findall(r"\d+", chip.name)[0])
        assert chip.profile.rstrip("g") == f"h{number + 12 if series == 'M' else number - 1}"
        assert chip.subtype is None or chip.subtype.startswith(chip.profile)
        two_engines = "Ultra" in chip.name or chip.name in ("M6", "A20 Pro")
        assert chip.engines in (None, 2 if two_engines else 1)
        assert chip.cores == (None if chip.engines is None else 16 * chip.engines)


@pytest.mark.parametrize(
    ("name", "chip", "profile"),
    [
        ("M6", "M6", "h18g"),
        ("apple m6", "M6", "h18g"),
        ("h18g", "M6", "h18g"),
        ("H18", "A19 Pro", "h18"),
        ("a19 pro", "A19 Pro", "h18"),
        ("h19", "A20 Pro", "h19"),
        ("A20Pro", "A20 Pro", "h19"),
        ("A18 Pro", "A18 Pro", "h17"),
        ("A17 Pro", "A17 Pro", "h16"),
        ("h16g", "M4", "h16"),
    ],
)
def test_chips_are_known_by_their_names_and_their_engines(name: str, chip: str, profile: str) -> None:
    assert find_chip(name).name == chip
    assert profile_of(name) == profile


def test_a_comparison_takes_every_name() -> None:
    with pytest.raises(ArgumentError, match="no figures are published for M2: "):
        published("M2")
    assert published("h18g") == published("M6")
    assert published("h16g") == published("M4")


@pytest.mark.parametrize("name", ["M4", "M6", "A19 Pro", "A20 Pro"])
def test_computed_peaks_follow_from_clock_and_cores(name: str) -> None:
    chip = find_chip(name)
    computed = {peak.dtype: peak.tops for peak in chip.peaks if peak.status == "computed"}
    assert chip.cores
    assert chip.clock_mhz
    for dtype, per_cycle in (("fp16", 256), ("int8", 512)):
        assert computed[dtype] == pytest.approx(2 * chip.cores * per_cycle * chip.clock_mhz / 1e6, rel=0.003)


def test_only_winograd_passes_the_computed_peak() -> None:
    for chip in CHIPS:
        computed = {peak.dtype: peak.tops for peak in chip.peaks if peak.status == "computed"}
        for peak in chip.peaks:
            assert peak.status != "measured" or peak.is_winograd or peak.tops < computed[peak.dtype]
        # A chip whose engine nobody read out has no figures but its maker's.
        assert chip.engines or not chip.peaks


def a_line(**changes: str) -> str:
    cells = {
        "key": "sram/conv256x1/sp64",
        "chip": "M4",
        "value": "1",
        "low": "",
        "high": "",
        "unit": "ms",
        "tflops": "",
        "status": "measured",
        "macos": "",
        "machine": "",
        "date": "",
        "contributor": "",
        "source": "readme",
        "caveats": "",
    }
    return ",".join({**cells, **changes}.values())


def test_a_table_is_read() -> None:
    (figure,) = read_figures(f"{HEADER}\n{a_line(low='0.5', high='2', caveats='range rounded')}\n")
    assert (figure.value, figure.low, figure.high, figure.macos) == (1, 0.5, 2, None)
    assert figure.caveats == ("range", "rounded")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: the columns are"),
        ("key,chip\n", "line 1: the columns are key, chip; they must be"),
        (f"{HEADER}\na,b\n", "line 2: "),
        (f'{HEADER}\n"a,b\n', "line 2: "),
        (f"{HEADER}\n{a_line(value='fast')}\n", "line 2: could not convert"),
        (f"{HEADER}\n{a_line(value='nan')}\n", "line 2: value is nan; it must be finite"),
        (f"{HEADER}\n{a_line(value='-1')}\n", "line 2: value is -1; it must be finite and not negative"),
        (f"{HEADER}\n{a_line()}\n{a_line(value='')}\n", "line 3: a figure has a value exactly if"),
        (f"{HEADER}\n{a_line(status='failed')}\n", "line 2: a figure has a value exactly if"),
        (f"{HEADER}\n{a_line(status='good')}\n", "line 2: status is 'good': choose from measured"),
        (f"{HEADER}\n{a_line(low='1')}\n", "line 2: a range has two ends"),
        (f"{HEADER}\n{a_line(source='hearsay')}\n", "line 2: no source is called 'hearsay'"),
        (f"{HEADER}\n{a_line(caveats='range odd')}\n", "line 2: no caveat is called 'odd'"),
        (f"{HEADER}\n{a_line(chip='M9')}\n", "no chip is called 'M9'"),
        (f"{HEADER}\n{a_line(key='')}\n", "line 2: a figure needs a key and a unit"),
    ],
)
def test_bad_tables(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        read_figures(text)


def test_figures_above_the_peak_of_their_chip_say_so() -> None:
    """Stacks of 1x1 convolutions in fp16, to which Winograd's transform does not apply."""
    for figure in shipped_figures():
        peaks = [p.tops for p in find_chip(figure.chip).peaks if p.status != "measured" and p.dtype != "int8"]
        if figure.key.startswith(("peak/", "sweep/", "sustained/")) and figure.tflops and peaks:
            assert (figure.tflops > max(peaks)) == ("above-peak" in figure.caveats), figure
