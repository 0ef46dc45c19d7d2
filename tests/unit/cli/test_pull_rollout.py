"""Rollouts to robots that pull, as an operator runs them: stages, failures, kills, two at once, hubs that lie."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from fleet.adapters.http_hub import RequestsHub
from fleet.cli.desired import office
from fleet.cli.wiring import Wiring
from fleet.ports import HubRow
from fleet.rollout import audit
from fleet.rollout.lock import RolloutLock
from fleet.signing.desired import read_desired
from fleet.signing.pins import publish_pins
from runtime.contract.robot.desired import Pins
from runtime.contract.robot.desired_rules import Followed
from tests.fakes.clock import LivelyClock
from tests.fakes.hub import FakeHub
from tests.fakes.pull_robots import SigningKey
from tests.fakes.robots.pulling import PullingRobot
from tests.fakes.robots.robot_shell import updater_program
from tests.unit.cli.conftest import PREFIX, Desk
from tests.unit.cli.test_trust import Signed

NAMES = ["amr-001", "amr-002", "amr-003", "amr-004"]
HUB = {"hub": {"url": "https://hub.test:8443"}}


class Yard:
    """A desk, a hub, and robots that live whenever somebody waits."""

    def __init__(self, desk: Desk, clock: LivelyClock, hub: FakeHub) -> None:
        self.desk, self.clock, self.hub = desk, clock, hub
        self.robots: dict[str, PullingRobot] = {}
        clock.world = self.live

    def live(self) -> None:
        for robot in self.robots.values():
            robot.live()

    def settle(self, rounds: int = 12) -> None:
        for _ in range(rounds):
            self.clock.sleep(5.0)

    def open(self, version: str = "1.0.0", *, pulling: list[str] | None = None, **changes: Any) -> None:
        """Publish a version, pin everybody, let everybody report."""
        named = NAMES if pulling is None else pulling
        robots = [
            {"name": name, "group": "amr", "labels": {"rack": f"r{at % 2}"}}
            | ({"link": "pull"} if name in named else {"host": f"10.0.0.1{at + 1}"})
            for at, name in enumerate(NAMES)
        ]
        self.desk.publish(version, **{"robots": robots, **HUB, **changes})
        desk = office(self.desk.wiring)
        self.robots = {name: PullingRobot(name, "testing", desk, self.hub, self.clock) for name in named}
        pins = Pins("testing", 1, {name: robot.voice.key.public for name, robot in self.robots.items()})
        trust = self.desk.desired.trust
        publish_pins(desk, pins, trust.sign_with)
        if trust.threshold > 1 and trust.sign_with is not None:
            publish_pins(desk, pins, trust.sign_with.with_name("ben"))
        self.hub.pins = pins
        self.changes = {"robots": robots, **HUB, **{key: value for key, value in changes.items() if key != "trust"}}
        self.live()

    def next(self, version: str, **changes: Any) -> None:
        """Publish another version, which every robot has to fetch."""
        self.desk.publish(version, **{**self.changes, "defaults": {"environment": {"V": version}}, **changes})

    def versions(self) -> dict[str, str | None]:
        return {name: robot.version for name, robot in self.robots.items()}

    @property
    def followed(self) -> Followed:
        found = read_desired(office(self.desk.wiring), self.clock.now()).followed
        assert found is not None
        return found


@pytest.fixture
def yard(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Yard:
    clock = LivelyClock()
    hub = FakeHub(clock)
    desk.clock = clock
    monkeypatch.setattr(Wiring, "clock", clock)
    monkeypatch.setattr(Wiring, "hub", hub)
    return Yard(desk, clock, hub)


def all_at(version: str | None) -> dict[str, str | None]:
    return dict.fromkeys(NAMES, version)


# ── the good way ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_robots_come_stage_by_stage_and_the_release_is_current(yard: Yard) -> None:
    yard.open()
    told = yard.desk.json("rollout", "--yes")
    assert yard.versions() == all_at("1.0.0")
    assert told["succeeded"] is True
    assert (told["stage"], told["stages"], told["standing"]) == (2, 2, "ended")
    assert [(robot["name"], robot["outcome"], robot["wave"]) for robot in told["robots"]] == [
        ("amr-001", "committed", 1),
        *((name, "committed", 2) for name in NAMES[1:]),
    ]
    assert "current" in "".join(tag["tag"] for tag in told["tags"])
    (record,) = audit.history(yard.desk.registry, PREFIX)
    assert (record.id, record.outcome, record.counts) == (told["rollout"], "succeeded", {"committed": 4})


def test_nobody_begins_before_the_canary_has_committed(yard: Yard) -> None:
    yard.open()
    begun: list[tuple[str, bool]] = []

    def watch() -> None:
        yard.live()
        for name, robot in yard.robots.items():
            if robot.tried and name not in [each for each, _ in begun]:
                begun.append((name, yard.robots["amr-001"].version == "1.0.0"))

    yard.clock.world = watch
    yard.desk.fleet("rollout", "--yes")
    assert begun[0] == ("amr-001", False)
    assert [canary_ran for _, canary_ran in begun[1:]] == [True, True, True]


def test_a_controller_that_dies_after_every_step_is_continued_by_another(yard: Yard) -> None:
    """``--once`` is one step; each begins with nothing but registry and hub, as on another machine."""
    yard.open()
    ended = []
    for _ in range(40):
        code = yard.desk.json("rollout", "--once", "--yes", code=ended_code(yard))["standing"]
        ended.append(code)
        if code == "ended":
            break
        yard.clock.sleep(5.0)
    assert ended[-1] == "ended"
    assert len(ended) > 4
    assert yard.versions() == all_at("1.0.0")
    assert len(audit.history(yard.desk.registry, PREFIX)) == 1


def ended_code(yard: Yard) -> int:
    """0 for the step that finds everybody committed in the last stage, 7 before."""
    standing = read_desired(office(yard.desk.wiring), yard.clock.now()).followed
    if standing is None or standing.desired.stage < 2:
        return 7
    return 0 if all(version == "1.0.0" for version in yard.versions().values()) and reported(yard) else 7


def reported(yard: Yard) -> bool:
    return all(
        robot.update.state.state == "idle" and '"idle"' in robot.update(["attest"], "").stdout and robot.said
        for robot in yard.robots.values()
    )


@pytest.mark.parametrize("step", range(3))
def test_a_controller_that_is_killed_within_a_step_leaves_what_the_next_one_goes_on_with(
    yard: Yard, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Killed as it signs its n-th statement: before it is in the registry."""
    yard.open()
    real, count = yard.desk.registry.put_manifest, [0]

    def dies(repository: str, reference: str, body: bytes, media_type: str) -> str:
        if reference == "desired":
            if count[0] == step:
                raise KeyboardInterrupt
            count[0] += 1
        return real(repository, reference, body, media_type)

    with monkeypatch.context() as killed:
        killed.setattr(yard.desk.registry, "put_manifest", dies)
        assert yard.desk.fleet("rollout", "--yes", code=3).code == 3
    yard.clock.sleep(700.0)  # its lease ends
    yard.desk.fleet("rollout", "--yes")
    assert yard.versions() == all_at("1.0.0")


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────


