"""A robot as builder over ``ssh://``: link, Engine and machine die in mid-build, and two operators build at once."""

from __future__ import annotations

import hashlib
import shlex
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.lab.bays import WorkerBay
from tests.lab.site import Site, finish

pytestmark = pytest.mark.xdist_group("lab-builder-long")

BUILDER = "amr-001"
JOBS = "docker ps --all --quiet --no-trunc --filter label=io.jetfleet.job"
NOTICED_S = 60.0
"""Half a minute, on a machine that is half as fast."""


class Operator:
    """One operator with a cache of their own, whose `ssh` knows the lab."""

    def __init__(self, bay: WorkerBay, folder: Path, prefix: str) -> None:
        folder.mkdir(parents=True)
        self.lab, self.bay = bay.running, bay
        self.site = Site.create(self.lab, folder / "manifests", prefix)
        self.site.lock_alone(folder / "cache")
        profile = self.site.folder / "profiles" / "sim-x86.yaml"
        settings = yaml.safe_load(profile.read_text(encoding="utf-8"))
        settings["builder"] = {
            "endpoint": f"ssh://{self.lab.user}@{self.lab.robots[BUILDER]}", "parallel": 1, "timeout": "20m"
        }  # fmt: skip
        profile.write_text(yaml.safe_dump(settings), encoding="utf-8")
        ssh = folder / "bin" / "ssh"
        ssh.parent.mkdir()
        ssh.write_text(f'#!/bin/sh\nexec /usr/bin/ssh {shlex.join(bay.bay.lab.ssh_options())} "$@"\n')
        ssh.chmod(0o755)
        self.site.environment["PATH"] = f"{ssh.parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"

    def jobs(self, *, running: bool = False) -> list[str]:
        """Return the ids of the builder containers on the builder."""
        only = " --filter status=running" if running else ""
        return self.lab.exec(BUILDER, ["sh", "-c", JOBS + only]).stdout.split()

    def until(self, what: str, true: Callable[[], bool], deadline_s: float = 240.0) -> None:
        ends = time.monotonic() + deadline_s
        while not true():
            assert time.monotonic() < ends, f"waited {deadline_s:g} s for {what}"
            time.sleep(0.1)

    def lost_in_mid_build(self, break_it: Callable[[], None]) -> tuple[str, str]:
        """Break something while a builder runs; return its container's id and what `fleet build` said of it."""
        build = self.site.start("build")
        self.until("a running builder", lambda: bool(self.jobs(running=True)) or build.poll() is not None)
        jobs = self.jobs(running=True)
        assert len(jobs) == 1, f"no builder was caught at work: {finish(build, (0, 3))}"
        (job,) = jobs
        break_it()
        broken = time.monotonic()
        said = finish(build, 3).stderr
        print(f"noticed after {time.monotonic() - broken:.1f} s")
        assert time.monotonic() - broken < NOTICED_S
        assert "its builder was lost" in said
        assert "run fleet build again" in said
        return job, said


@pytest.fixture(scope="module")
def builder(bay: WorkerBay, tmp_path_factory: pytest.TempPathFactory) -> Operator:
    """A fresh robot; its Engine has nothing that a builder image could start from."""
    bay.fresh(BUILDER)
    return Operator(bay, tmp_path_factory.mktemp("operator") / "a", "builder-none")


@pytest.fixture
def operator(builder: Operator, request: pytest.FixtureRequest) -> Iterator[Operator]:
    """The same with an empty place in the registry: every engine is missing."""
    own = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]  # parameters of one test begin alike
    builder.site.move(f"{builder.lab.registry}/builder-{own}")
    yield builder
    builder.lab.repair()


def test_1_an_engine_that_lacks_its_base_image_gets_it_from_here(operator: Operator) -> None:
    said = operator.site.fleet("build", code=3).stderr
    assert "send it from this machine (fleet build --send-base)" in said
    document = operator.site.fleet_json("build", "--send-base")
    assert document["built"]
    assert operator.jobs() == []


def test_2_a_cut_link_is_said_and_the_next_run_goes_on(operator: Operator) -> None:
    job, _ = operator.lost_in_mid_build(lambda: operator.lab.cut_link(BUILDER))
    operator.lab.restore_link(BUILDER)
    assert job in operator.jobs()
    document = operator.site.fleet_json("build")
    assert document["failed"] == []
    assert operator.jobs() == []


@pytest.mark.parametrize("victim", ["engine", "machine"])
def test_3_what_died_with_its_engine_or_machine_is_built_anew(operator: Operator, victim: str) -> None:
    kill = {
        "engine": lambda: operator.lab.kill_service(BUILDER, "dockerd"),
        "machine": lambda: operator.lab.power_off(BUILDER),
    }[victim]
    job, _ = operator.lost_in_mid_build(kill)
    if victim == "machine":
        operator.lab.power_on(BUILDER)
    operator.until("its Engine", lambda: operator.lab.exec(BUILDER, ["docker", "ps"]).exit_code == 0)
    assert operator.site.fleet_json("build")["failed"] == []
    assert job not in operator.jobs()
    assert operator.jobs() == []


def test_4_two_operators_at_once_share_one_builder(operator: Operator, tmp_path: Path) -> None:
    other = Operator(operator.bay, tmp_path / "b", operator.site.prefix)
    one = operator.site.start("build", "--json")
    operator.until("a running builder", lambda: bool(operator.jobs(running=True)))
    two = other.site.start("build", "--json")
    documents = [finish(each, 0).json for each in (one, two)]
    assert [document["failed"] for document in documents] == [[], []]
    assert operator.jobs() == []


def test_5_a_full_disk_is_said(operator: Operator) -> None:
    operator.lab.shrink_disk(BUILDER, 300)
    said = operator.site.fleet("build", "--send-base", code=3).stderr
    assert "no space left" in said
