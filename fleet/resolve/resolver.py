"""Resolve a manifest: everything inherited, files turned into digests, each distinct engine and variant once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from fleet.errors import ManifestError, Problem
from fleet.manifest.inherit import Effective, Inheritance, environment_of
from fleet.manifest.load import LoadedManifest
from fleet.manifest.schema.manifest_schema import Hook, Hub, ModelUse, Profile, RegistryRef, Robot
from fleet.ports import RobotAddress
from fleet.resolve.desired import Desired, DesiredRobot, EngineSpec, Recipe, VariantSpec
from fleet.resolve.documents.build_job import engine_spec
from fleet.resolve.documents.power import power_environment
from fleet.resolve.documents.resources import resource_environment
from fleet.resolve.documents.ros import ros_environment
from fleet.resolve.documents.runtime_config import runtime_config, stand_in
from fleet.resolve.documents.secret_reference import secret_reference
from fleet.resolve.documents.switching import switch_rules
from fleet.resolve.documents.trust import trust_spec
from fleet.resolve.moving_tags import check_version_tags, moving_tags
from runtime.contract.codec import digest_of, to_dict
from runtime.contract.robot.release import SecretReference

DEFAULT_USER = "jetson"

Recipes = Callable[[str, Profile], Recipe]
"""(``builder`` | ``runtime``, profile) → how that image is built."""


def resolve(loaded: LoadedManifest, recipes: Recipes) -> Desired:
    """Return what every robot should run.

    Work per robot is a few look-ups; engines, variants and digests are made once for each distinct one. Raises
    ManifestError when a data file vanished since the manifest was loaded, or moving tags would collide.
    """
    manifest = loaded.manifest
    inheritance = Inheritance(manifest.defaults, manifest.groups)
    variants = _Variants(loaded, recipes)
    robots = tuple(_robot(robot, inheritance.of(robot), variants, loaded) for robot in manifest.robots)
    tags = moving_tags(robots, loaded.where)
    check_version_tags(manifest.version, tags, loaded.where)
    return Desired(
        fleet=manifest.fleet,
        version=manifest.version,
        registry=_registry(manifest.registry, loaded.root, variants),
        engines=dict(sorted(variants.engines.items())),
        variants=dict(sorted(variants.by_name.items())),
        robots=robots,
        tags=tags,
        rollout=manifest.rollout,
        hooks=tuple(_hook(hook, loaded.root, variants) for hook in manifest.hooks),
        root=loaded.root,
        trust=trust_spec(manifest.trust, loaded.root),
        hub=None if manifest.hub is None else _hub(manifest.hub, loaded.root, variants),
        pull=manifest.pull,
    )


def _robot(robot: Robot, settings: Effective, variants: _Variants, loaded: LoadedManifest) -> DesiredRobot:
    identity = settings.identity_file
    return DesiredRobot(
        name=robot.name,
        address=RobotAddress(
            name=robot.name,
            host=robot.host,
            port=settings.port,
            user=settings.user or DEFAULT_USER,
            identity_file=None if identity is None else variants.file(identity, loaded.root),
            port_given=settings.port_given,
            user_given=settings.user is not None,
            jump=settings.jump,
        ),
        group=robot.group,
        labels=settings.labels,
        variant=variants.of(settings),
        environment=_environment(robot, settings, variants),
        power_mode=settings.power_mode,
        switch=switch_rules(settings.update),
        secrets=variants.secrets(settings, loaded.root),
        link=settings.link,
    )


def _environment(robot: Robot, settings: Effective, variants: _Variants) -> Mapping[str, str]:
    """Return the robot's variables and ours, rendered for it where they are templates."""
    shared = variants.environment(settings)
    return {**shared, **environment_of(robot, settings)} if settings.templates else shared


def _registry(reference: RegistryRef, root: Path, variants: _Variants) -> RegistryRef:
    """Return it with the files that it names as absolute paths."""
    update: dict[str, object] = {}
    if reference.ca_file is not None:
        update["ca_file"] = str(root / reference.ca_file)
    login = reference.robots
    if login is not None and login.password is not None and login.password.file is not None:
        password = login.password.model_copy(update={"file": variants.file(login.password.file, root)})
        update["robots"] = login.model_copy(update={"password": password})
    return reference.model_copy(update=update)


def _hub(hub: Hub, root: Path, variants: _Variants) -> Hub:
    """Return it with the files that it names as absolute paths."""
    update: dict[str, object] = {}
    if hub.ca_file is not None:
        update["ca_file"] = str((root / hub.ca_file).absolute())
    if hub.token is not None and hub.token.file is not None:
        update["token"] = hub.token.model_copy(update={"file": variants.file(hub.token.file, root)})
    return hub.model_copy(update=update)


