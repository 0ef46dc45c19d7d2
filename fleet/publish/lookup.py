"""Ask the registry what it holds of what a manifest needs: one request a distinct artifact, never one a robot."""

from __future__ import annotations

from fleet.oci.releases import find_release
from fleet.parallel import side_by_side
from fleet.plan.diff import runtime_recipes
from fleet.plan.registry_facts import RegistryFacts
from fleet.ports import Registry
from fleet.resolve.desired import Desired

#: Requests under way at once; a registry on a small machine answers these without queueing.
PARALLEL = 8


def look_up(registry: Registry, desired: Desired) -> RegistryFacts:
    """Return what is there. Raises RegistryError."""
    prefix = desired.registry.prefix
    bases = runtime_recipes(desired)
    repositories = [(f"{prefix}/engines", spec.tag) for spec in desired.engines.values()]
    repositories += [(f"{prefix}/bases", recipe.tag) for recipe in bases]
    digests = side_by_side(lambda asked: registry.head_manifest(*asked), repositories, workers=PARALLEL)
    found = find_release(registry, prefix, desired.version)
    count = len(desired.engines)
    return RegistryFacts(
        engines=dict(zip(desired.engines, digests[:count], strict=True)),
        bases={recipe.tag: digest for recipe, digest in zip(bases, digests[count:], strict=True)},
        release=found.document if found else None,
        release_digest=found.digest if found else None,
    )
