"""A paused rollout in a real registry: taken up by somebody else, beside the tickets of the lock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.errors import PlanOutdated
from fleet.manifest.schema.manifest_schema import Rollout
from fleet.rollout import pause
from fleet.rollout.lock import RolloutLock
from fleet.rollout.pause import Earlier, PausedRollout
from fleet.rollout.result import RolloutResult
from runtime.contract.codec import digest_of
from runtime.contract.robot.release import ReleaseDocument
from tests.fakes.registries.registry_process import find_registry_binary, registry_process
from tests.fakes.robots.rollout_site import RolloutSite, release

PREFIX = "warehouse"
RULES = {"waves": [1, {"to": "60%", "approve": True}, "100%"]}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = find_registry_binary()
    assert binary is not None, "no docker-registry binary: make setup"
    with registry_process(binary, tmp_path_factory.mktemp("registry")) as host:
        yield host


def at(host: str) -> OciRegistry:
    """Return the registry as another operator's fleet sees it."""
    return OciRegistry(host, plain_http=True)


def written(site: RolloutSite, host: str, document: ReleaseDocument, result: RolloutResult) -> PausedRollout:
    """Write a pause down with the lock held, as `fleet rollout` does."""
    policy = Rollout.model_validate({"parallel": 1, **RULES})
    with RolloutLock(at(host), PREFIX, site.clock, reason="rollout"):
        paused = pause.paused_rollout(
            result,
            site.plan(document),
            fleet="warehouse",
            release_digest=digest_of(document),
            policy=policy,
            selector="",
            at=site.clock.now(),
        )
        pause.save(at(host), PREFIX, paused)
    return paused


def earlier(site: RolloutSite, found: PausedRollout, document: ReleaseDocument) -> Earlier:
    changes = {each.robot: each for each in site.plan(document)}
    policy = Rollout.model_validate({"parallel": 1, **RULES})
    return pause.earlier_of(found, site.robots, changes, policy)


def test_another_operator_goes_on_where_the_first_paused(host: str, tmp_path: Path) -> None:
    site, document = RolloutSite(5), release("1.0.0", {f"r{n}": "a" for n in range(5)})
    result = site.roll(document, policy=RULES)
    assert result.paused is not None
    assert result.counts == {"committed": 1, "skipped": 4}
    paused = written(site, host, document, result)
    found = pause.find(at(host), PREFIX)
    assert found == paused
    assert not RolloutLock(at(host), PREFIX, site.clock, reason="another").holders()
    site.clock.sleep(5 * 86400.0)
    assert found.age_s(site.clock.now()) >= 5 * 86400.0

    goes_on = earlier(site, found, document)
    pause.end(at(host), PREFIX, found, "resumed")
    assert pause.find(at(host), PREFIX) is None
    ended = site.roll(document, policy=RULES, earlier=goes_on)
    assert ended.counts == {"committed": 5}
    assert [robot.wave for robot in ended.robots] == [1, 2, 2, 3, 3]
    assert ended.succeeded


def test_a_robot_that_changed_between_pause_and_resume_is_refused(host: str) -> None:
    site = RolloutSite(3)
    site.roll(release("0.9.0", site.content("old")))
    document = release("1.0.0", site.content("a"))
    paused = written(site, host, document, site.roll(document, policy=RULES))
    other = release("0.9.5", site.content("between"))
    site.roll(other, site.robots[2:], policy={"waves": ["100%"]})
    found = pause.find(at(host), PREFIX)
    assert found is not None
    assert found.id == paused.id
    with pytest.raises(PlanOutdated, match=r"r2 was untouched and runs 0\.9\.5 now"):
        earlier(site, found, document)


def test_a_robot_that_is_offline_at_the_resume_is_offline_and_not_changed(host: str) -> None:
    site, document = RolloutSite(5), release("1.0.0", {f"r{n}": "a" for n in range(5)})
    written(site, host, document, site.roll(document, policy=RULES))
    found = pause.find(at(host), PREFIX)
    assert found is not None
    site.host("r4").online = False
    ended = site.roll(document, policy=RULES, earlier=earlier(site, found, document))
    assert ended.counts == {"committed": 4, "offline": 1}


def test_a_newer_pause_takes_the_place_of_an_older_one_without_a_delete(host: str) -> None:
    site, document = RolloutSite(2), release("1.0.0", {"r0": "a", "r1": "a"})
    first = written(site, host, document, site.roll(document, policy=RULES))
    second = replace(first, id="20270101T000000Z-00000000", version="2.0.0")
    pause.save(at(host), PREFIX, second)
    assert pause.find(at(host), PREFIX) == second
