"""Continuous integration and releases have least permissions, and all that they run is pinned."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCKS = sorted((ROOT / ".ci").glob("*.txt"))
pytestmark = pytest.mark.skipif(not WORKFLOWS, reason="a source archive has no workflows")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_no_rights_but_those_of_its_jobs(path: Path) -> None:
    text = path.read_text()
    head, _, jobs = text.partition("\njobs:\n")
    assert "\npermissions: {}\n" in head
    assert "\nconcurrency:\n" in head
    assert "pull_request_target" not in text
    for job in re.split(r"\n(?=  \w+:\n)", jobs):
        assert re.search(r"\n    timeout-minutes: \d+\n", job)
        rights = re.search(r"\n    permissions:(.*?)\n    \w+:", job, re.DOTALL)
        assert rights
        assert "contents: write" not in rights[1]
        assert ("write" in rights[1]) == job.strip().startswith("publish:")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_its_commit(path: Path) -> None:
    uses = [line.strip() for line in path.read_text().splitlines() if "uses:" in line]
    assert uses
    for line in uses:
        assert re.fullmatch(r"- uses: [\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line)


def test_every_package_of_ci_has_its_version_and_hashes() -> None:
    assert {path.name for path in LOCKS} == {"docs.txt", "lint.txt", "packages.txt", "torch.txt"}
    for path in LOCKS:
        text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", "")
        for line in text.splitlines():
            assert re.match(r"[\w.-]+==[\w.+!]+ ", line)
            assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line)


def test_ci_asks_another_index_for_pytorch_alone() -> None:
    run = (ROOT / ".ci" / "run").read_text().replace("\\\n", "")
    installs = [line for line in run.splitlines() if "index-url" in line]
    assert len(installs) == 1
    assert "--no-deps --require-hashes" in installs[0]
    assert ".ci/torch.txt" in installs[0]
    assert "INDEX_URL" not in "".join(path.read_text() for path in WORKFLOWS)


def test_nothing_of_a_submission_is_run() -> None:
    text = (ROOT / ".github" / "workflows" / "community.yml").read_text()
    assert "secrets" not in text
    assert "write" not in text
    assert [line.strip() for line in text.splitlines() if "proposed" in line] == [
        "with: {persist-credentials: false, path: proposed, sparse-checkout: submissions, fetch-depth: 2}",
        'run: venv/bin/aneperf report --community "$GITHUB_WORKSPACE/proposed/submissions" -o site --strict',
        'changed=$(git -C "$GITHUB_WORKSPACE/proposed" diff --no-renames --name-only HEAD^1 HEAD -- '
        "submissions)",
    ]
    places = re.findall(r"working-directory: (.*)", text)
    # Not where Python would import from a stranger's files.
    assert places == ["base", "${{ runner.temp }}", "${{ runner.temp }}"]
    assert text.count("run: ") == len(places)
    assert set(re.findall(r"github\.event\.[\w.]+", text)) == {
        "github.event.pull_request.base.sha",
        "github.event.pull_request.user.login",  # in the environment, and in no text of a script
    }
