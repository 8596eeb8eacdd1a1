"""Tables of what there is: probes, chips with what was published of them, and models."""

from collections import Counter
from collections.abc import Callable

from ..chips import CHIPS, Chip, shipped_figures
from ..kernels.config import parameter_count
from ..kernels.presets import PRESETS
from ..probes.registry import PROBES
from .columns import UNKNOWN
from .table import Table

Records = list[dict[str, str | int | float | None]]


def _probes() -> Records:
    return [
        {"name": probe.name, "budget_s": probe.budget, "summary": probe.summary} for probe in PROBES.values()
    ]


def _chips() -> Records:
    """Return the facts of each chip, its published peaks, and how many figures are published of it."""
    figures = Counter(figure.chip for figure in shipped_figures())
    return [
        {
            "name": chip.name,
            "profile": chip.profile,
            "engine": chip.subtype,
            "engines": chip.engines,
            "clock_mhz": chip.clock_mhz,
            **{status: _tops(chip, status) for status in ("rated", "computed", "measured")},
            "figures": figures[chip.name],
        }
        for chip in CHIPS
    ]


def _tops(chip: Chip, status: str) -> str | None:
    """Write the peaks of a status, in TOPS."""
    peaks = [peak for peak in chip.peaks if peak.status == status and not peak.is_winograd]
    return ", ".join(f"{peak.tops:g} {peak.dtype or ''}".rstrip() for peak in peaks) or None


def _models() -> Records:
    return [
        {
            "name": name,
            "parameters": parameter_count(config),
            **{size: getattr(config, size) for size in ("dim", "hidden", "layers", "heads", "vocab", "seq")},
        }
        for name, config in PRESETS.items()
    ]


_RECORDS: dict[str, Callable[[], Records]] = {"probes": _probes, "chips": _chips, "models": _models}
LISTS = tuple(_RECORDS)
_TITLES = {"budget_s": "Budget (s)", "clock_mhz": "MHz"}
_SPARE = ("engine", "hidden", "heads")
_LINES = {
    "chips": (
        "Rated, computed, measured: published peaks in TOPS, without Winograd's transform. Figures: how many "
        "measurements are published. `aneperf compare FILE CHIP` uses those that have the keys of the file. "
        "aneperf.chips has the sources.",
    ),
    "models": ("Parameters include the embedding, which is the classifier too.",),
}


def records_of(what: str) -> Records:
    """Return the records of a list; each names the list, so that a file of them is recognized."""
    return [{"list": what, **record} for record in _RECORDS[what]()]


def lay_out_list(what: str) -> Table:
    """Lay out the records of a list."""
    records = _RECORDS[what]()
    texts = {name: isinstance(value, str | None) for name, value in records[-1].items()}
    return Table(
        heading=(f"aneperf list {what}",),
        header=tuple(_TITLES.get(name, name.capitalize()) for name in texts),
        align=tuple("left" if text else "right" for text in texts.values()),
        rows=tuple(tuple(_cell(value) for value in record.values()) for record in records),
        lines=_LINES.get(what, ()),
        spare=tuple(place for place, name in enumerate(texts) if name in _SPARE),
    )


def lay_out_lists() -> Table:
    """Lay out every list."""
    first, *others = map(lay_out_list, _RECORDS)
    return Table(("aneperf list",), (), (), (), parts=(first, *others))


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return UNKNOWN
    return value if isinstance(value, str) else f"{value:,.10g}"
