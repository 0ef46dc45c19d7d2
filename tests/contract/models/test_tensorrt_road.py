"""From a manifest with a TensorRT profile to engines that a robot checks: plan, build, publish, preflight.

The registry is a real one. The builder answers from recordings: of a GPU host where tests/data has them (real plans of
a real TensorRT), and of the stand-in for TensorRT in tests/fakes/gpu_site, recorded when the test begins, which is no
engine of anything but shows that the road itself is whole.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.build.image import LABEL_RECIPE, local_tag
from fleet.cli.wiring import Wiring
from fleet.manifest.files.named_files import file_sha256
from fleet.manifest.load import LoadedManifest, load_manifest
from fleet.oci.releases import find_release
from fleet.publish.artifact import engine_artifact
from fleet.publish.base import upload_base
from fleet.resolve.desired import Desired, EngineSpec
from fleet.resolve.documents.build_job import device_facts
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.engine.build import IDENTITY_FILE, DeviceFacts, EngineIdentity
from runtime.engines.device.plan_header import read_plan_header
from runtime.engines.device.preflight import check_engine
from runtime.engines.errors import EngineError
from runtime.engines.store import load_engine_dir, sha256_of
from tests.contract.registry.test_registry import real_host
from tests.fakes.fleet_folder import write_fleet
from tests.fakes.recorded_builder import RecordedBuilder
from tests.fakes.registries.publishing import docker_archive, image_config, tar_of
from tests.fakes.registries.recordings import COMMAND, RECORDING_FILE, Recording, read_recording
from tests.unit.cli.conftest import Desk

__all__ = ["real_host"]

REPO = Path(__file__).resolve().parents[3]
OF_A_GPU = REPO / "tests" / "data" / "road"
STAND_INS = REPO / "tests" / "fakes" / "gpu_site"
PROFILE = "orin-nano-8gb-jp60"


@pytest.fixture(scope="module", params=["stand-in for TensorRT", "recorded on a GPU"])
def recordings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "recorded on a GPU":
        if not (OF_A_GPU / RECORDING_FILE).is_file():
            pytest.skip(f"tests/data/road has no recordings of a GPU host yet: there, run {COMMAND}")
        return OF_A_GPU
    folder = tmp_path_factory.mktemp("road")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "tests/gpu/record_road.py", str(folder)],
        cwd=REPO, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(STAND_INS), str(REPO), *sys.path])},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recorded fp32, fp16, int8 with TensorRT 8.6.0 on Fake GPU" in done.stdout
    return folder


@pytest.fixture
def recording(recordings: Path) -> Recording:
    return read_recording(recordings)


class Road:
    """An operator's desk whose registry is real and whose builder answers from recordings."""

    def __init__(self, desk: Desk, registry: OciRegistry, builder: RecordedBuilder, prefix: str) -> None:
        self.desk, self.registry, self.builder, self.prefix = desk, registry, builder, prefix

    @property
    def desired(self) -> Desired:
        return resolve(loaded_with(self.desk.folder, read_recording(self.builder.recordings).tensorrt), recipe_for)

    def push_bases(self) -> None:
        layers = [tar_of({"etc/base": b"ubuntu"})]
        for variant in self.desired.variants.values():
            archive = docker_archive(layers, image_config(layers, architecture="arm64"))
            upload_base(self.registry, f"{self.prefix}/bases", variant.runtime_recipe.tag, [archive])

    def engine_on_robot(self, spec: EngineSpec, to: Path) -> Path:
        """Unpack the engine's layer as it comes out of the registry, which is the image's layer; return its folder."""
        repository = f"{self.prefix}/engines"
        artifact = engine_artifact(self.registry, repository, spec.tag)
        assert artifact is not None
        to.mkdir()
        self.registry.fetch_blob(repository, artifact.layer.digest, to / "layer.tar")
        with tarfile.open(to / "layer.tar") as tar:
            tar.extractall(to, filter="data")
        (folder,) = (path.parent for path in to.rglob(IDENTITY_FILE))
        return folder


def loaded_with(folder: Path, tensorrt: str) -> LoadedManifest:
    """Load the manifest, its profile at the recording's TensorRT: no L4T that a profile may name comes with 8.6.0."""
    loaded = load_manifest(folder)
    profile = loaded.profiles[PROFILE].model_copy(update={"tensorrt": tensorrt})
    return dataclasses.replace(loaded, profiles={PROFILE: profile})


