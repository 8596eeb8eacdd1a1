"""Sections about training: the parts of a step, what one would gain without each, and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..columns import UNKNOWN
from ..energy_table import lay_out_energy
from ..plots import NAME, label, new_figure
from ..result_table import lay_out_times
from ..table import Table
from ..thinning import stride, thinned
from .machine import sentence
from .model import Block, Drawing, Section
from .reading import Source
from .steps import Phase, Steps, steps_of_result, steps_of_telemetry
from .svg import drawing

_MOST_BARS = 60  # a longer run is drawn as means of this many groups of steps
_MOST_LOSSES = 1_000
_EXCHANGE = (
    " So does allreduce, the sums of gradients over the ranks, as far as no steps run then. Times are "
    "of rank 0."
)
_NO_SHARE = 0.002  # of a step, below which a part gets no color of its own


def training_sections(sources: Sequence[Source], *, pictures: bool) -> list[Section]:
    """Return a section for each run: its result, its telemetry, or both in one."""
    sections = []
    for number, run in enumerate(_runs(sources)):
        title = f"Training ({', '.join(source.name for source in run)})"
        steps = _steps(run)
        blocks = [Block("Where the time of a step goes", lay_out_parts(steps))] if steps.parts else []
        if pictures:
            blocks += _pictures(steps, title, f"training{number}")
        if steps.parts:
            blocks.append(Block("If a component were free", lay_out_gains(steps)))
        energies = [lay_out_energy(source.result.rows) for source in run if source.result is not None]
        blocks += [Block("Energy", energy) for energy in energies if energy is not None]
        blocks += [
            Block("Updates", source.table, folded=True)
            if source.result is None
            else Block("Rows", lay_out_times(source.result), folded=True)
            for source in run
        ]
        environment = run[0].environment
        warnings = (sentence(environment.label),) if environment and environment.is_software else ()
        sections.append(Section(title, tuple(blocks), warnings))
    return sections


def _runs(sources: Sequence[Source]) -> list[list[Source]]:
    """Return the files of training, those of one run together: they tell the same environment and time."""
    runs: dict[object, list[Source]] = {}
    for source in sources:
        if source.telemetry is not None or (source.result is not None and source.result.probe == "train"):
            told = source.name if source.environment is None else source.environment.to_dict()
            runs.setdefault(str(told), []).append(source)
    # Two results, or two telemetries, of one time are no pair.
    pairs = [run for run in runs.values() if len({source.kind for source in run}) == len(run)]
    return [*pairs, *([source] for run in runs.values() if run not in pairs for source in run)]


def _steps(run: Sequence[Source]) -> Steps:
    """Return the steps of a run: its telemetry's, which has the losses, if it has the times."""
    told = [steps_of_telemetry(source.telemetry) for source in run if source.telemetry is not None]
    found = [*told, *(steps_of_result(source.result) for source in run if source.result is not None)]
    timed = next((steps for steps in found if steps.parts), found[0])
    first = found[0]
    return replace(timed, losses=first.losses, losses_of=first.losses_of, validations=first.validations)


def lay_out_parts(steps: Steps) -> Table:
    """Lay out the mean time of each component in each phase, and its share of a step."""
    means = {(part.name, part.phase): part.mean for part in steps.parts}
    phases: tuple[Phase, ...] = ("forward", "backward", "both")
    names = dict.fromkeys(part.name for part in steps.parts)
    rows = []
    for name in names:
        known = [means.get((name, phase)) for phase in phases]
        total = sum(value for value in known if value is not None)
        cells = ["" if value is None else f"{value:.3f}" for value in known[:2]]
        rows.append((name, *cells, f"{total:.3f}", _share(total, steps.wall)))
    sums = [sum(part.mean for part in steps.parts if part.phase == phase) for phase in phases[:2]]
    rows.append(
        ("step", *(f"{value:.3f}" for value in sums), f"{steps.wall:.3f}", _share(steps.wall, steps.wall))
    )
    if steps.dw is not None:
        rows.append(("dw", "", "", f"{steps.dw:.3f}", UNKNOWN))
    if (allreduce := steps.allreduce) is not None:
        share = f"{allreduce.hidden_share:.0%} hidden"
        rows.append(("allreduce, an update", "", "", f"{allreduce.ms:.3f}", share))
    return Table(
        heading=("Where the time of a step goes",),
        header=("Component", "Forward (ms)", "Backward (ms)", "Both (ms)", "Share"),
        align=("left", "right", "right", "right", "right"),
        rows=tuple(rows),
        lines=(
            f"{_means(steps)} dw, the gradients of weights, runs in parallel and is not in the sum; "
            "cblas_wait is the wait for it. other: Python between the components. Updates and compiles come "
            "on top." + ("" if allreduce is None else _EXCHANGE),
        ),
    )


