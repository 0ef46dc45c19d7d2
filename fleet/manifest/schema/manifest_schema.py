"""The manifest as frozen types. Unknown keys are refused; every value is checked once, here.

Loading from YAML, with line numbers in every error, is in `load.py`. What the keys mean for a person is in
`reference.yaml`.
"""

from __future__ import annotations

import ipaddress
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from fleet.manifest.schema.hook_schema import Hook
from fleet.manifest.schema.model_schema import (
    AccuracyGate,
    Decoder,
    Fp16Options,
    Golden,
    ImagePreprocess,
    Int8Options,
    Model,
    ModelGates,
    ModelInput,
    ModelJoin,
    ModelOutput,
    ModelTrigger,
    OutputRef,
    Precisions,
    Source,
)
from fleet.manifest.schema.power_schema import Governor, Power
from fleet.manifest.schema.pull_schema import Hub, Link, Pull
from fleet.manifest.schema.registry_schema import RegistryRef, RobotsLogin, Secret
from fleet.manifest.schema.resources_schema import Inhibit, Resources, Size
from fleet.manifest.schema.ros_schema import Ros
from fleet.manifest.schema.secret_schema import RobotSecret
from fleet.manifest.schema.trust_schema import Trust, TrustOrUnsigned
from fleet.manifest.schema.update_schema import Update
from fleet.manifest.schema.values import (
    Backend,
    Frozen,
    JumpHost,
    LabelKey,
    LabelValue,
    Name,
    Port,
    Precision,
    Seconds,
    Share,
    Text,
    VariableName,
    VariableValue,
    Version,
    Wave,
    check_waves,
)
from runtime.contract.jetson import MODULE_PATTERN

__all__ = [
    "AccuracyGate",
    "Backend",
    "Builder",
    "Decoder",
    "Fallback",
    "Fp16Options",
    "Frozen",
    "Golden",
    "Governor",
    "Hook",
    "Hub",
    "ImagePreprocess",
    "Int8Options",
    "Inventory",
    "Link",
    "Lost",
    "Manifest",
    "MaxUnavailable",
    "Model",
    "ModelGates",
    "ModelInput",
    "ModelJoin",
    "ModelOutput",
    "ModelTrigger",
    "ModelUse",
    "Name",
    "OutputRef",
    "Power",
    "Precision",
    "Precisions",
    "Profile",
    "Pull",
    "RegistryRef",
    "Robot",
    "RobotsLogin",
    "Rollout",
    "Secret",
    "Settings",
    "Source",
    "Trust",
    "Update",
]


# ── profiles ─────────────────────────────────────────────────────────────────────────────────────────────────────


MIN_BUILDER_BYTES = 256 << 20
"""With less no engine is built."""


class Builder(Frozen):
    """Where engines and images of a profile are built."""

    endpoint: Annotated[str, StringConstraints(pattern=r"^(local|ssh://.+|unix://.+|tcp://.+)$")] = "local"
    """``local`` (the Docker Engine of this machine, DOCKER_HOST honoured) or ``ssh://user@host``."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Builder containers at the same time."""
    timeout: Seconds = 3600.0
    memory: Annotated[Size, Field(ge=MIN_BUILDER_BYTES)] | None = None
    """Of one container; nine tenths of the machine's when not given."""
    pids: Annotated[int, Field(ge=64, le=1 << 22)] = 4096
    disk: Annotated[Size, Field(ge=MIN_BUILDER_BYTES)] = 64 << 30
    """What one container may write."""
    output: Annotated[Size, Field(ge=1 << 20)] = 16 << 30
    """What one container may hand over."""


class Profile(Frozen):
    """A device profile: module + L4T + TensorRT, and how to build for it."""

    name: Name
    platform: Literal["linux/amd64", "linux/arm64"]
    backend: Backend
    base_image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]\S*$")]
    """What the runtime image starts from; the builder's too, unless ``builder_image`` says otherwise."""
    builder_image: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]\S*$")] | None = None
    """What the builder image starts from, where that is another image: one with TensorRT's builder in it."""
    ros_distro: Annotated[str, StringConstraints(pattern=r"^[a-z]+$")]
    python: Annotated[str, StringConstraints(pattern=r"^3\.[0-9]+$")] | None = None
    """Python of both images, ``3.10``; when not given, that of the L4T line's Ubuntu, or of the simulated images."""
    module: Annotated[str, StringConstraints(pattern=f"^{MODULE_PATTERN}$")] | None = None
    l4t: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    tensorrt: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    cuda: Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+(\.[0-9]+)?$")] | None = None
    sm_count: Annotated[int, Field(ge=1)] | None = None
    power_modes: tuple[Text, ...] = ()
    """Names as ``nvpmodel -q`` prints them, never numbers: those differ between modules."""
    sm_count_by_mode: dict[Text, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)
    """SMs that a power mode leaves. Engines run in the modes that leave ``sm_count``; a mode that is not here is not
    judged before the robot itself is asked."""
    builder: Builder = Builder()

    @model_validator(mode="after")
    def _tensorrt_is_pinned(self) -> Profile:
        missing = [key for key in ("module", "l4t", "tensorrt", "cuda", "sm_count") if getattr(self, key) is None]
        if self.backend == "tensorrt" and missing:
            raise ValueError(f"a tensorrt profile describes the device exactly: also give {', '.join(missing)}")
        return self

    def __hash__(self) -> int:
        """Profiles are keys of caches; the mapping among the fields has no hash of its own."""
        return hash((self.name, self.platform, self.base_image, self.module, self.l4t, self.sm_count))