def running(yard: Yard, **changes: Any) -> None:
    yard.open(**changes)
    yard.desk.fleet("rollout", "--yes")
    yard.next("1.1.0")


def test_a_bad_release_is_stopped_at_the_canary_and_no_other_robot_sees_it(yard: Yard) -> None:
    running(yard)
    yard.robots["amr-001"].update.revert_in = "probation"
    told = yard.desk.json("rollout", "--yes", code=4)
    assert yard.versions() == all_at("1.0.0")
    assert "wave 1 of 2: 0 of 1 robots committed, required 100%; amr-001 reverted" in told["error"]["message"]
    assert [len(robot.update.submitted) for robot in yard.robots.values()] == [2, 1, 1, 1]
    assert yard.followed.desired.standing == "reverting"
    assert audit.history(yard.desk.registry, PREFIX)[0].outcome == "failed"


def test_robots_that_had_committed_go_back_when_a_later_stage_fails(yard: Yard) -> None:
    running(yard)
    yard.robots["amr-003"].update.revert_in = "probation"
    told = yard.desk.json("rollout", "--yes", code=4)
    assert yard.versions() == all_at("1.0.0")
    assert "amr-003 reverted" in told["error"]["message"]
    outcomes = {robot["name"]: robot["outcome"] for robot in told["robots"]}
    assert outcomes["amr-001"] == "rolled back"
    assert outcomes["amr-003"] == "reverted"


