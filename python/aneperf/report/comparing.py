"""Compare two sides: results with later ones, or with the figures published for a chip."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ..checks import number, shown
from ..chips import find_chip, published
from ..comparison import THRESHOLD, ComparedRow, Comparison, MissingRow, Names, Place
from ..errors import ArgumentError
from ..probes.registry import PROBES
from ..results import Result
from .differences import find_differences
from .sides import NO_MEDIAN, Sides, of_chip, of_results
from .verdicts import judge_rows

_LARGEST_THRESHOLD = 10.0
_VERBS = {"training": "train"}  # by the first part of a key, where they differ


class HasResult(Protocol):
    """A TrainingResult, whose class is not named here: that would load training."""

    def to_result(self) -> Result:
        """Return rows that can be compared."""


OneSide = Result | HasResult | Sequence[Result | HasResult]


def compare_results(
    first: OneSide,
    second: OneSide | str,
    threshold: float = THRESHOLD,
    names: Names | None = None,
    ratios: Mapping[str, Sequence[float]] | None = None,
) -> Comparison:
    """Judge `second`, later results, against `first`; or `first` against a chip's published figures.

    Either is a Result or a TrainingResult, or several, whose rows of one key are pooled; `second` may also be
    a chip's name. `ratios` has, by key, the times of `second` over those of `first` that pairs of processes
    measured in turns; three or more of a row decide instead of its medians. Raises ArgumentError for an
    unknown chip, a bad threshold, a result that a side has twice, and for sides of different probes, or a
    chip, without a row in common.
    """
    if not 0 <= number(threshold) <= _LARGEST_THRESHOLD:
        raise ArgumentError(f"threshold must be from 0 to {_LARGEST_THRESHOLD:g}, not {shown(threshold)}")
    before = _as_results(first)
    if isinstance(second, str):
        return _compare_published(before, second, threshold, names)
    after, names = _as_results(second), names or Names()
    base, other = of_results(before), of_results(after)
    rows = judge_rows(base, other, "second", names, threshold, ratios or {})
    if not rows and base.probe != other.probe:
        raise ArgumentError(
            f"{names.first} has rows of {base.probe} and {names.second} of {other.probe}: none in common"
        )
    return Comparison(
        probe=base.probe if base.probe == other.probe else f"{base.probe} and {other.probe}",
        first=base.label,
        second=other.label,
        names=names,
        judged="second",
        rows=rows,
        missing=(*_missing(base, other, "first"), *_missing(other, base, "second")),
        unmeasured=sum(
            side.doubt == NO_MEDIAN and key in other.rows and other.rows[key].doubt == NO_MEDIAN
            for key, side in base.rows.items()
        ),
        differences=find_differences(*([result.environment for result in side] for side in (before, after))),
        threshold=threshold,
        same=before == after,
    )


def _compare_published(results: list[Result], chip: str, threshold: float, names: Names | None) -> Comparison:
    base, other = of_results(results), of_chip(results, chip)
    names = names or Names("result", find_chip(chip).name)
    rows = judge_rows(base, other, "first", names, threshold, {})
    if not rows:
        families = ", ".join(dict.fromkeys(figure.key.partition("/")[0] for figure in published(chip)))
        raise ArgumentError(
            f"this {base.probe} result has no row in common with the {other.label}, which are of: {families}"
        )
    return Comparison(
        probe=base.probe,
        first=base.label,
        second=other.label,
        names=names,
        judged="first",
        rows=rows,
        threshold=threshold,
        notes=other.notes,
        advice=tuple(_advice(base, find_chip(chip).name, rows)),
    )


def _advice(base: Sides, chip: str, rows: Sequence[ComparedRow]) -> list[str]:
    """Say what to run for rows that compare with a chip's figures, if none of these does."""
    advice: list[str] = []
    if any(row.ratio is not None for row in rows):
        return advice
    if base.is_software:
        advice.append(
            f"Times of the {base.software} are a CPU's. On a Mac with Apple silicon, the same command with "
            "--device ane measures the engine."
        )
    if all(row.second.median is None for row in rows):
        figures = [figure for figure in published(chip) if figure.is_private and figure.value is not None]
        families = dict.fromkeys(figure.key.partition("/")[0] for figure in figures)
        verbs = [_VERBS.get(family, family) for family in families if family in (*PROBES, *_VERBS)]
        if verbs:
            advice.append(f"Figures of the {chip} that compare are of: aneperf {', '.join(verbs)}.")
    return advice


def _as_results(side: OneSide) -> list[Result]:
    found: list[Result] = []
    for value in side if isinstance(side, Sequence) else (side,):
        convert = getattr(value, "to_result", None)
        result = convert() if convert else value
        if not isinstance(result, Result):
            raise ArgumentError(
                f"results are compared with results or a chip's name, not with {shown(value)}"
            )
        if result in found:
            raise ArgumentError("one side has the same result twice: it would count as two runs that agree")
        found.append(result)
    if not found:
        raise ArgumentError("a side without a result cannot be compared")
    return found


def _missing(side: Sides, other: Sides, place: Place) -> list[MissingRow]:
    return [
        MissingRow(key, side.names[key], place, side.groups[key])
        for key in side.rows
        if key not in other.rows
    ]