# ── fleet ────────────────────────────────────────────────────────────────────────────────────────────────────────


def _host(value: Any) -> Any:
    """Say what is wrong with a host that carries more than its name, in words of its own."""
    if not isinstance(value, str):
        return value
    bare, _, port = value.rpartition(":")
    if bare.startswith("[") and bare.endswith("]") and port.isdigit():
        raise ValueError(f"{value!r} has a port in it: write the address without brackets and {port} as key port")
    if bare and ":" not in bare and port.isdigit():
        raise ValueError(f"{value!r} has a port in it: write {bare} here and {port} as key port")
    if ":" in value and not value.startswith("[") and "/" not in value and not _is_address(value):
        raise ValueError(f"{value!r} is neither a name nor an IPv6 address: a host has no colon in its name")
    return value


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _jumps(value: Any) -> Any:
    """``none``, one host, or several with commas between them, as `ssh -J` takes them."""
    if value == "none":
        return ()
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


def _registry(value: Any) -> Any:
    return {"address": value} if isinstance(value, str) else value


class Fallback(Frozen):
    """What serves when a model's own engine fails. Nothing in it: nothing does."""

    model: Name | None = None
    """Another model, fed by the same topics, with the same decoders; when not given, the same model."""
    precision: Precision | None = None
    """Of the engine that takes over; without it there is no such engine."""
    then: Literal["zero", "hold"] | None = None
    """What velocity outputs do when no engine answers: said here, the robot is degraded then, not unhealthy."""

    @model_validator(mode="after")
    def _whole(self) -> Fallback:
        if self.model is not None and self.precision is None:
            raise ValueError("a fallback engine has a precision: add precision: fp32, fp16 or int8")
        return self


def _fallback(value: Any) -> Any:
    """``none``, ``zero`` and ``hold`` are the short forms."""
    if value == "none":
        return {}
    return {"then": value} if isinstance(value, str) else value


class ModelUse(Frozen):
    """A model on a robot, at a precision."""

    model: Name
    precision: Precision | None = None
    """May be left out where a group or the defaults give it."""
    threads: Annotated[int, Field(ge=1, le=64)] | None = None
    fallback: Annotated[Fallback, BeforeValidator(_fallback, json_schema_input_type=str | Fallback)] | None = None
    dla_core: Annotated[int, Field(ge=0, le=1)] | None = None
    """Run on this core of the module's DLA instead of the GPU; layers that it cannot take fall back to the GPU."""
    enabled: bool = True
    """False takes a model off that the group or the defaults give."""


class Settings(Frozen):
    """What defaults, groups and robots can all set; the nearer one wins, models and labels merge by name."""

    profile: Name | None = None
    user: Annotated[str, StringConstraints(pattern=r"^[a-z_][a-z0-9_.-]*$")] | None = None
    port: Port | None = None
    identity_file: Text | None = None
    """SSH key; relative to fleet.yaml, ``~`` is the operator's home."""
    jump: Annotated[tuple[JumpHost, ...], BeforeValidator(_jumps, json_schema_input_type=str | list[str])] | None = None
    """Hosts to go through, the nearest to the operator first; empty (``none``): straight, whatever OpenSSH has."""
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict)
    models: tuple[ModelUse, ...] = ()
    power_mode: Text | None = None
    """The mode that the robot rests in: its host sets it."""
    power: Power | None = None
    """What it may do about heat and load; taken whole from the nearest level that has it."""
    resources: Resources | None = None
    """CPUs and memory of the node; the nearest level's as a whole."""
    update_inhibit: tuple[Inhibit, ...] | None = None
    """When the robot must not be updated; the nearest level's as a whole."""
    update: Update | None = None
    """When and how it may be switched; the nearest level's as a whole."""
    link: Link | None = None
    """How it is reached; by SSH where no level says it."""
    ros: Ros | None = None
    """Names, time and middleware of its node; merges by key."""
    environment: dict[VariableName, VariableValue] = Field(default_factory=dict)
    """For the runtime container of this robot, ROS_DOMAIN_ID for example; values may be templates."""
    variables: dict[VariableName, VariableValue] = Field(default_factory=dict)
    """For the templates of ``environment``; merged by key."""
    secrets: dict[VariableName, RobotSecret] = Field(default_factory=dict)
    """The same for what is secret: where the robot finds the value by itself."""


