"""Write the page of all published figures: `python -m aneperf.chips.page > docs/published.md`.

The page lists the figures twice: by key, with a column for each chip, and by chip, one by one with their
sources.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from .catalog import CHIPS
from .keys import read_key
from .published import Figure, shipped_figures
from .sources import CAVEATS, SOURCES
from .summaries import Summary, summaries

_INTRODUCTION = """\
<!-- Written by: python -m aneperf.chips.page > docs/published.md -->
# Published figures

This page lists {figures} figures, under {keys} keys, that others measured on the Neural Engines of {chips}
chips and published. aneperf measured none of them. It ships them in
[published.csv](../python/aneperf/chips/published.csv): `aneperf compare FILE "M4 Max"` compares your results
with them, and `aneperf.chips` reads them in Python.

- **A key** names what ran, and not the machine. Only figures of one key compare. The rows of aneperf's
  results have the same keys. `sp64` means 1 x 64 positions, and `sp64x64` means 64 x 64.
- **The route** is the library that ran the program. Figures with the caveats `coreml`, `e5rt` and `mpsgraph`
  ran through these libraries, so their times include the work of the library on the CPU. The other figures,
  and aneperf itself, use Apple's private framework. aneperf never compares a row with a figure of another
  route.
- **A caveat** is a known fault of a figure. [Caveats](#caveats) explains each name.
- **Inputs of zeros.** The tools of maderix/ANE behind the keys `peak`, `latency`, `sram` and `int8`
  (`inmem_peak.m`, `inmem_bench.m`, `sram_bench.m`, `sram_probe.m`, `ane_int8_bench.m`) create the surface of
  the input and never write to it, so every input is zero. On M4 and M6, zeros changed the time by 5 % at most
  and took 58 % less power (751K): do not combine these times with a power. The probes of aneperf use random
  inputs. The caveat is `zero-inputs`.
- A value is in milliseconds unless a unit is given. An empty cell means that nobody published the figure.
"""
_FAMILIES = {
    "peak": "Peak: deep stacks of 1x1 convolutions",
    "sweep": "Sweep: stacks at more positions",
    "int8": "int8: stacks in fp16 and in 8 bits",
    "sram": "sram: single convolutions with weights of 0.1 to 128 MiB",
    "latency": "Latency of single convolutions",
    "dispatch": "Dispatch: the cost of a call",
    "qos": "Quality of service",
    "sustained": "Sustained load",
    "training": "Training",
    "coreml": "Programs run through Core ML",
    "matmul": "Matrix products of two inputs",
    "omlx": "Layers divided between the engine and the GPU",
    "bandwidth": "Memory bandwidth for weights",
    "power": "Power",
    "e5rt": "Programs run through e5rt",
    "marginal": "Time of one more layer in a deep stack",
    "clock": "Clock under load",
    "wake": "First call after a pause",
    "energy": "Energy of a multiply-add",
    "mpsgraph": "Programs run through MPSGraph",
    "pmu": "Whole networks",
}


def published_page() -> str:
    """Return the page in Markdown."""
    figures = shipped_figures()
    introduction = _INTRODUCTION.format(
        figures=len(figures),
        keys=len({figure.key for figure in figures}),
        chips=len({figure.chip for figure in figures}),
    )
    parts = (_chips(figures), _by_key(), _by_chip(figures), _caveats(), _sources(figures))
    return "\n".join([introduction.rstrip("\n"), *(line for part in parts for line in ("", *part))]) + "\n"


def _chips(figures: Sequence[Figure]) -> Iterator[str]:
    counts = Counter(figure.chip for figure in figures)
    keys = Counter(chip for chip, _ in {(figure.chip, figure.key) for figure in figures})
    yield "## Chips"
    yield ""
    yield "Engines and clocks are as published. A chip's section names the [sources](#by-chip) of its peaks."
    yield ""
    yield from _table(
        ("Chip", "Engine", "Engines", "Clock (MHz)", "Figures", "Keys"),
        (
            (
                _link(chip.name, f"#{_anchor(chip.name)}") if counts[chip.name] else chip.name,
                _code(chip.subtype) if chip.subtype else "-",
                _number(chip.engines),
                _number(chip.clock_mhz),
                str(counts[chip.name]),
                str(keys[chip.name]),
            )
            for chip in CHIPS
        ),
        "llrrrr",
    )


def _by_key() -> Iterator[str]:
    """Write a table for each family: a row for each key, and a column for each chip."""
    yield "## By key"
    yield ""
    yield (
        "A cell is the median of a chip's figures, with their number in parentheses if there are several. "
        "[By chip](#by-chip) lists each of them."
    )
    for family, group in groupby(summaries(), key=lambda one: one.key.partition("/")[0]):
        found = list(group)
        yield ""
        yield f"### {_FAMILIES[family]}"
        yield ""
        yield from _meanings(found)
        yield ""
        yield from _pivot(found)
        figures = [figure for summary in found for figure in summary.figures]
        if notes := _shares(figures):
            yield ""
            yield f"Caveats: {notes}."


def _meanings(found: Sequence[Summary]) -> Iterator[str]:
    """Say what the keys mean: for each form its first key, unless all have one form."""
    examples: dict[str, str] = {}
    for summary in found:
        if key := read_key(summary.key):
            examples.setdefault(key.form.meaning, key.text)
    for meaning, example in examples.items():
        yield _text(meaning) if len(examples) == 1 else f"- Keys such as {_code(example)}: {_text(meaning)}"


def _pivot(found: Sequence[Summary]) -> Iterator[str]:
    chips = [chip.name for chip in CHIPS if any(summary.chip == chip.name for summary in found)]
    rows = []
    for key, group in groupby(found, key=lambda one: one.key):
        cells = {summary.chip: summary for summary in group}
        unit = next(iter(cells.values())).unit
        rows.append((_key(key, unit), *(_cell(cells.get(chip)) for chip in chips)))
    yield from _table(("Key", *chips), rows, "l" + "r" * len(chips))


def _cell(summary: Summary | None) -> str:
    if summary is None:
        return ""
    if summary.value is None:
        return "failed"
    count = sum(figure.value is not None for figure in summary.figures)
    return f"{summary.value:.4g}" + (f"&nbsp;({count})" if count > 1 else "")


def _shares(figures: Sequence[Figure]) -> str:
    """Name the caveats of figures, with the number of figures that have them if not all do."""
    counts = Counter(caveat for figure in figures for caveat in figure.caveats)
    return ", ".join(
        _caveat(name) + ("" if count == len(figures) else f" ({count} of {len(figures)} figures)")
        for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    )


def _by_chip(figures: Sequence[Figure]) -> Iterator[str]:
    yield "## By chip"
    for chip in CHIPS:
        mine = [figure for figure in figures if figure.chip == chip.name]
        if not mine:
            continue
        yield ""
        yield f"### {chip.name}"
        if chip.peaks:
            yield ""
            yield from (f"- {peak}, {peak.status}: {_text(peak.source)}" for peak in chip.peaks)
        for group in _submissions(mine):
            yield ""
            yield from _submission(group)


def _submissions(figures: Iterable[Figure]) -> list[list[Figure]]:
    """Group figures that one contributor published in one place of one machine."""
    groups: dict[tuple[str | None, ...], list[Figure]] = {}
    for one in figures:
        place = (one.source, one.contributor, one.machine, one.macos, one.date)
        groups.setdefault(place, []).append(one)
    return list(groups.values())


def _submission(figures: Sequence[Figure]) -> Iterator[str]:
    first = figures[0]
    shared = set(first.caveats).intersection(*(figure.caveats for figure in figures))
    about = (
        f"**{_text(first.contributor or 'contributor not named')}**",
        first.date and _text(first.date),
        first.machine and _text(first.machine),
        first.macos and f"macOS {first.macos}",
        _source(first.source),
    )
    yield ", ".join(part for part in about if part) + "."
    if shared:
        yield f"Caveats of all: {', '.join(map(_caveat, sorted(shared)))}."
    yield ""
    has_rates = any(figure.tflops is not None for figure in figures)
    has_notes = any(set(figure.caveats) - shared for figure in figures)
    columns = ["Key", "Value", *(["TFLOPS"] if has_rates else []), *(["Caveats"] if has_notes else [])]
    rows = []
    for figure in figures:
        row = [_key(figure.key, figure.unit), _value(figure)]
        if has_rates:
            row.append(_number(figure.tflops))
        if has_notes:
            row.append(", ".join(_caveat(name) for name in figure.caveats if name not in shared))
        rows.append(row)
    yield from _table(columns, rows, "lr" + "r" * has_rates + "l" * has_notes)


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "failed"
    value = _number(figure.value)
    if figure.low is not None and figure.high is not None:
        value += f" ({_number(figure.low)} to {_number(figure.high)})"
    return value + (", quoted" if figure.status == "quoted" else "")


def _caveats() -> Iterator[str]:
    yield "## Caveats"
    yield ""
    for name, text in CAVEATS.items():
        yield f'- <a id="caveat-{name}"></a>{_code(name)}: {_text(text)}'


def _sources(figures: Sequence[Figure]) -> Iterator[str]:
    counts = Counter(figure.source for figure in figures)
    yield "## Sources and licenses"
    yield ""
    yield (
        "The figures come from these sources, and each names its contributor. The license is that of the "
        "source's project; a dash means that none was found. aneperf contains numbers from these sources, "
        "but none of their text or code."
    )
    yield ""
    yield from _table(
        ("Source", "License", "Figures"),
        ((_source(name), source.license or "-", str(counts[name])) for name, source in SOURCES.items()),
        "llr",
    )


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"| {' | '.join('---:' if side == 'r' else '---' for side in align)} |"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _source(name: str) -> str:
    source = SOURCES[name]
    return _link(_text(source.name), source.url) if source.url else f"{_text(source.name)} (address unknown)"


def _key(key: str, unit: str) -> str:
    return _code(key) + ("" if unit == "ms" else f" ({unit})")


def _caveat(name: str) -> str:
    return _link(name, f"#caveat-{name}")


def _link(text: str, target: str) -> str:
    return f"[{text}]({target})"


def _code(text: str) -> str:
    return f"`{text}`"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.7g}"


def _anchor(heading: str) -> str:
    return heading.lower().replace(" ", "-")


def _text(text: str) -> str:
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", text)


if __name__ == "__main__":
    print(published_page(), end="")
