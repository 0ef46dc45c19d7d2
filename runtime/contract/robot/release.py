"""ReleaseDocument: a published manifest version. Digests only, immutable, the same bytes from every machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Dict, Optional, Tuple

from runtime.contract.codec import SCHEMA, canonical_json, digest_of_bytes
from runtime.contract.engine.facts import DeviceFacts
from runtime.contract.robot.switching import SwitchRules

#: The artifact that a release is in the registry: media types, the empty blob that its config is, our annotations.
RELEASE_TYPE = "application/vnd.jetfleet.release.v1+json"
EMPTY_TYPE, EMPTY_BLOB = "application/vnd.oci.empty.v1+json", b"{}"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ANNOTATIONS = "io.jetfleet"


def release_manifest(document: bytes, fleet: str, version: str) -> bytes:
    """Return the manifest of the artifact that holds a ReleaseDocument's canonical JSON.

    Its digest is the release's. A function of the document alone, so that a robot can hold what an order calls the
    release against what was signed.
    """
    return canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": RELEASE_TYPE,
            "config": _descriptor(EMPTY_TYPE, EMPTY_BLOB),
            "layers": [_descriptor(RELEASE_TYPE, document)],
            "annotations": {ANNOTATIONS + ".fleet": fleet, ANNOTATIONS + ".version": version},
        }
    )


def release_digest(document: str, fleet: str, version: str) -> str:
    """Return ``sha256:<hex>`` of :func:`release_manifest`: what identifies the release."""
    return digest_of_bytes(release_manifest(document.encode("utf-8"), fleet, version))


def _descriptor(media_type: str, content: bytes) -> Dict[str, object]:
    return {"mediaType": media_type, "digest": digest_of_bytes(content), "size": len(content)}


@dataclass(frozen=True)
class SecretReference:
    """Where a robot finds a secret. The secret itself is in no document, order, journal, report or registry."""

    kind: str
    """``file`` (its first line) | ``command`` (the first line that it prints) | ``age`` (text that only the robot's own
    SSH host key opens, by the program ``age``)."""
    value: str
    """Absolute path; command line, without a shell; armored ciphertext."""


@dataclass(frozen=True)
class EnvironmentPart:
    """What belongs to one robot alone. Its canonical JSON is a blob of its own; a release holds its digest."""

    environment: Dict[str, str] = field(default_factory=dict)
    secrets: Dict[str, SecretReference] = field(default_factory=dict)
    """Name of the variable → where the robot finds it."""

    @property
    def is_empty(self) -> bool:
        """Whether it says nothing: such a robot has none."""
        return not self.environment and not self.secrets


@dataclass(frozen=True)
class ReleaseEngine:
    """One engine of a variant."""

    model: str
    precision: str
    key: str
    layer_digest: str
    layer_bytes: int


@dataclass(frozen=True)
class LayerRef:
    """One layer of an image, as its manifest names it."""

    digest: str
    """Of the blob as the registry stores it."""
    size: int
    """Bytes of that blob."""


@dataclass(frozen=True)
class ReleaseVariant:
    """A profile with one set of engines, as one image."""

    name: str
    """``<profile>-<8 hex of its content>``."""
    profile: str
    image: str
    """``registry/repository@sha256:…``."""
    image_bytes: int
    """Compressed size of all layers, bytes."""
    base_digest: str
    config_digest: str
    """Digest of the RuntimeConfig."""
    engines: Tuple[ReleaseEngine, ...]
    requires: DeviceFacts
    compose_files: Tuple[str, ...]
    """Names out of :attr:`ReleaseDocument.compose`, in the order of ``COMPOSE_FILE``."""
    layers: Tuple[LayerRef, ...] = ()
    """Every layer of the image, base first: a robot counts the bytes it needs and the bytes it moved with these."""
    standby: Tuple[ReleaseEngine, ...] = ()
    """Engines in the image that serve when one of ``engines`` fails. A robot that runs one of them in probation does
    not run the release."""


@dataclass(frozen=True)
class Probation:
    """How a robot judges a release after the switch. Travels with the release, so that rules can be repaired."""

    soak_s: float = 30.0
    """Healthy for this long without a break."""
    ready_timeout_s: float = 120.0
    """From container start to the first healthy report."""
    confirm_timeout_s: float = 120.0
    """From the end of the soak to the controller's confirmation over a new connection; then the robot reverts."""
    autonomy: bool = False
    """The robot commits by its own verdict when the soak is over; nobody needs to confirm."""


@dataclass(frozen=True)
class ReleaseDocument:
    """What ``fleet publish`` writes under the version's tag."""

    fleet: str
    version: str
    variants: Tuple[ReleaseVariant, ...]
    robots: Dict[str, str]
    """Robot name → variant name."""
    tags: Dict[str, str]
    """Suffix of the moving tags (``current-<suffix>``) → variant name. Suffixes are group or robot names."""
    compose: Dict[str, str]
    """Compose file name → content."""
    probation: Probation
    environment: Dict[str, Dict[str, str]] = field(default_factory=dict)
    """Robot name → variables of its container; robots without any are not in it. As older versions published it: each
    robot's were in every robot's order. Empty where ``parts`` has them."""
    secrets: Dict[str, Dict[str, SecretReference]] = field(default_factory=dict)
    """Robot name → where it finds secrets. Always empty as published: it is in the robots' parts."""
    parts: Dict[str, str] = field(default_factory=dict)
    """Robot name → ``sha256:<hex>`` of its EnvironmentPart; robots without one are not in it. Part of the release, so
    that going back to it brings them back."""
    switch: Dict[str, SwitchRules] = field(default_factory=dict)
    """Robot name → when and how it may be switched; robots that the manifest says nothing of are not in it."""
    schema: int = SCHEMA
    """2 with ``parts``: a robot that knows none would take its environment for one that nobody signed."""
    READS: ClassVar[int] = 2

    def variant(self, name: str) -> ReleaseVariant:
        """Return the variant called ``name``. Raises KeyError."""
        for variant in self.variants:
            if variant.name == name:
                return variant
        raise KeyError(name)

    def variant_of(self, robot: str) -> Optional[ReleaseVariant]:
        """Return the variant of ``robot``, or None when the release does not know the robot."""
        name = self.robots.get(robot)
        return None if name is None else self.variant(name)
