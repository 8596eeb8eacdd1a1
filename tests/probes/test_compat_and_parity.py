import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import aneperf
from aneperf import _ane_native as native
from aneperf.errors import ArgumentError
from aneperf.reference import evaluate
from aneperf.results import Result
from aneperf.runner import question as checking
from aneperf.runner.operations import CASES
from aneperf.runner.progress import Progress
from support.terminals import widest_line
from support.wrapped import rows

compat_module, limits_module, parity_module, weights_module = (
    __import__(f"aneperf.probes.{name}", fromlist=["_"]) for name in ("compat", "limits", "parity", "weights")
)


SPELLINGS = [name for name in compat_module.ITEMS if name.startswith("text/")]


@pytest.mark.parametrize("name", SPELLINGS)
def test_what_apples_compiler_is_asked_is_refused_here(name: str) -> None:
    question = compat_module.ITEMS[name]()
    assert native.check(question.text, question.weights)
    refused = question.ask(aneperf.open("emulator"))
    assert refused.status == "unsupported"
    assert "strict=False hands the text unread to Apple's compiler" in str(refused.reason)


def test_compat_on_the_emulator() -> None:
    found = rows(aneperf.compat("emulator:h16", budget=600.0))
    assert set(found) == set(compat_module.ITEMS)
    refused = {name for name, row in found.items() if row.status != "ok"}
    assert refused == {
        *(f"ports/{dtype} {side}" for dtype in compat_module._INTEGERS for side in ("input", "output")),
        "semantics/attention mask",
        "weights/a file each, as they are",
        *SPELLINGS,
    }
    assert found["semantics/attention mask"].reason == "the mask is ignored"
    assert "port 'x' is int8" in found["ports/int8 input"].reason
    assert found["op/transpose"].error == 0


def test_compat_shows_what_a_generation_lacks() -> None:
    items = ["op/sin", "op/topk", "ports/fp32", "op/exp"]
    found = rows(aneperf.compat("emulator:h13", items=items, budget=600.0))
    assert [found[item].status for item in items] == ["unsupported", "unsupported", "unsupported", "ok"]


def test_a_mask_that_is_heeded_is_ok(plain: aneperf.Device) -> None:
    assert compat_module.ITEMS["semantics/attention mask"]().ask(plain).status == "ok"


def test_compat_takes_as_many_processes_as_its_compiles_need() -> None:
    items = [f"op/{name}" for name in list(CASES)[:7]]
    steps: list[Progress] = []
    device = aneperf.open("emulator", compile_budget=3)
    result = aneperf.compat(device, items=items, budget=600.0, progress=steps.append)
    assert [row.key for row in result] == [f"compat/{item}" for item in items]
    assert {row.status for row in result} == {"ok"}
    assert [step.row for step in steps if step.row] == list(result)


@pytest.mark.parametrize("name", [item for item in compat_module.ITEMS if not item.startswith("op/")])
def test_a_wrong_output_is_an_error(name: str) -> None:
    """Let every item that is not an operation fail."""
    question = compat_module.ITEMS[name]()
    outputs = [{port: 1.5 * array + 1 for port, array in arrays.items()} for arrays in question.expected]
    errors = checking.errors_of(
        [{port: array.astype(np.float16) for port, array in arrays.items()} for arrays in outputs],
        question.expected,
    )
    measured = checking.judge(errors, question.tolerance, {})
    assert measured.status == "error"
    assert measured.reason is not None
    assert measured.reason.startswith("wrong output: off by ")


def test_swapped_ports_are_noticed() -> None:
    question = compat_module.ITEMS["ports/4 inputs, 3 outputs"]()
    (arrays,), (expected,) = question.inputs, question.expected
    program = compat_module._several([("x10", 32), ("x2", 32), ("b", 32), ("a", 32)], ["z", "y10", "y9"])
    assert program.text == question.text
    for first, second in (("x10", "x2"), ("a", "b")):
        swapped = {**arrays, first: arrays[second], second: arrays[first]}
        graph = SimpleNamespace(text=question.text, weights=question.weights)
        other = evaluate(graph, **swapped)  # type: ignore[arg-type]
        assert all(not np.allclose(other[port], expected[port], atol=0.1) for port in expected)
    assert not np.allclose(expected["y10"], expected["y9"], atol=0.1)
    assert not np.allclose(expected["z"], expected["y9"], atol=0.1)


def test_parity_on_the_emulator() -> None:
    items = ["op/exp", "op/transpose", "kernel/conv_stack", "kernel/attention_forward"]
    result = aneperf.parity("emulator", items=items, budget=600.0)
    assert [row.key for row in result] == [f"parity/{item}" for item in items]
    for row in result:
        assert row.status == "ok"
        assert row.error is not None
        assert row.error <= row.metrics["tolerance"]
        assert {"max_abs", "max_ulp", "exact_share"} <= set(row.metrics)
    assert 0.5 < result.rows[0].metrics["exact_share"] < 0.8  # from a table
    assert result.rows[1].metrics == {
        **result.rows[1].metrics, "max_abs": 0, "max_ulp": 0, "exact_share": 1, "tolerance": 0
    }  # fmt: skip


def test_parity_has_every_operation_and_kernel() -> None:
    assert {f"op/{name}" for name in CASES} < set(parity_module.ITEMS)
    assert len(parity_module.FAMILIES) >= 14


@pytest.mark.parametrize("function", [aneperf.compat, aneperf.parity])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"items": ["op/fly"]}, "items: there is no 'op/fly': choose from "),
        ({"items": "op/exp"}, "items must be a list of names, not 'op/exp'"),
        ({"items": []}, "items must be a list of names"),
        ({"budget": 0}, "budget must be a positive, finite number"),
    ],
)
def test_what_cannot_be_asked(function: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        function("emulator", **options)


@pytest.mark.parametrize("verb", ["weights", "counters", "compat", "parity"])
def test_verbs(run: Any, tmp_path: Path, verb: str) -> None:
    outcome = run(verb, "--device", "emulator", "-o", str(tmp_path / "r.json"))
    assert outcome.code == 0
    assert outcome.out.startswith(f"aneperf {verb}\nSoftware emulator on ")
    assert widest_line(Result.load(tmp_path / "r.json")) <= 80
    assert json.loads((tmp_path / "r.json").read_text())["probe"] == verb
    assert os.listdir(tmp_path) == ["r.json"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compat", "--only", "op/fly"], "there is no 'op/fly'"),
        (["parity", "--only", "op/fly"], "there is no 'op/fly'"),
        (["limits", "--most", "0"], "most must be an integer of at least 1, not 0"),
        (["weights", "--budget", "0"], "budget must be a positive"),
        (["counters", "--device", "gpu"], "no device is called 'gpu'"),
    ],
)
def test_bad_input_is_one_line(run: Any, arguments: list[str], message: str) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert message in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
