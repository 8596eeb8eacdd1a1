import json
import os
from pathlib import Path
from typing import Any

import pytest

from aneperf.errors import ArgumentError, ResultFileError
from aneperf.kinds import PAGE_HEAD
from aneperf.report.site.output import check_site_folder, write_site


def pages(**texts: str) -> dict[str, bytes]:
    return {f"{name}.html": f"{PAGE_HEAD}{text}\n".encode() for name, text in texts.items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "aneperf-site.json"}


def test_a_later_run_replaces_its_own_pages_and_deletes_those_that_are_no_more(tmp_path: Path) -> None:
    site = tmp_path / "site"
    write_site(site, pages(index="1", old="1"))
    write_site(site, pages(index="2", new="2"))
    assert contents(site) == pages(index="2", new="2")
    write_site(site, pages(index="2", new="2"))
    assert contents(site) == pages(index="2", new="2")


def state(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return what a change of a file would change; reading it changes the rest."""
    found = {path.name: path.lstat() for path in folder.iterdir()}
    return {name: (one.st_mode, one.st_ino, one.st_size, one.st_mtime_ns) for name, one in found.items()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda site: (site / "notes.txt").write_text("mine"),
            "holds 'notes.txt', which is not from aneperf",
        ),
        (
            lambda site: (site / "old.html").write_text("mine"),
            "old.html: is an HTML|old.html: was changed|not an",
        ),
        (
            lambda site: (site / "old.html").write_bytes(pages(x="mine")["x.html"]),
            "old.html: was changed since",
        ),
        (lambda site: (site / "folder").mkdir(), "holds 'folder', which is not from aneperf"),
        (lambda site: (site / "link.html").symlink_to("old.html"), "holds 'link.html', which is not"),
        (lambda site: (site / "aneperf-site.json").unlink(), "holds 'index.html', which is not from aneperf"),
        (lambda site: (site / "aneperf-site.json").write_text("{}"), "no record of a site"),
        (lambda site: os.mkfifo(site / "pipe.html"), "holds 'pipe.html', which is not from aneperf"),
    ],
)
def test_what_is_not_its_own_stops_a_run_and_stays(tmp_path: Path, make: Any, message: str) -> None:
    site = tmp_path / "site"
    write_site(site, pages(index="1", old="1"))
    make(site)
    before = state(site)
    with pytest.raises(ResultFileError, match=message):
        check_site_folder(site, tmp_path / "submissions")
    with pytest.raises(ResultFileError, match=message):
        write_site(site, pages(index="2"))
    assert state(site) == before


def test_a_record_cannot_make_a_foreign_file_its_own(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.txt").write_text("mine")
    (tmp_path / "outside.html").write_bytes(pages(x="mine")["x.html"])
    record = {"aneperf_site": 1, "files": {"thesis.txt": ["0"], "../outside.html": ["0"]}}
    (tmp_path / "site" / "aneperf-site.json").write_text(json.dumps(record))
    with pytest.raises(ResultFileError, match=r"thesis\.txt"):
        write_site(tmp_path / "site", pages(index="1"))
    (tmp_path / "site" / "thesis.txt").unlink()
    write_site(tmp_path / "site", pages(index="1"))
    assert (tmp_path / "outside.html").exists()


def test_a_run_that_was_cut_short_is_finished_by_the_next(tmp_path: Path, monkeypatch: Any) -> None:
    from aneperf.report.site import output

    site, write = tmp_path / "site", output.write_whole
    write_site(site, pages(a="1", b="1", c="1"))

    def fail_at_b(path: Path, *arguments: Any) -> None:
        if path.name == "b.html":
            raise ResultFileError("disk full")
        write(path, *arguments)

    monkeypatch.setattr(output, "write_whole", fail_at_b)
    with pytest.raises(ResultFileError, match="disk full"):
        write_site(site, pages(a="2", b="2"))
    monkeypatch.undo()
    write_site(site, pages(a="3", b="3"))
    assert contents(site) == pages(a="3", b="3")


@pytest.mark.parametrize("site", ["submissions", "submissions/site", "."])
def test_the_site_lies_apart_from_the_submissions(tmp_path: Path, site: str) -> None:
    (tmp_path / "submissions").mkdir()
    with pytest.raises(ArgumentError, match="contains the other: name another folder"):
        check_site_folder(tmp_path / site, tmp_path / "submissions")


def test_a_site_needs_a_folder_that_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "submissions").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultFileError, match=r"the folder .*none does not exist: create it first"):
        check_site_folder(tmp_path / "none" / "site", tmp_path / "submissions")
    with pytest.raises(ResultFileError, match="file: is no folder"):
        check_site_folder(tmp_path / "file", tmp_path / "submissions")
