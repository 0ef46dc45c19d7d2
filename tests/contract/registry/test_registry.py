"""One suite for every `fleet.ports.Registry`: the fake that unit tests use, and a real registry."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.retry import RetryPolicy
from fleet.errors import RegistryError
from fleet.oci.image_spec import EMPTY, MANIFEST, Bytes, Descriptor, manifest_bytes
from fleet.ports import Registry
from tests.fakes.registries.breaking_link import BreakingLink, breaking_link
from tests.fakes.registries.registry import FakeRegistry
from tests.fakes.registries.registry_process import find_registry_binary, registry_process


@pytest.fixture(scope="module")
def real_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = find_registry_binary()
    if binary is None:
        pytest.fail("no docker-registry here: `make setup` brings it")
    with registry_process(binary, tmp_path_factory.mktemp("registry")) as host:
        yield host


@pytest.fixture(params=["fake", "real"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    if request.param == "fake":
        yield FakeRegistry()
        return
    host = request.getfixturevalue("real_host")
    client = OciRegistry(host, credentials=DockerCredentials(tmp_path / "no-docker-config"), chunk_bytes=1 << 20)
    yield client
    client.close()


@pytest.fixture
def repository(request: pytest.FixtureRequest) -> str:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    return f"warehouse/{name}"


def push_artifact(registry: Registry, repository: str, tag: str, content: bytes = b"layer") -> tuple[str, bytes]:
    config, layer = Bytes.of(b"{}"), Bytes.of(content)
    registry.push_blob(repository, config)
    registry.push_blob(repository, layer)
    body = manifest_bytes(
        Descriptor(EMPTY, config.digest, config.size),
        [Descriptor("application/vnd.oci.image.layer.v1.tar", layer.digest, layer.size)],
    )
    return registry.put_manifest(repository, tag, body, MANIFEST), body


def test_answers_a_ping(registry: Registry) -> None:
    registry.ping()


@pytest.mark.parametrize("size", [0, 1, 2, 1023, (1 << 20) + 1, 3 * (1 << 20), (5 << 20) + 17])
def test_a_blob_comes_back_as_it_went(registry: Registry, repository: str, size: int, tmp_path: Path) -> None:
    blob = Bytes.of(os.urandom(size))

    registry.push_blob(repository, blob)
    registry.fetch_blob(repository, blob.digest, tmp_path / "blob")

    assert (tmp_path / "blob").read_bytes() == blob.content
    assert registry.read_blob(repository, blob.digest) == blob.content
    assert list(tmp_path.glob(".*.part")) == []


def test_a_blob_that_is_there_is_not_sent_again(registry: Registry, repository: str) -> None:
    blob = Bytes.of(os.urandom(4096))
    registry.push_blob(repository, blob)

    registry.push_blob(repository, Bytes(b"", blob.size, blob.digest))  # reading it would be seen: it is not that blob

    assert registry.has_blob(repository, blob.digest)


def test_has_blob_says_no(registry: Registry, repository: str) -> None:
    assert not registry.has_blob(repository, Bytes.of(b"never pushed").digest)


def test_bytes_other_than_the_digest_are_refused(registry: Registry, repository: str) -> None:
    good = Bytes.of(b"good")
    with pytest.raises(RegistryError) as caught:
        registry.push_blob(repository, Bytes(b"evil", 4, good.digest))
    assert "DIGEST_INVALID" in str(caught.value)
    assert not registry.has_blob(repository, good.digest)


def test_mount_moves_no_bytes(registry: Registry, repository: str) -> None:
    blob = Bytes.of(os.urandom(1000))
    registry.push_blob(f"{repository}/a", blob)

    assert registry.mount_blob(f"{repository}/b", blob.digest, f"{repository}/a")
    assert registry.read_blob(f"{repository}/b", blob.digest) == blob.content


def test_mount_of_what_is_not_there_is_refused(registry: Registry, repository: str) -> None:
    assert not registry.mount_blob(f"{repository}/b", Bytes.of(b"nowhere").digest, f"{repository}/a")


def test_a_manifest_comes_back_under_tag_and_digest(registry: Registry, repository: str) -> None:
    digest, body = push_artifact(registry, repository, "1.0.0")

    for reference in ("1.0.0", digest):
        found = registry.get_manifest(repository, reference)
        assert found is not None
        assert (found.digest, found.media_type, found.body) == (digest, MANIFEST, body)
        assert registry.head_manifest(repository, reference) == digest
    assert digest == "sha256:" + hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("reference", ["nothing", "sha256:" + "0" * 64])
def test_a_manifest_that_is_not_there_is_none(registry: Registry, repository: str, reference: str) -> None:
    assert registry.get_manifest(repository, reference) is None
    assert registry.head_manifest(repository, reference) is None


def test_a_tag_moves(registry: Registry, repository: str) -> None:
    first, _ = push_artifact(registry, repository, "current", b"one")
    second, _ = push_artifact(registry, repository, "current", b"two")

    assert first != second
    assert registry.head_manifest(repository, "current") == second
    assert registry.head_manifest(repository, first) == first


def test_a_manifest_without_its_blobs_is_refused(registry: Registry, repository: str) -> None:
    missing = Bytes.of(os.urandom(10))
    body = manifest_bytes(Descriptor(EMPTY, missing.digest, missing.size), [])

    with pytest.raises(RegistryError, match="BLOB_UNKNOWN"):
        registry.put_manifest(repository, "1.0.0", body, MANIFEST)


def test_tags_are_sorted(registry: Registry, repository: str) -> None:
    for tag in ("b", "a", "c"):
        push_artifact(registry, repository, tag)
    assert registry.tags(repository) == ["a", "b", "c"]


def test_a_repository_that_does_not_exist_has_no_tags(registry: Registry, repository: str) -> None:
    assert registry.tags(f"{repository}/none") == []


def test_deleting_twice_is_fine(registry: Registry, repository: str) -> None:
    digest, _ = push_artifact(registry, repository, "gone")

    registry.delete_manifest(repository, digest)
    registry.delete_manifest(repository, digest)

    assert registry.get_manifest(repository, "gone") is None
    assert "gone" not in registry.tags(repository)


def test_a_blob_that_is_gone_is_an_error_with_a_way_on(registry: Registry, repository: str, tmp_path: Path) -> None:
    push_artifact(registry, repository, "1.0.0")
    with pytest.raises(RegistryError):
        registry.read_blob(repository, Bytes.of(b"gone").digest)
    with pytest.raises(RegistryError):
        registry.fetch_blob(repository, Bytes.of(b"gone").digest, tmp_path / "blob")
    assert list(tmp_path.iterdir()) == []


def test_threads_share_one_client(registry: Registry, repository: str) -> None:
    blobs = [Bytes.of(os.urandom(1 << 16)) for _ in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda blob: registry.push_blob(repository, blob), blobs))
        back = list(pool.map(lambda blob: registry.read_blob(repository, blob.digest), blobs))
    assert back == [blob.content for blob in blobs]


def test_a_docker_manifest_keeps_its_media_type(registry: Registry, repository: str) -> None:
    config = Bytes.of(b'{"rootfs":{"type":"layers","diff_ids":[]}}')
    registry.push_blob(repository, config)
    media_type = "application/vnd.docker.distribution.manifest.v2+json"
    described = {
        "mediaType": "application/vnd.docker.container.image.v1+json",
        "digest": config.digest,
        "size": config.size,
    }
    body = json.dumps({"schemaVersion": 2, "mediaType": media_type, "config": described, "layers": []}).encode()

    registry.put_manifest(repository, "docker", body, media_type)

    found = registry.get_manifest(repository, "docker")
    assert found is not None
    assert (found.media_type, found.body) == (media_type, body)


def test_a_real_registry_continues_after_a_break_between_chunks(
    real_host: str, repository: str, tmp_path: Path
) -> None:
    blob, chunk = Bytes.of(os.urandom(24 << 20)), 8 << 20
    with breaking_link(real_host, at_patch=2) as link:
        push_through(link, repository, blob, chunk, tmp_path)

    assert link.broken == 1, "the link did break"
    assert link.carried_up < blob.size + chunk // 2, "what the registry had was not sent again"


def test_a_real_registry_gets_the_blob_in_spite_of_broken_chunks(
    real_host: str, repository: str, tmp_path: Path
) -> None:
    blob = Bytes.of(os.urandom(24 << 20))
    with breaking_link(real_host, after_bytes=[9 << 20, 6 << 20]) as link:
        push_through(link, repository, blob, 64 << 20, tmp_path)

    assert link.broken == 2, "the link did break"


def push_through(link: BreakingLink, repository: str, blob: Bytes, chunk: int, folder: Path) -> None:
    retry = RetryPolicy(base_s=0.2)
    client = OciRegistry(link.host, credentials=DockerCredentials(folder / "none"), retry=retry, chunk_bytes=chunk)
    client.push_blob(repository, blob)
    assert client.read_blob(repository, blob.digest) == blob.content
    client.close()
