from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf.probes.conformance import kernels, model
from aneperf.probes.conformance.functions import FUNCTIONS
from aneperf.probes.conformance.probe import RULES, check_rules, judge
from aneperf.probes.conformance.products import PRODUCTS
from aneperf.probes.conformance.rules import Answers, Figure, Refused, Rule, pack, published, unpack, words
from aneperf.probes.conformance.tables import FUNCTIONS as TABLES
from aneperf.results import Result, Row
from aneperf.runner.progress import silent
from support.terminals import widest_line

# The rules that the emulator follows on every profile of an engine. "none" is plain arithmetic.
OF_PRODUCTS = [rule for rule in PRODUCTS if rule != "products/both overflows"]
FOLLOWED = [
    *OF_PRODUCTS,
    *("products/linear layer", "products/3-wide kernels", "products/int8", "products/scaled codes"),
    "reductions/8 terms",
    *(rule for rule in RULES if rule.startswith(("arithmetic/", "functions/"))),
]

# They have no sine, and multiply no integers.
LACKING = {
    "h13": ("products/int8", "functions/sin", "functions/cos"),
    "h14": ("products/int8", "functions/sin", "functions/cos"),
    "h15": ("products/int8",),
}


def ask(chip: str, rules: Sequence[str]) -> dict[str, Row]:
    """Ask in this process."""
    emulator = aneperf.open(f"emulator:{chip}")
    result = check_rules(emulator, items=list(rules), budget=600.0, progress=silent)
    return {row.key.removeprefix("conformance/"): row for row in result}


def verdicts(rows: dict[str, Row]) -> dict[str, Any]:
    return {rule: row.params["verdict"] for rule, row in rows.items()}


def test_the_emulator_follows_the_rules_of_products() -> None:
    rows = ask("h18g", OF_PRODUCTS)
    assert verdicts(rows) == dict.fromkeys(OF_PRODUCTS, "agrees")
    assert sum(row.metrics["cases"] for row in rows.values()) > 3900
    assert sum(row.metrics["published"] for row in rows.values()) == 312
    assert {row.params["known"] for row in rows.values()} == {"measured"}


@pytest.mark.thorough
@pytest.mark.parametrize("chip", ["h13", "h14", "h15", "h16", "h17", "h18", "h18g", "h19"])
def test_the_emulator_follows_the_rules_on_every_profile(chip: str) -> None:
    lacking = LACKING.get(chip, ())
    rules = [rule for rule in FOLLOWED if rule not in lacking]
    assert verdicts(ask(chip, rules)) == dict.fromkeys(rules, "agrees")


def test_plain_arithmetic_differs_and_examples_tell_how() -> None:
    row = ask("none", ["products/bias"])["products/bias"]
    assert (row.status, row.params["verdict"], row.params["known"]) == ("ok", "differs", "predicted")
    assert row.metrics["conv_agree"] + row.metrics["linear_agree"] == row.metrics["agree"]
    assert row.metrics["agree"] < row.metrics["cases"]
    # A sum of 32784 is infinite on the engine, and otherwise a tie that is rounded to even.
    examples = [str(value) for name, value in row.params.items() if name.startswith("example conv")]
    assert len(examples) == 3
    assert examples[0] == (
        "0x77FF (32752) * 0x3C00 (1) + bias 0x5000 (32): expected 0x7C00 (inf), got 0x7800 (32768)"
    )
    assert len(unpack(str(row.params["answers conv"]))) == row.metrics["cases"] / 2


def test_an_experiment_records_its_answers() -> None:
    """Sum 4096 and ones in plain arithmetic, where the answers are the sums rounded to nearest even."""
    row = ask("none", ["reductions/growing"])["reductions/growing"]
    assert (row.status, row.params["verdict"], row.params["known"]) == ("ok", "recorded", "open")
    assert row.metrics == {"cases": 4096}
    answers = unpack(str(row.params["answers 4096 at 0, then ones"]))
    assert np.array_equal(answers, words((4096 + np.arange(4096.0)).astype(np.float16)))


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "AAAA",
        "\u00e9",
        pack(np.zeros(1 << 20, np.uint16)),
        pack(np.zeros(4, np.uint16))[:-4],
        "eJxLBAAAYgBi",
    ],
)
def test_answers_that_are_damaged_or_too_long_are_refused(text: str) -> None:
    with pytest.raises(aneperf.ArgumentError, match="the answers are damaged"):
        unpack(text)


