"""Releases in the registry: one immutable document under each version, which makes a publish complete."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from fleet.errors import PublishConflict, RegistryError, UsageError
from fleet.oci.environments import closed, opened, parts_manifest
from fleet.oci.image_spec import MANIFEST, Bytes, parse_manifest, place
from fleet.oci.release_diff import differences
from fleet.oci.skim import said
from fleet.ports import Registry
from runtime.contract.codec import canonical_json, digest_of_bytes, from_json
from runtime.contract.robot.release import (
    EMPTY_BLOB,
    RELEASE_TYPE,
    EnvironmentPart,
    ReleaseDocument,
    release_manifest,
)
from runtime.contract.versions import VERSION, version_order

CURRENT = "current"
"""Tag of the release that was rolled out last with success."""
_EMPTY = Bytes.of(EMPTY_BLOB)


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """A release that is in the registry, complete."""

    document: ReleaseDocument
    """Open: with its robots' own parts."""
    digest: str
    """Of the artifact's manifest: what identifies the release, and what can be pulled."""
    text: str
    """The document as it was published, byte for byte: what is signed."""

    @property
    def version(self) -> str:
        """The manifest's version."""
        return self.document.version


def releases_of(prefix: str) -> str:
    """Return the repository of releases."""
    return f"{prefix}/releases"


def release_artifact(document: ReleaseDocument) -> tuple[Bytes, Bytes]:
    """Return (document blob, manifest). Pure: the same release has the same digest from every machine."""
    blob = Bytes.of(canonical_json(closed(document)[0]))
    return blob, Bytes.of(release_manifest(blob.content, document.fleet, document.version))


def check_publishable(registry: Registry, prefix: str, document: ReleaseDocument) -> bool:
    """Return True when exactly this release is published already, False when its version is free.

    Raises PublishConflict when the version is taken by other content.
    """
    there = registry.head_manifest(releases_of(prefix), document.version)
    if there is None:
        return False
    if there == release_artifact(document)[1].digest:
        return True
    published = load_release(registry, prefix, there)
    raise PublishConflict(
        f"version {document.version} is published already with other content: "
        f"{'; '.join(differences(published.document, document))}",
        hint="raise version in fleet.yaml: a published version never changes",
    )


def publish_release(registry: Registry, prefix: str, document: ReleaseDocument) -> PublishedRelease:
    """Write the release under its version; its images must be there. Publishing the same again changes nothing.

    Raises PublishConflict when the version is taken by other content, RegistryError.
    """
    blob, manifest = release_artifact(document)
    if check_publishable(registry, prefix, document):
        return as_published(document)
    repository = releases_of(prefix)
    registry.push_blob(repository, _EMPTY)
    registry.push_blob(repository, blob)
    _push_parts(registry, repository, document)
    registry.put_manifest(repository, document.version, manifest.content, MANIFEST)
    # Registries have no compare-and-swap: of two publishers at the same time, the one that lost must hear of it.
    check_publishable(registry, prefix, document)
    return as_published(document)


def _push_parts(registry: Registry, repository: str, document: ReleaseDocument) -> None:
    bare, contents = closed(document)
    for content in contents.values():
        registry.push_blob(repository, Bytes.of(content))
    if contents:
        tag = f"parts-{digest_of_bytes(canonical_json(bare))[7:19]}"
        registry.put_manifest(repository, tag, parts_manifest(contents), MANIFEST)


def as_published(document: ReleaseDocument) -> PublishedRelease:
    """Return the release as it is in the registry once it is published. Pure."""
    digest = release_artifact(document)[1].digest
    return PublishedRelease(document, digest, canonical_json(closed(document)[0]).decode("utf-8"))


def find_release(registry: Registry, prefix: str, reference: str) -> PublishedRelease | None:
    """Return the release under a version, a tag or a digest, or None. Raises RegistryError for anything else there."""
    return _found(registry, prefix, reference, None)


def variables_of(
    registry: Registry, prefix: str, reference: str, robots: Iterable[str]
) -> Mapping[str, EnvironmentPart]:
    """Return the variables of some robots in a release; no other robot's part is read. Empty: there is no such release.

    Raises RegistryError as :func:`find_release`.
    """
    wanted = frozenset(robots)
    found = _found(registry, prefix, reference, wanted)
    if found is None:
        return {}
    document = found.document
    return {
        name: EnvironmentPart(dict(document.environment.get(name, {})), dict(document.secrets.get(name, {})))
        for name in wanted & document.robots.keys()
    }


def _found(registry: Registry, prefix: str, reference: str, robots: Collection[str] | None) -> PublishedRelease | None:
    """Return a release with the parts of ``robots``; None: of all."""
    repository = releases_of(prefix)
    found = registry.get_manifest(repository, reference)
    if found is None:
        return None
    where = place(registry, repository, reference)
    manifest = parse_manifest(found, where)
    if [layer.media_type for layer in manifest.layers] != [RELEASE_TYPE]:
        raise RegistryError(f"{where}: not a release", hint="something else was pushed there: delete the tag")
    try:
        text = registry.read_blob(repository, manifest.layers[0].digest).decode("utf-8")
        document = opened(
            from_json(ReleaseDocument, text), lambda digest: registry.read_blob(repository, digest), robots
        )
    except (ValueError, RecursionError, OverflowError) as error:
        hint = "update fleet; or delete the tag when something else wrote it"
        raise RegistryError(f"{where}: cannot be read: {said(error)}", hint=hint) from error
    if VERSION.fullmatch(reference) and document.version != reference:
        hint = "the tag was moved: check who can write to the registry; publish the version again"
        raise RegistryError(f"{where}: the tag holds release {document.version}", hint=hint)
    return PublishedRelease(document, manifest.digest, text)


def load_release(registry: Registry, prefix: str, reference: str) -> PublishedRelease:
    """Return the release under a version or digest. Raises UsageError when there is none, RegistryError."""
    found = find_release(registry, prefix, reference)
    if found is not None:
        return found
    versions = list_releases(registry, prefix)
    hint = f"published: {', '.join(versions[-10:])}" if versions else "nothing is published yet: run fleet publish"
    raise UsageError(f"{registry.host}/{releases_of(prefix)}: no release {reference}", hint=hint)


def current_release(registry: Registry, prefix: str) -> PublishedRelease | None:
    """Return the release rolled out last with success, or None."""
    return find_release(registry, prefix, CURRENT)


def list_releases(registry: Registry, prefix: str) -> list[str]:
    """Return all published versions, oldest version first."""
    return sorted((tag for tag in registry.tags(releases_of(prefix)) if VERSION.fullmatch(tag)), key=version_order)
