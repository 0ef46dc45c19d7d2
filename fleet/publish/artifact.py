"""Engines in the registry: one artifact under each engine key, its layer being the image layer itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fleet.errors import BuildError, RegistryError
from fleet.oci.image_spec import (
    LAYER_TAR,
    MANIFEST,
    NAMESPACE,
    Bytes,
    Descriptor,
    ParsedManifest,
    manifest_bytes,
    parse_manifest,
    place,
)
from fleet.oci.skim import said
from fleet.parallel import side_by_side
from fleet.ports import Registry
from fleet.publish.layers import engine_layer
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import EngineIdentity, EngineReport

REPORT_TYPE = "application/vnd.jetfleet.engine.report.v1+json"
_KEY = f"{NAMESPACE}.engine.key"
_MODEL = f"{NAMESPACE}.engine.model"
_PRECISION = f"{NAMESPACE}.engine.precision"


@dataclass(frozen=True, slots=True)
class EngineArtifact:
    """One engine as the registry holds it."""

    key: str
    model: str
    precision: str
    digest: str
    """Of the artifact's manifest."""
    report: Descriptor
    """Blob of the EngineReport: :func:`read_report`."""
    layer: Descriptor
    """Uncompressed tar: its digest is its diff id."""


Attest = Callable[[Descriptor], object]
"""Signs for a manifest that this process made and pushed."""


def engine_artifact(registry: Registry, repository: str, tag: str, digest: str | None = None) -> EngineArtifact | None:
    """Return the engine stored under a tag (the key's hex), or None. One request. Raises RegistryError.

    ``digest``: of the manifest that was looked at before, which is read whatever the tag points at by now.
    """
    found = registry.get_manifest(repository, digest or tag)
    if found is None:
        return None
    where = place(registry, repository, digest or tag)
    return _artifact(parse_manifest(found, where), f"sha256:{tag}", where)


def _artifact(manifest: ParsedManifest, key: str, where: str) -> EngineArtifact:
    notes = manifest.annotations
    shaped = manifest.config.media_type == REPORT_TYPE and [one.media_type for one in manifest.layers] == [LAYER_TAR]
    if not shaped or notes.get(_KEY) != key:
        holds = f"an engine of key {notes[_KEY]}" if shaped and _KEY in notes else "no engine"
        raise RegistryError(
            f"{where}: the tag holds {holds}, not the engine of key {key}",
            hint="the tag was moved: delete it and run fleet build",
        )
    return EngineArtifact(
        key, notes.get(_MODEL, ""), notes.get(_PRECISION, ""), manifest.digest, manifest.config, manifest.layers[0]
    )


def read_report(registry: Registry, repository: str, artifact: EngineArtifact) -> EngineReport:
    """Return what was measured when the engine was built. Raises RegistryError."""
    where = place(registry, repository, artifact.digest)
    try:
        report = from_json(EngineReport, registry.read_blob(repository, artifact.report.digest))
    except (ValueError, RecursionError, OverflowError) as error:
        raise RegistryError(
            f"{where}: its report cannot be read: {said(error)}", hint="update fleet, or build again"
        ) from error
    if report.identity.key != artifact.key:
        raise RegistryError(
            f"{where}: the report is of key {report.identity.key}, the artifact of {artifact.key}",
            hint="delete the artifact and run fleet build",
        )
    return report


def push_engine(
    registry: Registry,
    repository: str,
    key: str,
    folder: Path,
    *,
    report: EngineReport,
    proven: Callable[[EngineArtifact], bool] | None = None,
    attest: Attest | None = None,
) -> EngineArtifact:
    """Store the engine in ``folder`` (a builder's results) under its key, unless the key is taken already.

    The first engine of a key stays: TensorRT builds of one key differ by a few bytes, and replacing one would change
    images that are published. With ``proven`` it stays only when that says so of it; ``attest`` is called for what was
    made from ``folder``, never for what was there, and the tag follows it. Raises RegistryError, BuildError.
    """
    identity = report.identity
    if identity.key != key:
        raise BuildError(
            f"{folder}: the build returned key {identity.key}, requested was {key}", hint="build the engine again"
        )
    tag = key.removeprefix("sha256:")
    if existing := _standing(registry, repository, tag, proven):
        return existing
    layer = engine_layer(folder, identity.model)
    document = Bytes.of(canonical_json(replace(report, files=layer.files())))
    uploads: list[Callable[[], None]] = [
        lambda: registry.push_blob(repository, layer),
        lambda: registry.push_blob(repository, document),
    ]
    side_by_side(lambda upload: upload(), uploads)
    config = Descriptor(REPORT_TYPE, document.digest, document.size)
    described = Descriptor(LAYER_TAR, layer.digest, layer.size)
    body = manifest_bytes(config, [described], annotations=_annotations(identity))
    digest = Bytes.of(body).digest
    if attest is not None:
        registry.put_manifest(repository, digest, body, MANIFEST)
        attest(Descriptor(MANIFEST, digest, len(body)))
    registry.put_manifest(repository, tag, body, MANIFEST)
    return EngineArtifact(key, identity.model, identity.precision, digest, config, described)


def _standing(
    registry: Registry, repository: str, tag: str, proven: Callable[[EngineArtifact], bool] | None
) -> EngineArtifact | None:
    """Return the engine that has the key already and keeps it."""
    try:
        existing = engine_artifact(registry, repository, tag)
    except RegistryError:
        if proven is None or registry.head_manifest(repository, tag) is None:
            raise
        return None  # the tag holds something else, which nobody attests as this engine: ours takes its place
    if existing is None or proven is None or proven(existing):
        return existing
    return None


def _annotations(identity: EngineIdentity) -> dict[str, str]:
    return {_KEY: identity.key, _MODEL: identity.model, _PRECISION: identity.precision}