class Robot(Settings):
    """One managed machine."""

    name: Name
    host: Annotated[str, BeforeValidator(_host), StringConstraints(pattern=r"^[A-Za-z0-9.:_-]+$")] = ""
    """Empty: not given, as a robot that pulls may have no address that anybody reaches."""
    group: Name | None = None


class MaxUnavailable(Frozen):
    """At most so many robots that share a label's value are changed at the same time."""

    per: str
    robots: Annotated[int, Field(ge=1)]


class Lost(Frozen):
    """What becomes of robots that took their order and went silent."""

    after: Seconds = 600.0
    """A silent robot is lost so long after its own deadline: the time by which it has ended or gone back by itself."""
    at_most: Share = 0.05
    """Share of the whole rollout's robots that may be lost, rounded down; with more the rollout ends as failed."""
    then: Literal["stop", "revert"] = "stop"
    """When more are lost. stop: what committed stays; revert: what this rollout committed goes back."""


class Rollout(Frozen):
    """How a release reaches robots."""

    waves: Annotated[tuple[Wave, ...], Field(min_length=1), AfterValidator(check_waves)] = Field(
        default=(1, "10%", "50%", "100%"), validate_default=True
    )
    success: Share = 1.0
    """Share of a wave's robots that answered which must commit, or the rollout stops."""
    lost: Lost = Lost()
    soak: Seconds = 30.0
    ready_timeout: Seconds = 120.0
    confirm_timeout: Seconds = 120.0
    parallel: Annotated[int, Field(ge=1, le=128)] = 16
    max_unavailable: MaxUnavailable | None = None
    on_failure: Literal["revert", "stop"] = "revert"
    """revert: robots that this rollout changed go back too; stop: they stay where they are."""
    autonomy: bool = False
    """Robots commit by their own verdict when the soak is over; nobody needs to confirm."""


def _inventory_command(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise ValueError(f"the command cannot be read ({error}): write it as for a shell, its quotes closed") from error
    if not words:
        raise ValueError("the command is empty: write the program that prints the robots, and its arguments")
    return value


class Inventory(Frozen):
    """Robots that are listed elsewhere: in a CSV file, or by a program. Exactly one of the two."""

    csv: Text | None = None
    """A file with a line of column names, relative to fleet.yaml and inside its folder; one row is one robot."""
    command: Annotated[Text, AfterValidator(_inventory_command)] | None = None
    """Run without a shell in the folder of fleet.yaml; prints JSON: a list of robots, or one robot after the other."""
    timeout: Seconds = 30.0
    """The command must have ended by then."""

    @model_validator(mode="after")
    def _one(self) -> Inventory:
        if (self.csv is None) == (self.command is None):
            raise ValueError("an inventory is in one place: give csv or command")
        return self


class Manifest(Frozen):
    """fleet.yaml with its profiles and models loaded."""

    apiVersion: Literal["jetfleet/v1"]  # noqa: N815  (the key of the YAML file)
    fleet: Name
    version: Version
    registry: Annotated[RegistryRef, BeforeValidator(_registry, json_schema_input_type=str | RegistryRef)]
    """``registry.example:5000/warehouse``, or with options."""
    trust: TrustOrUnsigned
    """Who must have signed a release before robots take it, or ``unsigned``."""
    profiles: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Files, relative to fleet.yaml."""
    models: Annotated[tuple[Text, ...], Field(min_length=1)]
    defaults: Settings = Settings()
    groups: dict[Name, Settings] = Field(default_factory=dict)
    robots: tuple[Robot, ...] = ()
    """Those of the inventory come after these."""
    inventory: Inventory | None = None
    rollout: Rollout = Rollout()
    hooks: tuple[Hook, ...] = ()
    """Programs and addresses that are told of rollouts, in this order."""
    hub: Hub | None = None
    """Where robots report to; robots that pull need one."""
    pull: Pull = Pull()

    @model_validator(mode="after")
    def _somebody(self) -> Manifest:
        if not self.robots and self.inventory is None:
            raise ValueError("the fleet has no robots: list them under robots, or name an inventory")
        return self
