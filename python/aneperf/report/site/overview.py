"""Tables across the generations: training, peak and sustained throughput by chip."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from ...chips import CHIPS, SOURCES, Chip
from ...units import is_rate
from ..columns import UNKNOWN, significant
from ..table import Table
from .entries import Entry

_MODEL = "training/static/stories110m"
TRAINING_STEP = f"{_MODEL}/step"
_TRAINING = {
    "Step": TRAINING_STEP,
    "Forward": f"{_MODEL}/ane",
    "Compile": f"{_MODEL}/compile",
    "TFLOPS": f"{_MODEL}/ane-rate",
    "static-ane": "training/static-ane/stories110m/step",
    "dynamic": "training/dynamic/stories110m/step",
    "Qwen3 0.6B": "training/dynamic/qwen3-0.6b/step",
}
_RIGHT: tuple[Literal["right"], ...] = tuple("right" for _ in _TRAINING)


def rate(entry: Entry) -> float | None:
    """Return an entry's throughput in TFLOPS, or in TOPS for integers."""
    return entry.value if is_rate(entry.unit) else entry.tflops


def is_peak(entry: Entry) -> bool:
    """Tell whether an entry is of a stack of convolutions in fp16, timed to find the peak."""
    is_stack = entry.key.startswith(("peak/", "sweep/"))
    return (is_stack or (entry.key.startswith("int8/") and entry.key.endswith("/fp16"))) and _has_rate(entry)


def is_int8(entry: Entry) -> bool:
    """Tell whether an entry is of a stack of convolutions in W8A8."""
    return entry.key.startswith("int8/") and entry.key.endswith("/w8a8") and _has_rate(entry)


def is_sustained(entry: Entry) -> bool:
    """Tell whether an entry is of a load without a pause."""
    return entry.key.startswith("sustained/") and _has_rate(entry)


def _has_rate(entry: Entry) -> bool:
    return entry.is_private and rate(entry) is not None


def by_chip(entries: Iterable[Entry]) -> dict[Chip, list[Entry]]:
    """Group entries by chip, in the order of the generations."""
    groups: dict[Chip, list[Entry]] = {chip: [] for chip in CHIPS}
    chips = {chip.name: chip for chip in CHIPS}
    for entry in entries:
        groups[chips[entry.chip]].append(entry)
    return {chip: found for chip, found in groups.items() if found}


def training_table(entries: Sequence[Entry]) -> Table:
    """Lay out the times of a training step by chip: the least and the most that anyone found."""
    keys = set(_TRAINING.values())
    chips = by_chip(entry for entry in entries if entry.key in keys)
    return Table(
        heading=("Training by chip",),
        header=("Chip", "Engine", *_TRAINING, "Figures", "By"),
        align=("left", "left", *_RIGHT, "right", "left"),
        rows=tuple(
            (
                chip.name,
                chip.profile,
                *(_spread([one for one in found if one.key == key]) for key in _TRAINING.values()),
                str(len(found)),
                ", ".join(dict.fromkeys(one.by for one in found)),
            )
            for chip, found in chips.items()
        ),
        lines=(
            "Times are in ms. Step, Forward and Compile are of Stories110M in the static pipeline: a step, "
            "its forward evaluations on the engine, and the compiles for ten steps. static-ane and dynamic "
            "are a step in these pipelines, and Qwen3 0.6B is a step in the dynamic one. TFLOPS are over a "
            "whole step. A range spans all figures, with the ends of published ranges. The published static "
            "pipeline leaves out rotary embeddings. The page of training has every figure and its remarks.",
        ),
    )


def peak_table(entries: Sequence[Entry]) -> Table:
    """Lay out each chip's highest throughput, and its rated or computed peak."""
    fp16, int8 = by_chip(filter(is_peak, entries)), by_chip(filter(is_int8, entries))
    rows = []
    remarks: dict[str, None] = {}
    above: list[str] = []
    for chip in CHIPS:
        best, quantized = _fastest(fp16.get(chip, [])), _fastest(int8.get(chip, []))
        others = _peaks(chip, {"measured"})
        if best is None and quantized is None and others == UNKNOWN:
            continue
        both = [one for one in (best, quantized) if one is not None]
        remarks |= dict.fromkeys(name for one in both for name, _ in one.remarks)
        above += _above(chip, best, "fp16", "TFLOPS") + _above(chip, quantized, "int8", "TOPS")
        rows.append(
            (
                chip.name,
                chip.profile,
                _peaks(chip, {"rated", "computed"}),
                _rate_cell(best),
                UNKNOWN if best is None else best.key,
                _rate_cell(quantized),
                ", ".join(dict.fromkeys(one.by for one in both)) or UNKNOWN,
                others,
            )
        )
    return Table(
        heading=("Peak throughput by chip",),
        header=(
            *("Chip", "Engine", "Known peak, TOPS", "TFLOPS, fp16", "Configuration", "TOPS, W8A8"),
            *("By", "Measured by other means"),
        ),
        align=("left", "left", "left", "right", "left", "right", "left", "left"),
        rows=tuple(rows),
        lines=(
            "TFLOPS and TOPS are the highest of a chip's figures, without doubtful ones. A known peak is "
            "Apple's rating, or follows from the clock and the products that the cores make in a cycle. "
            "Measured by other means: the highest rate that others found with other programs and by other "
            "routes.",
            f"Remarks on these figures: {', '.join(remarks) or 'none'}. The last table explains them.",
            *above,
        ),
    )