@pytest.fixture
def road(
    request: pytest.FixtureRequest,
    recordings: Path,
    recording: Recording,
    real_host: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Road]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prefix = f"road-{abs(hash(request.node.name)):x}"
    folder = write_manifest(tmp_path / "manifests", f"{real_host}/{prefix}", recordings, recording)
    registry = OciRegistry(real_host, credentials=DockerCredentials(tmp_path / "no-docker-config"))
    builder = RecordedBuilder(recordings=recordings)
    recipe = recipe_for("builder", loaded_with(folder, recording.tensorrt).profiles[PROFILE])
    builder.images[local_tag(recipe)] = {LABEL_RECIPE: recipe.digest}
    monkeypatch.setenv("FLEET_MANIFEST", str(folder))
    monkeypatch.setattr(Wiring, "loaded", property(lambda _: loaded_with(folder, recording.tensorrt)))
    monkeypatch.setattr(Wiring, "registry", registry)
    monkeypatch.setattr(Wiring, "_host_of", lambda _wiring, _profile: builder)
    yield Road(Desk(folder, capsys), registry, builder, prefix)
    registry.close()


def write_manifest(folder: Path, registry: str, recordings: Path, recording: Recording, **gates: Any) -> Path:
    """Write a fleet with one group for each precision that was recorded."""
    precisions = [job.precision for job in recording.jobs]
    use = {p: {"models": [{"model": recording.model, "precision": p}]} for p in precisions}
    write_fleet(
        folder,
        onnx=(recordings / recording.onnx).read_bytes(),
        golden=(recordings / recording.golden).read_bytes(),
        fleet={
            "registry": {"address": registry, "plain_http": True},
            "profiles": [f"profiles/{PROFILE}.yaml"],
            "defaults": {"profile": PROFILE},
            "groups": {"amr": None, "scout": None, **use},
            "robots": [{"name": f"robot-{p}", "host": f"10.0.0.{i}", "group": p} for i, p in enumerate(precisions)],
        },
        model={
            "name": recording.model,
            "inputs": [image_input()],
            "outputs": [{"tensor": "logits", "topic": "~/logits", "decoder": {"name": "tensor"}}],
            "precisions": {"int8": {"calibration": recording.calibration}} if "int8" in precisions else None,
            "gates": {
                "accuracy": {**{p: {"min_cosine": 0.95} for p in precisions}, **gates},
                "latency_p99": {"sim-x86": None},
            },
        },
    )  # fmt: skip
    for name in filter(None, [recording.calibration if "int8" in precisions else ""]):
        (folder / "models" / name).write_bytes((recordings / name).read_bytes())
    (folder / "profiles" / f"{PROFILE}.yaml").write_bytes((REPO / f"manifests/profiles/{PROFILE}.yaml").read_bytes())
    return folder


