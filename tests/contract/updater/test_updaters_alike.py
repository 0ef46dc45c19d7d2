"""The updater that rollouts are tested with, and the real one on a fake robot: to the controller they are alike."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from fleet.link.robot import RobotClient
from fleet.ports import CommandResult, RobotAddress
from fleet.rollout.gate import judge
from runtime.contract.codec import from_json, to_dict
from runtime.contract.robot.update import UpdateOrder, UpdateState
from runtime.updater.daemon.updater import Updater
from runtime.updater.state.records import CONFIRM, Request
from runtime.updater.state.world import StepInterrupted
from runtime.updater.transaction.update_state import EXIT, Rejected
from tests.fakes.clock import FakeClock
from tests.fakes.robots.robot_shell import FakeHost, FakeRobotShells, updater_program
from tests.fakes.robots.robot_world import Behaviour, FakeWorld, order, reference
from tests.fakes.robots.updater import FakeUpdater

Program = Callable[[Sequence[str], str], CommandResult]


class OnFakeWorld:
    """The real updater's daemon, in this process: its verbs as `fleet-updater` passes them on, time by the clock."""

    def __init__(self, root: Path, clock: FakeClock) -> None:
        self.world, self.clock = FakeWorld(root), clock
        self._began = self.world.time
        (root / "state").mkdir()
        self.updater = Updater(root / "state", self.world, "amr-001", "1.0+test")
        self.updater.start()

    def __call__(self, args: Sequence[str], stdin: str) -> CommandResult:
        self._catch_up()
        try:
            return CommandResult(0, json.dumps(to_dict(self._answer(args, stdin))) + "\n", "")
        except Rejected as refused:
            return CommandResult(EXIT[refused.kind], "", f"fleet-updater: {refused.message} -> {refused.hint}\n")

    def _answer(self, args: Sequence[str], stdin: str) -> object:
        if args[0] == "submit":
            return self.updater.submit(from_json(UpdateOrder, stdin))
        if args[0] == "attest":
            return self.updater.attest()
        if args[0] == "confirm":
            self.updater.leave(Request(CONFIRM, args[1]))
            self._catch_up(patience=3)
        return self.updater.status()

    def _catch_up(self, patience: int = 0) -> None:
        """Take steps until the robot's clock is the controller's, and a few more."""
        while self.updater.busy:
            try:
                if self.updater.step():
                    continue
                if self.world.time - self._began >= self.clock.monotonic():
                    if patience <= 0:
                        return
                    patience -= 1
                self.world.sleep(1.0)
            except StepInterrupted:
                self.world.interrupt.clear()


class Site:
    """A controller's client of one updater."""

    def __init__(self, kind: str, root: Path) -> None:
        self.clock, host = FakeClock(), FakeHost()
        address = RobotAddress("amr-001", "host", 22, "jetson")
        self.fake = FakeUpdater("amr-001", self.clock) if kind == "fake" else None
        self.real = OnFakeWorld(root, self.clock) if kind == "real" else None
        updater_program(host, self.fake or self.real)  # type: ignore[arg-type]
        shells = FakeRobotShells({"host": host})
        shells.learn_host_key(address)
        self.client = RobotClient(address, shells, self.clock)

    def until(self, reached: Callable[[UpdateState], bool]) -> UpdateState:
        seen = []
        for _ in range(300):
            state = self.client.status()
            if not seen or seen[-1] != state.state:
                seen.append(state.state)
            if reached(state):
                return state
            self.clock.sleep(1.0)
        raise AssertionError(f"never: {seen}")

    def spoil(self, letter: str) -> None:
        """Let the release called ``letter`` fail in probation."""
        if self.fake:
            self.fake.revert_in = "probation"
        if self.real:
            self.real.world.behaviour[reference(letter)] = Behaviour(exits=True)

    def bring(self, letter: str) -> UpdateState:
        self.client.submit(order(letter))
        self.until(lambda state: state.awaiting_confirmation)
        self.client.confirm(f"order-{letter}")
        return self.until(lambda state: state.state == "idle")


@pytest.fixture(params=["fake", "real"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    return Site(request.param, tmp_path)


def test_an_order_waits_for_confirmation_and_is_committed(site: Site) -> None:
    state = site.client.submit(order("1"))
    assert (state.order_id, state.outcome) == ("order-1", "")
    assert state.target is not None
    site.until(lambda state: state.awaiting_confirmation)
    assert judge(site.client.attest(), order("1").variant).passed
    site.client.confirm("order-1")
    state = site.until(lambda state: state.state == "idle")
    assert (state.outcome, state.awaiting_confirmation) == ("committed", False)
    assert state.current is not None
    assert (state.current.version, state.current.image) == ("1.1.0", reference("1"))
    assert state.previous is None


def test_the_same_order_again_is_the_same_order(site: Site) -> None:
    site.client.submit(order("1"))
    assert site.client.submit(order("1")).order_id == "order-1"


def test_without_confirmation_the_release_before_runs_again(site: Site) -> None:
    site.bring("1")
    site.client.submit(order("2"))
    state = site.until(lambda state: state.outcome == "reverted" and state.state == "idle")
    assert state.current is not None
    assert state.current.version == "1.1.0"
    assert judge(site.client.attest(), order("1").variant).passed


def test_a_release_that_fails_is_reverted_and_the_next_good_one_is_taken(site: Site) -> None:
    site.bring("1")
    site.spoil("2")
    site.client.submit(order("2"))
    state = site.until(lambda state: state.state == "idle")
    assert (state.outcome, bool(state.reason)) == ("reverted", True)
    if site.fake:
        site.fake.revert_in = ""
    state = site.bring("3")
    assert (state.outcome, state.current and state.current.version) == ("committed", "1.3.0")
    assert state.previous is not None
    assert state.previous.version == "1.1.0"


def test_the_same_container_again_is_committed_without_a_new_one(site: Site) -> None:
    site.bring("1")
    before = site.client.attest()
    site.client.submit(order("1", version="1.9.0", order_id="again"))
    state = site.until(lambda state: state.state == "idle")
    assert (state.outcome, state.fetched_bytes) == ("committed", 0)
    assert site.client.attest().container_id == before.container_id


def test_another_order_meanwhile_is_refused_as_busy(site: Site) -> None:
    site.client.submit(order("1"))
    with pytest.raises(Exception, match=r"order-1.* in progress"):
        site.client.submit(order("2"))
