import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from aneperf import bounds
from aneperf.errors import ArgumentError, ResultFileError
from aneperf.report.site.collection import Collection, collect
from aneperf.report.site.entries import boards_of
from support.fakes import a_result, a_row
from support.submissions import (
    a_training_row,
    an_engine,
    an_engine_result,
    doctor,
    engine_rows,
    submitted,
    three_submissions,
)

SUBMISSIONS = Path(__file__).parents[3] / "submissions"


def reasons(collection: Collection) -> dict[str, str]:
    return {refusal.name: refusal.reason for refusal in collection.refused}


def test_good_submissions_are_accepted_and_a_doctored_one_is_refused(tmp_path: Path) -> None:
    three_submissions(tmp_path)
    found = collect(tmp_path)
    assert [(one.name, one.contributor, one.chip.name, one.rows) for one in found.accepted] == [
        ("alice/m4-max-peak.json", "alice", "M4 Max", 2),
        ("bob/m5.json", "bob", "M5", 5),
    ]
    (refusal,) = found.refused
    assert (refusal.name, refusal.contributor) == ("mallory/fast.json", "mallory")
    assert refusal.reason.startswith("row 'peak/conv512x128/sp64/fp32-ports': median is 0.24962")
    assert "but its durations give 0.49924" in refusal.reason


def first(field: str, value: Any) -> Callable[[dict[str, Any]], object]:
    return lambda tree: tree["rows"][0].update({field: value})


