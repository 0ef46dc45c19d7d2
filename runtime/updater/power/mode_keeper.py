"""Keeps the robot in the power mode that is wanted: the agent's, while it asks; the manifest's otherwise.

Only modes that the current release allows, only by name, only with the SMs that its engines were built for, and never
through a reboot: where one is needed, that is said instead.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from typing import Callable, Dict, Optional, Protocol, Tuple

from runtime.contract.codec import ContractError, from_json
from runtime.contract.robot.power import (
    DEFAULT_UID,
    ENV_POWER,
    ENV_UID,
    PowerAnswer,
    PowerMode,
    PowerPolicy,
    mode_named,
    needs_reboot,
)
from runtime.updater.power.nvpmodel import NeedsReboot
from runtime.updater.state.release_folder import order_in
from runtime.updater.state.world import World, WorldError
from runtime.updater.transaction.update_state import Rejected

LEASE_S = 120.0
"""Who wants a mode asks again within this time; otherwise the manifest's mode comes back."""
PULSE_S = 15.0
VERIFY_S = 60.0
"""nvpmodel is asked again which mode is set, at most so often, while somebody asks for one."""
VERIFY_ALONE_S = 600.0
RETRY_S = 600.0
"""A mode that could not be set is not tried again sooner."""


class Tool(Protocol):
    """See :class:`runtime.updater.power.nvpmodel.Nvpmodel`."""

    def modes(self) -> Tuple[PowerMode, ...]:
        """Return this board's modes."""
        ...

    def current(self) -> Optional[str]:
        """Ask which mode is set. Raises WorldError."""
        ...

    def set(self, mode: PowerMode) -> None:
        """Set a mode and verify it. Raises NeedsReboot, WorldError."""
        ...


@dataclass(frozen=True)
class Rules:
    """What the current release says of power."""

    release: str = ""
    """Its folder; empty when there is none."""
    policy: Optional[PowerPolicy] = None
    uid: int = DEFAULT_UID
    """Of the runtime container's user."""


