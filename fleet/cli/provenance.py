"""Who built what: the builders of a signed fleet, and what they attest, for the verbs that build, publish and sign."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fleet.cache_folder import cache_dir
from fleet.cli.trust_root import require_root
from fleet.cli.ui.activity import Activity
from fleet.cli.ui.console import many
from fleet.cli.ui.robots import by_item
from fleet.cli.wiring import Wiring
from fleet.errors import NotProven, UsageError
from fleet.oci.image_spec import Descriptor
from fleet.plan.registry_facts import RegistryFacts
from fleet.publish.artifact import EngineArtifact, engine_artifact, read_report
from fleet.publish.builders import Builders
from fleet.publish.gates import check_gates
from fleet.publish.layer_check import LayerChecks
from fleet.resolve.builds import base_build, engine_build
from fleet.resolve.desired import Desired, EngineSpec, Recipe
from runtime.contract.engine.build import EngineReport

_SHOWN = 5


def builders_of(wiring: Wiring) -> Builders | None:
    """Return the builders that the manifest names; None for an unsigned fleet, which asks nobody to attest."""
    trust = wiring.desired.trust
    if not trust.unsigned:
        require_root(wiring)
    return None if trust.unsigned else Builders(wiring.registry, trust, wiring.signer)


def attests_engine(wiring: Wiring, spec: EngineSpec, seconds: float) -> Callable[[Descriptor], object] | None:
    """Return what signs for an engine that was built just now, in ``seconds``; None in an unsigned fleet."""
    builders = builders_of(wiring)
    if builders is None:
        return None
    finished = wiring.clock.now()
    repository, build = f"{wiring.desired.registry.prefix}/engines", engine_build(spec)
    return lambda subject: builders.attest(repository, subject, build, started=finished - seconds, finished=finished)


def attests_base(wiring: Wiring, recipe: Recipe, started: float) -> Callable[[Descriptor], object] | None:
    """Return what signs for a base image that is built since ``started``; None in an unsigned fleet."""
    builders = builders_of(wiring)
    if builders is None:
        return None
    repository, build = f"{wiring.desired.registry.prefix}/bases", base_build(recipe)
    return lambda subject: builders.attest(repository, subject, build, started=started, finished=wiring.clock.now())


def engine_is_proven(wiring: Wiring, spec: EngineSpec) -> Callable[[EngineArtifact], bool] | None:
    """Return what says whether an engine in the registry may keep its key; None in an unsigned fleet."""
    builders = builders_of(wiring)
    if builders is None:
        return None
    repository, build = f"{wiring.desired.registry.prefix}/engines", engine_build(spec)
    return lambda artifact: not builders.judge(repository, [(artifact.digest, build)])[0].problem


# ── what the registry shows ──


def unproven_lines(desired: Desired, facts: RegistryFacts) -> list[str]:
    """Say of each thing that is in the registry and that nobody attests what it is, and why."""
    specs = desired.engines.items()
    names = {key: f"engine {spec.model} {spec.precision} for {spec.profile.name}" for key, spec in specs}
    return [f"{names.get(name, f'base image {name}')}: {why}" for name, why in facts.unproven.items()]


def require_proven(desired: Desired, facts: RegistryFacts) -> None:
    """Raise NotProven when something that this manifest needs is in the registry without a builder who attests it."""
    lines = unproven_lines(desired, facts)
    if lines:
        more = f"; and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        raise NotProven(
            f"not attested by a builder: {'; '.join(lines[:_SHOWN])}{more}",
            hint="nothing was signed. It was replaced, or it was built before this fleet was signed: look at who "
            "can write to the registry, then run fleet build, which builds and attests it again",
        )


def checked_engines(wiring: Wiring, facts: RegistryFacts, shown: Activity) -> Mapping[str, EngineArtifact]:
    """Return the manifest's engines as the registry holds them: attested, whole, and within the manifest's gates.

    Raises UsageError for those that are not built, NotProven, EngineGateError, RegistryError.
    """
    desired, registry = wiring.desired, wiring.registry
    require_proven(desired, facts)
    _require_built(desired, facts.missing_engines())
    repository, specs = f"{desired.registry.prefix}/engines", desired.engines

    def read(key: str) -> tuple[EngineArtifact, EngineReport] | None:
        # By the digest that was judged: a tag may point elsewhere by now.
        artifact = engine_artifact(registry, repository, specs[key].tag, facts.engines[key])
        return None if artifact is None else (artifact, read_report(registry, repository, artifact))

    found = {key: pair for key, pair in by_item(read, list(specs)).items() if pair is not None}
    check_gates({key: specs[key] for key in found}, {key: report for key, (_, report) in found.items()})
    checks = LayerChecks(registry, repository, cache_dir() / "layers-checked")
    for key, (artifact, report) in found.items():
        shown.update("publish", f"{specs[key].model} {specs[key].precision}: comparing its layer with its report")
        checks.require(specs[key], artifact, report)
    return {key: artifact for key, (artifact, _) in found.items()}


def _require_built(desired: Desired, missing: Sequence[str]) -> None:
    if missing:
        specs = [desired.engines[key] for key in missing]
        names = ", ".join(f"{spec.model} {spec.precision} for {spec.profile.name}" for spec in specs[:_SHOWN])
        raise UsageError(
            f"not built yet: {many(len(missing), 'engine')}: {names}", hint="run fleet build, then this again"
        )


def attested_by(facts: RegistryFacts) -> list[str]:
    """Return everybody who attests something of it, sorted."""
    return sorted({name for people in facts.attested.values() for name in people})
