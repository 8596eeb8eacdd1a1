import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aneperf.errors import ResultFileError
from aneperf.measure import summarize
from aneperf.results import Result, Row
from aneperf.schema import check_numbers, result_schema
from support.fakes import a_result, a_row

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"


def test_the_schema_in_the_docs_is_that_of_the_types() -> None:
    """Compare with the schema in docs, written by `aneperf validate --schema > docs/result.schema.json`."""
    assert SCHEMA.read_text(encoding="utf-8") == result_schema()


def test_the_schema_names_every_field_that_a_file_holds() -> None:
    definitions = json.loads(result_schema())["$defs"]
    tree = json.loads(a_result(a_row(durations_ns=(31_000_000, *[9_871_000] * 300))).to_json())
    for name, written in (
        ("Result", tree),
        ("Environment", tree["environment"]),
        ("Row", tree["rows"][0]),
    ):
        assert set(written) == set(definitions[name]["properties"])
        assert definitions[name]["additionalProperties"] is False
        assert set(definitions[name]["required"]) <= set(written)


def a_measured_row(calls: int = 300, **changes: Any) -> Row:
    durations = (31_000_000, *np.random.default_rng(0).integers(9_000_000, 11_000_000, calls).tolist())
    times = summarize(np.array(durations[1:]) * 1e-6)
    rates = {"gflop": 4.0, "tflops": 4.0 / times.median}
    return a_row(**{**times.fields(), "metrics": rates, "durations_ns": durations[:10_000], **changes})


def test_consistent_numbers_pass() -> None:
    check_numbers(a_result(a_measured_row(), a_row(32)))
    check_numbers(a_result(a_measured_row(calls=12_000)))  # not all of its calls are kept
    check_numbers(a_result(a_measured_row(unit="us", median=9_900.0, ci_low=None, ci_high=None, p95=None)))


@pytest.mark.parametrize("name", ["median", "mean", "p05", "p95"])
def test_inconsistent_statistics_are_refused(name: str) -> None:
    row = a_measured_row()
    changed = a_measured_row(**{name: getattr(row, name) * 1.001, "ci_low": None, "ci_high": None})
    with pytest.raises(ResultFileError, match=rf"sp64/fp32-ports': {name} is .*, but its durations give"):
        check_numbers(a_result(changed))


def test_an_inconsistent_rate_is_refused() -> None:
    row = a_measured_row(12_000)
    work = {"gflop": 4.0, "tflops": 4.0 / row.median}
    check_numbers(a_result(a_measured_row(12_000, metrics=work)))
    with pytest.raises(ResultFileError, match=r"tflops is .*, but 4 GFLOP in .* ms are"):
        check_numbers(a_result(a_measured_row(12_000, metrics={**work, "tflops": 99.0})))


def test_quotes_of_an_untrusted_file_are_one_short_line(tmp_path: Path) -> None:
    tree = json.loads(a_result().to_json())
    for name in ("\x1b[2J\nboo", "x" * 100_000):
        tree[name] = 1
        (tmp_path / "f.json").write_text(json.dumps(tree))
        with pytest.raises(ResultFileError) as refusal:
            Result.load(tmp_path / "f.json")
        message = str(refusal.value)
        assert message.isprintable()
        assert len(message) < 600
        del tree[name]
