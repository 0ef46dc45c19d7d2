"""One robot's client: what it makes of answers, silence and nonsense."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fleet.errors import RobotError, RobotOffline
from fleet.link.robot import NoUpdater, RobotClient, RobotLost, UpdaterSilent
from fleet.ports import CommandResult
from runtime.contract.codec import canonical_json
from runtime.contract.robot.update import COMMAND_PATH, UpdateState
from tests.fakes.robots.rollout_site import RolloutSite


@pytest.fixture
def site() -> RolloutSite:
    return RolloutSite(1)


@pytest.fixture
def client(site: RolloutSite) -> RobotClient:
    return site.client(site.robots[0])


def answer(site: RolloutSite, exit_code: int, stdout: str = "", stderr: str = "") -> None:
    site.host("r0").programs[COMMAND_PATH] = lambda _args, _stdin: CommandResult(exit_code, stdout, stderr)


def test_observing_a_robot(site: RolloutSite, client: RobotClient) -> None:
    seen = client.observe(attest=True)
    assert (seen.online, seen.error, seen.busy, seen.version, seen.image) == (True, "", False, None, None)
    assert seen.attestation is not None
    assert seen.fetched_at == 1_800_000_000.0
    assert client.observe().attestation is None


def test_an_offline_robot_is_a_value(site: RolloutSite, client: RobotClient) -> None:
    site.host("r0").online = False
    seen = client.observe()
    assert (seen.online, seen.state) == (False, None)
    assert "did not answer" in seen.error
    assert seen.hint


def test_a_changed_host_key_is_online_with_an_error(site: RolloutSite, client: RobotClient) -> None:
    site.host("r0").host_key = "ssh-ed25519 SHA256:other"
    seen = client.observe()
    assert seen.online
    assert "SHA256:other" in seen.error
    assert "--accept-new-host-key" in seen.hint


@pytest.mark.parametrize(
    ("reply", "kind", "message", "hint"),
    [
        ((127, "", "sh: not found"), NoUpdater, "r0: has no updater", "fleet bootstrap --robots r0"),
        ((126, "", "denied"), NoUpdater, "r0: has no updater", "fleet bootstrap --robots r0"),
        (
            (3, "", "fleet-updater: the updater does not answer -> systemctl start fleet-updater\n"),
            UpdaterSilent,
            "r0: fleet-updater status: the updater does not answer",
            "systemctl start fleet-updater",
        ),
        ((4, "", "noise\nfleet-updater: too late\n"), RobotError, "r0: fleet-updater status: too late", "fleet exec"),
        ((1, "", ""), RobotError, "r0: fleet-updater status: exit code 1", "fleet exec"),
        ((1, "", "\x1b[2J\x07evil\n"), RobotError, "r0: fleet-updater status: \ufffd[2J\ufffdevil", "fleet exec"),
        ((0, "hello", ""), RobotError, "gave an answer that this fleet cannot read", "fleet bootstrap"),
        ((0, "[" * 100_000, ""), RobotError, "gave an answer that this fleet cannot read", "fleet bootstrap"),
        ((0, '{"schema": 99}', ""), RobotError, "schema 99 is newer", "fleet bootstrap"),
        ((0, '{"robot": "r0"}', ""), RobotError, "UpdateState.state: missing", "fleet bootstrap"),
    ],
)
def test_answers_that_are_none(
    site: RolloutSite,
    client: RobotClient,
    reply: tuple[int, str, str],
    kind: type[RobotError],
    message: str,
    hint: str,
) -> None:
    answer(site, *reply)
    with pytest.raises(RobotError) as caught:
        client.status()
    assert type(caught.value) is kind
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert client.observe().online


def test_one_connection_serves_many_questions_and_is_opened_again_when_lost(
    site: RolloutSite, client: RobotClient
) -> None:
    client.status()
    client.status()
    assert site.host("r0").connections == 1
    site.host("r0").online = False
    with pytest.raises(RobotOffline):
        client.status()
    assert client.in_doubt
    site.host("r0").online = True
    client.status()
    assert (site.host("r0").connections, site.host("r0").open_connections) == (2, 1)
    client.close()
    assert site.host("r0").open_connections == 0


def test_a_question_that_never_left_is_not_in_doubt(site: RolloutSite, client: RobotClient) -> None:
    site.host("r0").online = False
    with pytest.raises(RobotOffline):
        client.status()
    assert not client.in_doubt


def test_a_wait_says_what_it_waited_for(site: RolloutSite, client: RobotClient) -> None:
    with pytest.raises(RobotError, match="gave up waiting for the commit: it is still idle") as caught:
        client.wait_for(lambda _state: False, what="the commit", deadline=30.0)
    assert not isinstance(caught.value, RobotOffline)
    assert 30.0 <= site.clock.monotonic() < 32.0


def test_a_wait_for_a_robot_that_stays_away_ends_as_lost(site: RolloutSite, client: RobotClient) -> None:
    site.host("r0").online = False
    with pytest.raises(RobotLost, match="host-0 did not answer"):
        client.wait_for(lambda _state: True, what="the commit", deadline=30.0)
    assert site.clock.monotonic() >= 30.0


def test_a_robot_that_can_wait_is_asked_for_its_next_change_and_not_each_second(
    site: RolloutSite, client: RobotClient
) -> None:
    asked: list[tuple[str, ...]] = []
    marks = iter(("life.1", "life.2", "life.2", None, "life.3"))

    def program(args: Sequence[str], _stdin: str) -> CommandResult:
        asked.append(tuple(args))
        mark = next(marks)
        if mark is None:
            return CommandResult(3, "", "fleet-updater: the updater does not answer -> start it\n")
        return CommandResult(0, canonical_json(UpdateState("r0", "idle", "1.0", mark=mark)).decode(), "")

    site.host("r0").programs[COMMAND_PATH] = program
    began = site.clock.monotonic()
    client.wait_for(lambda state: state.mark == "life.3", what="the change", deadline=60.0)
    waits = [("wait", "--json", "--for-change", mark, "--seconds", "10") for mark in ("life.1", "life.2", "life.2")]
    assert asked[0] == ("status", "--json")
    assert asked[1:4] == waits
    assert asked[4] == ("status", "--json"), "after silence the robot may have another updater"
    # Two questions that brought nothing new, and nothing else, are followed by a pause.
    assert site.clock.monotonic() - began == pytest.approx(2.0)
