"""Write the page on predictions: `python -m aneperf.report.prediction_page > docs/prediction.md`.

Every figure that was fitted is predicted here by a fit that does not know it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from statistics import mean, median

from ..chips import CHIPS, find_chip, shipped_figures
from ..chips.cost import PARAMETERS, UNITS, time_call
from ..chips.fit import HeldOut, all_targets, coverage_apart, leave_out
from ..chips.parameters import COVERAGE, Calibration, PredictedTime, parameters_of
from ..chips.workloads import COLD
from ..kernels.presets import PRESETS
from ..kernels.schedule import Pipeline
from ..prediction import predict_training
from .columns import significant
from .prediction_words import (
    ACCURACY,
    FAR,
    FAR_BY_OWNER,
    GAPS,
    INTRODUCTION,
    KEPT_OUT,
    TABLES,
    TRAINING,
    WIDTH,
)

_SLOW_1024 = "not known: two tools on one machine agree; M4 Max shows less of it in two of three runs, 1.4x"
# Why a prediction is off by more than a factor of 2, by chip and the beginning of a key.
_REASONS = {
    ("M5 Max", "sram/conv256x1/"): "not sure: the first program of its run; `latency` has 0.088 ms for it",
    ("M5 Max", "sram/conv1024x1/"): _SLOW_1024,
    ("M5 Max", "latency/conv1024x1/"): _SLOW_1024,
}
_UNKNOWN_CALLS = "no call by the private framework on its generation is fitted"
_NEAR = 1.25  # measured over predicted, or the reverse, of a figure that is near its prediction


@dataclass(frozen=True)
class _Group:
    title: str
    found: list[HeldOut]

    def cells(self) -> tuple[str, ...]:
        errors = [abs(math.exp(-one.error) - 1) for one in self.found]
        worst = math.exp(max(abs(one.error) for one in self.found))
        return (
            *(_percent(value) for value in (mean(errors), median(errors))),
            f"{worst:.2f}x",
            _percent(mean(one.is_inside(_calibration()) for one in self.found)),
        )


def prediction_page() -> str:
    """Return the page in Markdown."""
    by_call, by_owner = leave_out(), leave_out(by_owner=True)
    introduction = INTRODUCTION.format(fitted=len(by_call), coverage=_percent(COVERAGE))
    parts = (
        _accuracy(by_call, by_owner),
        _far(by_call, by_owner),
        _gaps(),
        _training(),
        _tables(by_call),
        _parameters(),
        _left_out(),
    )
    return "\n".join([introduction.rstrip("\n"), *(line for part in parts for line in ("", *part))]) + "\n"


def _accuracy(by_call: Sequence[HeldOut], by_owner: Sequence[HeldOut]) -> Iterator[str]:
    yield from ACCURACY.rstrip("\n").split("\n")
    for title, found in (
        (
            "By fits without the figures of the same chip and call, under whatever key. A call and its task "
            "on the engine count as two:",
            by_call,
        ),
        ("By fits without the figures of the same chip and contributor:", by_owner),
    ):
        yield ""
        yield title
        yield ""
        yield from _HEAD
        for group in _groups(found):
            yield _row([group.title, str(len(group.found)), *group.cells()])
    yield ""
    yield from _width(by_call, by_owner)
    yield ""
    yield from _kept_out(by_call)


def _width(by_call: Sequence[HeldOut], by_owner: Sequence[HeldOut]) -> Iterator[str]:
    """Say how many figures lie inside where they do not choose the width themselves."""
    yield from WIDTH.rstrip("\n").format(coverage=_percent(COVERAGE)).split("\n")
    yield ""
    yield "| Fit without the figures of the same | Width without the chip | Width without the contributor |"
    yield "| --- | ---: | ---: |"
    for title, found in (("chip and call", by_call), ("chip and contributor", by_owner)):
        yield _row(
            [
                title,
                _percent(coverage_apart(found, lambda figure: figure.chip)),
                _percent(coverage_apart(found, lambda figure: figure.contributor or "")),
            ]
        )


def _kept_out(by_call: Sequence[HeldOut]) -> Iterator[str]:
    """Say which figures are not warm, and how the errors are with them."""
    cold = [one for one in _unfitted() if one.target.is_cold]
    text = KEPT_OUT.format(
        cold=len(cold),
        all=len(by_call) + len(_unfitted()),
        sources=", ".join(f"`{source}` on {chip}" for chip, source in sorted(COLD)),
        near=sum(_is_near(one) for one in cold),
    )
    yield from text.rstrip("\n").split("\n")
    yield ""
    yield from _HEAD
    for group in (_Group("all, and these", [*by_call, *cold]), _Group("these alone", cold)):
        yield _row([group.title, str(len(group.found)), *group.cells()])


def _groups(found: Sequence[HeldOut]) -> Iterator[_Group]:
    yield _Group("all", list(found))
    for chip in CHIPS:
        for route in ("private", "coreml", "e5rt"):
            mine = [
                one for one in found if one.target.figure.chip == chip.name and one.target.call.route == route
            ]
            if mine:
                yield _Group(f"{chip.name}, {_ROUTES[route]}", mine)
    for name, source in (("M5 Max", "m5max"), ("M4 Max", "fork-json")):
        figures = [(one, one.target.figure) for one in found]
        mine = [one for one, figure in figures if (figure.chip, figure.source) == (name, source)]
        yield _Group(f"{name}, the tools of maderix/ANE", mine)


_HEAD = (
    "| Figures | Number | Mean error | Median | Worst | Inside |",
    "| --- |" + " ---: |" * 5,
)
_ROUTES = {"private": "private framework", "coreml": "Core ML", "e5rt": "e5rt"}


def _far(by_call: Sequence[HeldOut], by_owner: Sequence[HeldOut]) -> Iterator[str]:
    yield from FAR.rstrip("\n").split("\n")
    yield ""
    yield "| Chip | Key | Measured (ms) | Predicted | Measured over predicted | Why |"
    yield "| --- | --- | ---: | ---: | ---: | --- |"
    far = _farthest([*by_call, *_unfitted()])
    for one in far:
        figure = one.target.figure
        reason = _reason_of_cold(one) if one.target.is_cold else _reason(figure.chip, figure.key)
        yield _row([*_compared(one), reason])
    yield ""
    yield from FAR_BY_OWNER.rstrip("\n").split("\n")
    yield ""
    yield "| Chip | Key | Measured (ms) | Predicted | Measured over predicted |"
    yield "| --- | --- | ---: | ---: | ---: |"
    named = {id(one.target.figure) for one in far}
    for one in _farthest(by_owner):
        if id(one.target.figure) not in named:
            yield _row(_compared(one))


def _farthest(found: Sequence[HeldOut]) -> list[HeldOut]:
    """Return what is off by more than a factor of 2, by chip, the farthest first."""
    far = [one for one in found if abs(one.error) > math.log(2)]
    return sorted(far, key=lambda one: (_place(one.target.figure.chip), -abs(one.error)))


def _compared(one: HeldOut) -> list[str]:
    figure = one.target.figure
    return [
        figure.chip,
        f"`{figure.key}`",
        significant(one.target.ms, 3),
        significant(sum(term.ms for term in one.terms), 3),
        f"{math.exp(one.error):.2f}x",
    ]


def _reason(chip: str, key: str) -> str:
    for (named, start), reason in _REASONS.items():
        if chip == named and key.startswith(start):
            return reason
    return "not known"


def _reason_of_cold(one: HeldOut) -> str:
    """Return what the other figures of a source that was not warm tell of a figure."""
    figure = one.target.figure
    others = [
        other
        for other in _unfitted()
        if (other.target.figure.chip, other.target.figure.source) == (figure.chip, figure.source)
        and other.target.figure is not figure
    ]
    if all(other.error > math.log(_NEAR) for other in others):
        return f"taken as not warm: the {len(others)} other figures of its source are slow too"
    near = sum(_is_near(other) for other in others)
    return f"not known: {near} of the {len(others)} other figures of its source are within 25 %"


def _is_near(one: HeldOut) -> bool:
    return abs(one.error) <= math.log(_NEAR)


@lru_cache(maxsize=1)
def _unfitted() -> list[HeldOut]:
    """Predict the figures that were not fitted, by the shipped parameters."""
    found = []
    for target in all_targets():
        if not target.is_fitted:
            known = parameters_of(target.figure.chip)
            terms = time_call(target.call, known.values, known.traits)
            found.append(HeldOut(target, terms, known.deviations))
    return found


def _gaps() -> list[str]:
    """Say what the model does not know, with what the fit found of ports through Core ML."""
    known = parameters_of("M6").values
    text = GAPS.format(
        port_coreml=significant(known["port-coreml"], 2),
        port_bytes=significant((2 << 20) / known["ports-coreml"] / 1e3, 2),
    )
    return text.rstrip("\n").split("\n")


def _training() -> Iterator[str]:
    yield from TRAINING.rstrip("\n").split("\n")
    yield ""
    yield "| Chip | Key | Measured (ms) | Predicted | Interval | Measured over predicted | |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | --- |"
    for figure in shipped_figures():
        _, _, component = figure.key.rpartition("/")
        kind = _TRAINED.get(component)
        if kind is None or not figure.key.startswith("training/") or figure.value is None:
            continue
        _, pipeline, model, _ = figure.key.split("/")
        predicted = _part_of_step(model, pipeline, figure.chip, kind)
        ratio = figure.value / predicted.value
        yield _row(
            [
                figure.chip,
                f"`{figure.key}`",
                significant(figure.value, 3),
                significant(predicted.value, 3),
                _interval(predicted),
                f"{ratio:.2f}x",
                f"off by more than 2: {_UNKNOWN_CALLS}" if abs(math.log(ratio)) > math.log(2) else "",
            ]
        )


_FORWARD = {"attention_forward", "output_forward", "feed_forward_forward"}
_TRAINED = {"ane": True, "ane_fwd": True, "ane_bwd": False}  # forward, or backward


def _part_of_step(model: str, pipeline: str, chip: str, forward: bool) -> PredictedTime:
    """Return the sum of the forward or the backward kernels. Their errors are the parameters': they add."""
    # The extra kernels of "static-ane" are not in its published component.
    name: Pipeline = "static" if pipeline.startswith("static") else "dynamic"
    step = predict_training(PRESETS[model], chip, name, as_published=True)
    times = [one.ms for one in step.operations if (one.name in _FORWARD) == forward]
    return PredictedTime(*(sum(getattr(ms, part) for ms in times) for part in ("value", "low", "high")))


