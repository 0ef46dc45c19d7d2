from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import BuildError, RegistryError
from fleet.oci.image_spec import LAYER_TAR, MANIFEST
from fleet.publish.artifact import engine_artifact, push_engine, read_report
from tests.fakes.registries.publishing import engine_folder, key_of
from tests.fakes.registries.registry import FakeRegistry

REPOSITORY = "warehouse/engines"
KEY = key_of("one")
TAG = KEY[7:]


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


def test_an_engine_is_found_under_its_key(registry: FakeRegistry, tmp_path: Path) -> None:
    report = engine_folder(tmp_path, KEY, precision="int8")

    pushed = push_engine(registry, REPOSITORY, KEY, tmp_path, report=report)

    found = engine_artifact(registry, REPOSITORY, TAG)
    assert found == pushed
    assert (pushed.key, pushed.model, pushed.precision) == (KEY, "sign_text", "int8")
    assert pushed.layer.media_type == LAYER_TAR
    stored = read_report(registry, REPOSITORY, pushed)
    assert replace(stored, files={}) == report
    assert sorted(stored.files) == ["engine.json", "engine.onnx", "golden.npz"]
    assert stored.files["engine.onnx"].sha256 == report.identity.engine_sha256


def test_the_layer_is_the_image_layer(registry: FakeRegistry, tmp_path: Path) -> None:
    artifact = push_engine(registry, REPOSITORY, KEY, tmp_path, report=engine_folder(tmp_path, KEY))
    registry.fetch_blob(REPOSITORY, artifact.layer.digest, tmp_path / "layer.tar")
    content = (tmp_path / "layer.tar").read_bytes()
    assert len(content) == artifact.layer.size
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        engine = archive.extractfile("opt/jetfleet/engines/sign_text/fp32/engine.onnx")
        assert engine is not None
        assert engine.read() == (tmp_path / "engine.onnx").read_bytes()


def test_asking_for_an_engine_is_one_request(registry: FakeRegistry, tmp_path: Path) -> None:
    push_engine(registry, REPOSITORY, KEY, tmp_path, report=engine_folder(tmp_path, KEY))
    before = registry.requests_made
    assert engine_artifact(registry, REPOSITORY, TAG) is not None
    assert engine_artifact(registry, REPOSITORY, key_of("two")[7:]) is None
    assert registry.requests_made == before + 2


def test_the_first_engine_of_a_key_stays(registry: FakeRegistry, tmp_path: Path) -> None:
    report = engine_folder(tmp_path, KEY)
    first = push_engine(registry, REPOSITORY, KEY, tmp_path, report=report)
    pushed = registry.bytes_pushed
    (tmp_path / "golden.npz").write_bytes(b"built again, other bytes")

    assert push_engine(registry, REPOSITORY, KEY, tmp_path, report=report) == first
    assert registry.bytes_pushed == pushed


def test_an_engine_of_another_key_is_not_stored(registry: FakeRegistry, tmp_path: Path) -> None:
    report = engine_folder(tmp_path, key_of("two"))
    with pytest.raises(BuildError, match=f"returned key {key_of('two')}, requested was {KEY}"):
        push_engine(registry, REPOSITORY, KEY, tmp_path, report=report)
    assert registry.calls == []


def test_a_tag_that_somebody_moved_is_noticed(registry: FakeRegistry, tmp_path: Path) -> None:
    push_engine(registry, REPOSITORY, KEY, tmp_path, report=engine_folder(tmp_path, KEY))
    body = registry.get_manifest(REPOSITORY, TAG)
    assert body is not None
    other = key_of("two")[7:]
    registry.put_manifest(REPOSITORY, other, body.body, MANIFEST)
    with pytest.raises(RegistryError, match=f"an engine of key {KEY}, not the engine of key sha256:{other}"):
        engine_artifact(registry, REPOSITORY, other)


def test_a_report_of_another_key_is_noticed(registry: FakeRegistry, tmp_path: Path) -> None:
    artifact = push_engine(registry, REPOSITORY, KEY, tmp_path, report=engine_folder(tmp_path, KEY))
    with pytest.raises(RegistryError, match="the report is of key"):
        read_report(registry, REPOSITORY, replace(artifact, key=key_of("two")))


def test_the_manifest_comes_last(registry: FakeRegistry, tmp_path: Path) -> None:
    """A push that is cut off leaves no tag: the next run sees nothing and does it all."""
    push_engine(registry, REPOSITORY, KEY, tmp_path, report=engine_folder(tmp_path, KEY))
    assert [verb for verb, _ in registry.calls].index("put_manifest") == len(registry.calls) - 1
