"""Publish: from Desired and the engines in the registry to a release that robots can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from fleet.errors import OutsideError, UsageError
from fleet.manifest.schema.manifest_schema import Profile
from fleet.oci.releases import PublishedRelease, as_published, check_publishable, publish_release
from fleet.parallel import side_by_side
from fleet.ports import LogLine, Registry
from fleet.publish.artifact import EngineArtifact
from fleet.publish.assemble import ImagePlan, describe_image, push_images
from fleet.publish.base import BaseImage, load_base
from fleet.publish.tags import runtime_of, tag_images
from fleet.resolve.desired import Desired, EngineSpec, VariantSpec
from fleet.resolve.documents.build_job import device_facts
from runtime.contract.robot.release import LayerRef, Probation, ReleaseDocument, ReleaseEngine, ReleaseVariant
from runtime.contract.robot.switching import SwitchRules

ROBOT_COMPOSE = "robot.compose.yaml"
JETSON_COMPOSE = "jetson.compose.yaml"

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish did."""

    release: PublishedRelease
    pushed: tuple[str, ...]
    """Variants whose image had to be assembled."""
    unchanged: tuple[str, ...]
    """Variants whose image was in the registry already."""
    already_published: bool
    """The version was there with this very content: nothing was written."""


def publish(
    desired: Desired,
    registry: Registry,
    engine_artifacts: Mapping[str, EngineArtifact],
    base_digests: Mapping[str, str],
    compose_files: Mapping[str, str],
    *,
    on_progress: LogLine | None = None,
) -> Published:
    """Assemble the images that are missing, tag them, and write the release last: a release with a tag is complete.

    ``engine_artifacts``: engine key → artifact. ``base_digests``: ``Recipe.tag`` of runtime images → manifest digest.
    ``compose_files``: name → content. Interrupted anywhere, the next run finishes it. Raises PublishConflict before
    anything is written, RegistryError, OutsideError when an engine or a base image is missing.
    """
    say = on_progress or (lambda _: None)
    plans = plan_images(desired, registry, engine_artifacts, base_digests)
    document = release_document(desired, registry.host, plans, engine_artifacts, compose_files)
    if check_publishable(registry, desired.registry.prefix, document):
        say(f"release {document.version} is published already, with this content")
        release = as_published(document)
        return Published(release, (), tuple(plans), already_published=True)
    pushed = _push_missing(registry, desired.registry.prefix, plans, say)
    tag_images(registry, desired.registry.prefix, document)
    release = publish_release(registry, desired.registry.prefix, document)
    say(f"release {document.version} is {release.digest}")
    unchanged = tuple(name for name in plans if name not in pushed)
    return Published(release, pushed, unchanged, already_published=False)


def plan_images(
    desired: Desired,
    registry: Registry,
    engine_artifacts: Mapping[str, EngineArtifact],
    base_digests: Mapping[str, str],
) -> dict[str, ImagePlan]:
    """Return every variant's image, by variant name. Reads each base image's description once, writes nothing."""
    recipes = sorted({variant.runtime_recipe.tag for variant in desired.variants.values()})
    wanted = {tag: _required(base_digests, tag, "runtime base image") for tag in recipes}
    repository = f"{desired.registry.prefix}/bases"
    loaded = side_by_side(lambda tag: load_base(registry, repository, wanted[tag]), recipes)
    bases = dict(zip(recipes, loaded, strict=True))
    return {
        name: _plan(variant, bases[variant.runtime_recipe.tag], engine_artifacts, desired.registry.prefix)
        for name, variant in sorted(desired.variants.items())
    }


def _plan(
    variant: VariantSpec, base: BaseImage, engine_artifacts: Mapping[str, EngineArtifact], prefix: str
) -> ImagePlan:
    def found(specs: tuple[EngineSpec, ...]) -> list[EngineArtifact]:
        return [_required(engine_artifacts, spec.key, f"engine of {spec.model} {spec.precision}") for spec in specs]

    labels = {"variant": variant.name, "profile": variant.profile.name}
    return describe_image(base, found(variant.engines), variant.config, labels, prefix, standby=found(variant.standby))


