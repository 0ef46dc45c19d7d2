"""A robot's updater as the controller meets it: the verbs of `fleet-updater`, a transaction that goes on with time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fleet.ports import CommandResult
from runtime.contract.codec import canonical_json, from_json, to_dict
from runtime.contract.engine.build import Percentiles
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.health import ExecutorHealth, HealthReport, ModelHealth, SelfTest
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.power import PowerStatus
from runtime.contract.robot.release import ReleaseVariant
from runtime.contract.robot.root import TrustRoot
from runtime.contract.robot.update import ACTIVE_STATES, RunningRelease, UpdateOrder, UpdateState, release_folder_name
from runtime.contract.robot.verification import CHECKS, Finding, Verification
from tests.fakes.clock import FakeClock
from tests.fakes.robots.robot_shell import Hangs

STEP_S = 2.0
"""Each state before the wait for confirmation takes this long."""


@dataclass
class FakeUpdater:
    """Behaves as `runtime.updater` does, told what to do wrong by its fields."""

    robot: str
    clock: FakeClock
    version: str = "1.0+test"
    revert_in: str = ""
    """A state in which the update fails by itself (``probation``); the reason is ``why``."""
    refuse: bool = False
    defer: bool = False
    """Says "not now" once all is fetched and verified."""
    why: str = "because the test says so"
    attested_key: str = ""
    """Runs this engine key instead of the right one."""
    unhealthy: str = ""
    fails: frozenset[str] = frozenset()
    """Checks that fail when the robot verifies itself."""
    cannot_verify: str = ""
    """Why its agent cannot verify."""
    old: bool = False
    """An updater that knows no `verify`."""
    power: PowerStatus | None = None
    silent: bool = False
    """The daemon does not answer."""
    hang: bool = False
    """The daemon is stopped (SIGSTOP): whoever asks waits, and nothing goes on."""
    refuses_root: str = ""
    """Why it takes no root."""
    brought: list[dict[str, Any]] = field(default_factory=list)
    """Updaters that it was given over its socket."""
    state: UpdateState = field(init=False)
    order: UpdateOrder | None = None
    running: ReleaseVariant | None = None
    container_starts: int = 0
    submitted: list[UpdateOrder] = field(default_factory=list)
    verbs: list[str] = field(default_factory=list)
    pull: dict[str, Any] | None = None
    """What it was told of registry and hub."""
    host_key: str = ""
    """Public; signs its reports."""
    _since: float = 0.0
    _before: ReleaseVariant | None = None
    _was_running: ReleaseVariant | None = None

    def __post_init__(self) -> None:
        self.state = UpdateState(self.robot, "idle", self.version)

    # ── the command ──

    def __call__(self, args: Sequence[str], stdin: str) -> CommandResult:
        self.verbs.append(args[0])
        if self.silent:
            return CommandResult(3, "", "fleet-updater: the updater does not answer -> start it\n")
        if self.hang:
            raise Hangs
        self._go_on()
        verb = {"status": self._status, "submit": self._submit, "attest": self._attest, "confirm": self._confirm}
        if args[0].startswith("take-"):
            return self._take(args[0], json.loads(stdin))
        if args[0] == "verify":
            return self._verify(float(args[2]))
        if args[0] == "revert":
            return self._revert(args[1], args[3])
        return verb[args[0]](stdin if args[0] == "submit" else "".join(args[1:2]))

    def _take(self, verb: str, told: dict[str, Any]) -> CommandResult:
        """Take what is signed, as it comes: who judges it is shown with the real updater."""
        if self.refuses_root and verb == "take-root":
            return CommandResult(4, "", f"fleet-updater: {self.refuses_root} -> let them sign\n")
        if verb == "take-root":
            root = from_json(TrustRoot, told["roots"][-1]["statement"])
            self.state = replace(self.state, root_version=root.version, has_root=True, unsigned=root.unsigned)
        elif verb == "take-pull":
            self.pull = told
            key = "" if told["settings"] is None else self.host_key
            return _json({"state": to_dict(self.state), "host_key": key})
        elif verb == "take-updater":
            self.brought.append(told)
            return _json({"trial": bool(told["zipapp"])})
        else:
            newest = from_json(Newest, told["signed"]["statement"])
            self.state = replace(
                self.state, generation=newest.generation, newest=newest.version, newest_until=newest.expires_at
            )
        return _json(self.state)

    def _status(self, _: str) -> CommandResult:
        return _json(self.state)

    def _submit(self, text: str) -> CommandResult:
        order = from_json(UpdateOrder, text)
        if self.order is not None and self.order.order_id == order.order_id:
            return _json(self.state)
        if self.state.state in ACTIVE_STATES:
            return CommandResult(5, "", f"fleet-updater: order {self.state.order_id} is in progress -> wait for it\n")
        self.submitted.append(order)
        self.order = order
        self._enter(
            "preflight", self.clock.monotonic(), order_id=order.order_id, target=_running(order), outcome="", reason=""
        )
        return _json(self.state)

    def _attest(self, _: str) -> CommandResult:
        image = self.running.image if self.running else ""
        report = canonical_json(self._report()).decode() if self.running else ""
        return _json(Attestation(self.state, running_image=image, report_json=report, container_id="c1"))

    def _verify(self, seconds: float) -> CommandResult:
        if self.old:
            return CommandResult(2, "", "fleet-updater: error: argument COMMAND: invalid choice: 'verify'\n")
        attested = from_json(Attestation, self._attest("").stdout)
        if self.running is None:
            return _json(replace(attested, verification_error="no runtime container exists"))
        if self.cannot_verify:
            return _json(replace(attested, verification_error=self.cannot_verify))
        found = tuple(
            Finding(
                check, engine.model, check not in self.fails, self.why if check in self.fails else "as it should be"
            )
            for engine in self.running.engines
            for check in CHECKS
        )
        verification = Verification(self.clock.now(), seconds, not self.fails, found)
        return _json(replace(attested, verification_json=canonical_json(verification).decode()))

    def _confirm(self, order_id: str) -> CommandResult:
        if not self.state.awaiting_confirmation or self.state.order_id != order_id:
            return CommandResult(4, "", f"fleet-updater: order {order_id} does not await confirmation\n")
        self._commit()
        return _json(self.state)

    def _revert(self, order_id: str, reason: str) -> CommandResult:
        if self.state.state in ACTIVE_STATES:
            self._back(reason)
        elif self.state.order_id == order_id and self.state.outcome == "committed":
            if self.state.previous is None:
                return CommandResult(4, "", "fleet-updater: there is no previous release on this robot\n")
            self.running = self._before
            self.state = replace(
                self.state,
                state="idle",
                order_id="revert-1",
                outcome="reverted",
                current=self.state.previous,
                previous=self.state.current,
                reason=reason,
            )
        return _json(self.state)

    # ── the transaction ──

    def _go_on(self) -> None:
        """Take every step whose time has come."""
        path = ["preflight", "fetching", "verifying", "waiting", "switching", "probation"]
        while self.state.state in path and self.clock.monotonic() - self._since >= STEP_S:
            if not self._step(path):
                return

    def _step(self, path: list[str]) -> bool:
        now = self.state.state
        assert self.order is not None
        if self.refuse:
            self._end("refused", self.why)
            return False
        if now == self.revert_in:
            self._back(self.why)
            return False
        if now == "waiting" and self.defer and not self.order.override:
            self._end("deferred", self.why)
            return False
        if now == "verifying" and same(self.state.current, self.order):
            self._commit()
            return False
        if now == "probation" and self.state.awaiting_confirmation:
            if self.clock.monotonic() - self._since >= self.order.probation.confirm_timeout_s:
                self._back("nobody confirmed")
            return False
        if now == "probation":
            self._enter("probation", self._since + STEP_S, awaiting_confirmation=True)
            return True
        if now == "waiting":
            self._was_running, self.running = self.running, self.order.variant
            self.container_starts += 1
        self._enter(path[path.index(now) + 1], self._since + STEP_S)
        return True

    def _enter(self, state: str, since: float, **changes: Any) -> None:
        self._since = since
        self.state = replace(self.state, state=state, progress=f"{state}: step", **changes)

    def _commit(self) -> None:
        assert self.order is not None
        touched = not same(self.state.current, self.order)
        if touched:
            self._before = self._was_running
        self.state = replace(
            self.state, previous=self.state.current, current=_running(self.order), fetched_bytes=1000 if touched else 0
        )
        self._end("committed", "")

    def _back(self, reason: str) -> None:
        if self.state.state in ("switching", "probation"):
            self.running = self._was_running
            self.container_starts += 1
        self._end("reverted", reason)

    def _end(self, outcome: str, reason: str) -> None:
        self.state = replace(
            self.state, state="idle", outcome=outcome, reason=reason, awaiting_confirmation=False, progress=""
        )

    def _report(self) -> HealthReport:
        assert self.running is not None
        models = tuple(
            ModelHealth(
                name=engine.model,
                precision=engine.precision,
                engine_key=self.attested_key or engine.key,
                engine_sha256="0" * 64,
                state="active",
                self_test=SelfTest(True, 0.999, 0.99, "ok"),
                inference_ms=Percentiles(1, 1, 1, 1, 10),
            )
            for engine in self.running.engines
        )
        return HealthReport(
            time=self.clock.now(),
            robot=self.robot,
            release="",
            image=self.running.image,
            state="unhealthy" if self.unhealthy else "ok",
            live=True,
            ready=not self.unhealthy,
            uptime_s=1.0,
            executor=ExecutorHealth("running", "active", 0),
            models=models,
            checks=(),
            power=self.power,
        )


def same(current: RunningRelease | None, order: UpdateOrder) -> bool:
    return current is not None and current.folder == _running(order).folder


def _running(order: UpdateOrder) -> RunningRelease:
    folder = release_folder_name(order.variant.image, order.compose, order.environment, order.secrets)
    return RunningRelease(order.version, order.release_digest, order.variant.name, order.variant.image, folder)


def _json(value: object) -> CommandResult:
    return CommandResult(0, json.dumps(to_dict(value)) + "\n", "")
