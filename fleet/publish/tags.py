"""Tags of images: the version's, and those that move when a rollout has succeeded."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.oci.image_spec import require_manifest
from fleet.oci.releases import CURRENT, PublishedRelease, releases_of
from fleet.ports import Registry
from runtime.contract.robot.release import ReleaseDocument


@dataclass(frozen=True, slots=True)
class TagMove:
    """One tag that points elsewhere now."""

    tag: str
    """``repository:tag``."""
    before: str | None
    after: str


def runtime_of(prefix: str) -> str:
    """Return the repository of variant images."""
    return f"{prefix}/runtime"


def version_tag(version: str, suffix: str) -> str:
    """Return the tag of one variant's image in one release: ``1.4.0-amr``."""
    return f"{version}-{suffix}"


def image_digest(document: ReleaseDocument, suffix: str) -> str:
    """Return the digest of the image that a suffix stands for. Raises KeyError."""
    return document.variant(document.tags[suffix]).image.partition("@")[2]


def tag_images(registry: Registry, prefix: str, document: ReleaseDocument) -> None:
    """Give every image of a release its version's tags. Raises RegistryError."""
    for suffix in sorted(document.tags):
        _point(registry, runtime_of(prefix), version_tag(document.version, suffix), image_digest(document, suffix))


def move_tags(registry: Registry, prefix: str, release: PublishedRelease) -> list[TagMove]:
    """After a successful rollout: ``rollback-X`` := what ``current-X`` was, ``current-X`` := the release's image.

    Then ``releases:current`` moves. Done again, or finished after an interruption, it gives the same tags. Raises
    RegistryError.
    """
    document = release.document
    moves: list[TagMove] = []
    for suffix in sorted(document.tags):
        moves += _move(registry, runtime_of(prefix), suffix, image_digest(document, suffix))
    return moves + _point(registry, releases_of(prefix), CURRENT, release.digest)


def _move(registry: Registry, repository: str, suffix: str, digest: str) -> list[TagMove]:
    current = f"current-{suffix}"
    before = registry.head_manifest(repository, current)
    if before == digest:
        return []
    # The way back first: cut off between the two, current still says what robots ran, and the next run does both.
    back = _point(registry, repository, f"rollback-{suffix}", before) if before else []
    return back + _point(registry, repository, current, digest, before=before)


def _point(registry: Registry, repository: str, tag: str, digest: str, *, before: str | None = None) -> list[TagMove]:
    before = before or registry.head_manifest(repository, tag)
    if before == digest:
        return []
    lost = "it was deleted after it was published: publish the version again, or roll out another release"
    found = require_manifest(registry, repository, digest, lost=lost)
    registry.put_manifest(repository, tag, found.body, found.media_type)
    return [TagMove(f"{repository}:{tag}", before, digest)]
