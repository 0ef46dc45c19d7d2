"""Robots that pull, simulated: they verify and sign for real, over a fake updater, registry and hub."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from fleet.oci.releases import load_release
from fleet.signing.desired import Office, read_desired
from runtime.contract.codec import from_json
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import PullState, SignedReport
from runtime.contract.robot.desired import ENDED, REVERTING, RUNNING, stage_of
from runtime.contract.robot.desired_rules import Followed, why_older, why_out_of_time
from runtime.contract.robot.orders import order_id_of, order_of
from runtime.contract.robot.update import ACTIVE_STATES
from tests.fakes.clock import FakeClock
from tests.fakes.hub import FakeHub
from tests.fakes.pull_robots import PullRobot
from tests.fakes.robots.updater import FakeUpdater

POLL_S = 60.0


@dataclass
class PullingRobot:
    """One robot; :meth:`live` is what it does whenever time has passed."""

    name: str
    fleet: str
    office: Office
    hub: FakeHub
    clock: FakeClock
    away: bool = False
    """Switched off: neither looks nor reports."""
    mute: bool = False
    """Looks, and no report arrives."""
    blind: str = ""
    """Why it cannot look into the registry; it reports that."""
    update: FakeUpdater = field(init=False)
    voice: PullRobot = field(init=False)
    followed: Followed | None = None
    tried: set[str] = field(default_factory=set)
    held: str = ""
    said: list[SignedReport] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.update = FakeUpdater(self.name, self.clock)
        self.voice = PullRobot(self.name, self.fleet)

    @property
    def version(self) -> str | None:
        current = self.update.state.current
        return current.version if current else None

    def live(self) -> None:
        if self.away:
            return
        if not self.blind:
            self._look()
        if not self.mute:
            self._report()

    def _look(self) -> None:
        found = read_desired(self.office, self.clock.now()).followed
        self.update(["status"], "")  # time goes on there
        if found is None:
            return
        older = why_older(self.followed.desired if self.followed else None, found.desired)
        if older:
            self.held = older
            return
        self.followed, self.held = found, why_out_of_time(found, self.clock.now())
        if not self.held:
            self._follow(found)

    def _follow(self, found: Followed) -> None:
        desired, plan, state = found.desired, found.plan, self.update.state
        mine = order_id_of(plan.version, plan.rollout_id)
        if state.awaiting_confirmation:
            self.update(["confirm", state.order_id], "")
            return
        if state.state in ACTIVE_STATES:
            return
        runs = state.current is not None and state.current.release_digest == plan.release
        if desired.standing == REVERTING:
            if runs and (state.order_id, state.outcome) == (mine, "committed"):
                self.update(["revert", mine, "--reason", f"the rollout is taken back: {desired.reason}"], "")
            return
        if runs or mine in self.tried:
            return
        if desired.standing not in (RUNNING, ENDED):
            self.held = f"the rollout is {desired.standing}: {desired.reason}"
        elif not desired.reaches(plan, self.name):
            self.held = f"waits for its stage: it is in stage {stage_of(plan, self.name)}"
        else:
            self._order(found, mine)

    def _order(self, found: Followed, mine: str) -> None:
        release = load_release(self.office.registry, self.office.prefix, found.plan.version)
        order = order_of(
            release.document,
            found.plan.release,
            self.name,
            mine,
            found.desired.issued_at,
            release.document.environment.get(self.name, {}),
            {},
        )
        assert order is not None
        self.tried.add(mine)
        self.update(["submit"], json.dumps(_plain(order)))

    def _report(self) -> None:
        attested = from_json(Attestation, self.update(["attest"], "").stdout)
        self.said.append(self.voice.report(self.clock.now(), attestation=attested, pull=self.pull_state))
        self.hub.post(self.said[-1])

    @property
    def pull_state(self) -> PullState:
        if self.followed is None:
            return PullState(held=self.held, problem=self.blind)
        desired, plan = self.followed.desired, self.followed.plan
        return PullState(
            desired.generation, desired.rollout_id, stage_of(plan, self.name), self.held, problem=self.blind
        )


def _plain(value: object) -> object:
    from runtime.contract.codec import to_dict

    return to_dict(value)
