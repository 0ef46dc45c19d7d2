"""The governor at work: the machine's samples in, orders for the executor and a wish for the host out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from runtime.contract.node.health import LEVEL_ERROR, LEVEL_OK, LEVEL_WARN, Check, SystemHealth
from runtime.contract.robot.power import GovernorSettings, PowerMode, PowerPolicy, PowerStatus, ServingOrders
from runtime.power.governor import Decision, GovernorState, Limits, PowerSample, step
from runtime.power.host_link import HostSays
from runtime.power.modes import Choice, read_table, usable_modes
from runtime.power.zones import hottest

STEP_S = 1.0
STALE_S = 10.0
"""An older reading of the sensors says nothing of now."""


class Host(Protocol):
    """See :class:`runtime.power.host_link.HostLink`."""

    says: HostSays

    def want(self, mode: str, why: str) -> None:
        """Want ``mode`` from now on. Never blocks."""
        ...


class PowerControl:
    """One robot's governor, its memory, and what came of it."""

    def __init__(
        self,
        policy: PowerPolicy,
        models: Sequence[str],
        host: Host,
        *,
        root: Path = Path("/"),
        log: Callable[[str], None] = print,
    ) -> None:
        self._policy, self._host, self._log = policy, host, log
        self._models = tuple(name for name in models if name not in policy.essential)
        self._lighter = tuple(name for name in self._models if name in policy.lighter)
        self._settings = policy.governor or GovernorSettings()
        self._table: tuple[PowerMode, ...] = read_table(root)
        self._state, self._stepped_at = GovernorState(), float("-inf")
        self._said: tuple[str | None, int] = (policy.mode, 0)
        self.status, self.orders = PowerStatus(), ServingOrders()
        self._fault = ""

    def step(self, system: SystemHealth, now: float) -> bool:
        """Do what is due at ``now`` (seconds, monotonic). Returns whether anything was: at most once a second.

        A defect in here costs the governing, never the agent that supervises the executor: it is told in the status,
        the last orders stand, and the next second tries again.
        """
        if now - self._stepped_at < STEP_S:
            return False
        self._stepped_at = now
        try:
            self._govern(system, now)
        except Exception as error:  # noqa: BLE001 - whatever a sample or an answer of the host made of itself
            self._failed(f"{type(error).__name__}: {error}")
        else:
            self._fault = ""
        return True

    def _failed(self, fault: str) -> None:
        told = f"the governor failed: {fault}; its last orders stand, tried again every second"
        self.status = replace(self.status, problem=told)
        if fault != self._fault:
            self._log(f"power: {told}")
        self._fault = fault

    def _govern(self, system: SystemHealth, now: float) -> None:
        says, choice = self._host.says, self._choice()
        limits = Limits(choice.modes, self._policy.mode, self._settings, bool(self._lighter))
        self._state, decision = step(limits, self._state, sample_of(system, now))
        wanted = decision.mode or self._policy.mode
        if wanted is not None:
            self._host.want(wanted, decision.reason)
        self.orders = self._orders(decision)
        self.status = self._status(decision, choice, wanted, says, system.gpu_load)
        self._tell(decision, wanted)

    def _choice(self) -> Choice:
        """No modes at all while the host has not spoken: a step that nobody takes would only cost time."""
        answer = self._host.says.answer
        if answer is None or answer.mode is None:
            return Choice()
        return usable_modes(self._policy, self._table, answer.mode, answer.reboot_needed)

    def _orders(self, decision: Decision) -> ServingOrders:
        lighter = dict.fromkeys(self._lighter, decision.reason) if decision.lighter else {}
        if decision.refuse:
            return ServingOrders({}, dict.fromkeys(self._models, f"not served: {decision.reason}"), lighter)
        return ServingOrders(dict.fromkeys(self._models, decision.rate) if decision.rate < 1.0 else {}, {}, lighter)

    def _status(
        self, decision: Decision, choice: Choice, wanted: str | None, says: HostSays, load: float | None
    ) -> PowerStatus:
        answer = says.answer
        return PowerStatus(
            mode=None if answer is None else answer.mode,
            wanted=wanted,
            modes=choice.modes,
            level=decision.level,
            max_level=decision.max_level,
            rate=decision.rate,
            refused=tuple(self.orders.refused),
            slowed=tuple(self.orders.rates),
            lightened=tuple(self.orders.lighter),
            reason=decision.reason,
            reboot_needed=() if answer is None else answer.reboot_needed,
            problem=says.problem or ("" if answer is None else answer.problem),
            mode_changes=0 if answer is None else answer.changes,
            over_current_per_minute=round(self._state.per_minute, 1),
            load=load,
        )

    def _tell(self, decision: Decision, wanted: str | None) -> None:
        if (wanted, decision.level) != self._said:
            self._said = (wanted, decision.level)
            self._log(f"power: {describe(self.status)}")


def sample_of(system: SystemHealth, now: float) -> PowerSample:
    """Take from a reading of the machine what the governor looks at; nothing from one that is too old."""
    if system.sample_age_s > STALE_S:
        return PowerSample(now)
    events, found = system.overcurrent_events, hottest(system.temperatures_c)
    return PowerSample(
        at=now,
        temperature_c=None if found is None else found[1],
        zone="" if found is None else found[0],
        load=system.gpu_load,
        over_current_events=sum(events.values()) if events else None,
    )


def describe(status: PowerStatus) -> str:
    """Return one line for a person."""
    parts = []
    if status.mode != status.wanted and status.wanted is not None:
        parts.append(f"mode {status.mode or 'unknown'}, {status.wanted} wanted")
    elif status.mode is not None:
        parts.append(f"mode {status.mode}")
    if status.refused:
        parts.append(f"{', '.join(status.refused)} not served")
    elif status.slowed:
        parts.append(f"{status.rate:.0%} of the frames for {', '.join(status.slowed)}")
    if status.lightened and not status.refused:
        parts.append(f"a lighter engine for {', '.join(status.lightened)}")
    if status.level:
        parts.append(f"step {status.level} of {status.max_level}")
    if status.reason:
        parts.append(status.reason)
    return "; ".join(parts) or "nothing to govern"


def power_check(status: PowerStatus) -> Check:
    """Judge: a refused model is an error, anything less than all a warning; so is a host that does not do its part."""
    text = describe(status)
    level = LEVEL_ERROR if status.refused else (LEVEL_WARN if status.level else LEVEL_OK)
    if status.problem:
        text, level = f"{text}; {status.problem}", max(level, LEVEL_WARN, key=_SEVERITY.index)
    return Check("power", level, text)


_SEVERITY = (LEVEL_OK, LEVEL_WARN, LEVEL_ERROR)
