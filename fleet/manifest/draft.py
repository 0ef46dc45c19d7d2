"""fleet.yaml as far as it can be used: whole when it is valid, else the parts that are.

A manifest with one wrong key must still have its other robots checked, so that all problems are shown at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from fleet.manifest.schema.manifest_schema import (
    Hub,
    Inventory,
    Manifest,
    Pull,
    RegistryRef,
    Robot,
    Rollout,
    Settings,
    Trust,
)
from fleet.manifest.yaml.report import Report, SourceFile, salvage


@dataclass(frozen=True)
class Draft:
    """The usable parts of fleet.yaml."""

    manifest: Manifest | None
    """None when anything in fleet.yaml is wrong."""
    profiles: Mapping[int, str]
    """Index in the file → path as written."""
    models: Mapping[int, str]
    defaults: Settings
    groups: Mapping[str, Settings]
    group_names: frozenset[str]
    """Also of those groups that could not be used."""
    robots: Mapping[int, Robot]
    """Index in the file → robot."""
    rollout: Rollout | None
    inventory: Inventory | None = None
    """None also where it could not be used."""
    registry: RegistryRef | None = None
    """None where it could not be used."""
    trust: Trust | None = None
    """None also where it could not be used."""
    hub: Hub | None = None
    """None also where it could not be used."""
    pull: Pull | None = None
    """None where it could not be used."""
    complete: bool = field(default=True)
    """False when parts are missing here that the file has: nothing is concluded from their absence then."""


def draft_from(source: SourceFile, report: Report) -> Draft:
    """Validate fleet.yaml; note every problem."""
    raw: dict[str, Any] = source.document.value
    try:
        manifest = Manifest.model_validate(raw, strict=True)
    except ValidationError as error:
        report.note(Manifest, source, error)
        return _from_parts(raw)
    return Draft(
        manifest=manifest,
        profiles=dict(enumerate(manifest.profiles)),
        models=dict(enumerate(manifest.models)),
        defaults=manifest.defaults,
        groups=manifest.groups,
        group_names=frozenset(manifest.groups),
        robots=dict(enumerate(manifest.robots)),
        rollout=manifest.rollout,
        inventory=manifest.inventory,
        registry=manifest.registry,
        trust=manifest.trust,
        hub=manifest.hub,
        pull=manifest.pull,
    )


def _from_parts(raw: dict[str, Any]) -> Draft:
    groups = _mapping(raw.get("groups"))
    robots = {index: salvage(Robot, item) for index, item in enumerate(_sequence(raw.get("robots")))}
    usable_groups = {name: salvage(Settings, item) for name, item in groups.items()}
    defaults = salvage(Settings, raw.get("defaults", {}))
    return Draft(
        manifest=None,
        profiles=_texts(raw.get("profiles")),
        models=_texts(raw.get("models")),
        defaults=defaults or Settings(),
        groups={name: group for name, group in usable_groups.items() if group is not None},
        group_names=frozenset(groups),
        robots={index: robot for index, robot in robots.items() if robot is not None},
        rollout=salvage(Rollout, raw.get("rollout", {})),
        inventory=salvage(Inventory, raw["inventory"]) if isinstance(raw.get("inventory"), dict) else None,
        registry=salvage(RegistryRef, raw["registry"]) if isinstance(raw.get("registry"), dict) else None,
        trust=salvage(Trust, raw["trust"]) if isinstance(raw.get("trust"), dict) else None,
        hub=salvage(Hub, raw["hub"]) if isinstance(raw.get("hub"), dict) else None,
        pull=salvage(Pull, raw.get("pull", {})),
        complete=False,
    )


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()


def _texts(value: Any) -> dict[int, str]:
    return {index: item for index, item in enumerate(_sequence(value)) if isinstance(item, str) and item}