def test_answers_are_counted_and_packed() -> None:
    got = np.array([1, 2, 3], np.uint16)
    parts = [
        Answers("add", got, np.array([1, 2, 4], np.uint16), str, {0: ("h16",), 2: ("h16", "h17")}),
        Answers("sub", got, got, str, others={"backwards": got[::-1]}, figure=Figure(0.5, 0.25, ("h16",))),
        Refused("mul", "no time"),
    ]
    measured = judge(Rule("", "", ("h16",), lambda run, profile: parts), lambda experiment: {}, "h16")
    assert measured.metrics == {
        "cases": 6, "agree": 5, "published": 3, "published_agree": 1, "add_agree": 2, "sub_agree": 3,
        "as if backwards": 1, "relative_error": 0.5, "published_error": 0.25,
    }  # fmt: skip
    assert measured.params == {
        "known": "measured", "verdict": "differs", "answers add": pack(got), "refused mul": "no time",
        "example add 1": "2: expected 0x0004 (2.3841858e-07), got 0x0003 (1.7881393e-07)",
    }  # fmt: skip
    assert np.array_equal(unpack(pack(got)), got)


def test_the_model_has_the_published_results() -> None:
    for rule in PRODUCTS:
        for vector in published(rule):
            x, w, bias = (np.array(a, np.uint16) for a in (vector.x, vector.w, vector.bias))
            assert int(model.dot(x, w, bias)) == vector.result, (rule, vector)
    for name, function in {"add": np.add, "sub": np.subtract, "mul": np.multiply}.items():
        for vector in published(f"arithmetic/{name}"):
            x, y = (model.decode(np.array(a, np.uint16)) for a in (vector.x, vector.w))
            assert model.round_real(function(x, y)) == [vector.result], (name, vector)
    for name, table in TABLES.items():
        for vector in published(f"functions/{name}"):
            assert table(np.array(vector.x, np.uint16)) == [vector.result], (name, vector)


@pytest.mark.parametrize(
    ("name", "low", "high", "function", "error"),
    [
        ("exp", -12, 10, np.exp, 100.8),
        ("log", 2.0**-10, 1000, np.log, 6.638e-3),
        ("sqrt", 2.0**-10, 1000, np.sqrt, 1.81e-2),
        ("rsqrt", 2.0**-6, 1000, lambda x: x**-0.5, 8.14e-3),
        ("sin", -1.5, 1.5, np.sin, 6.329e-4),
        ("silu", -7.9, 7.9, lambda x: x / (1 + np.exp(-x)), 1.491e-2),
    ],
)
def test_tables_have_the_largest_errors_that_were_published(
    name: str, low: float, high: float, function: Any, error: float
) -> None:
    x = TABLES[name].covers(np.arange(0x10000).astype(np.uint16))
    x = x[(model.decode(x) >= low) & (model.decode(x) <= high)]
    found = np.abs(TABLES[name](x).view(np.float16) - function(model.decode(x))).max()
    assert found == pytest.approx(error, rel=6e-4)


@pytest.mark.thorough
def test_winograds_transform_has_the_published_error() -> None:
    experiment, exact, _ = kernels._convolution()
    x = np.pad(experiment.inputs()["x"][0], ((0, 0), (1, 1), (1, 1)))
    (weight,) = (mil_weight(data) for data in experiment.program.weights.values())
    y = model.convolve_by_tiles(x.view(np.uint16), weight).view(np.float16)
    assert kernels._error(y, exact) == pytest.approx(0.0005162338465671137, rel=1e-12)


def mil_weight(file: bytes) -> model.Words:
    """Return the one weight of a file: it stands at the end."""
    return np.frombuffer(file[-64 * 64 * 9 * 2 :], np.uint16).reshape(64, 64, 3, 3)


def test_every_rule_says_what_it_asks() -> None:
    for rule in RULES.values():
        assert rule.question.endswith("?") or rule in FUNCTIONS.values()
        assert rule.source


def test_the_verb(run: Any, tmp_path: Path) -> None:
    file = tmp_path / "engine.json"
    rules = ["products/bias", "functions/quantize"]
    only = [argument for rule in rules for argument in ("--only", rule)]
    outcome = run("conformance", "--device", "emulator:none", *only, "-o", str(file))
    assert (outcome.code, outcome.err) == (0, f"aneperf: {file} holds all of it: please send that file\n")
    assert widest_line(Result.load(file)) <= 80
    assert verdicts({row.key: row for row in Result.load(file)}) == {
        "conformance/products/bias": "differs",
        "conformance/functions/quantize": "agrees",
    }
    assert run("validate", str(file)).code == 0
    outcome = run("conformance", "--only", "products/luck")
    assert outcome.code == 2
    assert "items: there is no 'products/luck': choose from products/exponent 31," in outcome.err
