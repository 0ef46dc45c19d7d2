"""From Desired to a complete release: what is pushed, in which order, and what an interruption leaves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import FleetError, OutsideError, PublishConflict, RegistryError, UsageError
from fleet.oci.release_diff import differences
from fleet.oci.releases import current_release, find_release, list_releases, load_release, publish_release
from fleet.publish.artifact import EngineArtifact
from fleet.publish.publish import Published, compose_names, publish
from fleet.publish.tags import move_tags
from fleet.resolve.desired import Desired
from runtime.contract.robot.release import ReleaseDocument
from runtime.contract.versions import version_order
from tests.fakes.registries.publishing import COMPOSE, PREFIX, PROFILE, desired_fleet, push_new_base, push_new_engine
from tests.fakes.registries.registry import FakeRegistry, Hook


class Site:
    """A registry with a base image, and a folder that engines are built in."""

    def __init__(self, folder: Path) -> None:
        self.registry = FakeRegistry()
        self.folder = folder

    def engines(self, desired: Desired) -> dict[str, EngineArtifact]:
        return {spec.key: push_new_engine(self.registry, self.folder, spec) for spec in desired.engines.values()}

    def bases(self, desired: Desired) -> dict[str, str]:
        tags = {variant.runtime_recipe.tag for variant in desired.variants.values()}
        found = {tag: self.registry.head_manifest(f"{PREFIX}/bases", tag) for tag in tags}
        return {tag: digest or push_new_base(self.registry, tag) for tag, digest in found.items()}

    def publish(self, desired: Desired) -> Published:
        return publish(desired, self.registry, self.engines(desired), self.bases(desired), COMPOSE)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_release_names_digests_only(site: Site) -> None:
    published = site.publish(desired_fleet())

    document = published.release.document
    assert len(document.variants) == 2
    for variant in document.variants:
        repository, _, digest = variant.image.partition("@")
        assert repository == "registry.test:5000/warehouse/runtime"
        assert site.registry.head_manifest(f"{PREFIX}/runtime", digest) == digest
        assert variant.compose_files == ("robot.compose.yaml",)
        assert variant.requires.platform == "linux/amd64"
        assert [engine.precision for engine in variant.engines]
    assert set(document.compose) == {"robot.compose.yaml"}
    assert document.robots.keys() == {"amr-001", "amr-002", "scout-001"}
    assert load_release(site.registry, PREFIX, "1.0.0") == published.release
    assert load_release(site.registry, PREFIX, published.release.digest) == published.release


def test_version_tags_point_at_the_images(site: Site) -> None:
    document = site.publish(desired_fleet()).release.document
    for suffix, variant in document.tags.items():
        digest = document.variant(variant).image.partition("@")[2]
        assert site.registry.head_manifest(f"{PREFIX}/runtime", f"1.0.0-{suffix}") == digest


def test_publishing_again_writes_nothing(site: Site) -> None:
    first = site.publish(desired_fleet())
    desired = desired_fleet()
    engines, bases = site.engines(desired), site.bases(desired)
    site.registry.calls.clear()

    second = publish(desired, site.registry, engines, bases, COMPOSE)

    assert second.already_published
    assert second.release == first.release
    assert {verb for verb, _ in site.registry.calls} <= {"head_manifest", "get_manifest", "read_blob"}
    assert len(site.registry.calls) == 3, "two for the base image, one for the release"


def test_a_new_version_of_the_same_content_assembles_nothing(site: Site) -> None:
    first = site.publish(desired_fleet("1.0.0"))
    pushed = site.registry.bytes_pushed
    second = site.publish(desired_fleet("1.0.1"))
    assert second.pushed == ()
    assert [v.image for v in second.release.document.variants] == [v.image for v in first.release.document.variants]
    assert site.registry.bytes_pushed - pushed < 4096, "the document alone"


def test_only_what_changed_is_assembled(site: Site) -> None:
    before = site.publish(desired_fleet("1.0.0")).release.document
    after = site.publish(desired_fleet("1.1.0", scout="int8"))
    document = after.release.document
    assert after.pushed == (document.robots["scout-001"],)
    assert after.unchanged == (document.robots["amr-001"],)
    assert before.variant(before.robots["amr-001"]) == document.variant(document.robots["amr-001"])


def test_two_machines_give_the_same_digests(tmp_path: Path) -> None:
    one, two = Site(tmp_path / "one"), Site(tmp_path / "two")
    assert one.publish(desired_fleet()).release == two.publish(desired_fleet()).release


def test_other_content_under_a_published_version_is_refused(site: Site) -> None:
    site.publish(desired_fleet())
    before = site.registry.snapshot()
    desired = desired_fleet("1.0.0", scout="int8")
    engines, bases = site.engines(desired), site.bases(desired)
    site.registry.calls.clear()

    with pytest.raises(PublishConflict) as caught:
        publish(desired, site.registry, engines, bases, COMPOSE)

    assert "scout-001: sim-x86-" in caught.value.message
    assert "raise version" in caught.value.hint
    assert caught.value.exit_code == 4
    assert not {"put_manifest", "push_blob", "mount_blob"} & {verb for verb, _ in site.registry.calls}
    assert {k: v for k, v in site.registry.snapshot().items() if "/engines" not in k} == {
        k: v for k, v in before.items() if "/engines" not in k
    }


def test_a_robots_environment_is_part_of_the_release(site: Site) -> None:
    desired = desired_fleet()
    first, *others = desired.robots
    desired = replace(desired, robots=(replace(first, environment={"ROS_DOMAIN_ID": "7"}), *others))
    assert site.publish(desired).release.document.environment == {first.name: {"ROS_DOMAIN_ID": "7"}}
    desired = replace(desired, robots=(replace(first, environment={"ROS_DOMAIN_ID": "8"}), *others))
    with pytest.raises(PublishConflict, match=f"{first.name}: its environment changed"):
        site.publish(desired)


def test_cut_off_at_any_request_the_next_run_finishes(tmp_path: Path) -> None:
    whole = Site(tmp_path / "whole")
    expected = whole.publish(desired_fleet()).release
    steps = _requests_of_a_publish(tmp_path / "count")
    assert steps > 10
    for step in range(steps):
        site = Site(tmp_path / str(step))
        desired = desired_fleet()
        engines, bases = site.engines(desired), site.bases(desired)
        site.registry.hook = _break_at(step)
        with pytest.raises(KeyboardInterrupt):
            publish(desired, site.registry, engines, bases, COMPOSE)
        site.registry.hook = None
        tagged = find_release(site.registry, PREFIX, "1.0.0")
        if tagged:  # A release with a tag is complete.
            assert _images_are_there(site, tagged.document)
        assert publish(desired, site.registry, engines, bases, COMPOSE).release == expected
        assert site.registry.snapshot() == whole.registry.snapshot()


def _requests_of_a_publish(folder: Path) -> int:
    site = Site(folder)
    desired = desired_fleet()
    engines, bases = site.engines(desired), site.bases(desired)
    before = site.registry.requests_made
    publish(desired, site.registry, engines, bases, COMPOSE)
    return site.registry.requests_made - before


def _break_at(step: int) -> Hook:
    left = [step]

    def hook(verb: str, target: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt

    return hook


def _images_are_there(site: Site, document: ReleaseDocument) -> bool:
    digests = [variant.image.partition("@")[2] for variant in document.variants]
    return all(site.registry.head_manifest(f"{PREFIX}/runtime", digest) for digest in digests)


def test_a_missing_engine_is_named(site: Site) -> None:
    desired = desired_fleet()
    with pytest.raises(OutsideError, match="lacks the engine of sign_text fp32") as caught:
        publish(desired, site.registry, {}, site.bases(desired), COMPOSE)
    assert "fleet build" in caught.value.hint


def test_a_missing_base_is_named(site: Site) -> None:
    desired = desired_fleet()
    with pytest.raises(OutsideError, match="lacks the runtime base image"):
        publish(desired, site.registry, site.engines(desired), {}, COMPOSE)


def test_a_missing_compose_file_is_named(site: Site) -> None:
    desired = desired_fleet()
    with pytest.raises(UsageError, match=r"robot\.compose\.yaml"):
        publish(desired, site.registry, site.engines(desired), site.bases(desired), {})


def test_a_jetson_gets_the_overlay() -> None:
    jetson = PROFILE.model_copy(update={"module": "p3767-0003"})
    assert compose_names(jetson) == ("robot.compose.yaml", "jetson.compose.yaml")
    assert compose_names(PROFILE) == ("robot.compose.yaml",)


# ── releases ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_release_that_does_not_exist_says_which_do(site: Site) -> None:
    site.publish(desired_fleet("1.0.0"))
    with pytest.raises(UsageError, match=r"no release 9\.9\.9") as caught:
        load_release(site.registry, PREFIX, "9.9.9")
    assert "published: 1.0.0" in caught.value.hint


def test_with_nothing_published_it_says_so() -> None:
    with pytest.raises(UsageError) as caught:
        load_release(FakeRegistry(), PREFIX, "1.0.0")
    assert "fleet publish" in caught.value.hint


def test_versions_are_sorted_as_versions(site: Site) -> None:
    for version in ("1.10.0", "1.9.0", "1.10.0-rc.2", "1.10.0-rc.10", "2.0.0-alpha"):
        site.publish(desired_fleet(version))
    move_tags(site.registry, PREFIX, load_release(site.registry, PREFIX, "1.9.0"))
    assert list_releases(site.registry, PREFIX) == ["1.9.0", "1.10.0-rc.2", "1.10.0-rc.10", "1.10.0", "2.0.0-alpha"]
    assert version_order("1.0.0-alpha") < version_order("1.0.0-alpha.1") < version_order("1.0.0")


def test_something_else_under_a_version_is_noticed(site: Site) -> None:
    site.publish(desired_fleet())
    image = site.registry.get_manifest(f"{PREFIX}/runtime", "1.0.0-amr")
    assert image is not None
    registry = FakeRegistry()
    registry.put_manifest(f"{PREFIX}/releases", "1.0.0", b'{"schemaVersion":2}', image.media_type)
    with pytest.raises(RegistryError, match="not a usable image manifest"):
        find_release(registry, PREFIX, "1.0.0")


def test_a_publisher_that_lost_a_race_hears_of_it(site: Site) -> None:
    mine = site.publish(desired_fleet("1.0.0")).release.document
    theirs = replace(mine, robots={**mine.robots, "amr-003": mine.robots["amr-001"]})
    other, registry = FakeRegistry(), FakeRegistry()
    manifest = other.get_manifest(f"{PREFIX}/releases", publish_release(other, PREFIX, theirs).digest)
    assert manifest is not None
    registry.adopt_blobs(other)
    asked: list[str] = []

    def overtake(verb: str, target: str) -> None:
        if verb != "head_manifest":
            return
        asked.append(target)
        if len(asked) == 2:  # between our write and our second look
            registry.put_manifest(f"{PREFIX}/releases", "1.0.0", manifest.body, manifest.media_type)

    registry.hook = overtake
    with pytest.raises(PublishConflict, match="amr-003"):
        publish_release(registry, PREFIX, mine)
    assert len(asked) >= 2


def test_differences_are_named_and_few(site: Site) -> None:
    document = site.publish(desired_fleet()).release.document
    assert differences(document, replace(document, compose={"robot.compose.yaml": "other"})) == [
        "robot.compose.yaml changed"
    ]
    crowd = {f"amr-{number:03}": "x" for number in range(100)}
    found = differences(document, replace(document, robots=crowd))
    assert len(found) == 6
    assert found[-1].startswith("and ")


# ── tags that move ───────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_rollout_has_nothing_to_go_back_to(site: Site) -> None:
    release = site.publish(desired_fleet("1.0.0")).release
    moves = move_tags(site.registry, PREFIX, release)
    tags = site.registry.tags(f"{PREFIX}/runtime")
    assert {"current-amr", "current-scout"} <= set(tags)
    assert not [tag for tag in tags if tag.startswith("rollback-")]
    assert current_release(site.registry, PREFIX) == release
    assert {move.tag for move in moves} == {
        "warehouse/runtime:current-amr", "warehouse/runtime:current-scout", "warehouse/releases:current",
    }  # fmt: skip


def test_rollback_is_what_current_was_and_only_where_it_changed(site: Site) -> None:
    old = site.publish(desired_fleet("1.0.0")).release
    new = site.publish(desired_fleet("1.1.0", scout="int8")).release
    move_tags(site.registry, PREFIX, old)

    move_tags(site.registry, PREFIX, new)

    tags = site.registry.snapshot()
    runtime = f"{PREFIX}/runtime"
    assert tags[f"{runtime}:rollback-scout"] == tags[f"{runtime}:1.0.0-scout"]
    assert tags[f"{runtime}:current-scout"] == tags[f"{runtime}:1.1.0-scout"]
    assert f"{runtime}:rollback-amr" not in tags, "nothing changed for these robots"
    assert tags[f"{PREFIX}/releases:current"] == new.digest


def test_moving_again_changes_nothing(site: Site) -> None:
    old = site.publish(desired_fleet("1.0.0")).release
    new = site.publish(desired_fleet("1.1.0", scout="int8")).release
    move_tags(site.registry, PREFIX, old)
    move_tags(site.registry, PREFIX, new)
    before = site.registry.snapshot()
    assert move_tags(site.registry, PREFIX, new) == []
    assert site.registry.snapshot() == before


def test_cut_off_at_any_request_moving_is_finished_by_the_next(tmp_path: Path) -> None:
    expected = None
    for step in range(40):
        site = Site(tmp_path / str(step))
        old = site.publish(desired_fleet("1.0.0")).release
        new = site.publish(desired_fleet("1.1.0", scout="int8")).release
        move_tags(site.registry, PREFIX, old)
        site.registry.hook = _break_at(step)
        try:
            move_tags(site.registry, PREFIX, new)
        except KeyboardInterrupt:
            site.registry.hook = None
            move_tags(site.registry, PREFIX, new)
        else:
            break
        expected = expected or site.registry.snapshot()
        assert site.registry.snapshot() == expected
    assert step > 5


def test_an_image_that_vanished_is_named(site: Site) -> None:
    release = site.publish(desired_fleet()).release
    digest = release.document.variants[0].image.partition("@")[2]
    site.registry.delete_manifest(f"{PREFIX}/runtime", digest)
    with pytest.raises(FleetError, match="does not have it") as caught:
        move_tags(site.registry, PREFIX, release)
    assert "publish the version again" in caught.value.hint
