from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from fleet.errors import BuildError, OutsideError, RegistryError
from fleet.oci.image_spec import LAYER_GZIP
from fleet.publish.base import load_base, upload_base
from fleet.publish.compress import compress, gzip_into
from tests.fakes.registries.publishing import docker_archive, image_config, tar_of
from tests.fakes.registries.registry import FakeRegistry

REPOSITORY = "warehouse/bases"
LAYERS = [tar_of({"a": b"one" * 5000}), tar_of({"b": b"two"})]


def text(size: int) -> bytes:
    """Bytes that compress as text does."""
    return random.Random(1).randbytes(size).translate(bytes(b"abcdef\n "[i % 8] for i in range(256)))


def packed(content: bytes) -> bytes:
    sink = io.BytesIO()
    assert gzip_into(io.BytesIO(content), sink).digest() == hashlib.sha256(content).digest()
    return sink.getvalue()


@pytest.mark.parametrize("size", [0, 1, (3 << 20) + 7])
def test_gzip_gives_the_bytes_back_and_the_same_ones_each_time(size: int) -> None:
    content = text(size)
    first = packed(content)
    assert gzip.decompress(first) == content
    assert packed(content) == first
    assert first[3:8] == b"\x00" * 5, "no name, no time"


def upload(registry: FakeRegistry, archive: bytes, folder: Path, piece: int = 1000) -> str:
    pieces = (archive[at : at + piece] for at in range(0, len(archive), piece))
    return upload_base(registry, REPOSITORY, "runtime-sim", pieces, temp_dir=folder)


def test_an_export_becomes_an_image(tmp_path: Path) -> None:
    registry = FakeRegistry()
    config = image_config(LAYERS)

    digest = upload(registry, docker_archive(LAYERS, config), tmp_path)

    base = load_base(registry, REPOSITORY, digest)
    assert registry.head_manifest(REPOSITORY, "runtime-sim") == digest == base.digest
    assert base.config == json.loads(config)
    assert [layer.media_type for layer in base.layers] == [LAYER_GZIP, LAYER_GZIP]
    assert [gzip.decompress(registry.read_blob(REPOSITORY, layer.digest)) for layer in base.layers] == LAYERS
    assert list(tmp_path.iterdir()) == [], "temporary files are gone"


def test_the_same_export_gives_the_same_image(tmp_path: Path) -> None:
    archive = docker_archive(LAYERS, image_config(LAYERS))
    assert upload(FakeRegistry(), archive, tmp_path) == upload(FakeRegistry(), archive, tmp_path, piece=77)


def test_the_tag_comes_last(tmp_path: Path) -> None:
    registry = FakeRegistry()
    upload(registry, docker_archive(LAYERS, image_config(LAYERS)), tmp_path)
    assert [verb for verb, _ in registry.calls][-1] == "put_manifest"


def test_layers_that_are_links_to_others(tmp_path: Path) -> None:
    layers = [LAYERS[0], LAYERS[0]]
    manifest = [{"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar"]}]
    files = {"1/layer.tar": LAYERS[0], "c.json": image_config(layers), "manifest.json": json.dumps(manifest).encode()}
    registry = FakeRegistry()
    digest = upload(registry, tar_of(files, {"2/layer.tar": "../1/layer.tar"}), tmp_path)
    first, second = load_base(registry, REPOSITORY, digest).layers
    assert first == second


class Layout(NamedTuple):
    archive: bytes
    config: bytes


def oci_layout(layers: list[bytes], *, nested: bool) -> Layout:
    """What newer Engines write; with ``nested`` an index in the index, and an attestation beside the image."""
    config = image_config(LAYERS)
    blobs: dict[str, bytes] = {}

    def blob(content: bytes, **more: object) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"digest": f"sha256:{digest}", "size": len(content), **more}

    manifest = {"config": blob(config), "layers": [blob(layer) for layer in layers]}
    entry = blob(json.dumps(manifest).encode(), platform={"os": "linux", "architecture": "amd64"})
    index: dict[str, object] = {"manifests": [entry]}
    if nested:
        attestation = blob(b'{"config":{},"layers":[]}', platform={"os": "unknown", "architecture": "unknown"})
        index = {"manifests": [blob(json.dumps({"manifests": [attestation, entry]}).encode())]}
    return Layout(tar_of(blobs | {"index.json": json.dumps(index).encode(), "oci-layout": b"{}"}), config)


@pytest.mark.parametrize("nested", [False, True])
def test_an_oci_layout_is_read_as_well(tmp_path: Path, nested: bool) -> None:
    registry = FakeRegistry()
    compressed = [gzip.compress(layer) for layer in LAYERS]
    layout = oci_layout(compressed, nested=nested)

    base = load_base(registry, REPOSITORY, upload(registry, layout.archive, tmp_path))

    assert base.config == json.loads(layout.config)
    assert [registry.read_blob(REPOSITORY, layer.digest) for layer in base.layers] == compressed, "gzip stays as it is"


@pytest.mark.parametrize(
    ("archive", "says"),
    [
        (b"not a tar", "not a tar archive"),
        (tar_of({"readme": b"x"}), "not an image archive"),
        (tar_of({"manifest.json": b"[]"}), "not an image archive"),
        (tar_of({"manifest.json": b'[{"Config":"c.json","Layers":["gone"]}]', "c.json": b"{}"}), "gone is missing"),
        (docker_archive(LAYERS, b"{}"), "configuration cannot be read"),
        (docker_archive(LAYERS[:1], image_config(LAYERS)), "1 layers but 2 diff ids"),
        (docker_archive(LAYERS, image_config(LAYERS[::-1])), "digest mismatch: got sha256:"),
        (docker_archive([gzip.compress(b"x"), LAYERS[1]], image_config(LAYERS)), "digest mismatch: got sha256:"),
        (docker_archive([b"\x1f\x8bbroken", LAYERS[1]], image_config(LAYERS)), "broken gzip"),
        (docker_archive([b"\x28\xb5\x2f\xfdzstd", LAYERS[1]], image_config(LAYERS)), "compressed with zstd"),
    ],
)
def test_a_damaged_export_is_refused_and_leaves_no_tag(tmp_path: Path, archive: bytes, says: str) -> None:
    registry = FakeRegistry()
    with pytest.raises(BuildError, match=says) as caught:
        upload(registry, archive, tmp_path)
    assert caught.value.hint
    assert registry.snapshot() == {}
    assert list(tmp_path.iterdir()) == []


def test_a_small_disk_is_seen_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    with pytest.raises(OutsideError, match="1 MB are free") as caught:
        upload(FakeRegistry(), docker_archive(LAYERS, image_config(LAYERS)), tmp_path)
    assert "TMPDIR" in caught.value.hint


def test_a_layer_is_checked_while_it_is_compressed(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.write_bytes(os.urandom(1000))
    with pytest.raises(BuildError, match="digest mismatch"):
        compress(layer, "sha256:" + "0" * 64, tmp_path)


def test_a_base_that_vanished_says_what_to_do() -> None:
    with pytest.raises(RegistryError, match="does not have it") as caught:
        load_base(FakeRegistry(), REPOSITORY, "sha256:" + "0" * 64)
    assert "fleet publish" in caught.value.hint