def test_robots_stay_where_the_manifest_says_stop(yard: Yard) -> None:
    policy = {"rollout": {"waves": [1, "100%"], "soak": "1s", "on_failure": "stop"}}
    yard.open(**policy)
    yard.desk.fleet("rollout", "--yes")
    yard.next("1.1.0")
    for name in NAMES[1:]:
        yard.robots[name].update.revert_in = "probation"
    yard.desk.json("rollout", "--yes", code=4)
    assert yard.versions() == {**all_at("1.0.0"), "amr-001": "1.1.0"}
    assert yard.followed.desired.standing == "aborted"


def test_what_a_robot_committed_is_judged_by_the_gate_of_ssh_rollouts(yard: Yard) -> None:
    """It says committed, and attests another engine."""
    running(yard)
    yard.robots["amr-001"].update.attested_key = "sha256:" + "e" * 64
    message = yard.desk.json("rollout", "--yes", code=4)["error"]["message"]
    assert "committed, but model detector runs engine sha256:eeee" in message
    assert yard.versions() == all_at("1.0.0")


def test_a_timer_does_not_begin_a_rollout_that_failed_again_and_again(yard: Yard) -> None:
    running(yard)
    yard.robots["amr-001"].update.revert_in = "probation"
    yard.desk.json("rollout", "--yes", code=4)
    before = yard.followed.plan.rollout_id
    yard.desk.json("rollout", "--once", "--yes", code=4)
    yard.desk.json("rollout", "--watch", code=4)
    assert yard.followed.plan.rollout_id == before
    yard.robots["amr-001"].update.revert_in = ""
    yard.desk.fleet("rollout", "--yes")
    assert yard.versions() == all_at("1.1.0")


# ── who is away ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_robot_that_is_off_holds_no_stage_and_comes_for_the_release_later(yard: Yard) -> None:
    running(yard)
    yard.robots["amr-001"].away = True
    yard.clock.sleep(1000.0)
    told = yard.desk.json("rollout", "--yes", code=6)
    assert yard.versions() == {**all_at("1.1.0"), "amr-001": "1.0.0"}
    assert "1 of 4 robots were offline: amr-001" in told["error"]["message"]
    yard.robots["amr-001"].away = False
    yard.settle()
    assert yard.versions() == all_at("1.1.0"), "the statement stands, and it comes by itself"


def test_a_robot_that_was_off_for_three_releases_goes_to_the_newest(yard: Yard) -> None:
    running(yard)
    yard.robots["amr-004"].away = True
    yard.clock.sleep(1000.0)
    yard.desk.fleet("rollout", "--yes", code=6)
    for version in ("1.2.0", "1.3.0"):
        yard.next(version)
        yard.desk.fleet("rollout", "--yes", code=6)
    yard.robots["amr-004"].away = False
    yard.settle()
    assert [order.version for order in yard.robots["amr-004"].update.submitted] == ["1.0.0", "1.3.0"]


def test_a_stage_of_which_nobody_is_there_waits_and_says_so(yard: Yard) -> None:
    running(yard)
    started = yard.desk.json("rollout", "--yes", "--once", code=7)
    assert started["stage"] == 1
    yard.robots["amr-001"].away = True
    yard.clock.sleep(1000.0)
    told = yard.desk.json("rollout", "--once", code=7)
    assert told["stage"] == 1
    assert "none of 1 robots could be reached" in told["waits"]
    assert yard.versions() == all_at("1.0.0")


