"""When to step down and up again. A pure state machine: a sample and a state in, a state and a decision out.

Two things move it. *Load* takes the next faster mode while nothing is hot, and gives it back; it never goes below the
mode that the manifest rests in. *Heat* (temperature, or too many over-current events) climbs one ladder, step by step:
look at fewer frames, serve with lighter engines, take slower modes, serve nothing that is not essential; and comes down
the same way.

It cannot oscillate: a step of the ladder takes ``worse_after_s`` of heat without a break, a step back takes
``better_after_s`` of its absence, and every relapse doubles that time (``patience``). Between the two temperatures
nothing moves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from runtime.contract.robot.power import GovernorSettings

CRITICAL_AFTER_S = 3.0
"""How long the critical temperature must last: one wrong reading must not stop a robot's perception."""
OVER_CURRENT_WINDOW_S = 60.0
MAX_PATIENCE = 8
FORGIVEN_AFTER = 10
"""So many times ``better_after_s`` at the top without a relapse, and patience is 1 again."""
IDLE_TIMES = 5
"""A faster mode is given back after so many times ``better_after_s`` of little load."""


@dataclass(frozen=True)
class PowerSample:
    """One look at the machine. None: it does not say."""

    at: float
    """Seconds, monotonic."""
    temperature_c: float | None = None
    """Of the chip's hottest zone."""
    load: float | None = None
    """Share of the GPU in use, 0 to 1."""
    over_current_events: int | None = None
    """Since boot; a smaller number than before is a counter that began again."""
    zone: str = ""
    """Name of that zone."""


@dataclass(frozen=True)
class Limits:
    """What the governor may do on this robot now."""

    modes: tuple[str, ...] = ()
    """Slowest first. None: rates and refusal only."""
    rest: str | None = None
    """The mode without load and heat; the slowest of ``modes`` when it is not among them."""
    settings: GovernorSettings = field(default_factory=GovernorSettings)
    lighter: bool = False
    """There are lighter engines to put in."""

    @property
    def gentle(self) -> int:
        """Steps that come before the first slower mode."""
        return len(self.settings.rate_steps) + self.lighter

    @property
    def floor(self) -> int:
        """Index of ``rest``."""
        return self.modes.index(self.rest) if self.rest in self.modes else 0


@dataclass(frozen=True)
class GovernorState:
    """What it remembers. Times are of the samples; None: not so now."""

    level: int = 0
    """Steps down in force."""
    wish: int = 0
    """Modes above ``rest`` that load has earned."""
    moved_at: float = -math.inf
    """When ``level`` last changed."""
    wished_at: float = -math.inf
    hot_since: float | None = None
    cool_since: float | None = None
    critical_since: float | None = None
    busy_since: float | None = None
    idle_since: float | None = None
    eased_at: float = -math.inf
    """When it last gave back a step: a new step soon after is a relapse."""
    patience: int = 1
    measures_heat: bool = False
    """It has given a temperature at least once."""
    events: int | None = None
    """Over-current counter of the last sample."""
    per_minute: float = 0.0
    """Over-current events, forgotten slowly."""
    at: float | None = None


@dataclass(frozen=True)
class Decision:
    """What is to be so now."""

    mode: str | None = None
    rate: float = 1.0
    """Share of frames to look at, for models that are not essential."""
    refuse: bool = False
    """Serve no model that is not essential."""
    level: int = 0
    max_level: int = 0
    reason: str = ""
    lighter: bool = False
    """Serve with lighter engines, where there are."""


def step(limits: Limits, state: GovernorState, sample: PowerSample) -> tuple[GovernorState, Decision]:
    """Take one sample. Samples come in order of time; one that is not later than the last changes no step."""
    seen = _observe(limits.settings, _fitting(limits, state), sample)
    moved = _follow_load(limits, _follow_heat(limits, seen, sample.at), sample.at)
    return moved, decide(limits, moved, sample)


def decide(limits: Limits, state: GovernorState, sample: PowerSample) -> Decision:
    """Return what a state means."""
    steps, top = limits.settings.rate_steps, max_level(limits, state)
    rate = ([1.0, *steps])[min(state.level, len(steps))]
    down = max(0, state.level - limits.gentle)
    index = max(0, limits.floor + state.wish - down)
    return Decision(
        mode=limits.modes[index] if limits.modes else None,
        rate=rate,
        lighter=limits.lighter and state.level > len(steps),
        refuse=state.level >= top,
        level=state.level,
        max_level=top,
        reason=_reason(limits, state, sample),
    )


def max_level(limits: Limits, state: GovernorState) -> int:
    """Return the ladder's last step: every rate, lighter engines, every slower mode, then refusal."""
    return limits.gentle + limits.floor + state.wish + 1


def _fitting(limits: Limits, state: GovernorState) -> GovernorState:
    """Modes can go (one turns out to need a reboot): keep what is left within what there is."""
    wish = max(0, min(state.wish, len(limits.modes) - 1 - limits.floor))
    fitted = replace(state, wish=wish)
    return replace(fitted, level=min(state.level, max_level(limits, fitted)))


