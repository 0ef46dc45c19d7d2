"""An image without a daemon: the base's layers, one layer an engine, one configuration layer, put together by API.

:func:`describe_image` is pure, so an image's digest is known before anything is asked of the registry;
:func:`push_images` makes it true. Nothing of a release, a robot or the time of day is inside.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from fleet.errors import RegistryError
from fleet.oci.image_spec import IMAGE_CONFIG, LAYER_TAR, MANIFEST, NAMESPACE, Bytes, Descriptor, manifest_bytes
from fleet.parallel import side_by_side
from fleet.ports import Registry
from fleet.publish.artifact import EngineArtifact
from fleet.publish.base import BaseImage
from fleet.publish.layers import Layer, config_layer
from runtime.contract.codec import canonical_json, digest_of
from runtime.contract.node.runtime_config import RuntimeConfig

#: What OCI knows of an image configuration; Docker adds the build's container, which is not content.
_CONFIG_KEYS = ("created", "author", "architecture", "os", "os.version", "os.features", "variant", "config", "history")


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image, byte for byte, and where its blobs are."""

    digest: str
    manifest: bytes
    config: Bytes
    config_layer: Layer
    mounts: tuple[tuple[str, Descriptor], ...]
    """(repository, blob): what the registry has already."""
    layers: tuple[Descriptor, ...]
    base_digest: str
    runtime_config_digest: str

    @property
    def bytes(self) -> int:
        """Size of all layers as they travel."""
        return sum(layer.size for layer in self.layers)


def describe_image(
    base: BaseImage,
    engines: Sequence[EngineArtifact],
    config: RuntimeConfig,
    labels: Mapping[str, str],
    prefix: str,
    standby: Sequence[EngineArtifact] = (),
) -> ImagePlan:
    """Return the image of one variant. Pure: the same arguments give the same digest everywhere.

    ``standby``: engines that serve when one of ``engines`` fails.
    """
    settings = config_layer(config)
    settings_descriptor = Descriptor(LAYER_TAR, settings.digest, settings.size)
    ordered = sorted(engines, key=lambda engine: engine.model)
    beside = sorted(standby, key=lambda engine: (engine.model, engine.precision))
    added = [(engine.layer, f"fleet: engine {engine.model} {engine.precision} {engine.key}") for engine in ordered]
    added += [(e.layer, f"fleet: fallback engine {e.model} {e.precision} {e.key}") for e in beside]
    added.append((settings_descriptor, f"fleet: configuration {digest_of(config)}"))
    document = Bytes.of(canonical_json(_image_config(base, added, _labels(base, ordered, config, labels))))
    layers = (*base.layers, *(descriptor for descriptor, _ in added))
    body = manifest_bytes(Descriptor(IMAGE_CONFIG, document.digest, document.size), layers)
    mounts = [(f"{prefix}/bases", layer) for layer in base.layers]
    mounts += [(f"{prefix}/engines", engine.layer) for engine in (*ordered, *beside)]
    return ImagePlan(
        Bytes.of(body).digest, body, document, settings, tuple(mounts), layers, base.digest, digest_of(config)
    )


def _labels(
    base: BaseImage, engines: Sequence[EngineArtifact], config: RuntimeConfig, labels: Mapping[str, str]
) -> dict[str, str]:
    ours = {f"{NAMESPACE}.{name}": value for name, value in labels.items()}
    ours |= {f"{NAMESPACE}.engine.{engine.model}": f"{engine.precision} {engine.key}" for engine in engines}
    return ours | {f"{NAMESPACE}.base": base.digest, f"{NAMESPACE}.config": digest_of(config)}


def _image_config(
    base: BaseImage, added: Sequence[tuple[Descriptor, str]], labels: Mapping[str, str]
) -> dict[str, Any]:
    document = {key: base.config[key] for key in _CONFIG_KEYS if base.config.get(key) is not None}
    # The base's time stays (tools that prune by age read it); our layers carry the same one, not today's.
    created = {"created": base.config["created"]} if base.config.get("created") else {}
    run = dict(document.get("config") or {})
    run["Labels"] = {**(run.get("Labels") or {}), **labels}
    # Ids of the build's own container and parent image: noise that Docker leaves in.
    for key in ("Image", "Hostname", "Domainname"):
        run.pop(key, None)
    document["config"] = run
    document["rootfs"] = {"type": "layers", "diff_ids": [*base.diff_ids, *(layer.digest for layer, _ in added)]}
    history = [{**created, "created_by": text} for _, text in added]
    document["history"] = [*(document.get("history") or ()), *history]
    return document


def push_images(registry: Registry, prefix: str, plans: Sequence[ImagePlan]) -> None:
    """Make the registry hold the images under their digests: mount what is there, upload the little that is new.

    Images share layers. Each blob is asked for once, only where it is missing, and no manifest is put before all are
    there: a registry that keeps files (distribution) writes a blob's link again at every mount, and a
    reader in that moment (a check of a manifest, a pull) gets the answer that there is no such blob.
    """
    repository = f"{prefix}/runtime"

    def mount(origin: str, blob: Descriptor) -> None:
        if not registry.has_blob(repository, blob.digest) and not registry.mount_blob(repository, blob.digest, origin):
            _copy_blob(registry, origin, repository, blob)

    steps: dict[str, Callable[[], None]] = {}
    for plan in plans:
        for own in (plan.config_layer, plan.config):
            steps[own.digest] = partial(registry.push_blob, repository, own)
        for origin, blob in plan.mounts:
            steps[blob.digest] = partial(mount, origin, blob)
    side_by_side(lambda step: step(), steps.values())
    side_by_side(lambda plan: registry.put_manifest(repository, plan.digest, plan.manifest, MANIFEST), plans)


@dataclass(frozen=True, slots=True)
class _FileBlob:
    path: Path
    size: int
    digest: str

    def open(self) -> BinaryIO:
        return self.path.open("rb")


def _copy_blob(registry: Registry, origin: str, repository: str, blob: Descriptor) -> None:
    """A registry that refuses mounts gets the bytes through us."""
    if not registry.has_blob(origin, blob.digest):
        what = "base image" if origin.endswith("/bases") else "engine"
        raise RegistryError(
            f"{registry.host}/{origin}@{blob.digest}: a layer of an {what} is gone".replace("an base", "a base"),
            hint=f"garbage collection took it: delete the tag that used it in {origin} and run fleet build",
        )
    with tempfile.TemporaryDirectory(prefix="jetfleet-blob-") as folder:
        path = Path(folder) / "blob"
        registry.fetch_blob(origin, blob.digest, path, size=blob.size)
        registry.push_blob(repository, _FileBlob(path, blob.size, blob.digest))