def _hook(hook: Hook, root: Path, variants: _Variants) -> Hook:
    """Return it with the files of its secrets as absolute paths."""
    update: dict[str, object] = {}
    for name in ("secret", "key", "url"):
        place = getattr(hook, name)
        if place is not None and place.file is not None:
            update[name] = place.model_copy(update={"file": variants.file(place.file, root)})
    return hook.model_copy(update=update) if update else hook


class _Variants:
    """Makes each engine and variant once."""

    def __init__(self, loaded: LoadedManifest, recipes: Recipes) -> None:
        self._loaded = loaded
        self._recipes = recipes
        self._by_settings: dict[int, tuple[Effective, str]] = {}
        self._environments: dict[int, tuple[Effective, Mapping[str, str]]] = {}
        self._secrets: dict[int, tuple[Effective, Mapping[str, SecretReference]]] = {}
        self._by_models: dict[tuple[str, tuple[ModelUse, ...]], str] = {}
        self._engines: dict[tuple[str, str, str, int | None], EngineSpec] = {}
        self._files: dict[str, str] = {}
        self.engines: dict[str, EngineSpec] = {}
        self.by_name: dict[str, VariantSpec] = {}

    def of(self, settings: Effective) -> str:
        """Return the variant's name. Robots of one group share their settings object: one look-up for each."""
        known = self._by_settings.get(id(settings))
        if known is None:
            known = self._by_settings[id(settings)] = (settings, self._for_models(settings))
        return known[1]

    def environment(self, settings: Effective) -> Mapping[str, str]:
        """Return the robot's own variables and its power policy, which host and container read there."""
        known = self._environments.get(id(settings))
        if known is None:
            assert settings.profile is not None, "load_manifest refuses robots without a profile"
            profile = self._loaded.profiles[settings.profile]
            ours = power_environment(settings, profile) | resource_environment(settings) | ros_environment(settings)
            known = (settings, {**settings.environment, **ours} if ours else settings.environment)
            self._environments[id(settings)] = known
        return known[1]

    def secrets(self, settings: Effective, root: Path) -> Mapping[str, SecretReference]:
        """Return where the robot finds its secrets."""
        if not settings.secrets:
            return {}
        known = self._secrets.get(id(settings))
        if known is None:
            known = (settings, {name: secret_reference(each, root) for name, each in settings.secrets.items()})
            self._secrets[id(settings)] = known
        return known[1]

    def file(self, name: str, root: Path) -> str:
        """Return an operator's file as an absolute path: relative to fleet.yaml, ``~`` is their home."""
        path = self._files.get(name)
        if path is None:
            path = self._files[name] = str((root / Path(name).expanduser()).absolute())
        return path

    def _for_models(self, settings: Effective) -> str:
        assert settings.profile is not None, "load_manifest refuses robots without a profile"
        key = (settings.profile, settings.models)
        if key not in self._by_models:
            variant = self._make(self._loaded.profiles[settings.profile], settings.models)
            self._by_models[key] = variant.name
            self.by_name[variant.name] = variant
        return self._by_models[key]

    def _make(self, profile: Profile, uses: tuple[ModelUse, ...]) -> VariantSpec:
        engines = tuple(self._engine(profile, use) for use in uses)
        fallbacks = {use.model: self._engine(profile, instead) for use in uses if (instead := stand_in(use))}
        config = runtime_config(profile, uses, engines, self._loaded.models, fallbacks)
        recipe = self._recipes("runtime", profile)
        content = digest_of(
            {
                "profile": profile.name,
                "config": to_dict(config),
                "engines": [engine.key for engine in engines],
                "runtime_recipe": recipe.digest,
            }
        )
        first = {engine.key for engine in engines}
        standby = {spec.key: spec for _, spec in sorted(fallbacks.items()) if spec.key not in first}
        return VariantSpec(f"{profile.name}-{content[7:15]}", profile, engines, config, recipe, tuple(standby.values()))

    def _engine(self, profile: Profile, use: ModelUse) -> EngineSpec:
        assert use.precision is not None, "load_manifest refuses models without a precision"
        key = (profile.name, use.model, use.precision, use.dla_core)
        if key not in self._engines:
            model = self._loaded.models[use.model]
            try:
                recipe = self._recipes("builder", profile)
                spec = engine_spec(self._loaded, profile, model, use.precision, recipe, dla_core=use.dla_core)
            except OSError as error:
                file = str(self._loaded.model_files[model.name])
                message = f"{error.filename} cannot be read: {error.strerror or error}"
                hint = "it was there when the manifest was loaded: put it back and run this again"
                raise ManifestError([Problem(file, 0, "", message, hint)]) from error
            self._engines[key] = spec
            self.engines[spec.key] = spec
        return self._engines[key]
