"""Base images in the registry: read one, or put one there out of what `docker save` writes."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.errors import BuildError, RegistryError
from fleet.oci.image_spec import (
    IMAGE_CONFIG,
    LAYER_GZIP,
    MANIFEST,
    Bytes,
    Descriptor,
    manifest_bytes,
    parse_manifest,
    place,
    require_manifest,
)
from fleet.oci.skim import said
from fleet.ports import Registry
from fleet.publish.archive import SavedImage, unpack
from fleet.publish.compress import compress
from runtime.contract.json_decoder import decode_object

_BUILD_AGAIN = "run fleet publish: it uploads the base image again, once its tag is gone too"


@dataclass(frozen=True, slots=True)
class BaseImage:
    """What an image is assembled upon."""

    digest: str
    config: Mapping[str, Any]
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[str, ...]


def load_base(registry: Registry, repository: str, reference: str) -> BaseImage:
    """Read a base image's manifest and configuration, OCI or Docker schema 2. Two requests. Raises RegistryError."""
    where = place(registry, repository, reference)
    manifest = parse_manifest(require_manifest(registry, repository, reference, lost=_BUILD_AGAIN), where)
    try:
        config = decode_object(registry.read_blob(repository, manifest.config.digest), "it")
        diff_ids = tuple(str(one) for one in config["rootfs"]["diff_ids"])
        if not isinstance(config.get("config") or {}, dict) or not isinstance(config.get("history") or [], list):
            raise ValueError("config or history is of another type")
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
        why = said(error)
        raise RegistryError(f"{where}: its configuration is not an image's: {why}", hint=_BUILD_AGAIN) from error
    if len(diff_ids) != len(manifest.layers):
        counts = f"{len(manifest.layers)} layers but {len(diff_ids)} diff ids"
        raise RegistryError(f"{where}: {counts}", hint=_BUILD_AGAIN)
    return BaseImage(manifest.digest, config, manifest.layers, diff_ids)


def upload_base(
    registry: Registry,
    repository: str,
    tag: str,
    stream: Iterable[bytes],
    *,
    on_log: Callable[[str], None] | None = None,
    temp_dir: Path | None = None,
    attest: Callable[[Descriptor], object] | None = None,
) -> str:
    """Store an exported image (`ContainerHost.export_image`) under a tag; return its manifest's digest.

    Layers are compressed on their way (robots often hang on Wi-Fi), through files below ``temp_dir``. The tag comes
    last, so an upload that was cut off is not seen and is done again; ``attest`` signs for the manifest before that.
    Raises RegistryError, BuildError, OutsideError.
    """
    say = on_log or (lambda _: None)
    with tempfile.TemporaryDirectory(prefix="jetfleet-base-", dir=temp_dir) as folder:
        saved = unpack(stream, Path(folder), f"export of {tag}")
        diff_ids = _diff_ids(saved, tag)
        layers = []
        for number, (path, diff_id) in enumerate(zip(saved.layers, diff_ids, strict=True), 1):
            blob = compress(path, diff_id, Path(folder))
            say(f"{repository}:{tag}: layer {number} of {len(diff_ids)}, {blob.size / 1e6:.1f} MB")
            registry.push_blob(repository, blob)
            layers.append(Descriptor(LAYER_GZIP, blob.digest, blob.size))
        config = Bytes.of(saved.config)
        registry.push_blob(repository, config)
        body = manifest_bytes(Descriptor(IMAGE_CONFIG, config.digest, config.size), layers)
        if attest is not None:
            digest = registry.put_manifest(repository, Bytes.of(body).digest, body, MANIFEST)
            attest(Descriptor(MANIFEST, digest, len(body)))
        return registry.put_manifest(repository, tag, body, MANIFEST)


def _diff_ids(saved: SavedImage, tag: str) -> list[str]:
    try:
        diff_ids = [str(one) for one in decode_object(saved.config, "it")["rootfs"]["diff_ids"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"export of {tag}: its configuration cannot be read", hint="build the image again") from error
    if len(diff_ids) != len(saved.layers):
        raise BuildError(
            f"export of {tag}: {len(saved.layers)} layers but {len(diff_ids)} diff ids", hint="build the image again"
        )
    return diff_ids
