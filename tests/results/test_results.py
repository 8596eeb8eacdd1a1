import json
import math
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aneperf.bounds import ROWS
from aneperf.errors import AneError, ArgumentError, ResultFileError
from aneperf.kinds import Kind
from aneperf.measure import summarize
from aneperf.outputs import check_output
from aneperf.results import Result, Row
from support.fakes import a_result, a_row, an_environment

finite = st.floats(allow_nan=False, allow_infinity=False)


def saved(tmp_path: Path, result: Result) -> Path:
    path = tmp_path / "result.json"
    result.save(path)
    return path


@given(
    key=st.text(st.characters(codec="utf-8"), min_size=1),
    params=st.dictionaries(
        st.text("abcxyz", min_size=9), st.integers(-(2**63), 2**63 - 1) | finite | st.text()
    ),
    metrics=st.dictionaries(st.text("defuvw", min_size=9), finite),
    error=st.none() | st.floats(0, 1e300),
    notes=st.lists(st.text()),
)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, notes: list[str], **fields: Any) -> None:
    result = a_result(a_row(**fields), notes=tuple(notes))
    path = tmp_path_factory.mktemp("results") / "r.json"
    result.save(path)
    loaded = Result.load(path)
    assert loaded == result
    assert str(loaded) == str(result)
    assert loaded._repr_html_() == result._repr_html_()


def test_numpy_numbers_are_saved_as_plain_ones(tmp_path: Path) -> None:
    numbers: dict[str, Any] = {
        "median": np.float64(9.871),
        "n": np.int64(300),
        "metrics": {"gflop": np.float32(2)},
    }
    row = a_row(params={"depth": np.int32(7)}, **numbers)
    text = saved(tmp_path, a_result(row)).read_text()
    assert json.loads(text)["rows"][0]["median"] == 9.871
    assert Result.load(tmp_path / "result.json").rows[0].params == {"depth": 7}


@pytest.mark.parametrize("field", ["median", "mean", "p05", "ci_high", "published_mean", "error", "n"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, 10**400, "1", True], ids=repr)
def test_row_refuses_numbers_that_json_cannot_hold(field: str, value: object) -> None:
    with pytest.raises(ArgumentError, match=f"row 'peak/conv512x128/sp64/fp32-ports': {field} "):
        a_row(**{field: value})  # type: ignore[arg-type]