def test_a_robot_that_took_its_order_and_falls_silent_is_lost(yard: Yard) -> None:
    running(yard)
    yard.desk.json("rollout", "--yes", "--once", code=7)
    yard.clock.sleep(2.0)
    yard.clock.sleep(2.0)
    assert yard.robots["amr-001"].update.state.state in ("preflight", "fetching", "verifying")
    yard.robots["amr-001"].away = True
    yard.clock.sleep(1000.0)
    assert yard.desk.json("rollout", "--once", code=7)["standing"] == "running"
    yard.clock.sleep(1000.0)
    told = yard.desk.json("rollout", "--once", code=7)
    assert told["standing"] in ("aborted", "reverting")
    assert {robot["name"]: robot["outcome"] for robot in told["robots"]}["amr-001"] == "lost"


def test_a_robot_that_cannot_look_into_the_registry_says_why(yard: Yard) -> None:
    running(yard)
    yard.robots["amr-001"].blind = "registry.test does not answer"
    told = yard.desk.json("rollout", "--yes", "--once", code=7)
    yard.clock.sleep(5.0)
    told = yard.desk.json("rollout", "--once", code=7)
    assert "amr-001: has not looked yet: registry.test does not answer" in told["waits"]
    (row,) = [each for each in yard.desk.json("status")["robots"] if each["name"] == "amr-001"]
    assert row["held"] == "registry.test does not answer"


# ── people ───────────────────────────────────────────────────────────────────────────────────────────────────────

APPROVED = {"rollout": {"waves": [1, {"to": "100%", "approve": True}], "soak": "1s"}}


def test_a_stage_that_wants_an_approval_waits_for_a_reason_which_history_keeps(yard: Yard) -> None:
    yard.open(**APPROVED)
    told = yard.desk.json("rollout", "--yes", code=7)
    assert told["waits"] == "stage 2 of 2 wants an approval"
    assert yard.versions() == {**all_at(None), "amr-001": "1.0.0"}
    assert "reason is kept in history" in yard.desk.json("rollout", "--resume", code=2)["error"]["message"]
    yard.desk.fleet("rollout", "--resume", "--reason", "the canary drove for a day")
    assert yard.versions() == all_at("1.0.0")
    kinds = {record.kind: record.reason for record in audit.history(yard.desk.registry, PREFIX)}
    assert kinds["approval"] == "stage 2 of 2: the canary drove for a day"


def test_a_pause_holds_and_an_abort_sends_back_with_its_reason(yard: Yard) -> None:
    running(yard)
    yard.desk.json("rollout", "--yes", "--once", code=7)
    yard.settle()
    yard.desk.json("rollout", "--pause", "--reason", "lunch", code=7)
    yard.settle(3)
    assert yard.versions() == {**all_at("1.0.0"), "amr-001": "1.1.0"}
    assert "the rollout is paused: paused by" in yard.robots["amr-002"].held
    told = yard.desk.json("rollout", "--abort", "--reason", "it hums")
    assert yard.versions() == all_at("1.0.0")
    assert told["standing"] == "reverting"
    assert {robot["name"]: robot["outcome"] for robot in told["robots"]}["amr-001"] == "rolled back"
    assert "it hums" in audit.history(yard.desk.registry, PREFIX)[0].reason


def test_a_wave_that_was_not_asked_for_is_begun_by_no_other_command(yard: Yard) -> None:
    running(yard)
    told = yard.desk.json("rollout", "--yes", "--until-wave", "1", code=7)
    assert (told["standing"], told["waits"]) == ("paused", "wave 2 is not asked for")
    for option in ("--once", "--watch"):
        assert "wave 2 is not asked for" in yard.desk.json("rollout", option, code=7)["waits"]
    assert yard.versions() == {**all_at("1.0.0"), "amr-001": "1.1.0"}
    yard.desk.fleet("rollout", "--resume")
    assert yard.versions() == all_at("1.1.0")


def test_an_abort_wants_a_reason(yard: Yard) -> None:
    running(yard)
    yard.desk.json("rollout", "--yes", "--once", code=7)
    for option in ("--abort", "--pause"):
        assert yard.desk.json("rollout", option, code=2)["error"]["hint"] == 'say it: --reason "WHY"'


