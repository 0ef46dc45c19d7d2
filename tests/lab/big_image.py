"""Images in the lab's registry with a layer that takes its time, put together by the registry's own API."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from dataclasses import dataclass, replace
from typing import Any

from runtime.contract.robot.release import LayerRef
from runtime.contract.robot.update import UpdateOrder

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@dataclass(frozen=True)
class Blob:
    """A layer or a config."""

    digest: str
    size: int
    diff_id: str = ""


class Repository:
    """One repository of the lab's registry, plain HTTP."""

    def __init__(self, reference: str) -> None:
        self.address, _, rest = reference.partition("/")
        self.name, _, self.digest = rest.partition("@")
        self._base = f"http://{self.address}/v2/{self.name}/"

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(urllib.request.Request(self._base + path, headers={"Accept": MANIFEST})) as answer:
            return json.load(answer)

    def put_blob(self, content: bytes, diff_id: str = "") -> Blob:
        with urllib.request.urlopen(urllib.request.Request(self._base + "blobs/uploads/", method="POST")) as answer:
            place = answer.headers["Location"]
        digest = sha256(content)
        place += ("&" if "?" in place else "?") + "digest=" + digest
        headers = {"Content-Type": "application/octet-stream"}
        urllib.request.urlopen(urllib.request.Request(place, data=content, headers=headers, method="PUT")).close()
        return Blob(digest, len(content), diff_id)

    def put_manifest(self, body: bytes) -> str:
        """Return the reference."""
        digest = sha256(body)
        url = self._base + "manifests/" + digest
        headers = {"Content-Type": MANIFEST}
        urllib.request.urlopen(urllib.request.Request(url, data=body, headers=headers, method="PUT")).close()
        return f"{self.address}/{self.name}@{digest}"


def sha256(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(content: bytes) -> bytes:
    """Return a tar with one file."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("opt/big")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


@dataclass(frozen=True)
class Big:
    """An order for an image with a layer of its own."""

    order: UpdateOrder
    layer: Blob
    moves: int
    """Bytes that a robot with the base image lacks: the layer and the config."""


def with_layer(order: UpdateOrder, content: bytes, *, packed: bool = False, alone: bool = False) -> Big:
    """Return ``order`` for its image with one more layer that holds ``content``, published.

    ``packed``: compressed. ``alone``: the image has no other layer.
    """
    repository = Repository(order.variant.image)
    base = repository.get("manifests/" + repository.digest)
    config = repository.get("blobs/" + base["config"]["digest"])
    tar = layer(content)
    added = repository.put_blob(gzip.compress(tar, 6) if packed else tar, sha256(tar))
    config["rootfs"]["diff_ids"] = [*([] if alone else config["rootfs"]["diff_ids"]), added.diff_id]
    config.pop("history", None)
    told = repository.put_blob(json.dumps(config).encode())
    kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if packed else "")
    described = {"mediaType": kind, "digest": added.digest, "size": added.size}
    base["config"].update(digest=told.digest, size=told.size)
    base["layers"] = [*([] if alone else base["layers"]), described]
    reference = repository.put_manifest(json.dumps(base).encode())
    layers = (*(() if alone else order.variant.layers), LayerRef(added.digest, added.size))
    variant = replace(order.variant, image=reference, layers=layers)
    return Big(replace(order, variant=variant), added, added.size + told.size)
