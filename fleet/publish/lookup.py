"""Ask the registry what it holds of what a manifest needs: one request a distinct artifact, never one a robot."""

from __future__ import annotations

from collections.abc import Mapping

from fleet.oci.releases import find_release
from fleet.parallel import side_by_side
from fleet.plan.diff import runtime_recipes
from fleet.plan.registry_facts import RegistryFacts
from fleet.ports import Registry
from fleet.publish.builders import Builders, Proven
from fleet.resolve.builds import base_build, engine_build
from fleet.resolve.desired import Desired
from fleet.signing.provenance import Build

#: Requests under way at once; a registry on a small machine answers these without queueing.
PARALLEL = 8


def look_up(registry: Registry, desired: Desired, builders: Builders | None = None) -> RegistryFacts:
    """Return what is there. Raises RegistryError.

    ``builders``: of a signed fleet; what none of them attests counts as missing.
    """
    prefix = desired.registry.prefix
    bases = runtime_recipes(desired)
    repositories = [(f"{prefix}/engines", spec.tag) for spec in desired.engines.values()]
    repositories += [(f"{prefix}/bases", recipe.tag) for recipe in bases]
    digests = side_by_side(lambda asked: registry.head_manifest(*asked), repositories, workers=PARALLEL)
    found = find_release(registry, prefix, desired.version)
    count = len(desired.engines)
    engines = dict(zip(desired.engines, digests[:count], strict=True))
    images = {recipe.tag: digest for recipe, digest in zip(bases, digests[count:], strict=True)}
    proven: dict[str, Proven] = {}
    if builders is not None:
        builds = {key: engine_build(spec) for key, spec in desired.engines.items()}
        proven = _judge(builders, f"{prefix}/engines", engines, builds)
        proven |= _judge(builders, f"{prefix}/bases", images, {recipe.tag: base_build(recipe) for recipe in bases})
    unproven = {name: each.problem for name, each in proven.items() if each.problem}
    return RegistryFacts(
        engines={key: None if key in unproven else digest for key, digest in engines.items()},
        bases={tag: None if tag in unproven else digest for tag, digest in images.items()},
        release=found.document if found else None,
        release_digest=found.digest if found else None,
        unproven=unproven,
        attested={name: each.builders for name, each in proven.items() if not each.problem},
    )


def _judge(
    builders: Builders, repository: str, digests: Mapping[str, str | None], builds: Mapping[str, Build]
) -> dict[str, Proven]:
    there = {name: digest for name, digest in digests.items() if digest is not None}
    found = builders.judge(repository, [(digest, builds[name]) for name, digest in there.items()])
    return dict(zip(there, found, strict=True))