TWO: dict[str, Any] = {
    "n": 3,
    "warm_up": None,
    "processes": (3, 2),
    "warm_ups": (1, 1),
    "medians": (9.871, 9.871),
    "durations_ns": (9, 9, 9, 9, 9),
}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"tflops": math.nan}}, "tflops is nan"),
        ({"metrics": {"tflops": -math.inf}}, "tflops is -inf"),
        ({"params": {"scale": math.inf}}, "scale is inf"),
        ({"params": {"scale": None}}, "scale is None"),
        ({"key": ""}, "needs a key"),
        ({"status": "fast"}, "status is 'fast': choose from ok, unsupported, skipped, error"),
        ({"status": "error"}, "a reason exactly when"),
        ({"status": "error", "reason": ""}, "a reason exactly when"),
        ({"reason": "just so"}, "a reason exactly when"),
        ({"p05": 20.0}, "p05 20.0 is above median"),
        ({"ci_high": 9.0}, "median 9.871 is above ci_high"),
        ({"params": {"median": 1}}, "median would name two columns"),
        ({"params": dict.fromkeys(map(str, range(501)), 1)}, "has more than 500 params, metrics and flags"),
        (
            {"metrics": dict.fromkeys(map(str, range(501)), 1.0)},
            "has more than 500 params, metrics and flags",
        ),
        ({"flags": ("noisy",) * 501}, "has more than 500 params, metrics and flags"),
        ({"params": {"tflops": 1}}, "tflops would name two columns"),
        ({"metrics": {"device": 1.0}}, "device would name two columns"),
        ({"durations_ns": (1, 2)}, "2 durations_ns for 301 calls: keep all of them"),
        ({"durations_ns": (1,) * 10_001, "n": 10_000}, "10001 durations_ns for 10001 calls"),
        ({"durations_ns": (-1,), "n": None}, "durations_ns must be integers of nanoseconds"),
        ({"durations_ns": (1.5,), "n": None}, "durations_ns must be integers of nanoseconds"),
        ({"durations_ns": (True,), "n": None}, "durations_ns must be integers of nanoseconds"),
        ({"processes": (1, 2)}, "processes, warm_ups and medians are empty, or of 2..100 processes"),
        ({"medians": (9.8, 9.9)}, "processes, warm_ups and medians are empty, or of"),
        ({**TWO, "processes": (3,), "warm_ups": (1,), "medians": (9.8,)}, "are empty, or of 2"),
        ({**TWO, "warm_up": 1}, "a row of several processes has warm_ups, and no warm_up"),
        ({**TWO, "processes": (3, -1)}, "processes and warm_ups must be integers, not negative"),
        ({**TWO, "warm_ups": (1, 0.5)}, "processes and warm_ups must be integers, not negative"),
        ({**TWO, "medians": (9.8, math.nan)}, "medians must be finite numbers, not negative"),
        ({**TWO, "medians": (4.9, 4.9)}, "median is 9.871, not the geometric mean of medians"),
        ({**TWO, "median": None, "p05": None}, "median is None, not the geometric mean of medians"),
        ({**TWO, "processes": (3, 3)}, "5 durations_ns, where processes has 6"),
        ({**TWO, "n": 4}, "5 durations_ns for 6 calls: keep all of them, or the first 5000 of each process"),
    ],
)
def test_row_refuses(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        a_row(**changes)


def test_environment_refuses_bad_counts() -> None:
    with pytest.raises(
        ArgumentError, match="environment: cores must be an integer from 0 to 9223372036854775807, not -1"
    ):
        an_environment(cores=-1)
    with pytest.raises(ArgumentError, match="environment: memory_bytes must be an integer from 0 to"):
        an_environment(memory_bytes=10**400)
    with pytest.raises(
        ArgumentError, match="environment: has more than 500 properties, variables and cluster"
    ):
        an_environment(variables=dict.fromkeys(map(str, range(501)), ""))


def test_result_refuses_notes_without_end() -> None:
    with pytest.raises(ArgumentError, match="peak: has more than 2000 notes"):
        a_result(a_row(), notes=("",) * 2001)


def test_result_refuses_two_rows_of_one_key() -> None:
    with pytest.raises(ArgumentError, match="two rows have the key 'peak/conv512x128/sp64/fp32-ports'"):
        a_result(a_row(), a_row())


def test_best_is_the_fastest_ok_row() -> None:
    slow, fast = a_row(32, metrics={"tflops": 0.2}), a_row(48, metrics={"tflops": 0.4})
    wrong = a_row(64, status="error", reason="wrong output", metrics={"tflops": 9.0})
    unrated = a_row(96, metrics={})
    assert a_result(slow, fast, wrong, unrated).best == fast
    assert a_result(wrong, unrated).best is None
    assert a_result(slow, fast).rows == tuple(a_result(slow, fast))
    assert len(a_result(slow, fast)) == 2


@pytest.mark.parametrize(
    ("doubt", "trusted"),
    [
        ({"flags": ("heavy tail", "correlated", "noisy")}, True),
        ({"flags": ("few samples",)}, False),
        ({"flags": ("preempted",)}, False),
        ({"ci_low": None, "ci_high": None}, False),
    ],
)
def test_best_can_be_relied_on(doubt: dict[str, Any], trusted: bool) -> None:
    clean, fast = a_row(32, metrics={"tflops": 0.2}), a_row(48, metrics={"tflops": 0.4}, **doubt)
    assert a_result(clean, fast).best == (fast if trusted else clean)
    assert a_result(fast).best == (fast if trusted else None)


def test_metrics_of_older_files_are_renamed(tmp_path: Path) -> None:
    old = {"weights_mb": 2.0, "gflops_per_mb": 3.0, "gflop": 1.0}
    a_result(a_row(metrics=old)).save(tmp_path / "old.json")
    (row,) = Result.load(tmp_path / "old.json")
    assert row.metrics == {"gflop": 1.0, "weights_mib": 2.0, "gflops_per_mib": 3.0}


def test_durations_are_on_one_line_and_reproduce_the_statistics(tmp_path: Path) -> None:
    calls = (31_000_000, *np.random.default_rng(0).integers(9_000_000, 11_000_000, 300).tolist())
    times = summarize(np.array(calls[1:]) * 1e-6)
    row = a_row(durations_ns=calls, **times.fields())
    lines = saved(tmp_path, a_result(row)).read_text().splitlines()
    assert len([line for line in lines if '"durations_ns": [31000000,' in line and "]" in line]) == 1
    loaded = Result.load(tmp_path / "result.json").rows[0]
    assert loaded == row
    again = summarize(np.array(loaded.durations_ns[loaded.warm_up :]) * 1e-6)
    assert (again.median, again.ci_low, again.ci_high) == (row.median, row.ci_low, row.ci_high)


def test_texts_are_saved_as_they_are(tmp_path: Path) -> None:
    row = a_row(params={"what": "[\n 1,\n 2 ]"})
    saved(tmp_path, a_result(row))
    assert Result.load(tmp_path / "result.json").rows == (row,)


def test_durations_stay_out_of_tables_and_of_repr() -> None:
    row = a_row(durations_ns=(31_000_000, *[9_871_000] * 300))
    assert "durations_ns" not in a_result(row).to_dicts()[0]
    assert repr(row).endswith(", durations_ns=<301>)")
    assert "9871000" not in repr(a_result(row)) + str(a_result(row))


def test_to_dicts_is_flat_and_keeps_the_device() -> None:
    (row,) = a_result(a_row(flags=("drift", "noisy"))).to_dicts()
    assert not any(isinstance(value, (dict, list, tuple)) for value in row.values())
    assert row["probe"] == "peak"
    assert (row["depth"], row["median"], row["ci_low"]) == (128, 9.871, 9.83)
    assert row["tflops"] == pytest.approx(0.43511, abs=1e-5)
    assert row["flags"] == "drift, noisy"
    assert (row["device"], row["chip"]) == ("emulator", "h16")


def test_a_result_prints_without_an_import_of_report(tmp_path: Path) -> None:
    path = saved(tmp_path, a_result())
    code = (
        "import sys\n"
        "from aneperf.results import Result\n"
        f"result = Result.load({str(path)!r})\n"
        "assert 'rich' not in sys.modules\n"
        "print(result)\n"
        "assert 'aneperf.training' not in sys.modules\n"
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert child.stdout.rstrip("\n") == str(a_result())


def test_a_subclass_prints_like_its_base() -> None:
    class Mine(Result):
        pass

    result = a_result()
    mine = Mine(probe=result.probe, environment=result.environment, rows=result.rows)
    assert str(mine) == str(result)


def test_save_replaces_whole_files_only(tmp_path: Path) -> None:
    path = saved(tmp_path, a_result())
    before = path.read_bytes()
    unwritable = a_result(a_row(params={"what": "\ud800"}))  # half a surrogate pair has no UTF-8
    with pytest.raises(ResultFileError, match="holds a value that JSON cannot"):
        unwritable.save(path)
    assert path.read_bytes() == before
    a_result(a_row(32)).save(path)
    assert Result.load(path).rows[0].params["depth"] == 32
    assert os.listdir(tmp_path) == ["result.json"]


def test_a_failing_rename_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(ResultFileError, match=r"result\.json: cannot write: No space left on device"):
        a_result().save(tmp_path / "result.json")
    assert os.listdir(tmp_path) == []


def test_saved_files_obey_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        path = saved(tmp_path, a_result())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_save_writes_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    a_result().save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert Result.load(tmp_path / "real.json") == a_result()


@pytest.mark.parametrize(
    "write", [a_result().save, lambda path: check_output(path, Kind.RESULT)], ids=["save", "check_output"]
)
def test_refuses_bad_targets(tmp_path: Path, write: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_text("")
    for path, message in [
        (tmp_path, "is a folder"),
        (tmp_path / "none" / "r.json", "does not exist: create it first"),
        (tmp_path / "file" / "r.json", "does not exist: create it first"),
        (tmp_path / "pipe", "is not a regular file"),
        (tmp_path / ("x" * 300), "not a usable path"),
        (f"{tmp_path}/a\0b", "not a usable path"),
    ]:
        with pytest.raises(ResultFileError, match=message):
            write(path)
    assert sorted(os.listdir(tmp_path)) == ["file", "pipe"]


def test_check_output_leaves_nothing(tmp_path: Path) -> None:
    check_output(tmp_path / "r.json", Kind.RESULT)
    assert os.listdir(tmp_path) == []


def a_file(**changes: Any) -> dict[str, Any]:
    tree: dict[str, Any] = {
        "schema_version": 1,
        "probe": "peak",
        "environment": an_environment().to_dict(),
        "rows": [{"key": "a", "status": "ok", "median": 1.5}],
        "notes": [],
    }
    tree.update(changes)
    return {name: value for name, value in tree.items() if value is not ...}


BAD_FILES: list[tuple[str | bytes | dict[str, Any], str]] = [
    (b"", "is empty"),
    (json.dumps(a_file())[:-20], "not JSON, or cut short"),
    (json.dumps(a_file()) + "}", "not JSON, or cut short"),
    ("hello", "not JSON, or cut short"),
    (b"\xff\xfe{}", "not JSON, or cut short"),
    (b"PK\x03\x04" + bytes(100), "is a zip archive"),
    ("[" * 100_000, "not a result|cut short"),
    ("[]", "not a result of aneperf"),
    ("null", "not a result of aneperf"),
    ("{}", "missing required field `schema_version`"),
    (a_file(schema_version=2), "schema version 2 is newer than this aneperf, which reads 1: upgrade it"),
    ('{"schema_version": 7, "new": {}}', "schema version 7 is newer"),
    (a_file(schema_version=0), "schema_version is 0"),
    (a_file(schema_version=-1), "schema_version is -1"),
    (a_file(schema_version="1"), r"\$\.schema_version"),
    (a_file(schema_version=1.5), r"\$\.schema_version"),
    (a_file(probe=...), "missing required field `probe`"),
    (a_file(environment=...), "missing required field `environment`"),
    (a_file(environment={}), r"missing required field .* at `\$\.environment`"),
    (a_file(environment={**an_environment().to_dict(), "cores": 10**400}), "not a result|cut short"),
    (a_file(environment={**an_environment().to_dict(), "cpu": 7}), r"\$\.environment\.cpu"),
    (a_file(rows={}), r"\$\.rows"),
    (a_file(rows=[{"key": "a"}]), r"missing required field `status` - at `\$\.rows\[0\]`"),
    (a_file(rows=[{"key": "a", "status": "great"}]), r"\$\.rows\[0\]\.status"),
    (a_file(rows=[{"key": "a", "status": "error"}]), "a reason exactly when"),
    (a_file(rows=[{"key": "a", "status": "ok", "medain": 1}]), "unknown field `medain`"),
    (a_file(rows=[{"key": "a", "status": "ok", "median": "fast"}]), r"\$\.rows\[0\]\.median"),
    (a_file(rows=[{"key": "a", "status": "ok", "median": -1}]), r"median is -1\.0; it cannot be negative"),
    (a_file(rows=[{"key": "a", "status": "ok", "median": 2, "ci_high": 1}]), "is above ci_high"),
    (a_file(rows=[{"key": "a", "status": "ok", "n": 10**400}]), "not a result|cut short"),
    (a_file(rows=[{"key": "a", "status": "ok", "params": {"x": 10**400}}]), "not a result|cut short"),
    (json.dumps(a_file()).replace("1.5", "9" * 5000), "not a result|cut short"),
    (a_file(rows=[{"key": "a", "status": "ok", "params": {"x": [1]}}]), r"\$\.rows\[0\]\.params"),
    (a_file(rows=[{"key": "a", "status": "ok"}] * 2), "two rows have the key 'a'"),
    (a_file(rows=[{"key": "a", "status": "ok", "median": math.nan}]), "not JSON, or cut short"),
    (a_file(rows=[{"key": "a", "status": "ok", "median": math.inf}]), "not JSON, or cut short"),
    ('{"schema_version": 1, "rows": [{"key": "a", "median": 1e999}]}', "not a result of aneperf"),
    (a_file(notes=[1]), r"\$\.notes\[0\]"),
    (a_file(extra=1), "unknown field `extra`"),
]


@pytest.mark.parametrize(("content", "message"), BAD_FILES)
def test_load_refuses(tmp_path: Path, content: str | bytes | dict[str, Any], message: str) -> None:
    text = json.dumps(content) if isinstance(content, dict) else content
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(ResultFileError, match=rf"bad\.json: (.|\n)*({message})"):
        Result.load(path)


def test_load_accepts_the_template_of_the_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "good.json"
    path.write_text(json.dumps(a_file()))
    assert Result.load(path).rows == (Row(key="a", status="ok", median=1.5),)


def test_load_names_a_file_it_cannot_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path, f"{tmp_path}/a\0b"):
        with pytest.raises(ResultFileError, match=r"cannot read|is a folder"):
            Result.load(path)


@given(
    st.binary()
    | st.text().map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from([*a_file(), "key", "status", "x"]), inner)
        ),
    ).map(lambda tree: json.dumps(tree).encode())
)
def test_load_of_anything_is_a_result_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "f.json"
    path.write_bytes(content)
    with pytest.raises(AneError):
        Result.load(path)


def test_a_result_of_too_many_rows_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    rows = b'{"key":"a"},' * (ROWS + 1)  # which would be refused, too, but for another reason
    escaped = b'{"k\\u0065y":"a","params":{}},' * 4 * ROWS
    names = b'{"key":"a","params":{' + b'"":1,' * 250 * ROWS
    for many in (rows, escaped, names):
        path.write_bytes(b'{"schema_version":1,"rows":[' + many + b"]}")
        with pytest.raises(ResultFileError, match="has more than 2000 rows, the most that a result has"):
            Result.load(path)
    most = saved(tmp_path, a_result(*(a_row(depth) for depth in range(1, ROWS + 1))))
    assert len(Result.load(most)) == ROWS


def test_truncation_anywhere_is_found(tmp_path: Path) -> None:
    path = saved(tmp_path, a_result(a_row(), a_row(32)))
    content = path.read_bytes().rstrip()
    for length in range(0, len(content), 17):
        path.write_bytes(content[:length])
        with pytest.raises(ResultFileError):
            Result.load(path)