def test_another_rollout_is_refused_while_one_is_under_way_and_a_rollback_takes_its_place(yard: Yard) -> None:
    running(yard)
    yard.desk.json("rollout", "--yes", "--until-wave", "1", code=7)
    yard.next("1.2.0")
    message = yard.desk.json("rollout", "--yes", code=7)["error"]["message"]
    assert "the rollout of 1.1.0 to robots that pull is paused: it has reached stage 1 of 2" in message
    yard.desk.fleet("rollback", "1.0.0", "--yes")
    assert yard.versions() == all_at("1.0.0")


def test_a_timer_does_not_undo_a_rollback(yard: Yard) -> None:
    running(yard)
    yard.desk.fleet("rollout", "--yes")
    yard.desk.fleet("rollback", "1.0.0", "--yes")
    message = yard.desk.json("rollout", "--once", "--yes", code=7)["error"]["message"]
    assert message == (
        "1.1.0 was rolled out before, and the fleet was taken to 1.0.0 since: --once does not begin it again"
    )
    yard.settle()
    assert yard.versions() == all_at("1.0.0")
    yard.next("1.2.0")
    assert yard.desk.json("rollout", "--once", "--yes", code=7)["stage"] == 1


def test_some_robots_are_changed_and_those_that_were_not_asked_for_never(yard: Yard) -> None:
    running(yard)
    told = yard.desk.json("rollout", "--yes", "--robots", "amr-002,amr-003")
    yard.settle()
    assert yard.versions() == {**all_at("1.0.0"), "amr-002": "1.1.0", "amr-003": "1.1.0"}
    assert [robot["name"] for robot in told["robots"]] == ["amr-002", "amr-003"]
    assert told["tags"] == []
    yard.desk.fleet("rollout", "--yes")
    assert yard.versions() == all_at("1.1.0"), "and it is not in the way of the next one"


def test_max_unavailable_makes_stages_that_are_judged_as_one_wave(yard: Yard) -> None:
    policy = {"waves": ["100%"], "soak": "1s", "success": "70%", "max_unavailable": {"per": "rack", "robots": 1}}
    yard.open(rollout=policy)
    yard.robots["amr-001"].update.revert_in = "probation"
    told = yard.desk.json("rollout", "--yes")
    assert (told["stage"], told["stages"]) == (2, 2)
    assert [robot["outcome"] for robot in told["robots"]] == ["reverted", "committed", "committed", "committed"]


# ── two at once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_controllers_at_once_do_not_both_sign(yard: Yard) -> None:
    yard.open()
    yard.desk.json("rollout", "--yes", "--once", code=7)
    with RolloutLock(yard.desk.registry, PREFIX, yard.clock, reason="the other one"):
        before = yard.followed.desired
        assert "the other one" in yard.desk.json("rollout", "--once", code=5)["error"]["message"]
        assert yard.followed.desired == before
    yard.desk.fleet("rollout", "--watch")
    assert yard.versions() == all_at("1.0.0")


def test_one_that_watches_waits_for_the_lock(yard: Yard) -> None:
    yard.open()
    yard.desk.json("rollout", "--yes", "--once", code=7)
    lock = RolloutLock(yard.desk.registry, PREFIX, yard.clock, reason="the other one")
    lock.acquire()
    rounds = [0]

    def world() -> None:
        yard.live()
        rounds[0] += 1
        if rounds[0] == 30:
            lock.release()

    yard.clock.world = world
    said = yard.desk.fleet("rollout", "--watch").err
    assert "looking again" in said
    assert yard.versions() == all_at("1.0.0")


# ── hubs that lie ────────────────────────────────────────────────────────────────────────────────────────────────


def _others(yard: Yard) -> Callable[[HubRow], HubRow]:
    return lambda row: dataclasses.replace(row, envelope=yard.robots["amr-004"].said[-1])


def _old(yard: Yard) -> Callable[[HubRow], HubRow]:
    first = {name: robot.said[0] for name, robot in yard.robots.items()}
    return lambda row: dataclasses.replace(row, envelope=first[row.robot])


