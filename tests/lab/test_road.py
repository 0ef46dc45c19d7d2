"""The whole road on real parts: engines, images, three releases, three robots, and back."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tests.lab.bays import WorkerBay
from tests.lab.road import Road
from tests.lab.site import Site

RELEASES = pytest.mark.xdist_group("lab-releases")
FLEET = pytest.mark.xdist_group("lab-fleet")
ONE = pytest.mark.xdist_group("lab-road-one")


def builder_containers_since(site: Site, started: float) -> int:
    """Count the builder containers that the Engine created for this site since ``started`` (Unix seconds)."""
    filters = {"type": "container", "event": "create", "label": f"io.jetfleet.owner={site.owner()}"}
    events = site.lab.lab.client.events(since=int(started), until=int(time.time()) + 1, filters=filters, decode=True)
    return sum(1 for _ in events)


@RELEASES
def test_three_robots_of_two_variants_are_two_engines(published: Road) -> None:
    built = published.builds["1.0.0"]["built"]
    assert sorted((each["model"], each["precision"]) for each in built) == [
        ("sign_text", "fp16"),
        ("sign_text", "fp32"),
    ]


@RELEASES
def test_int8_is_really_int8(published: Road) -> None:
    (engine,) = published.builds["1.1.0"]["built"]
    assert engine["precision"] == "int8"
    assert engine["main_layers"]["int8"] > engine["main_layers"].get("fp32", 0)
    assert all("int8" not in each["layer_precisions"] for each in published.builds["1.0.0"]["built"])


@RELEASES
def test_a_second_build_starts_no_container(road: Road, tmp_path: Path) -> None:
    road.site.lock_alone(tmp_path / "cache")
    started = time.time()
    again = road.site.fleet_json("build")
    assert again["built"] == []
    assert builder_containers_since(road.site, started) == 0


@RELEASES
def test_publishing_again_from_another_clean_checkout_is_the_same(published: Road, tmp_path: Path) -> None:
    other = Site.create(published.site.lab, tmp_path / "manifests", published.site.prefix)
    again = other.fleet_json("publish")
    assert again["already_published"]
    assert again["release"] == published.publishes["1.0.0"]["release"]


@RELEASES
def test_a_published_version_never_changes(published: Road) -> None:
    published.site.set_version("1.0.0")  # its model is that of 1.2.0
    result = published.site.fleet("publish", code=4)
    assert "1.0.0 is published already with other content" in result.stderr
    assert "raise version" in result.stderr


@FLEET
def test_robots_prove_what_they_run(on_first: Road) -> None:
    images = {image["variant"]: image["image"].partition("@")[2] for image in on_first.publishes["1.0.0"]["images"]}
    for name, robot in on_first.site.until_well().items():
        assert robot["release"] == "1.0.0", name
        assert robot["image_digest"] == images[robot["variant"]]
    plan = on_first.site.fleet_json("plan")
    assert {robot["to"]["version"] for robot in plan["robots"]} == {"1.2.0"}


@ONE
def test_detections_arrive_on_the_robot(bay: WorkerBay) -> None:
    site = bay.on_first("scout-001").site
    echo = [
        "docker",
        "exec",
        site.container("scout-001"),
        "python3",
        "-m",
        "runtime.executor.checks.echo",
        "/jetfleet/sign_text/text",
    ]
    result = site.fleet_json("exec", "--robots", "scout-001", "--", *echo, "--count", "3")
    messages = [json.loads(line) for line in result["robots"][0]["stdout"].splitlines()]
    assert len(messages) == 3
    stamps = [message["header"]["stamp"]["sec"] + message["header"]["stamp"]["nanosec"] / 1e9 for message in messages]
    assert stamps == sorted(stamps)
    assert all(message["model"] == "sign_text" for message in messages)


@ONE
def test_compose_by_hand_in_the_release_folder_changes_nothing(bay: WorkerBay) -> None:
    robot, site = "scout-001", bay.on_first("scout-001").site
    before = site.container(robot)
    by_hand = "cd /var/lib/jetfleet/current && docker compose up -d"
    assert site.lab.ssh(robot, by_hand, deadline_s=120).exit_code == 0
    assert site.container(robot) == before
    down = "cd /var/lib/jetfleet/current && docker compose down"
    assert site.lab.ssh(robot, down, deadline_s=120).exit_code == 0
    assert site.lab.ssh(robot, by_hand, deadline_s=120).exit_code == 0
    assert site.container(robot)


@FLEET
def test_only_what_changed_is_pulled_and_the_bad_release_stops(on_first: Road) -> None:
    site = on_first.site
    before = site.containers()

    result = site.fleet_json("rollout", "1.1.0", "--yes")
    pulled = {robot["name"]: robot["fetched_bytes"] for robot in result["robots"]}
    after = site.containers()
    assert pulled["amr-001"] == pulled["amr-002"] == 0
    assert (after["amr-001"], after["amr-002"]) == (before["amr-001"], before["amr-002"])
    assert after["scout-001"] != before["scout-001"]
    assert set(site.releases().values()) == {"1.1.0"}
    _rollback_tag_gives_the_earlier_image(on_first)

    tags_before = _moving_tags(on_first)
    result = site.fleet_json("rollout", "1.2.0", "--yes", "--force", code=4)
    outcomes = {robot["name"]: robot["outcome"] for robot in result["robots"]}
    assert sorted(outcomes.values()) == ["reverted", "skipped", "skipped"]
    (reverted,) = [robot for robot in result["robots"] if robot["outcome"] == "reverted"]
    assert "self-test" in reverted["reason"]
    assert set(site.releases().values()) == {"1.1.0"}
    site.until_well()
    assert _moving_tags(on_first) == tags_before

    # The robot remembers: without --force it refuses, and nothing is changed.
    result = site.fleet_json("rollout", "1.2.0", "--yes", code=4)
    assert "refused" in {robot["outcome"] for robot in result["robots"]}

    result = site.fleet_json("rollback", "1.0.0", "--yes")
    assert set(site.releases().values()) == {"1.0.0"}
    records = site.fleet_json("history")["history"]
    assert [record["kind"] for record in records[:2]] == ["rollback", "rollout"]
    assert records[0]["outcome"] == "succeeded"
    assert records[1]["outcome"] == "failed"


def _rollback_tag_gives_the_earlier_image(road: Road) -> None:
    address = road.site.manifest()["registry"]["address"]
    reference = f"{address}/runtime:rollback-scout"
    road.site.lab.exec("scout-001", ["docker", "pull", "-q", reference], deadline_s=120).check()
    found = road.site.lab.exec(
        "scout-001", ["docker", "inspect", "--format", "{{json .RepoDigests}}", reference]
    ).check()
    earlier = next(image["image"] for image in road.publishes["1.0.0"]["images"] if "scout" in image["tags"])
    assert earlier in json.loads(found)


def _moving_tags(road: Road) -> dict[str, str]:
    """Return what current-… and rollback-… point at."""
    from fleet.adapters.registry.oci_registry import OciRegistry

    address = road.site.manifest()["registry"]["address"]
    host, _, prefix = address.partition("/")
    registry = OciRegistry(host, plain_http=True)
    try:
        tags = [tag for tag in registry.tags(f"{prefix}/runtime") if tag.startswith(("current-", "rollback-"))]
        return {tag: registry.head_manifest(f"{prefix}/runtime", tag) or "" for tag in tags}
    finally:
        registry.close()


@RELEASES
@pytest.mark.parametrize("verb", ["plan", "status", "history", "validate"])
def test_piped_output_has_no_escape_codes(road: Road, verb: str) -> None:
    result = road.site.fleet(verb, code=(0, 3, 6))
    assert "\x1b" not in result.stdout
    assert "\x1b" not in result.stderr
    notes = [line for line in result.stderr.splitlines() if line.startswith("note ")]
    assert result.stderr.splitlines() == notes or result.code == 6, "progress is for terminals"