class PowerKeeper:
    """One robot's power mode. Thread-safe; a caller never waits behind another's nvpmodel."""

    def __init__(
        self,
        tool: Tool,
        rules: Callable[[], Rules],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tool, self._read_rules, self._say, self._clock = tool, rules, say, clock
        self._working = threading.Lock()
        self._rules = Rules()
        self._answer = PowerAnswer()
        self._lease = clock()
        """When somebody last asked; at first, when we began to wait for somebody."""
        self._seen_at: Optional[float] = None
        self._failed: Dict[str, Tuple[float, str]] = {}

    def status(self) -> PowerAnswer:
        """Return how things are, without asking anybody."""
        return self._answer

    def rules(self) -> Rules:
        """Return what the current release says. Raises WorldError when its folder is damaged."""
        return self._read_rules()

    def ask(self, want: str, why: str, who: str) -> PowerAnswer:
        """Somebody wants mode ``want`` for the next ``LEASE_S``. Raises Rejected for one that is not allowed."""
        if not self._working.acquire(blocking=False):
            return self._answer
        try:
            policy = self._load().policy
            allowed = () if policy is None else policy.modes
            if policy is None or want not in allowed:
                hint = "allowed are {}".format(", ".join(allowed)) if allowed else "give the robot power.modes"
                raise Rejected("refused", "the current release does not allow power mode {}".format(want), hint)
            self._lease = self._clock()
            self._reach(policy, want, VERIFY_S, "asked for by {}{}".format(who, ": " + why if why else ""))
        finally:
            self._working.release()
        return self._answer

    def pulse(self) -> None:
        """Do what is due. Call it every ``PULSE_S``."""
        if not self._working.acquire(blocking=False):
            return
        try:
            policy = self._load().policy
            if policy is None or policy.mode is None:
                return
            alone = self._clock() - self._lease
            if policy.governor is None:
                self._reach(policy, policy.mode, VERIFY_ALONE_S, "the manifest's mode")
            elif alone >= LEASE_S:
                why = "the manifest's mode: no request for {:.0f} s".format(alone)
                self._reach(policy, policy.mode, VERIFY_ALONE_S, why)
        finally:
            self._working.release()

    def _load(self) -> Rules:
        rules = self._read_rules()
        if rules != self._rules:
            self._failed.clear()
            self._seen_at, self._lease = None, self._clock()
            self._answer = replace(self._answer, asked=None, verified=False, reboot_needed=(), problem="")
            self._rules = rules
        return rules

    def _reach(self, policy: PowerPolicy, want: str, verify_s: float, why: str) -> None:
        """Make ``want`` the mode, if that can be; leave in the answer what came of it."""
        now, failure = self._clock(), self._failed.get(want)
        if failure is not None and now - failure[0] < RETRY_S:
            self._answer = replace(self._answer, asked=want, verified=False, problem=failure[1])
            return
        fresh = self._seen_at is not None and now - self._seen_at < verify_s
        if fresh and self._answer.verified and self._answer.asked == want:
            return
        try:
            self._change(policy, want, why)
            self._failed.pop(want, None)
            self._answer = replace(self._answer, asked=want, verified=True, problem="")
        except (WorldError, Rejected) as error:
            text = "{} -> {}".format(error.message, error.hint)
            self._failed[want] = (now, text)
            self._seen_at = None
            self._answer = replace(self._answer, asked=want, verified=False, problem=text)
            self._say("power: cannot set {} ({}): {}".format(want, why, text))

    def _change(self, policy: PowerPolicy, want: str, why: str) -> None:
        here = self._tool.current()
        self._seen_at = self._clock()
        self._answer = replace(self._answer, mode=here)
        if here == want:
            self._reached(want)
            return
        table = self._tool.modes()
        mode, now = mode_named(table, want), mode_named(table, here)
        if mode is None:
            known = ", ".join(item.name for item in table) or "unknown"
            raise Rejected("refused", "this machine has no power mode {}".format(want), "it has " + known)
        if policy.sm_count is not None and mode.sm_count != policy.sm_count:
            text = "power mode {} leaves {} SMs, the engines were built for {}".format(
                want, mode.sm_count, policy.sm_count
            )
            raise Rejected("refused", text, "choose a mode that leaves as many, or build for this one")
        try:
            if now is not None and needs_reboot(now, mode):
                raise NeedsReboot()
            self._tool.set(mode)
        except NeedsReboot:
            known_ = self._answer.reboot_needed
            self._answer = replace(self._answer, reboot_needed=tuple(sorted({*known_, want})))
            hint = "when the robot may reboot: `sudo nvpmodel -m {}`, and answer its question with yes".format(mode.id)
            raise Rejected("refused", "from {} to {} needs a reboot".format(here, want), hint) from None
        self._answer = replace(self._answer, mode=want, changes=self._answer.changes + 1)
        self._reached(want)
        self._say("power: {} -> {}, verified; {}".format(here, want, why))

    def _reached(self, mode: str) -> None:
        """What is set needs no reboot any more."""
        left = tuple(name for name in self._answer.reboot_needed if name != mode)
        self._answer = replace(self._answer, reboot_needed=left)


class CurrentRules:
    """Reads what the current release says; its folder never changes, so once for each."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rules = Rules()

    def __call__(self) -> Rules:
        """Return it. Raises WorldError when the release's folder is damaged."""
        folder = self._world.links().current
        if folder is None:
            return Rules()
        if folder != self._rules.release:
            self._rules = _rules_in(self._world, folder)
        return self._rules


def _rules_in(world: World, folder: str) -> Rules:
    environment = order_in(world, folder).environment
    text, uid = environment.get(ENV_POWER, ""), environment.get(ENV_UID, "")
    try:
        policy = from_json(PowerPolicy, text) if text else None
    except ContractError as error:
        hint = "publish the release again, with a `fleet` of this updater's version"
        raise WorldError("{} of the current release is damaged: {}".format(ENV_POWER, error), hint) from error
    return Rules(folder, policy, int(uid) if uid.isdigit() else DEFAULT_UID)
