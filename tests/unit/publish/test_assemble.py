from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.errors import RegistryError
from fleet.oci.image_spec import IMAGE_CONFIG, MANIFEST, Bytes, Descriptor
from fleet.publish.artifact import EngineArtifact
from fleet.publish.assemble import ImagePlan, describe_image, push_images
from fleet.publish.base import BaseImage, load_base
from runtime.contract.node.runtime_config import RuntimeConfig
from tests.fakes.registries.publishing import PREFIX, desired_fleet, push_new_base, push_new_engine
from tests.fakes.registries.registry import FakeRegistry

CONFIG = RuntimeConfig(models=())
LABELS = {"variant": "sim-x86-0011", "profile": "sim-x86"}


@pytest.fixture
def registry() -> FakeRegistry:
    return FakeRegistry()


@pytest.fixture
def base(registry: FakeRegistry) -> BaseImage:
    return load_base(registry, f"{PREFIX}/bases", push_new_base(registry, "runtime-sim"))


@pytest.fixture
def engine(registry: FakeRegistry, tmp_path: Path) -> EngineArtifact:
    spec = next(iter(desired_fleet().engines.values()))
    return push_new_engine(registry, tmp_path, spec)


def image_config(plan: ImagePlan) -> dict[str, object]:
    document = json.loads(plan.config.content)
    assert isinstance(document, dict)
    return document


def test_the_image_is_base_and_engines_and_configuration(base: BaseImage, engine: EngineArtifact) -> None:
    plan = describe_image(base, [engine], CONFIG, LABELS, PREFIX)

    manifest = json.loads(plan.manifest)
    assert manifest["mediaType"] == MANIFEST
    assert manifest["config"] == {
        "mediaType": IMAGE_CONFIG, "digest": plan.config.digest, "size": plan.config.size,
    }  # fmt: skip
    assert plan.layers == (*base.layers, engine.layer, plan.layers[-1])
    assert plan.layers[-1].digest == plan.config_layer.digest
    document = image_config(plan)
    # What comes uncompressed has its digest as its diff id; the base's are those of its plain tars.
    assert document["rootfs"] == {
        "type": "layers", "diff_ids": [*base.diff_ids, engine.layer.digest, plan.config_layer.digest],
    }  # fmt: skip
    history = document["history"]
    assert isinstance(history, list)
    assert len(history) == len(plan.layers)
    assert plan.bytes == sum(layer.size for layer in plan.layers)


def test_the_base_configuration_stays_but_not_the_noise(base: BaseImage, engine: EngineArtifact) -> None:
    document = image_config(describe_image(base, [engine], CONFIG, LABELS, PREFIX))
    run = document["config"]
    assert isinstance(run, dict)
    assert run["Entrypoint"] == ["python3", "-m", "runtime.health"]
    assert run["Env"] == ["PATH=/usr/bin"]
    assert "Hostname" not in run
    assert "container" not in document
    assert document["created"] == base.config["created"]


def test_labels_say_what_is_inside(base: BaseImage, engine: EngineArtifact) -> None:
    run = image_config(describe_image(base, [engine], CONFIG, LABELS, PREFIX))["config"]
    assert isinstance(run, dict)
    assert run["Labels"]["io.jetfleet.variant"] == "sim-x86-0011"
    assert run["Labels"]["io.jetfleet.engine.sign_text"] == f"{engine.precision} {engine.key}"
    assert run["Labels"]["io.jetfleet.base"] == base.digest


def test_the_same_content_is_the_same_digest(base: BaseImage, engine: EngineArtifact) -> None:
    other = replace(engine, model="doors", layer=replace(engine.layer, digest="sha256:" + "9" * 64))
    one = describe_image(base, [engine, other], CONFIG, LABELS, PREFIX)
    two = describe_image(base, [other, engine], CONFIG, dict(reversed(LABELS.items())), PREFIX)
    assert one.digest == two.digest


@pytest.mark.parametrize("what", ["base", "engine", "config", "labels"])
def test_other_content_is_another_digest(base: BaseImage, engine: EngineArtifact, what: str) -> None:
    before = describe_image(base, [engine], CONFIG, LABELS, PREFIX)
    changed = {
        "base": lambda: describe_image(replace(base, digest="sha256:1"), [engine], CONFIG, LABELS, PREFIX),
        "engine": lambda: describe_image(base, [replace(engine, precision="int8")], CONFIG, LABELS, PREFIX),
        "config": lambda: describe_image(base, [engine], replace(CONFIG, max_restarts=9), LABELS, PREFIX),
        "labels": lambda: describe_image(base, [engine], CONFIG, LABELS | {"variant": "x"}, PREFIX),
    }
    assert changed[what]().digest != before.digest