def _none(_: Yard) -> Callable[[HubRow], HubRow]:
    return lambda row: dataclasses.replace(row, envelope=None)


def _forged(yard: Yard) -> Callable[[HubRow], HubRow]:
    def lie(row: HubRow) -> HubRow:
        assert row.envelope
        robot = yard.robots[row.robot]
        thief = dataclasses.replace(robot.voice, name=row.robot)
        thief.key = SigningKey("thief")
        report = thief.report(yard.clock.now())
        return dataclasses.replace(row, envelope=report)

    return lie


@pytest.mark.parametrize(
    ("lie", "state"), [(_others, "unknown"), (_old, "offline"), (_none, "offline"), (_forged, "unknown")]
)
def test_a_hub_that_lies_moves_nothing(yard: Yard, lie: Callable[[Yard], Any], state: str) -> None:
    running(yard)
    yard.desk.json("rollout", "--yes", "--once", code=7)
    yard.settle()
    assert yard.robots["amr-001"].version == "1.1.0"
    yard.clock.sleep(1000.0)
    yard.hub.lie = lie(yard)
    for _ in range(3):
        assert yard.desk.json("rollout", "--once", code=7)["stage"] == 1
    code = 6 if state == "offline" else 3
    rows = yard.desk.json("status", code=code)["robots"]
    assert {row["state"] for row in rows if row["name"] != "amr-004"} == {state}
    yard.hub.lie = lambda row: row
    yard.desk.fleet("rollout", "--watch")
    assert yard.versions() == all_at("1.1.0")


def test_a_hub_that_is_away_holds_the_rollout_and_it_goes_on_by_itself(yard: Yard) -> None:
    yard.open()
    yard.desk.json("rollout", "--yes", "--once", code=7)
    yard.hub.down = "connection refused"
    told = yard.desk.json("rollout", "--once", code=7)
    assert "the hub https://hub.test:8443 cannot be asked: connection refused" in told["waits"]
    rows = yard.desk.json("status", code=3)["robots"]
    assert {row["state"] for row in rows} == {"unknown"}
    rounds = [0]

    def world() -> None:
        yard.live()
        rounds[0] += 1
        if rounds[0] == 5:
            yard.hub.down = ""

    yard.clock.world = world
    yard.desk.fleet("rollout", "--watch")
    assert yard.versions() == all_at("1.0.0")


def test_pins_that_cannot_be_read_are_said_for_each_robot(yard: Yard) -> None:
    """Whoever writes to the registry put something else there."""
    yard.open()
    yard.desk.registry.put_manifest(f"{PREFIX}/desired", "pins", b"{}", "application/vnd.oci.image.manifest.v1+json")
    said = yard.desk.json("status", code=3)
    assert {row["state"] for row in said["robots"]} == {"unknown"}
    assert "desired:pins: not a usable image manifest" in said["robots"][0]["error"]


def test_pins_that_nobody_signed_are_said(yard: Yard, signed: Signed) -> None:
    signed.trust["threshold"] = 2
    yard.open(trust=signed.trust)
    signed.trust["threshold"] = 1
    (yard.desk.folder / "allowed_signers").write_text("eve@x eve\n")
    said = yard.desk.fleet("status", code=3)
    assert "no pinned host keys count: the pins are signed by 0 of 2" in said.err
    assert "amr-001: its key SHA256:" in said.out


# ── mixed fleets, signed fleets ──────────────────────────────────────────────────────────────────────────────────


def test_a_mixed_fleet_is_one_table_by_ssh_first(yard: Yard) -> None:
    yard.open(pulling=["amr-003", "amr-004"])
    for name, address in (("amr-001", "10.0.0.11"), ("amr-002", "10.0.0.12")):
        robot = next(each for each in yard.desk.desired.robots if each.name == name)
        yard.desk.shells.learn_host_key(robot.address)
        yard.desk.updaters[name].clock = yard.clock
        updater_program(yard.desk.hosts[name], yard.desk.updaters[name])
        assert robot.address.host == address
    told = yard.desk.json("rollout", "--yes")
    assert [(robot["name"], robot["outcome"]) for robot in told["robots"]] == [(name, "committed") for name in NAMES]
    first, second = reversed(audit.history(yard.desk.registry, PREFIX))
    assert (first.selector, second.selector) == ("robots by SSH", "")
    assert {row["link"] for row in yard.desk.json("status")["robots"]} == {"ssh", "pull"}