def environment(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda tree: tree["environment"].update(changes)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (first("mean", 0.1), "mean is 0.1, but its durations give"),
        (first("median", 0.1), "p05 0.18189204999999997 is above median 0.1"),
        (first("error", None), "error is missing: every timed output is checked"),
        (first("error", 0.0), "error is 0, but no convolution in fp16 is exact"),
        (first("error", 1e-7), "less than rounding to fp16 leaves: the inputs were zero, or"),
        (first("error", 0.5), "error is 0.5, where rounding explains 0.016: a wrong output"),
        (first("key", "peak/fast"), "peak/fast': its key names no stack of convolutions"),
        (first("key", "bench/mine/conv512x64/sp64"), "'bench' is no probe whose rows are alike"),
        (first("key", "peak/conv512x64/sp64/" + 120 * "x"), "a key has at most 120 printable"),
        (first("key", "peak/\u202e/conv512x64/sp64"), "a key has at most 120 printable"),
        (first("surprise", 1), "not a result of aneperf"),
        (environment(device="emulator", chip="h16"), "measured on the emulator: the community's figures are"),
        (environment(device="stand-in"), "measured on the stand-in: the community's figures are"),
        (environment(chip="Apple M99"), "environment: no chip is called 'Apple M99'"),
        (environment(cpu="Apple M5"), "environment: the chip is 'Apple M4 Max', and the CPU 'Apple M5'"),
        (environment(subtype=None), "environment: subtype is missing"),
        (environment(subtype="h13g"), "subtype is 'h13g', an engine of h13: M4 Max has h16"),
        (environment(subtype="x"), "environment: no chip is called 'x'"),
        (environment(os_build=None), "environment: os_build is None, no build of macOS such as 25D125"),
        (environment(os_build="<b>"), "environment: os_build is '<b>'"),
        (environment(os="Debian"), "device is 'ane' on 'Debian'"),
        (environment(memory_bytes=None), "environment: memory_bytes is missing"),
        (environment(started="soon"), "started is 'soon', no time"),
        (environment(numpy="x" * 5000), "numpy is 'xxxx"),
        (lambda tree: tree.pop("environment"), "missing required field `environment`"),
        (lambda tree: tree["rows"].clear(), "no row is ok: there is nothing to list"),
        (first("durations_ns", []), "it has times, but no durations"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str) -> None:
    doctor(submitted(tmp_path, "m/x.json", an_engine_result()), change)
    found = collect(tmp_path)
    assert found.accepted == ()
    assert reason in reasons(found)["m/x.json"]
    assert str(tmp_path) not in reasons(found)["m/x.json"]
    assert len(reasons(found)["m/x.json"]) < 500


def test_a_rate_far_above_the_known_peak_is_refused(tmp_path: Path) -> None:
    submitted(tmp_path, "m/x.json", an_engine_result(ms=0.01, environment=an_engine("M4", "h16g")))
    assert (
        "TFLOPS are more than 2 times the highest peak known of M4, 19.4"
        in reasons(collect(tmp_path))["m/x.json"]
    )


def test_times_of_training_need_durations(tmp_path: Path) -> None:
    row = msgspec.structs.replace(a_training_row("step", 80.0), durations_ns=(), n=None, warm_up=None)
    submitted(tmp_path, "m/x.json", a_result(row, probe="training", environment=an_engine()))
    assert "it has times, but no durations" in reasons(collect(tmp_path))["m/x.json"]


def test_an_output_that_was_not_checked_is_refused(tmp_path: Path) -> None:
    row = a_row(
        key="dispatch/intercept", n=None, warm_up=None, published_mean=None, params={"output": "not checked"}
    )
    submitted(tmp_path, "m/x.json", a_result(row, probe="dispatch", environment=an_engine()))
    assert reasons(collect(tmp_path))["m/x.json"] == "row 'dispatch/intercept': its output was not checked"


def test_a_copy_evicts_nobody_whatever_its_name(tmp_path: Path) -> None:
    """A stranger copies a result, names it to sort first, dates it back, and gives it another chip."""
    submitted(tmp_path, "bob/b.json", an_engine_result())
    doctor(
        submitted(tmp_path, "aaa/a.json", an_engine_result()),
        environment(started="2020-01-01T00:00:00+00:00"),
    )
    submitted(tmp_path, "carol/c.json", an_engine_result(environment=an_engine("M4 Pro", "h16g")))
    submitted(tmp_path, "dave/d.json", an_engine_result(7, 0.5))
    found = collect(tmp_path)
    assert [one.name for one in found.accepted] == ["aaa/a.json", "bob/b.json", "carol/c.json", "dave/d.json"]
    assert found.refused == ()
    key = "peak/conv512x128/sp64/fp32-ports"
    assert {copy.keys for copy in found.copies} == {("peak/conv512x64/sp64/fp32-ports", key)}
    assert "and 1 more rows have the same calls as in bob/b.json, carol/c.json" in str(found.copies[0])
    assert [(copy.name, copy.others) for copy in found.copies] == [
        ("aaa/a.json", ("bob/b.json", "carol/c.json")),
        ("bob/b.json", ("aaa/a.json", "carol/c.json")),
        ("carol/c.json", ("aaa/a.json", "bob/b.json")),
    ]
    for submission in found.accepted:
        is_copy = submission.contributor != "dave"
        for entry in submission.entries:
            assert (entry.is_copy, "copy" in dict(entry.remarks)) == (is_copy, is_copy)
    boards = boards_of(entry for one in found.accepted for entry in one.entries)
    places = {entry.by: entry.place for board in boards if board.key == key for entry in board.entries}
    assert places == {"aaa": 1, "bob": 1, "carol": 1, "dave": 1}  # copies take no place from dave


def test_calls_that_two_rows_of_a_file_share_are_refused(tmp_path: Path) -> None:
    rows = engine_rows(3)
    twice = msgspec.structs.replace(rows[1], key=rows[1].key.replace("fp32", "fp16"))
    submitted(tmp_path, "carol/c.json", a_result(rows[1], twice, environment=an_engine()))
    assert reasons(collect(tmp_path)) == {
        "carol/c.json": "rows 'peak/conv512x128/sp64/fp32-ports' and 'peak/conv512x128/sp64/fp16-ports' have "
        "the same calls",
    }


@pytest.mark.parametrize("name", ["b\u03bfb", "bob.", "-bob", "bo--b", "b ob", "b" * 40, "<b>"])
def test_a_folder_has_the_name_of_an_account(tmp_path: Path, name: str) -> None:
    submitted(tmp_path, f"{name}/x.json", an_engine_result())
    found = collect(tmp_path)
    assert found.accepted == ()
    assert "its folder's name is no GitHub account's" in found.refused[0].reason


def test_the_folder_itself_is_no_link(tmp_path: Path) -> None:
    submitted(tmp_path / "real", "bob/x.json", an_engine_result())
    (tmp_path / "link").symlink_to("real")
    for place in (tmp_path / "link", f"{tmp_path}/link/"):
        with pytest.raises(ResultFileError, match=r"link/?: is a symbolic link: name the folder itself"):
            collect(place)


def test_links_pipes_folders_and_large_files_are_refused_unread(tmp_path: Path, monkeypatch: Any) -> None:
    outside = submitted(tmp_path / "outside", "secret.json", an_engine_result())
    folder = tmp_path / "folder"
    (folder / "m" / "deep.json").mkdir(parents=True)
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / "m" / "link.json").symlink_to(outside)
    (folder / "m" / "gone.json").symlink_to("nowhere")
    os.mkfifo(folder / "m" / "pipe.json")
    (folder / "m" / "large.json").write_bytes(bytes(101))
    (folder / "m" / "text.json").write_text("{}")
    (folder / "m" / "README.md").write_text("not a submission")
    (folder / "README.md").write_text("not a submission")
    (folder / ".hidden.json").write_text("not a submission")
    monkeypatch.setattr(bounds, "SUBMISSION_BYTES", 100)
    found = collect(folder)
    assert found.accepted == ()
    assert {name: reason.partition(",")[0] for name, reason in reasons(found).items()} == {
        "linked": "is a symbolic link",
        "m/deep.json": "is a folder in a contributor's folder: put all files in that one",
        "m/gone.json": "is a symbolic link",
        "m/large.json": "has 101 bytes",
        "m/link.json": "is a symbolic link",
        "m/pipe.json": "is no regular file",
        "m/text.json": "not a result of aneperf: Object missing required field `schema_version`",
    }