def lay_out_gains(steps: Steps) -> Table:
    """Lay out the step's time without each component, the largest first."""
    means: dict[str, float] = {}
    for part in steps.parts:
        means[part.name] = means.get(part.name, 0.0) + part.mean
    rows = []
    for name, mean in sorted(means.items(), key=lambda pair: -pair[1]):
        rest = steps.wall - mean
        gain = f"{steps.wall / rest:.2f}x" if rest > 0 and steps.wall / rest < 1e6 else UNKNOWN
        rows.append((name, f"{mean:.3f}", f"{rest:.3f}", gain))
    return Table(
        heading=("If a component were free",),
        header=("Without", "Its time (ms)", "Step then (ms)", "Faster by"),
        align=("left", "right", "right", "right"),
        rows=tuple(rows),
        lines=(
            f"{_means(steps)} The gain is an upper bound, by subtraction: dw runs in parallel with other "
            "components, and where these get shorter, the wait for it, cblas_wait, gets longer.",
        ),
    )


def _means(steps: Steps) -> str:
    """Say which steps the means are of."""
    if steps.count == 1:
        return "Times of the only step."
    return f"Means over {steps.count - 1:,} steps, without the first, which starts the device and the caches."


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else UNKNOWN


def _pictures(steps: Steps, title: str, name: str) -> list[Block]:
    drawn = []
    if steps.parts and steps.wall:
        drawn += [draw_phases(steps, title, f"{name}-phases"), draw_steps(steps, title, f"{name}-steps")]
    if len(steps.losses) > 1:
        drawn.append(draw_losses(steps, title, f"{name}-losses"))
    return [Block(drawings=tuple(drawn))] if drawn else []


def draw_steps(steps: Steps, title: str, name: str) -> Drawing:
    """Draw the components of each step on top of each other."""
    every = stride(steps.count, _MOST_BARS)
    places = range(0, steps.count, every)
    figure = new_figure(8, 4)
    axes = figure.subplots()
    bottom = [0.0] * len(places)
    for at, (component, ms) in enumerate(_colored(steps).items()):
        grouped = [sum(ms[place : place + every]) / len(ms[place : place + every]) for place in places]
        centers = [place + (min(every, steps.count - place) - 1) / 2 for place in places]
        axes.bar(centers, grouped, every * 0.9, bottom, color=f"C{at % 10}", label=label(component, NAME))
        bottom = [low + high for low, high in zip(bottom, grouped, strict=True)]
    axes.set(xlabel="step", ylabel="ms")
    axes.set_title(label(f"{title}: components of each step"), fontsize=9)
    axes.legend(fontsize=8, ncols=2)
    axes.grid(alpha=0.5, axis="y")
    axes.set_axisbelow(True)
    caption = "Every step." if every == 1 else f"Means of {every} steps each, over {steps.count:,} steps."
    return drawing(figure, name, f"{title}: components of each step, stacked", caption)


def _colored(steps: Steps) -> dict[str, list[float]]:
    """Return the components that can be seen, and the sum of the others."""
    found = steps.by_component()
    large = {name: ms for name, ms in found.items() if sum(ms) >= _NO_SHARE * steps.wall * len(ms)}
    small = [name for name in found if name not in large]
    if small:
        large[", ".join(small)] = [
            sum(values) for values in zip(*(found[name] for name in small), strict=True)
        ]
    return large


def draw_phases(steps: Steps, title: str, name: str) -> Drawing:
    """Draw the mean time of each component, with forward and backward in one bar."""
    components = list(dict.fromkeys(part.name for part in steps.parts))[::-1]
    figure = new_figure(8, 1.2 + 0.3 * len(components))
    axes = figure.subplots()
    ends = [0.0] * len(components)
    colors: dict[Phase, str] = {"forward": "C0", "backward": "C1", "both": "0.5"}
    for phase, color in colors.items():
        values = [
            sum(part.mean for part in steps.parts if (part.name, part.phase) == (component, phase))
            for component in components
        ]
        if any(values):
            axes.barh(range(len(components)), values, 0.7, ends, color=color, label=phase)
            ends = [end + value for end, value in zip(ends, values, strict=True)]
    axes.set_xlim(0, 1.05 * max(ends))
    axes.set_yticks(range(len(components)), [label(component, NAME) for component in components])
    axes.set_xlabel("ms of a step, mean")
    axes.set_title(label(f"{title}: forward and backward"), fontsize=9)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.5, axis="x")
    axes.set_axisbelow(True)
    return drawing(figure, name, f"{title}: components, forward and backward", _means(steps))


def draw_losses(steps: Steps, title: str, name: str) -> Drawing:
    """Draw the loss of each step, or update of several ranks, and validation losses."""
    every = stride(len(steps.losses), _MOST_LOSSES)
    at, losses = zip(*thinned(steps.losses, _MOST_LOSSES), strict=True)
    figure = new_figure(8, 3.5)
    axes = figure.subplots()
    axes.plot(at, losses, ".", ms=4, color="C0", label=steps.losses_of)
    if steps.validations:
        places, values = zip(*thinned(steps.validations, _MOST_LOSSES), strict=True)
        axes.plot(places, values, "o-", ms=4, color="C1", label="validation")
    axes.set(xlabel="step", ylabel="loss (nats per token)")
    axes.set_title(label(f"{title}: loss"), fontsize=9)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.5)
    one = steps.losses_of
    caption = f"The loss of every {one}." if every == 1 else f"The loss of one of {every} {one}s."
    return drawing(figure, name, f"{title}: loss by step", caption)
