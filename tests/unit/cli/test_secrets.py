"""Each robot's environment is its own: in no other robot's order, and secrets are references everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError, RegistryError
from fleet.manifest.load import load_manifest
from fleet.oci.environments import closed, opened
from fleet.oci.releases import find_release, load_release, release_artifact
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from runtime.contract.codec import canonical_json, digest_of, from_json
from runtime.contract.robot.release import EnvironmentPart, ReleaseDocument, SecretReference
from tests.fakes.fleet_folder import FLEET, write_fleet
from tests.unit.cli.conftest import PREFIX, Desk

ROBOTS: list[dict[str, Any]] = [
    {**FLEET["robots"][0], "environment": {"MISSION": "of-one"}, "secrets": {"TOKEN": {"file": "/etc/robot/key-17"}}},
    {**FLEET["robots"][1], "environment": {"MISSION": "of-two"}},
    FLEET["robots"][2],
]


@pytest.fixture
def running(desk: Desk) -> Desk:
    desk.running("1.0.0", robots=ROBOTS)
    return desk


def orders(desk: Desk) -> dict[str, str]:
    return {name: canonical_json(updater.submitted[-1]).decode() for name, updater in desk.updaters.items()}


def test_no_robot_s_environment_is_in_another_s_order_nor_in_the_document(running: Desk) -> None:
    release = load_release(running.registry, PREFIX, "1.0.0")
    assert "of-one" not in release.text
    assert "key-17" not in release.text
    for name, others in {
        "amr-001": ["of-two"],
        "amr-002": ["of-one", "key-17"],
        "scout-001": ["of-", "key-17"],
    }.items():
        for word in others:
            assert word not in orders(running)[name]
    mine = running.updaters["amr-001"].submitted[-1]
    assert mine.environment == {"MISSION": "of-one"}
    assert mine.secrets == {"TOKEN": SecretReference("file", "/etc/robot/key-17")}
    published = from_json(ReleaseDocument, release.text)
    assert published.parts["amr-001"] == digest_of(EnvironmentPart(mine.environment, mine.secrets))
    assert sorted(published.parts) == ["amr-001", "amr-002"]
    assert (published.schema, published.environment, published.secrets) == (2, {}, {})


def test_going_back_brings_the_parts_of_that_release(running: Desk) -> None:
    changed = [{**ROBOTS[0], "environment": {"MISSION": "of-now"}}, *ROBOTS[1:]]
    running.publish("1.1.0", robots=changed)
    running.fleet("rollout", "--yes")
    assert running.updaters["amr-001"].submitted[-1].environment == {"MISSION": "of-now"}
    shown = running.fleet("diff", "1.0.0", "1.1.0").out
    assert "MISSION" in shown
    running.fleet("rollback", "1.0.0", "--yes")
    assert running.updaters["amr-001"].submitted[-1].environment == {"MISSION": "of-one"}


def test_the_same_manifest_is_the_same_release_from_every_machine(running: Desk) -> None:
    assert running.json("publish")["already_published"]
    found = load_release(running.registry, PREFIX, "1.0.0")
    assert release_artifact(found.document)[1].digest == found.digest


def test_a_part_that_is_gone_or_other_is_said(running: Desk) -> None:
    published = from_json(ReleaseDocument, load_release(running.registry, PREFIX, "1.0.0").text)
    honest = running.registry.read_blob

    def junk(repository: str, digest: str) -> bytes:
        return b"[]" if digest == published.parts["amr-001"] else honest(repository, digest)

    running.registry.read_blob = junk  # type: ignore[method-assign]
    with pytest.raises(RegistryError, match="cannot be read"):
        find_release(running.registry, PREFIX, "1.0.0")


def test_robots_that_have_the_same_share_a_part_and_older_releases_stay_as_they_are() -> None:
    document = ReleaseDocument("f", "1.0.0", (), {}, {}, {}, None)  # type: ignore[arg-type]
    assert closed(document) == (document, {})
    inline = ReleaseDocument("f", "1.0.0", (), {}, {}, {}, None, {"a": {"X": "1"}, "b": {"X": "1"}, "c": {}})  # type: ignore[arg-type]
    bare, contents = closed(inline)
    assert (sorted(bare.parts), len(contents)) == (["a", "b"], 1)
    assert opened(inline, lambda _digest: pytest.fail("an older release has its environment in it")) == inline
    again = opened(bare, contents.__getitem__)
    assert (again.environment, closed(again)[0]) == ({"a": {"X": "1"}, "b": {"X": "1"}}, bare)


@pytest.mark.parametrize(
    ("secrets", "environment", "says"),
    [
        ({"TOKEN": {"file": "token"}}, {}, "file"),
        ({"TOKEN": {}}, {}, "a secret is found in one place"),
        ({"TOKEN": {"file": "/a", "command": "b"}}, {}, "a secret is found in one place"),
        ({"TOKEN": {"command": "'open"}}, {}, "is no command line"),
        ({"TOKEN": {"age": "none.age"}}, {}, "does not exist"),
        ({"TOKEN": {"age": "fleet.yaml"}}, {}, "is not age's armored text"),
        ({"TOKEN": {"age": "../x"}}, {}, "outside of the manifest's folder"),
        ({"JETFLEET_IMAGE": {"file": "/a"}}, {}, "is reserved: jetfleet sets it"),
        ({"TOKEN": {"file": "/a"}}, {"TOKEN": "x"}, "has TOKEN in environment and in secrets"),
        ({"TOKEN": "x"}, {}, ""),
    ],
)
def test_what_is_written_wrong_is_said(
    tmp_path: Path, secrets: dict[str, Any], environment: dict[str, str], says: str
) -> None:
    robots = [{**FLEET["robots"][0], "secrets": secrets, "environment": environment}, *FLEET["robots"][1:]]
    write_fleet(tmp_path, fleet={"robots": robots})
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    assert says in " ".join(problem.message for problem in caught.value.problems)


def test_secrets_merge_by_name_and_age_s_text_travels(tmp_path: Path) -> None:
    robots = [{**FLEET["robots"][0], "secrets": {"TOKEN": {"age": "token.age"}}}, *FLEET["robots"][1:]]
    both = {"TOKEN": {"file": "/etc/token"}, "OTHER": {"command": "cat /etc/other"}}
    write_fleet(tmp_path, fleet={"robots": robots, "defaults": {**FLEET["defaults"], "secrets": both}})
    (tmp_path / "token.age").write_text("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n")
    desired = resolve(load_manifest(tmp_path), recipe_for)
    first, second = desired.robots[:2]
    assert first.secrets["TOKEN"].kind == "age"
    assert first.secrets["TOKEN"].value.startswith("-----BEGIN AGE")
    assert second.secrets["TOKEN"] == SecretReference("file", "/etc/token")
    assert first.secrets["OTHER"] == SecretReference("command", "cat /etc/other")
