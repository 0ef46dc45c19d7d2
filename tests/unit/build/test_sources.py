from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from fleet.build.sources import SourceCache, parse_oci
from fleet.errors import BuildError, UsageError
from fleet.manifest.schema.manifest_schema import Source
from fleet.oci.image_spec import Bytes
from fleet.ports import Registry
from fleet.resolve.desired import EngineSpec
from tests.fakes.fleet_folder import tiny_onnx
from tests.fakes.registries.registry import FakeRegistry
from tests.unit.build.specs import engine_specs

PIN = hashlib.sha256(tiny_onnx()).hexdigest()


class FakeDownloader:
    def __init__(self) -> None:
        self.urls: list[str] = []

    def fetch(self, url: str, to: Path, *, sha256: str) -> None:
        self.urls.append(url)
        to.write_bytes(tiny_onnx())


@pytest.fixture
def spec(tmp_path: Path) -> EngineSpec:
    return engine_specs(tmp_path / "fleet", "fp32")[0]


def elsewhere(spec: EngineSpec, **where: str) -> EngineSpec:
    return dataclasses.replace(spec, source=Source(sha256=PIN, **where), source_path=None)


def no_registry(host: str) -> Registry:
    raise AssertionError(f"asked for {host}")


def test_a_file_is_used_where_it_is(spec: EngineSpec) -> None:
    assert SourceCache(FakeDownloader(), no_registry).fetch(spec) == spec.source_path


def test_a_file_that_changed_since_it_was_resolved_is_refused(spec: EngineSpec) -> None:
    assert spec.source_path is not None
    spec.source_path.write_bytes(b"something else")
    with pytest.raises(BuildError, match="the manifest pins") as caught:
        SourceCache(FakeDownloader(), no_registry).fetch(spec)
    assert "sha256" in caught.value.hint


def test_a_file_that_vanished_is_said(spec: EngineSpec) -> None:
    assert spec.source_path is not None
    spec.source_path.unlink()
    with pytest.raises(BuildError, match="cannot read"):
        SourceCache(FakeDownloader(), no_registry).fetch(spec)


def test_a_url_is_fetched_once_and_kept(spec: EngineSpec, cache: Path) -> None:
    downloader = FakeDownloader()
    sources = SourceCache(downloader, no_registry)
    remote = elsewhere(spec, url="https://models.test/m.onnx")
    assert sources.fetch(remote) == sources.fetch(remote) == cache / "sources" / f"{PIN}.onnx"
    assert downloader.urls == ["https://models.test/m.onnx"]


def test_a_damaged_cache_is_fetched_again(spec: EngineSpec) -> None:
    downloader = FakeDownloader()
    sources = SourceCache(downloader, no_registry)
    remote = elsewhere(spec, url="https://models.test/m.onnx")
    sources.fetch(remote).write_bytes(b"half")
    assert sources.fetch(remote).read_bytes() == tiny_onnx()
    assert len(downloader.urls) == 2


def test_an_oci_layer_is_found_by_its_sha256(spec: EngineSpec) -> None:
    registry = FakeRegistry()
    registry.push_blob("models/detector", Bytes.of(tiny_onnx()))
    asked: list[str] = []

    def registry_at(host: str) -> Registry:
        asked.append(host)
        return registry

    remote = elsewhere(spec, oci="registry.test:5000/models/detector:1")
    assert SourceCache(FakeDownloader(), registry_at).fetch(remote).read_bytes() == tiny_onnx()
    assert asked == ["registry.test:5000"]


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("registry.test:5000/models/detector:1", ("registry.test:5000", "models/detector")),
        ("oci://registry.test/detector", ("registry.test", "detector")),
        ("localhost/a/b@sha256:00", ("localhost", "a/b")),
        ("registry.test/a:1@sha256:00", ("registry.test", "a")),
    ],
)
def test_oci_references(reference: str, parts: tuple[str, str]) -> None:
    assert parse_oci(reference) == parts


@pytest.mark.parametrize("reference", ["detector:1", "models/detector", "registry.test/", ""])
def test_what_is_no_oci_reference_is_refused(reference: str) -> None:
    with pytest.raises(UsageError, match="not an OCI reference"):
        parse_oci(reference)
