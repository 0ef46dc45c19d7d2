"""Which runner a pull request can reach: a profile's name is a label only where somebody allowed it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.cli.runners import SHIPPED, allowed_labels, runner_of
from fleet.errors import UsageError
from tests.unit.cli.conftest import Desk

ROOT = Path(__file__).resolve().parents[3]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def test_the_profiles_that_come_with_jetfleet_are_builders() -> None:
    names = [path.stem for path in (ROOT / "manifests" / "profiles").glob("*.yaml")]
    assert names
    assert all(SHIPPED.fullmatch(name) for name in names)
    assert runner_of("sim-x86", None) == ["self-hosted", "sim-x86"]


@pytest.mark.parametrize(
    "name", ["fleet", "fleet-publish", "fleet-plan", "self-hosted", "linux", "x64", "ubuntu-24.04"]
)
def test_other_runners_labels_are_nobody_s_profile(name: str) -> None:
    with pytest.raises(UsageError, match=f"the profile {name} is not a builder that CI may use"):
        runner_of(name, None)
    with pytest.raises(UsageError, match="may not be a builder's label"):
        allowed_labels(f"sim-x86,{name}")
    with pytest.raises(UsageError, match="is not a builder"):
        runner_of(name, frozenset({name}))


def test_whoever_looks_after_the_runners_names_them() -> None:
    allowed = allowed_labels(" my-orin, sim-x86\n")
    assert runner_of("my-orin", allowed) == ["self-hosted", "my-orin"]
    with pytest.raises(UsageError, match="those are my-orin, sim-x86") as caught:
        runner_of("sim-arm64", allowed)
    assert "FLEET_RUNNERS" in caught.value.hint
    assert allowed_labels("") is None
    assert allowed_labels(None) is None


def rename_profile(desk: Desk, name: str) -> None:
    for path in desk.folder.rglob("*.yaml"):
        text = path.read_text().replace("sim-x86", name).replace(f"profiles/{name}.yaml", "profiles/sim-x86.yaml")
        path.write_text(text)


@pytest.mark.parametrize("arguments", [["--github"], ["--json"], []])
def test_a_profile_called_like_the_publisher_is_refused(desk: Desk, arguments: list[str]) -> None:
    rename_profile(desk, "fleet-publish")
    result = desk.fleet("ci", "plan", *arguments, code=2)
    assert "the profile fleet-publish is not a builder that CI may use" in " ".join(result.err.split())
    assert "self-hosted" not in result.out


def test_the_variable_of_the_repository_decides(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_RUNNERS", "bench-7")
    assert "is not a builder" in " ".join(desk.fleet("ci", "plan", "--github", code=2).err.split())
    rename_profile(desk, "bench-7")
    assert '["self-hosted","bench-7"]' in desk.fleet("ci", "plan", "--github").out
    monkeypatch.setenv("FLEET_RUNNERS", "")
    desk.fleet("ci", "plan", code=2)


# ── the example workflows ──


def jobs_of(workflow: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
    return found


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_pinned_and_leave_no_credentials(workflow: Path) -> None:
    steps = [step for job in jobs_of(workflow).values() for step in job["steps"] if "uses" in step]
    assert steps
    for step in steps:
        assert PINNED.fullmatch(step["uses"]), step
        if step["uses"].startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
    lines = [line for line in workflow.read_text(encoding="utf-8").splitlines() if "uses:" in line]
    assert all(re.search(r"# v\d+\.\d+\.\d+$", line) for line in lines), "a person reads the version"
    assert yaml.safe_load(workflow.read_text(encoding="utf-8"))["permissions"] == {"contents": "read"}


def test_a_pull_request_reaches_no_runner_of_ours_and_no_secret() -> None:
    for workflow in WORKFLOWS:
        text = workflow.read_text(encoding="utf-8")
        events = yaml.safe_load(text)[True]  # YAML reads `on` as true
        if "pull_request" in events:
            assert all("self-hosted" not in str(job["runs-on"]) for job in jobs_of(workflow).values()), workflow.name
            assert "secrets." not in text
        assert "pull_request_target" not in events


def test_publish_has_a_runner_of_its_own_behind_an_environment() -> None:
    jobs = jobs_of(ROOT / ".github" / "workflows" / "fleet.yml")
    publish = jobs["publish"]
    assert publish["environment"] == "fleet-publish"
    (label,) = set(publish["runs-on"]) - {"self-hosted"}
    others = [job["runs-on"] for name, job in jobs.items() if name != "publish"]
    assert label not in str(others)
    with pytest.raises(UsageError):
        runner_of(label, None)
