"""What a robot is told of power: one value for its host, which sets modes, and its container, which asks for them."""

from __future__ import annotations

from fleet.manifest.inherit import Effective
from fleet.manifest.schema.manifest_schema import Profile
from fleet.manifest.schema.power_schema import Governor
from runtime.contract.codec import canonical_json
from runtime.contract.robot.power import ENV_POWER, GovernorSettings, PowerPolicy


def power_policy(settings: Effective, profile: Profile) -> PowerPolicy | None:
    """Return a robot's policy, or None when its power is left alone.

    A machine that is no Jetson has no modes to set: there the governor only takes frames and refuses.
    """
    power, mode = settings.power, settings.power_mode
    if profile.module is None:
        mode = None
    if power is None and mode is None:
        return None
    modes = (power.modes if power else ()) or ((mode,) if mode else ())
    governor = power.governor if power is not None and power.governor.enabled else None
    if governor is None and mode is None:
        return None
    return PowerPolicy(
        mode=mode,
        modes=modes if mode else (),
        sm_count=profile.sm_count,
        essential=power.essential if power else (),
        lighter=power.lighter if power else (),
        governor=None if governor is None else _settings(governor),
    )


def power_environment(settings: Effective, profile: Profile) -> dict[str, str]:
    """Return the variable that carries the policy; nothing when there is none."""
    policy = power_policy(settings, profile)
    return {} if policy is None else {ENV_POWER: canonical_json(policy).decode()}


def _settings(governor: Governor) -> GovernorSettings:
    return GovernorSettings(
        hot_c=governor.hot,
        critical_c=governor.critical,
        hysteresis_c=governor.hysteresis,
        over_current_per_minute=governor.over_current_per_minute,
        busy=governor.busy,
        idle=governor.idle,
        worse_after_s=governor.worse_after,
        better_after_s=governor.better_after,
        rate_steps=governor.rate_steps,
    )