def sustained_table(entries: Sequence[Entry]) -> Table:
    """Lay out the throughput under loads without a pause."""
    chips = by_chip(filter(is_sustained, entries))
    return Table(
        heading=("Sustained throughput by chip",),
        header=("Chip", "Engine", "TFLOPS", "Configuration", "By", "How", "Remarks"),
        align=("left", "left", "right", "left", "left", "left", "left"),
        rows=tuple(
            (chip.name, chip.profile, _rate_cell(one), one.key, one.by, how(one), names_of(one))
            for chip, found in chips.items()
            for one in sorted(found, key=_falling)
        ),
    )


def shown(value: float | None) -> str:
    """Write at most four significant digits, without zeros at the end that nobody measured."""
    text = significant(value, 4)
    return text.rstrip("0").rstrip(".") if "." in text else text


def names_of(entry: Entry) -> str:
    """Return the names of an entry's remarks, separated as a cell with hints has them."""
    return ", ".join(name for name, _ in entry.remarks)


def hints_of(entries: Iterable[Entry]) -> dict[str, str]:
    """Return what the remarks of entries mean, and the full names of published sources."""
    found = list(entries)
    sources = {entry.source: SOURCES[entry.source].name for entry in found if entry.origin == "published"}
    return {**sources, **dict(remark for entry in found for remark in entry.remarks)}


def how(entry: Entry) -> str:
    """Return how an entry was obtained, and from which source, in parts that hints may explain."""
    return f"{entry.how}, {entry.source}"


def remarks_table(entries: Iterable[Entry]) -> Table:
    """Lay out what the remarks of entries mean."""
    meanings = dict(sorted(remark for entry in entries for remark in entry.remarks))
    return Table(("Remarks",), ("Remark", "Meaning"), ("left", "left"), tuple(meanings.items()))


def _peaks(chip: Chip, statuses: set[str]) -> str:
    """Return the peaks of a chip that were rated, computed or measured, each with what it is of."""
    peaks = (peak for peak in chip.peaks if peak.status in statuses)
    texts = (
        " ".join(
            filter(
                None,
                (
                    f"{peak.tops:g}",
                    peak.dtype,
                    "" if peak.status == "measured" else peak.status,
                    "by Winograd's transform" if peak.is_winograd else "",
                ),
            )
        )
        for peak in peaks
    )
    return "; ".join(texts) or UNKNOWN


def _above(chip: Chip, entry: Entry | None, dtype: str, unit: str) -> list[str]:
    """Say that a figure is above the chip's known peak."""
    peak = _known_peak(chip, dtype)
    measured = None if entry is None else rate(entry)
    if entry is None or peak is None or measured is None or measured <= peak:
        return []
    return [
        f"{chip.name}: the {shown(measured)} {unit} by {entry.by} lie above the known peak of {peak:g}, so "
        "at least one of the two is wrong."
    ]


def _known_peak(chip: Chip, dtype: str) -> float | None:
    """Return the highest rated or computed peak of a chip that may be of a data type; None without one."""
    peaks = [peak for peak in chip.peaks if peak.status != "measured" and peak.dtype in (dtype, None)]
    return max((peak.tops for peak in peaks), default=None)


def _fastest(entries: Iterable[Entry]) -> Entry | None:
    sure = [entry for entry in entries if not entry.is_doubtful]
    return min(sure, key=_falling, default=None)


def _falling(entry: Entry) -> tuple[float, str, str]:
    return -(rate(entry) or 0.0), entry.key, entry.by


def _rate_cell(entry: Entry | None) -> str:
    return UNKNOWN if entry is None else shown(rate(entry))


def _spread(entries: Sequence[Entry]) -> str:
    """Write the least and the most of entries, with the ends of published ranges but not of intervals."""
    if not entries:
        return UNKNOWN
    values = [entry.value for entry in entries]
    for entry in entries:
        if entry.origin == "published":
            values += [value for value in (entry.low, entry.high) if value is not None]
    return "–".join(dict.fromkeys(shown(end) for end in (min(values), max(values))))
