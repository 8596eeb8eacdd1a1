"""Baselines: results that later ones are judged by, in a file, or in a folder by probe and machine."""

import hashlib
import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .errors import ArgumentError
from .files import one_line
from .kinds import Kind
from .outputs import check_output, make_folder, write_whole
from .results import Result

_LONGEST = 80  # characters of a name; a file system takes 255
_MOST = 100  # files of one baseline


@dataclass(frozen=True)
class Baseline:
    """The results of one kind that are judged, by file, and the earlier ones of their baseline, if any.

    `path` is the baseline's file. In a folder further runs have files of their own: peak.json, peak.2.json.
    """

    path: Path
    in_file: bool  # named by the user, not one of a folder
    before: tuple[Result, ...]
    after: dict[str, Result]

    @property
    def kind(self) -> str:
        """Name what is judged."""
        result = next(iter(self.after.values()))
        found = result.environment
        layout = f", {found.layout}" if found.cluster else ""
        return one_line(
            f"{result.probe}, {found.device} {found.chip}, {found.cores} cores of {found.cpu}{layout}"
        )

    def check_update(self) -> None:
        """Check that the results can become the baseline.

        Raises ArgumentError for rows in error and several results for one file, and as `check_output` does.
        """
        if self.in_file and len(self.after) > 1:
            raise ArgumentError(f"{self.path}: a baseline in a file is one result: give a folder for several")
        for place, (file, result) in enumerate(self.after.items()):
            if failed := sum(row.status == "error" for row in result):
                raise ArgumentError(f"{file}: has {failed} rows in error, and a baseline has none")
            if self.path.parent.is_dir():
                check_output(_numbered(self.path, place), Kind.RESULT, {"RESULT": file})

    def update(self) -> list[Path]:
        """Make the results the baseline, and return its files. Raises ResultFileError."""
        make_folder(self.path.parent)
        files = [_numbered(self.path, place) for place in range(max(len(self.after), len(self.before)))]
        for file, result in zip(files, self.after.values(), strict=False):
            write_whole(file, Kind.RESULT, result.to_json())
        for file in files[len(self.after) :]:
            file.unlink(missing_ok=True)
        return files[: len(self.after)]


def find_baselines(place: str, files: Sequence[str]) -> list[Baseline]:
    """Read results and the baselines of their kinds, from a file or a folder, which need not be there yet.

    Raises ResultFileError for a file that cannot be read.
    """
    in_file = os.path.isfile(place) or (place.endswith(".json") and not os.path.isdir(place))
    kinds: dict[Path, dict[str, Result]] = {}
    for file in files:
        result = Result.load(file)
        path = Path(place) if in_file else Path(place) / baseline_name(result)
        kinds.setdefault(path, {})[file] = result
    return [
        Baseline(path, in_file, _read(path, 1 if in_file else _MOST), results)
        for path, results in kinds.items()
    ]


def baseline_name(result: Result) -> str:
    """Name a baseline's file by probe, device, chip and machine, and by ranks if there are several."""
    found = result.environment
    facts = [result.probe, found.device, found.subtype or found.chip, found.cpu, f"{found.cores} cores"]
    facts += [found.layout] if found.cluster else []
    readable = re.sub(r"[^a-z0-9]+", "-", " ".join(facts).lower()).strip("-")[:_LONGEST]
    exact = hashlib.sha256("\n".join([*facts, found.chip]).encode()).hexdigest()[:8]
    return f"{readable}-{exact}.json"


def _read(path: Path, most: int) -> tuple[Result, ...]:
    """Read the runs of a baseline."""
    files = itertools.takewhile(Path.exists, (_numbered(path, place) for place in range(most)))
    return tuple(map(Result.load, files))


def _numbered(path: Path, place: int) -> Path:
    return path.with_suffix(f".{place + 1}{path.suffix}") if place else path