def _push_missing(registry: Registry, prefix: str, plans: Mapping[str, ImagePlan], say: LogLine) -> tuple[str, ...]:
    there = side_by_side(lambda plan: registry.head_manifest(runtime_of(prefix), plan.digest), plans.values())
    missing = {name: plan for (name, plan), found in zip(plans.items(), there, strict=True) if found != plan.digest}
    push_images(registry, prefix, tuple(missing.values()))
    for name, plan in plans.items():
        size = f"image {plan.digest}, {len(plan.layers)} layers, {plan.bytes / 1e6:.1f} MB"
        say(f"{name}: {size if name in missing else 'image is in the registry already'}")
    return tuple(missing)


def _required(found: Mapping[str, R], key: str, what: str) -> R:
    try:
        return found[key]
    except KeyError:
        raise OutsideError(f"the registry lacks the {what} ({key})", hint="run fleet build first") from None


# ── the document ─────────────────────────────────────────────────────────────────────────────────────────────────


def release_document(
    desired: Desired,
    host: str,
    plans: Mapping[str, ImagePlan],
    engine_artifacts: Mapping[str, EngineArtifact],
    compose_files: Mapping[str, str],
) -> ReleaseDocument:
    """Return the release of a manifest. Pure. Raises UsageError for a compose file that is missing."""
    names = sorted({name for variant in desired.variants.values() for name in compose_names(variant.profile)})
    if missing := [name for name in names if name not in compose_files]:
        raise UsageError(
            f"compose files are missing: {', '.join(missing)}", hint="they are in compose/ of the checkout"
        )
    rollout = desired.rollout
    image = f"{host}/{runtime_of(desired.registry.prefix)}"
    return ReleaseDocument(
        fleet=desired.fleet,
        version=desired.version,
        variants=tuple(
            _variant(desired.variants[name], image, plans[name], engine_artifacts) for name in sorted(plans)
        ),
        robots={robot.name: robot.variant for robot in desired.robots},
        tags=dict(desired.tags),
        compose={name: compose_files[name] for name in names},
        probation=Probation(rollout.soak, rollout.ready_timeout, rollout.confirm_timeout, rollout.autonomy),
        environment={robot.name: dict(robot.environment) for robot in desired.robots if robot.environment},
        secrets={robot.name: dict(robot.secrets) for robot in desired.robots if robot.secrets},
        switch={robot.name: robot.switch for robot in desired.robots if robot.switch != SwitchRules()},
    )


def _variant(
    variant: VariantSpec, image: str, plan: ImagePlan, engine_artifacts: Mapping[str, EngineArtifact]
) -> ReleaseVariant:
    def described(specs: tuple[EngineSpec, ...]) -> tuple[ReleaseEngine, ...]:
        found = [(spec, engine_artifacts[spec.key].layer) for spec in specs]
        return tuple(ReleaseEngine(s.model, s.precision, s.key, layer.digest, layer.size) for s, layer in found)

    return ReleaseVariant(
        name=variant.name,
        profile=variant.profile.name,
        image=f"{image}@{plan.digest}",
        image_bytes=plan.bytes,
        base_digest=plan.base_digest,
        config_digest=plan.runtime_config_digest,
        engines=described(variant.engines),
        standby=described(variant.standby),
        requires=device_facts(variant.profile),
        compose_files=compose_names(variant.profile),
        layers=tuple(LayerRef(layer.digest, layer.size) for layer in plan.layers),
    )


def compose_names(profile: Profile) -> tuple[str, ...]:
    """Return the compose files of a profile in the order of ``COMPOSE_FILE``: a Jetson needs the overlay."""
    return (ROBOT_COMPOSE, JETSON_COMPOSE) if profile.module else (ROBOT_COMPOSE,)