def _observe(settings: GovernorSettings, state: GovernorState, sample: PowerSample) -> GovernorState:
    per_minute = _over_current(state, sample)
    heat, load, at = sample.temperature_c, sample.load, sample.at
    too_often = per_minute > settings.over_current_per_minute
    hot = too_often or (heat is not None and heat >= settings.hot_c)
    # A machine that gave a temperature and gives none now is not known to have cooled.
    below = not state.measures_heat if heat is None else heat <= settings.hot_c - settings.hysteresis_c
    cool = below and not too_often
    return replace(
        state,
        hot_since=_since(state.hot_since, hot, at),
        cool_since=_since(state.cool_since, cool, at),
        critical_since=_since(state.critical_since, heat is not None and heat >= settings.critical_c, at),
        busy_since=_since(state.busy_since, load is not None and load >= settings.busy, at),
        idle_since=_since(state.idle_since, load is not None and load <= settings.idle, at),
        measures_heat=state.measures_heat or heat is not None,
        events=state.events if sample.over_current_events is None else sample.over_current_events,
        per_minute=per_minute,
        at=at if state.at is None else max(at, state.at),
    )


def _over_current(state: GovernorState, sample: PowerSample) -> float:
    """Return the events of about the last minute: what came since the last sample, on what is not yet forgotten."""
    new = 0
    if sample.over_current_events is not None and state.events is not None:
        new = max(0, sample.over_current_events - state.events)
    passed = 0.0 if state.at is None else max(0.0, sample.at - state.at)
    return state.per_minute * math.exp(-passed / OVER_CURRENT_WINDOW_S) + new


def _since(since: float | None, true: bool, at: float) -> float | None:
    return None if not true else (at if since is None else since)


def _follow_heat(limits: Limits, state: GovernorState, now: float) -> GovernorState:
    settings, top = limits.settings, max_level(limits, state)
    if _lasts(state.critical_since, -math.inf, now, CRITICAL_AFTER_S):
        return state if state.level == top else _worse(settings, state, top, now)
    if state.level < top and _lasts(state.hot_since, state.moved_at, now, settings.worse_after_s):
        return _worse(settings, state, state.level + 1, now)
    wait = settings.better_after_s * state.patience
    if state.level > 0 and _lasts(state.cool_since, state.moved_at, now, wait):
        return replace(state, level=state.level - 1, moved_at=now, eased_at=now)
    if state.level == 0 and state.patience > 1 and now - max(state.moved_at, state.wished_at) >= FORGIVEN_AFTER * wait:
        return replace(state, patience=1)
    return state


def _worse(settings: GovernorSettings, state: GovernorState, level: int, now: float) -> GovernorState:
    relapse = now - state.eased_at < FORGIVEN_AFTER * settings.better_after_s * state.patience
    patience = min(MAX_PATIENCE, state.patience * 2) if relapse else state.patience
    # One relapse doubles once: the next steps of the same heat are not relapses of their own.
    return replace(state, level=level, moved_at=now, eased_at=-math.inf, patience=patience)


def _follow_load(limits: Limits, state: GovernorState, now: float) -> GovernorState:
    wait = limits.settings.better_after_s * state.patience
    last = max(state.wished_at, state.moved_at)
    above = len(limits.modes) - 1 - limits.floor - state.wish
    faster = above > 0 and state.level == 0 and state.cool_since is not None
    if faster and _lasts(state.busy_since, last, now, wait):
        relapse = now - state.eased_at < FORGIVEN_AFTER * wait
        patience = min(MAX_PATIENCE, state.patience * 2) if relapse else state.patience
        return replace(state, wish=state.wish + 1, wished_at=now, eased_at=-math.inf, patience=patience)
    # While heat holds slower modes anyway, giving one back would only bring refusal nearer.
    slower = state.wish > 0 and state.level <= limits.gentle
    if slower and _lasts(state.idle_since, last, now, IDLE_TIMES * wait):
        return replace(state, wish=state.wish - 1, wished_at=now, eased_at=now)
    return state


def _lasts(since: float | None, moved: float, now: float, wait: float) -> bool:
    """Say whether something has been so for ``wait`` seconds, and since the last move as well."""
    return since is not None and now - max(since, moved) >= wait


def _reason(limits: Limits, state: GovernorState, sample: PowerSample) -> str:
    settings = limits.settings
    if state.level == 0:
        return f"busy: {state.wish} modes above {limits.modes[limits.floor]}" if state.wish else ""
    if state.per_minute > settings.over_current_per_minute:
        return f"{state.per_minute:.0f} over-current events a minute, limit {settings.over_current_per_minute:g}"
    if sample.temperature_c is None:
        return "hot at the last measurement; no temperature now"
    word = "hot" if state.hot_since is not None else "cooling"
    zone = f"{sample.zone} " if sample.zone else ""
    return f"{word}: {zone}{sample.temperature_c:.0f} °C, limit {settings.hot_c:g} °C"
