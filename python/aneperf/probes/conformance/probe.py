"""Conformance: how many of a device's results are those of the model of the engine, bit for bit."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
import numpy as np

from ..._ane_native import Device, Program
from ...checks import positive
from ...chips import profile_of
from ...device import info, opened
from ...errors import REFUSALS, ArgumentError, CompileBudgetError
from ...machine import without_names
from ...results import Environment, Result, Row
from ...runner.in_child import each_in_child
from ...runner.measured import Measured, Params, refused
from ...runner.progress import NO_TIME, Progress, ProgressCallback
from ...runner.question import chosen
from ..registry import default_budget
from .functions import FUNCTIONS
from .kernels import KERNELS
from .products import PRODUCTS
from .rules import Arrays, Experiment, Figure, Recorded, Refused, Rule, Run, pack, spell_result
from .sums import SUMS

AGREES, DIFFERS, RECORDED = "agrees", "differs", "recorded"
RULES: Mapping[str, Rule] = {**PRODUCTS, **KERNELS, **FUNCTIONS, **SUMS}

_ITEM_LIMIT_S = 60.0  # for a rule, besides a compile
_EXAMPLES = 3  # that a row spells out; it has all answers besides
_AS_PUBLISHED = 1e-9  # relative, of an error

_NOTES = (
    "Agree: results that are the model's, bit for bit. Published: of these, results that were published for "
    "this engine. Known: whether the rule was measured on this engine, or is predicted from others.",
    "recorded: an experiment without an expected result. The file (-o) has all answers.",
)


def conformance(
    device: Device | str | None = None,
    *,
    budget: float = default_budget("conformance"),
    items: Sequence[str] | None = None,
    progress: ProgressCallback | None = None,
) -> Result:
    """Compare results with the model of the engine's arithmetic, bit for bit, for each rule in `items`.

    A row's "verdict" is "agrees", "differs", or "recorded" for an experiment whose result nobody knows; to
    differ is a result, not an error. "source", "measured_on" and "known" tell how the rule is known. The
    metrics "cases", "agree", "published" and "published_agree" count results. Where some differ, params such
    as "example conv 1" spell them out, and "answers conv" holds all that the operation gave, for `unpack`. No
    text names a person, a machine or a folder. Child processes ask. `budget` is in seconds.
    Raises ArgumentError, DeviceUnavailable.
    """
    positive("budget", budget)
    names = chosen(items, tuple(RULES), "items")
    device = opened(device)
    rows = each_in_child(
        check_rules,
        names,
        device,
        budget=budget,
        item_limit=_ITEM_LIMIT_S,
        lost=_row,
        progress=progress,
    )
    return Result(probe="conformance", environment=_anonymous(info(device)), rows=tuple(rows), notes=_NOTES)


def check_rules(device: Device, *, items: Sequence[str], budget: float, progress: ProgressCallback) -> Result:
    """Return the rows of `items`, measured in this process. Raises CompileBudgetError."""
    environment, rows = info(device), list[Row]()
    profile, end = _profile(environment), time.monotonic() + budget
    with _Laboratory(device) as laboratory:
        for item in items:
            progress(Progress(len(rows), len(items), item))
            try:
                if time.monotonic() < end:
                    measured = judge(RULES[item], laboratory.run, profile)
                else:
                    measured = Measured("skipped", NO_TIME)
            except CompileBudgetError:
                raise
            except REFUSALS as refusal:
                measured = refused(refusal)
            rows.append(_row(item, measured))
            progress(Progress(len(rows), len(items), item, rows[-1]))
    return Result(probe="conformance", environment=environment, rows=tuple(rows))


class _Laboratory:
    """Runs experiments, each once. Keeps the last program: the next experiment may need it."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._answers: dict[Experiment, Arrays | Exception] = {}
        self._loaded: tuple[object, Program] | None = None

    def __enter__(self) -> "_Laboratory":
        return self

    def __exit__(self, *exception: object) -> None:
        self._unload()

    def run(self, experiment: Experiment) -> Arrays:
        """Return the outputs, or raise what the device refused the experiment with, again if need be."""
        if experiment not in self._answers:
            try:
                self._answers[experiment] = self._load(experiment).run(**experiment.inputs())
            except CompileBudgetError:
                raise
            except REFUSALS as refusal:
                self._answers[experiment] = refusal
        answers = self._answers[experiment]
        if isinstance(answers, Exception):
            raise answers
        return answers

    def _load(self, experiment: Experiment) -> Program:
        program = experiment.program
        if self._loaded is None or self._loaded[0] is not program:
            self._unload()
            self._loaded = program, self._device.compile(program.text, program.weights)
        return self._loaded[1]

    def _unload(self) -> None:
        if self._loaded is not None:
            self._loaded[1].unload()
        self._loaded = None