@pytest.fixture
def signed(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> Signed:
    """The same, of a fleet that two people sign, with a key of its own that advances."""
    site = Signed(yard.desk, monkeypatch)
    (site.keys / "carl").write_text("a key")
    (yard.desk.folder / "advance").write_text("carl@x carl\n")
    site.trust |= {"advance": "advance", "advance_with": site.key("carl")}
    return site


def test_a_signed_fleet_goes_by_the_key_that_advances(yard: Yard, signed: Signed) -> None:
    yard.open(trust=signed.trust)
    before = len(signed.signer.signed)
    yard.desk.fleet("rollout", "--yes")
    assert yard.versions() == all_at("1.0.0")
    used = signed.signer.signed[before:]
    assert used[0] == "anna", "the plan"
    assert len(used) > 3
    assert set(used[1:]) == {"carl"}, "every statement"


def test_a_key_that_may_not_advance_moves_nothing(yard: Yard, signed: Signed) -> None:
    signed.trust["advance_with"] = signed.key("eve")
    yard.open(trust=signed.trust)
    message = yard.desk.json("rollout", "--yes", code=2)["error"]["message"]
    assert "may not say how far a rollout has come" in message
    assert yard.versions() == all_at(None)


def test_a_plan_that_two_have_to_sign_waits_for_the_second(yard: Yard, signed: Signed) -> None:
    signed.trust["threshold"] = 2
    yard.open(trust=signed.trust)
    signed.second()
    message = yard.desk.json("rollout", "--yes", code=7)["error"]
    assert "is signed by 1 of 2" in message["message"]
    yard.settle()
    assert yard.versions() == all_at(None)
    rollout = message["hint"].rpartition(" ")[2]
    yard.desk.set_version("1.0.0", **yard.changes, trust={**signed.trust, "sign_with": signed.key("ben")})
    yard.desk.fleet("rollout", "--sign-plan", rollout, "--yes")
    assert yard.versions() == all_at("1.0.0")
    assert (
        "no plan of rollout nothing waits"
        in yard.desk.json("rollout", "--sign-plan", "nothing", code=2)["error"]["message"]
    )


def test_status_says_who_holds_and_when_it_was_seen_last(yard: Yard) -> None:
    running(yard)
    yard.desk.json("rollout", "--yes", "--once", code=7)
    yard.clock.sleep(5.0)
    rows = {row["name"]: row for row in yard.desk.json("status")["robots"]}
    assert rows["amr-002"]["held"] == "waits for its stage: it is in stage 2"
    assert rows["amr-002"]["release"] == "1.0.0"
    assert rows["amr-002"]["last_seen"] == yard.clock.now()
    said = yard.desk.fleet("status").out
    assert "held because waits for its stage" in said
    assert "robots that pull: 1.1.0 running, stage 1 of 2; the statement counts until 2027-01-1" in said
    desired = yard.desk.json("status")["desired"]
    assert (desired["version"], desired["stage"], desired["standing"]) == ("1.1.0", 1, "running")


def test_a_statement_that_nobody_renewed_is_said_and_the_next_step_renews_it(yard: Yard) -> None:
    yard.open(**APPROVED)
    yard.desk.json("rollout", "--yes", code=7)
    yard.clock.sleep(25 * 3600.0)
    assert "the desired statement expired at" in yard.desk.json("status")["desired"]["problem"]
    assert "the desired statement expired" in yard.robots["amr-002"].held
    assert yard.desk.json("rollout", "--once", code=7)["standing"] == "running"
    assert yard.desk.json("status")["desired"]["problem"] is None
    yard.clock.sleep(5.0)
    assert yard.robots["amr-002"].held == "waits for its stage: it is in stage 2"


@pytest.mark.parametrize("words", [("logs", "amr-001"), ("exec", "--", "true"), ("verify",), ("doctor", "amr-001")])
def test_verbs_that_need_ssh_say_that_it_does_not_reach_a_robot_that_pulls(yard: Yard, words: tuple[str, ...]) -> None:
    yard.open()
    ended = yard.desk.fleet(*words, code=3)
    assert "SSH does not reach it: it pulls, and the manifest gives no host" in ended.err + ended.out


def test_a_signed_rollback_travels_in_the_plan(yard: Yard, signed: Signed) -> None:
    yard.open(trust=signed.trust)
    yard.desk.fleet("rollout", "--yes")
    yard.desk.publish("1.1.0", **yard.changes, trust=signed.trust, defaults={"environment": {"V": "2"}})
    yard.desk.fleet("rollout", "--yes")
    yard.desk.fleet("rollback", "1.0.0", "--yes")
    assert yard.versions() == all_at("1.0.0")
    order = yard.followed.plan.rollback
    assert order is not None
    assert '"kind":"rollback"' in order.statement
    assert audit.history(yard.desk.registry, PREFIX)[0].kind == "rollback"


def test_hooks_hear_of_waves_and_once_of_the_end_and_may_pause(yard: Yard) -> None:
    heard = yard.desk.folder.parent / "heard"
    script = yard.desk.folder / "hook"
    script.write_text(f'#!/bin/sh\necho "$JETFLEET_EVENT" >> {heard}\ntest ! -e {heard}.stop\n')
    script.chmod(0o755)
    waves = {"events": ["before-wave", "after-wave"], "command": "./hook", "on_error": "stop"}
    yard.open(hooks=[waves, {"events": ["before-rollout", "after-rollout"], "command": "./hook"}])
    yard.desk.json("rollout", "--yes", "--once", code=7)
    heard.with_suffix(".stop").touch()
    told = yard.desk.json("rollout", "--watch", code=7)
    assert told["standing"] == "paused"
    assert "failed after-wave" in told["waits"]
    heard.with_suffix(".stop").unlink()
    yard.desk.fleet("rollout", "--resume", "--reason", "the board is back")
    yard.desk.fleet("rollout", "--once")
    assert heard.read_text().split() == [
        "before-rollout",
        "before-wave",
        "after-wave",
        "after-wave",
        "before-wave",
        "after-rollout",
    ]
    assert yard.versions() == all_at("1.0.0")


def test_the_hub_that_the_manifest_names_is_asked_with_its_token(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.publish(hub={"url": "https://127.0.0.1:1/jetfleet/", "token": {"env": "HUB_TOKEN"}})
    assert "hub/token: the variable HUB_TOKEN is empty" in desk.json("status", "--hub", code=2)["error"]["message"]
    monkeypatch.setenv("HUB_TOKEN", "between-us")
    made = desk.wiring.hub
    assert isinstance(made, RequestsHub)
    assert made.url == "https://127.0.0.1:1/jetfleet"
    assert made._headers["Authorization"] == "Bearer between-us"


def test_robots_by_ssh_are_shown_by_their_reports_where_that_is_asked_for(yard: Yard) -> None:
    yard.open(pulling=[])
    robot = PullingRobot("amr-001", "testing", office(yard.desk.wiring), yard.hub, yard.clock)
    publish_pins(office(yard.desk.wiring), Pins("testing", 5, {"amr-001": robot.voice.key.public}), None)
    robot.live()
    rows = {row["name"]: row for row in yard.desk.json("status", "--hub", code=6)["robots"]}
    assert (rows["amr-001"]["state"], rows["amr-001"]["link"]) == ("idle", "ssh")
    assert (rows["amr-002"]["state"], rows["amr-002"]["error"]) == ("offline", "the hub has no report of it")


def test_a_manifest_without_a_hub_has_no_reports(desk: Desk) -> None:
    desk.publish()
    assert "the manifest names no hub to ask" in desk.json("status", "--hub", code=2)["error"]["message"]