def test_a_folder_has_bounds(tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("a.json", "b.json"):
        (tmp_path / name).write_text("{}")
    monkeypatch.setattr(bounds, "SUBMISSIONS", 1)
    with pytest.raises(ArgumentError, match="has 2 submissions of 1 MiB, and at most 1 of 1024 MiB are read"):
        collect(tmp_path)
    monkeypatch.setattr("aneperf.report.site.folder._SEEN", 1)
    with pytest.raises(ArgumentError, match="holds more than 1 names"):
        collect(tmp_path)
    with pytest.raises(ResultFileError, match=r"a\.json: is no folder"):
        collect(tmp_path / "a.json")


@pytest.mark.parametrize(
    "text", ["", "[" * 100_000, '{"schema_version": 1e999}', "\0" * 5000, '{"a":' * 9999]
)
def test_hostile_json_is_refused_with_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    assert "\n" not in reasons(collect(tmp_path))["x.json"]


def test_names_that_are_no_text_are_shown_printable(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/m\xff\x1b[2J"
    os.mkdir(folder)
    with open(folder + b"/\n::error::\xfe.json", "w") as file:
        json.dump({}, file)
    (refusal,) = collect(tmp_path).refused
    assert refusal.name == "m? [2J/ ::error::?.json"
    assert refusal.contributor == "m? [2J"


def test_a_file_beside_the_folders_has_no_name_and_counts_only_ok_rows(tmp_path: Path) -> None:
    rows = [a_row(status="unsupported", reason="why", n=None, published_mean=None), *engine_rows()[:1]]
    submitted(tmp_path, "x.json", a_result(*rows, environment=an_engine()))
    (one,) = collect(tmp_path).accepted
    assert (one.contributor, one.rows, len(one.entries)) == ("not named", 2, 1)


@pytest.mark.skipif(not SUBMISSIONS.exists(), reason="no submissions in this archive")
def test_the_submissions_of_this_repository_are_accepted() -> None:
    assert reasons(collect(SUBMISSIONS)) == {}


HOSTILE = (
    *(None, 10**400, "\u202e\x1b[31m", "peak/conv9999999x9999999/sp9999999", [], {"a": 1}, -1),
    *(
        1e308,
        5e-324,
        2**63,
        True,
        "x" * 5000,
        "training/static/stories110m/step",
        "9999-12-31T23:59:59+00:00",
    ),
)


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of every value of a JSON tree, but only of the first in a list."""
    for key in tree if isinstance(tree, dict) else range(min(1, len(tree))) if isinstance(tree, list) else ():
        yield (*place, key)
        yield from places(tree[key], (*place, key))


def test_no_value_makes_more_than_a_refusal(tmp_path: Path, thorough: bool) -> None:
    path = submitted(tmp_path, "x.json", an_engine_result())
    whole = json.loads(path.read_text())
    for place in places(whole):
        for value in HOSTILE if thorough else HOSTILE[:3]:
            tree = copy.deepcopy(whole)
            holder = tree
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
            path.write_text(json.dumps(tree))
            found = collect(tmp_path)
            assert len(found.accepted) + len(found.refused) == 1
            assert all(refusal.reason.isprintable() for refusal in found.refused)