def image_input() -> dict[str, Any]:
    return {
        "tensor": "image",
        "shape": [1, 3, 32, 32],
        "topic": "/camera/image_raw",
        "encoding": "rgb8",
        "width": 64,
        "height": 48,
        "preprocess": {"color": "rgb", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    }


def test_from_a_manifest_to_a_release_with_engines_that_a_robot_takes(
    road: Road, recording: Recording, tmp_path: Path
) -> None:
    precisions = {job.precision for job in recording.jobs}
    planned = road.desk.json("plan", "--no-robots")
    assert {engine["precision"] for engine in planned["engines_to_build"]} == precisions
    built = road.desk.json("build")
    assert {engine["precision"] for engine in built["built"]} == precisions
    assert not [note for engine in built["built"] for note in engine["notes"] if "timing cache" in note]
    assert road.desk.json("build")["present"] == len(precisions)
    road.push_bases()
    road.desk.fleet("publish")
    assert road.desk.json("plan", "--no-robots")["engines_to_build"] == []
    found = find_release(road.registry, road.prefix, "1.0.0")
    assert found is not None
    released = {engine.key: engine for variant in found.document.variants for engine in variant.engines}
    for spec in road.desired.engines.values():
        folder = road.engine_on_robot(spec, tmp_path / spec.precision)
        assert released[spec.key].layer_digest == f"sha256:{file_sha256(tmp_path / spec.precision / 'layer.tar')}"
        identity, files = load_engine_dir(folder)
        assert (identity.key, identity.precision, identity.backend) == (spec.key, spec.precision, "tensorrt")
        check_engine(identity, "tensorrt", device_facts(spec.profile), plan=files.engine)
        header = read_plan_header(files.engine.read_bytes())
        assert header is not None
        assert str(header).startswith(recording.tensorrt)


def test_what_was_measured_reaches_the_next_builder(road: Road, recording: Recording) -> None:
    road.desk.fleet("build")
    first, *later = road.builder.given
    assert first == []
    assert all(later)
    (tag,) = road.registry.tags(f"{road.prefix}/timing")
    assert tag.startswith(f"{recording.tensorrt}_p3767-0003_8_")


def test_a_job_that_was_not_recorded_is_refused_and_nothing_is_pushed(
    road: Road, recordings: Path, recording: Recording
) -> None:
    write_manifest(
        road.desk.folder, f"{road.registry.host}/{road.prefix}", recordings, recording, fp32={"min_cosine": 0.5}
    )
    document = road.desk.json("build", code=3)
    assert "no recording in" in document["error"]["message"]
    assert {failed["precision"] for failed in document["failed"]} == {"fp32"}
    tags = road.registry.tags(f"{road.prefix}/engines")
    assert sorted(tags) == sorted(spec.tag for spec in road.desired.engines.values() if spec.precision != "fp32")


# ── a robot that they do not belong on ───────────────────────────────────────────────────────────────────────────


@pytest.fixture
def engine(road: Road, tmp_path: Path) -> tuple[Path, DeviceFacts]:
    """An engine as a robot has it, and the device that it is for."""
    road.desk.fleet("build")
    spec = next(spec for spec in road.desired.engines.values() if spec.precision == "fp32")
    return road.engine_on_robot(spec, tmp_path / "robot"), device_facts(spec.profile)


def preflight(folder: Path, here: DeviceFacts) -> None:
    """Do what the backend does before it loads a plan."""
    identity, files = load_engine_dir(folder)
    check_engine(identity, "tensorrt", here, plan=files.engine)


def refused(folder: Path, here: DeviceFacts) -> EngineError:
    with pytest.raises(EngineError) as caught:
        preflight(folder, here)
    return caught.value


@pytest.mark.parametrize(
    ("fact", "value"),
    [("module", "p3767-0000"), ("sm_count", 4), ("l4t", "36.4.3"), ("cuda", "12.6"), ("tensorrt", "10.3.0.30")],
)
def test_another_device_is_refused_with_both_sides(engine: tuple[Path, DeviceFacts], fact: str, value: object) -> None:
    folder, device = engine
    error = refused(folder, dataclasses.replace(device, **{fact: value}))  # type: ignore[arg-type]
    assert error.kind == "device-mismatch"
    assert f"{fact} {getattr(device, fact)} claimed, {value} found" in error.message
    assert "fleet build" in error.hint


def sign(folder: Path, content: bytes) -> None:
    """Put other bytes in place of the engine, and make the sidecar agree."""
    identity, files = load_engine_dir(folder)
    files.engine.write_bytes(content)
    honest = dataclasses.replace(identity, engine_sha256=sha256_of(files.engine), engine_bytes=len(content))
    files.identity.write_bytes(canonical_json(honest))
    assert from_json(EngineIdentity, files.identity.read_bytes()) == honest


def test_a_plan_whose_header_is_of_another_tensorrt(engine: tuple[Path, DeviceFacts]) -> None:
    folder, device = engine
    content = bytearray((folder / "engine.plan").read_bytes())
    content[24:28] = bytes([10, 3, 0, 30])
    sign(folder, bytes(content))
    error = refused(folder, device)
    assert error.kind == "device-mismatch"
    assert f"was built by TensorRT 10.3.0.30; its sidecar says {device.tensorrt}" in error.message
    assert "fleet build" in error.hint


@pytest.mark.parametrize("keep", [20, -1000])
def test_a_truncated_plan(engine: tuple[Path, DeviceFacts], keep: int) -> None:
    folder, device = engine
    whole = (folder / "engine.plan").read_bytes()
    (folder / "engine.plan").write_bytes(whole[:keep])
    error = refused(folder, device)
    assert error.kind == "corrupt"
    assert f"engine.json says {len(whole)}" in error.message


def test_a_plan_cut_to_less_than_its_header_with_a_sidecar_that_agrees(engine: tuple[Path, DeviceFacts]) -> None:
    folder, device = engine
    sign(folder, (folder / "engine.plan").read_bytes()[:20])
    assert "too few for a TensorRT plan" in refused(folder, device).message


def test_a_changed_byte(engine: tuple[Path, DeviceFacts]) -> None:
    folder, device = engine
    content = bytearray((folder / "engine.plan").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "engine.plan").write_bytes(content)
    error = refused(folder, device)
    assert error.kind == "corrupt"
    assert "sha256" in error.message