def judge(rule: Rule, run: Run, profile: str | None) -> Measured:
    """Ask about a rule, count the answers that agree with the model, and spell out some that do not."""
    found = rule.ask(run, profile)
    if isinstance(found, Recorded):
        answers = {f"answers {name}": pack(words) for name, words in found.answers.items()}
        cases = sum(len(words) for words in found.answers.values())
        return Measured(
            "ok",
            metrics={"cases": cases},
            params={"verdict": RECORDED, "known": "open", "shape": found.shape, **answers},
        )
    metrics = dict.fromkeys(("cases", "agree", "published", "published_agree"), 0.0)
    params: Params = {"known": "measured" if profile in rule.engines else "predicted"}
    for part in found:
        if isinstance(part, Refused):
            params[f"refused {part.op}"] = without_names(part.reason)
            continue
        same = part.got == part.expected
        here = [case for case, engines in part.published.items() if profile in engines]
        metrics["cases"] += len(same)
        metrics["agree"] += np.sum(same)
        metrics["published"] += len(here)
        metrics["published_agree"] += np.sum(same[here])
        if len(found) > 1:
            metrics[f"{part.op}_agree"] = np.sum(same)
        for name, words in part.others.items():
            metrics[f"as if {name}"] = np.sum(part.got == words)
        if part.figure is not None:
            _compare_figure(part.figure, profile, metrics)
        wrong = np.flatnonzero(~same)
        if part.recorded is not None or len(wrong):
            params[f"answers {part.op}"] = pack(part.got if part.recorded is None else part.recorded)
        for number, case in enumerate(wrong[:_EXAMPLES].tolist(), 1):
            right, got = spell_result(part.expected[case]), spell_result(part.got[case])
            params[f"example {part.op} {number}"] = f"{part.describe(case)}: expected {right}, got {got}"
    agrees = metrics["agree"] == metrics["cases"] and metrics["published"] == metrics["published_agree"]
    verdict = AGREES if agrees else DIFFERS
    return Measured(
        "ok",
        metrics={name: float(value) for name, value in metrics.items()},
        params={"verdict": verdict, **params},
    )


def _compare_figure(figure: Figure, profile: str | None, metrics: dict[str, float]) -> None:
    metrics |= {"relative_error": figure.found, "published_error": figure.published}
    if profile in figure.engines:
        metrics["published"] += 1
        metrics["published_agree"] += math.isclose(figure.found, figure.published, rel_tol=_AS_PUBLISHED)


def _row(item: str, measured: Measured) -> Row:
    rule = RULES[item]
    params: Params = {
        "rule": item,
        "question": rule.question,
        "source": rule.source,
        "measured_on": " ".join(rule.engines),
    }
    reason = measured.reason and without_names(measured.reason)
    return replace(measured, reason=reason).row(f"conformance/{item}", params)


def _profile(environment: Environment) -> str | None:
    """Return the profile of the device's engine, as published results name engines."""
    try:
        return profile_of(environment.subtype or environment.chip)
    except ArgumentError:
        return None


def _anonymous(environment: Environment) -> Environment:
    note = environment.device_note
    return msgspec.structs.replace(environment, device_note=note and without_names(note))
