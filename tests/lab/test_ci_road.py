"""The workflow's own steps, read from its file and run as a script against the lab's registry."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from fleetbox.running import RunningLab

from tests.lab.road import Road
from tests.lab.site import ROOT, Site

pytestmark = pytest.mark.xdist_group("lab-ci")

WORKFLOW = ROOT / ".github" / "workflows" / "fleet.yml"
DEADLINE_S = 420


class Actions:
    """As much of a GitHub Actions runner as the workflow uses: `run` steps, step outputs, a matrix."""

    def __init__(self, site: Site, output: Path) -> None:
        self._jobs = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]
        self._output = output
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._environment = {**os.environ, "PATH": path, "FLEET_MANIFEST": str(site.folder)}

    def run(self, job: str, matrix: dict[str, Any] | None = None) -> dict[str, str]:
        """Run one job's steps; return what they appended to $GITHUB_OUTPUT."""
        self._output.write_text("", encoding="utf-8")
        for step in self._jobs[job]["steps"]:
            if "run" in step:
                self._step(step["run"], matrix or {})
        lines = self._output.read_text(encoding="utf-8").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def _step(self, script: str, matrix: dict[str, Any]) -> None:
        for key, value in matrix.items():
            script = script.replace(f"${{{{ matrix.{key} }}}}", str(value))
        assert "${{" not in script, f"the step uses an expression that this runner does not know: {script}"
        environment = {**self._environment, "GITHUB_OUTPUT": str(self._output)}
        command = ["bash", "-e", "-o", "pipefail", "-c", script]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def site(lab: RunningLab, tmp_path: Path) -> Site:
    return Site.create(lab, tmp_path / "manifests", f"ci-{time.time_ns()}")


def test_the_workflow_builds_what_is_missing_and_then_nothing(site: Site, published: Road, tmp_path: Path) -> None:
    actions = Actions(site, tmp_path / "output")

    outputs = actions.run("plan")
    assert outputs["build"] == "true"
    jobs = json.loads(outputs["engines"])["include"]
    assert len(jobs) == 3  # two engines and the runtime base image
    for job in jobs:
        actions.run("build", job)
        actions.run("build", job)  # done already is success
    assert actions.run("plan") == {"engines": '{"include":[]}', "build": "false"}

    actions.run("publish")
    actions.run("publish")
    document = site.fleet_json("ci", "plan")
    assert document["engines"] == []
    assert document["images"] == []
    assert document["published"]

    # The same manifest, built anew in an empty corner of the registry, gives the same images to the bit.
    here, there = site.fleet_json("publish"), published.publishes["1.0.0"]
    assert digests(here) == digests(there)


def digests(published: Any) -> dict[str, str]:
    return {image["variant"]: image["image"].partition("@")[2] for image in published["images"]}


def test_a_key_of_another_manifest_is_a_usage_error(site: Site) -> None:
    result = site.fleet("ci", "build", "--key", "sha256:" + "0" * 64, code=2)
    assert "this manifest has no engine or image" in result.stderr
