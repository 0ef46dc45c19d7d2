"""What every robot should run, resolved: the value that plan, build, publish and rollout start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fleet.manifest.schema.manifest_schema import Hook, Hub, Link, Profile, Pull, RegistryRef, Rollout, Source
from fleet.ports import RobotAddress
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.engine.build import BuildJob
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.contract.robot.release import SecretReference
from runtime.contract.robot.switching import SwitchRules


@dataclass(frozen=True, slots=True)
class Recipe:
    """How an image is built: rendered Dockerfile and the files next to it. Its digest is the image's identity.

    Pure data of this checkout and the profile, so keys can be computed without Docker or a registry.
    """

    kind: str
    """builder | runtime."""
    profile: Profile
    files: Mapping[str, bytes]
    """Build context without wheels: path → content."""
    requirements: tuple[str, ...]
    """Pinned Python requirements, fetched into ``wheels/`` of the context when the image is built."""
    digest: str
    """``sha256:<hex>`` over all of the above."""

    @property
    def tag(self) -> str:
        """Tag of the image in the ``bases`` repository."""
        return f"{self.kind}-{self.profile.name}-{self.digest[7:23]}"


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """One engine that some robot needs."""

    key: str
    model: str
    precision: str
    profile: Profile
    job: BuildJob
    source: Source
    source_path: Path | None
    """The ONNX file, where the source is a file (checked against its sha256)."""
    calibration: Path | None
    golden: Path
    builder_recipe: Recipe

    @property
    def tag(self) -> str:
        """Tag of the artifact in the ``engines`` repository: the key's hex."""
        return self.key[7:]


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """A profile with one set of engines and their configuration: one image."""

    name: str
    """``<profile>-<8 hex of its content>``."""
    profile: Profile
    engines: tuple[EngineSpec, ...]
    """Sorted by model name."""
    config: RuntimeConfig
    runtime_recipe: Recipe
    standby: tuple[EngineSpec, ...] = ()
    """Engines that serve when one of ``engines`` fails, those of them that are not among ``engines`` already."""

    @property
    def all_engines(self) -> tuple[EngineSpec, ...]:
        """Everything that the image holds."""
        return (*self.engines, *self.standby)


@dataclass(frozen=True, slots=True)
class DesiredRobot:
    """One robot, everything inherited."""

    name: str
    address: RobotAddress
    group: str | None
    labels: Mapping[str, str]
    variant: str
    environment: Mapping[str, str]
    power_mode: str | None
    switch: SwitchRules = field(default_factory=SwitchRules)
    secrets: Mapping[str, SecretReference] = field(default_factory=dict)
    """Variable → where the robot finds its value."""
    link: Link = "ssh"


@dataclass(frozen=True, slots=True)
class Desired:
    """The whole fleet as declared."""

    fleet: str
    version: str
    registry: RegistryRef
    engines: Mapping[str, EngineSpec]
    """By key, each once however many robots use it."""
    variants: Mapping[str, VariantSpec]
    """By name."""
    robots: tuple[DesiredRobot, ...]
    """In the manifest's order."""
    tags: Mapping[str, str]
    """Suffix of moving tags → variant name: a group's name for the variant most of its robots run, otherwise
    ``<group>-<robot>`` or the robot's name."""
    rollout: Rollout
    hooks: tuple[Hook, ...] = ()
    root: Path = Path()
    """Folder of fleet.yaml, in which hooks run."""
    trust: TrustSpec = TrustSpec()  # noqa: RUF009  (it is frozen)
    hub: Hub | None = None
    """Its files are absolute paths."""
    pull: Pull = Pull()  # noqa: RUF009  (it is frozen)

    def profiles(self) -> tuple[Profile, ...]:
        """Return the profiles that robots use, each once."""
        return tuple({variant.profile.name: variant.profile for variant in self.variants.values()}.values())

    def robot(self, name: str) -> DesiredRobot:
        """Return the robot called ``name``. Raises KeyError."""
        for robot in self.robots:
            if robot.name == name:
                return robot
        raise KeyError(name)
