"""What a robot is told of its CPUs, its memory, and of when it must not be updated: variables of its container."""

from __future__ import annotations

from fleet.manifest.inherit import Effective
from fleet.manifest.schema.resources_schema import Inhibit, Resources
from runtime.contract.codec import canonical_json
from runtime.contract.node.resources import (
    BOOL,
    ENV_INHIBIT,
    ENV_MEMORY,
    ENV_RESOURCES,
    SERVICE,
    VELOCITY,
    InhibitPolicy,
    InhibitRule,
    ResourcePolicy,
)


def resource_environment(settings: Effective) -> dict[str, str]:
    """Return the variables; nothing for a robot that declares nothing."""
    found: dict[str, str] = {}
    if settings.resources is not None:
        found[ENV_RESOURCES] = canonical_json(_policy(settings.resources)).decode()
        if settings.resources.memory is not None:
            found[ENV_MEMORY] = str(settings.resources.memory)
    if settings.update_inhibit:
        rules = tuple(_rule(rule) for rule in settings.update_inhibit)
        found[ENV_INHIBIT] = canonical_json(InhibitPolicy(rules)).decode()
    return found


def _policy(resources: Resources) -> ResourcePolicy:
    return ResourcePolicy(resources.worker_cpus, resources.spin_cpus, resources.keep_free)


def _rule(rule: Inhibit) -> InhibitRule:
    if rule.velocity is not None:
        return InhibitRule(VELOCITY, rule.velocity, rule.within, rule.message)
    if rule.flag is not None:
        return InhibitRule(BOOL, rule.flag)
    assert rule.service is not None, "the schema lets a rule be of exactly one kind"
    return InhibitRule(SERVICE, rule.service, rule.within)