def test_pushing_moves_only_the_configuration(registry: FakeRegistry, base: BaseImage, engine: EngineArtifact) -> None:
    plan = describe_image(base, [engine], CONFIG, LABELS, PREFIX)
    before = registry.bytes_pushed

    push_images(registry, PREFIX, [plan])

    assert registry.bytes_pushed - before == plan.config_layer.size + plan.config.size
    assert registry.head_manifest(f"{PREFIX}/runtime", plan.digest) == plan.digest


def test_images_that_share_layers_ask_for_each_once_and_for_no_manifest_before_all_are_there(
    registry: FakeRegistry, base: BaseImage, engine: EngineArtifact
) -> None:
    """Of a registry that keeps files: while a link is written anew, a manifest that names the blob is refused."""
    one, other = (describe_image(base, [engine], CONFIG, {"variant": name}, PREFIX) for name in ("one", "other"))
    registry.calls.clear()
    push_images(registry, PREFIX, [one, other])
    asked = [target for verb, target in registry.calls if verb == "mount_blob"]
    assert sorted(asked) == sorted({f"{PREFIX}/runtime@{blob.digest}" for _, blob in one.mounts})
    manifests = [verb == "put_manifest" for verb, _ in registry.calls]
    assert manifests == sorted(manifests), "all of them last"

    registry.calls.clear()
    push_images(registry, PREFIX, [one])
    assert not [target for verb, target in registry.calls if verb == "mount_blob"], "they are there: nothing is written"


def test_a_registry_without_mounts_gets_the_bytes(
    registry: FakeRegistry, base: BaseImage, engine: EngineArtifact
) -> None:
    registry.mounts = False
    plan = describe_image(base, [engine], CONFIG, LABELS, PREFIX)
    push_images(registry, PREFIX, [plan])
    for layer in plan.layers:
        assert registry.has_blob(f"{PREFIX}/runtime", layer.digest)


def test_an_engine_that_was_collected_is_named(registry: FakeRegistry, base: BaseImage, engine: EngineArtifact) -> None:
    registry.lose_blob(f"{PREFIX}/engines", engine.layer.digest)
    with pytest.raises(RegistryError, match="a layer of an engine is gone") as caught:
        push_images(registry, PREFIX, [describe_image(base, [engine], CONFIG, LABELS, PREFIX)])
    assert "fleet build" in caught.value.hint
    assert registry.tags(f"{PREFIX}/runtime") == []


def test_a_docker_schema_2_base_is_taken(registry: FakeRegistry, base: BaseImage) -> None:
    repository = f"{PREFIX}/bases"
    docker = "application/vnd.docker"
    layer, config = Bytes.of(b"layer"), Bytes.of(json.dumps({"rootfs": {"diff_ids": ["sha256:1"]}}).encode())
    registry.push_blob(repository, layer)
    registry.push_blob(repository, config)
    document = {
        "schemaVersion": 2,
        "config": Descriptor(f"{docker}.container.image.v1+json", config.digest, config.size).to_json(),
        "layers": [Descriptor(f"{docker}.image.rootfs.diff.tar.gzip", layer.digest, layer.size).to_json()],
    }
    media_type = f"{docker}.distribution.manifest.v2+json"
    registry.put_manifest(repository, "schema2", json.dumps(document).encode(), media_type)

    plan = describe_image(load_base(registry, repository, "schema2"), [], CONFIG, LABELS, PREFIX)

    assert plan.layers[0].media_type == "application/vnd.oci.image.layer.v1.tar+gzip"


def test_an_index_is_no_base(registry: FakeRegistry) -> None:
    index = json.dumps({"schemaVersion": 2, "manifests": []}).encode()
    registry.put_manifest(f"{PREFIX}/bases", "index", index, "application/vnd.oci.image.index.v1+json")
    with pytest.raises(RegistryError, match="not a usable image manifest"):
        load_base(registry, f"{PREFIX}/bases", "index")
