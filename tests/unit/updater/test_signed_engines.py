"""What the updater tells a container of engines: those of the signed release, for this hardware; nothing else."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.serving import node_folder
from runtime.contract.node.signed_engines import SignedEngines
from runtime.contract.robot.release import Probation, ReleaseDocument, ReleaseEngine, ReleaseVariant
from runtime.contract.robot.trust import TRUST_FILE, TRUST_FOLDER, Proof, Signed, TrustSettings
from runtime.contract.robot.update import RunningRelease
from runtime.updater.robot.docker_cli import DockerCli
from runtime.updater.robot.real_world import RealWorld
from runtime.updater.state.release_folder import files_of, target_of
from runtime.updater.state.signed_engines import signed_engines
from runtime.updater.state.world import ContainerFacts
from tests.fakes.robots.robot_world import digest, order, variant


def proof(*variants: ReleaseVariant) -> Proof:
    document = ReleaseDocument("warehouse", "1.1.0", variants, {}, {}, {}, Probation())
    return Proof(canonical_json(document).decode(), Signed("{}"))


def keys(found: SignedEngines) -> list[str]:
    return [engine.key for engine in found.engines]


def test_engines_of_this_hardware_alone() -> None:
    ours = variant("1")
    standby = replace(ours, standby=(ReleaseEngine("sign_text", "fp16", digest("5"), digest("6"), 1),))
    other = variant("2", requires=replace(ours.requires, platform="linux/arm64"))
    found = signed_engines(order("1", variant=standby, proof=proof(standby, variant("3"), other)))
    assert keys(found) == [digest("5"), digest("1"), digest("3")]
    assert found.version == "1.1.0"
    assert keys(signed_engines(order("1"))) == [digest("1")]
    assert keys(signed_engines(order("1", proof=Proof("{", Signed("{}"))))) == [digest("1")]


@pytest.fixture
def world(tmp_path: Path) -> RealWorld:
    return RealWorld(tmp_path, "jetfleet-none", tmp_path / "machine")


def trusts(world: RealWorld, tmp_path: Path, *, unsigned: bool) -> None:
    (tmp_path / TRUST_FOLDER).mkdir(exist_ok=True)
    (tmp_path / TRUST_FOLDER / TRUST_FILE).write_bytes(canonical_json(TrustSettings("warehouse", unsigned=unsigned)))


def release(world: RealWorld) -> RunningRelease:
    told = order("1", proof=proof(variant("1"), variant("3")))
    world.write_release(target_of(told).folder, files_of(told))
    return target_of(told)


def test_it_is_handed_down_in_signed_fleets_alone_for_containers_to_read(world: RealWorld, tmp_path: Path) -> None:
    listed = tmp_path / "serve" / "signed-engines-a.json"
    trusts(world, tmp_path, unsigned=False)
    world.make_shared([release(world)])
    assert keys(from_json(SignedEngines, listed.read_bytes())) == [digest("1"), digest("3")]
    assert listed.stat().st_mode & 0o777 == 0o644
    trusts(world, tmp_path, unsigned=True)
    world.make_shared([release(world)])
    assert not listed.exists()


def test_of_a_release_that_cannot_be_read_nothing_may_be_put_in(world: RealWorld, tmp_path: Path) -> None:
    trusts(world, tmp_path, unsigned=False)
    one = release(world)
    (tmp_path / "releases" / one.folder / "release.json").write_text("{")
    world.make_shared([one])
    assert from_json(SignedEngines, (tmp_path / "serve" / "signed-engines-a.json").read_bytes()).engines == ()
    assert "is damaged" in world.said


def test_a_disk_that_takes_no_file_is_said_and_stops_nothing(world: RealWorld, tmp_path: Path) -> None:
    trusts(world, tmp_path, unsigned=False)
    (tmp_path / "serve" / "signed-engines-a.json").mkdir(parents=True)
    world.make_shared([release(world)])
    assert "signed-engines-a.json" in world.said
    assert "engines are put in by what it said before" in world.said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_folder_that_docker_made_for_root_becomes_its_container_s(
    world: RealWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: `docker compose up` of a release whose folder is gone, after a reboot or a cleaning up."""
    one = release(world)
    facts = ContainerFacts("c", "i", "image", "running", "", 0, 0, node_dir=node_folder("", one.folder))
    monkeypatch.setattr(DockerCli, "container", lambda self, slot="": facts)
    assert world.container() == facts
    place = tmp_path / "machine" / facts.node_dir.lstrip("/")
    place.mkdir(parents=True)
    world.container()
    assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (1000, 0o750)


def test_what_containers_find_is_made_before_they_start(world: RealWorld, tmp_path: Path) -> None:
    one = release(world)
    world.make_shared([one])
    assert [path.name for path in (tmp_path / "machine/run/jetfleet/slots").iterdir()] == [f"a-{one.folder}"]
    assert (tmp_path / "machine/run/jetfleet/node").is_dir(), "for releases of before"
    assert (tmp_path / "serve" / "serving.lock").exists()