def _tables(by_call: Sequence[HeldOut]) -> Iterator[str]:
    yield from TABLES.rstrip("\n").split("\n")
    ordered = sorted([*by_call, *_unfitted()], key=lambda one: _place(one.target.figure.chip))
    for chip, of_chip in groupby(ordered, key=lambda one: one.target.figure.chip):
        yield ""
        yield f"### {chip}"
        yield ""
        yield "| Key | Published | Predicted | x |"
        yield "| --- | ---: | ---: | ---: |"
        groups: dict[tuple[str, bool], list[HeldOut]] = {}
        for one in of_chip:
            groups.setdefault((one.target.figure.key, one.target.is_fitted), []).append(one)
        for (key, is_fitted), group in groups.items():
            measured = median(one.target.ms for one in group)
            predicted = group[0].interval(_calibration())
            note = "" if is_fitted else ", cold" if group[0].target.is_cold else ", not fitted"
            count = f" ({len(group)})" if len(group) > 1 else ""
            yield _row(
                [
                    f"`{key}`{note}",
                    f"{significant(measured, 3)}{count}",
                    f"{significant(predicted.value, 3)} ({_interval(predicted)})",
                    f"{measured / predicted.value:.2f}",
                ]
            )


def _parameters() -> Iterator[str]:
    yield "## Parameters"
    yield ""
    yield (
        "By chip, with the factor of one standard deviation. Figures of the chip itself stand behind what is "
        "bold. Rates are those of one engine; weights are the chip's."
    )
    yield ""
    yield _row(["Chip", *(f"{name} ({UNITS[name]})" for name in PARAMETERS)])
    yield "| --- |" + " ---: |" * len(PARAMETERS)
    for chip in CHIPS:
        known = parameters_of(chip)
        cells = [chip.name]
        for name in PARAMETERS:
            text = significant(known.values[name], 3)
            bold = f"**{text}**" if known.figures[name] else text
            cells.append(f"{bold} x{math.exp(known.deviations[name]):.2f}")
        yield _row(cells)


def _left_out() -> Iterator[str]:
    """Say which published figures are not predicted."""
    known = {id(target.figure) for target in all_targets()}
    families = Counter(
        figure.key.partition("/")[0] for figure in shipped_figures() if id(figure) not in known
    )
    yield "## Not predicted"
    yield ""
    yield (
        "Figures that are no time of the engine, such as compiling, the host's part of training, power and "
        "clocks; runs that failed; first calls after a pause; chains of calls, calls of a helper, of two "
        "programs in turn, and calls a second; bandwidths of calls whose time is predicted; figures whose "
        "work the source does not tell: the positions of `mpsgraph`, the vocabulary of `e5rt/decode`, the "
        "sizes of `e5rt/conv-block3`, and the shapes of `omlx` beside the GPU's share. By the first part of "
        "the key: " + ", ".join(f"`{family}` {count}" for family, count in sorted(families.items())) + "."
    )


def _calibration() -> Calibration:
    return parameters_of(CHIPS[0]).calibration


def _interval(ms: PredictedTime) -> str:
    return f"{significant(ms.low, 2)} to {significant(ms.high, 2)}"


def _place(chip: str) -> int:
    return CHIPS.index(find_chip(chip))


def _percent(share: float) -> str:
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(prediction_page(), end="")
