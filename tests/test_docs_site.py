"""The check of the documentation's site finds the faults that it is there for."""

import subprocess
import sys
import zlib
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / ".ci" / "site.py"
pytestmark = pytest.mark.skipif(not CHECK.exists(), reason="a source archive has no checks of CI")

PAGE = """<head><link rel="stylesheet" href="style.css">{head}</head>
<h2 id="part">Part</h2><a href="#part">here</a> <a href="other.html#top">there</a> {body}"""


def check(site: Path, *, head: str = "", body: str = "", names: str = "") -> tuple[int, list[str]]:
    (site / "index.html").write_text(PAGE.format(head=head, body=body))
    (site / "other.html").write_text('<h1 id="top">Other</h1><a href="https://example.org/">elsewhere</a>')
    (site / "style.css").touch()
    inventory = b"# 1\n# 2\n# 3\n# 4\n" + zlib.compress(names.encode())
    (site / "objects.inv").write_bytes(inventory)
    outcome = subprocess.run(
        [sys.executable, str(CHECK), str(site)], capture_output=True, text=True, check=False
    )
    assert outcome.stderr == ""
    return outcome.returncode, outcome.stdout.splitlines()


def test_every_fault_is_found(tmp_path: Path) -> None:
    code, faults = check(
        tmp_path,
        head='<script src="https://example.org/x.js"></script>',
        body='<a href="gone.html">1</a> <a href="other.html#gone">2</a> <a href="#gone">3</a>',
    )
    assert code == 1
    lacking = "the reference lacks "
    assert [fault.partition(": ")[2] for fault in faults if not fault.startswith(lacking)] == [
        "loads https://example.org/x.js",
        "gone.html leads to no file",
        "other.html#gone leads to no anchor",
        "#gone leads to no anchor",
    ]
    names = [fault.removeprefix(lacking) for fault in faults if fault.startswith(lacking)]
    assert {"aneperf.peak", "aneperf.mil.conv", "aneperf.errors.AneError"} <= set(names)

    code, said = check(tmp_path, names="\n".join(f"{name} py:function 1 index.html#$ -" for name in names))
    assert (code, said[0].partition(" pages")[0]) == (0, "no fault in 2")
