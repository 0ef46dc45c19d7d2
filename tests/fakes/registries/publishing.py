"""Small parts for tests of publishing: an engine's result folder, a base image, a fleet of two variants."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path

from fleet.manifest.schema.manifest_schema import Profile, RegistryRef, Rollout, Source
from fleet.ports import RobotAddress
from fleet.publish.artifact import EngineArtifact, push_engine
from fleet.publish.base import upload_base
from fleet.resolve.desired import Desired, DesiredRobot, EngineSpec, Recipe, VariantSpec
from runtime.contract.codec import canonical_json
from runtime.contract.engine.build import (
    AccuracyGate,
    BuildJob,
    BuildOptions,
    DeviceFacts,
    EngineIdentity,
    EngineReport,
    Percentiles,
)
from runtime.contract.node.runtime_config import ModelRuntime, RuntimeConfig
from tests.fakes.registries.registry import FakeRegistry

PREFIX = "warehouse"
COMPOSE = {"robot.compose.yaml": "services: {}\n", "jetson.compose.yaml": "services: {}\n", "unused.yaml": ""}
DEVICE = DeviceFacts("linux/amd64")
PROFILE = Profile(
    name="sim-x86", platform="linux/amd64", backend="onnxruntime", base_image="debian:bookworm", ros_distro="kilted"
)


def key_of(name: str) -> str:
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()


def identity_of(key: str, *, model: str = "sign_text", precision: str = "fp32", engine: bytes = b"") -> EngineIdentity:
    return EngineIdentity(
        key=key,
        model=model,
        backend="onnxruntime",
        precision=precision,
        engine_file="engine.onnx",
        engine_sha256=hashlib.sha256(engine).hexdigest(),
        engine_bytes=len(engine),
        device=DEVICE,
        inputs=(),
        outputs=(),
        self_test=AccuracyGate(),
    )


def report_of(identity: EngineIdentity) -> EngineReport:
    return EngineReport(identity, {}, {}, (), (), Percentiles(1.0, 1.0, 1.0, 1.0, 1), 1, 1.0, 1.0)


def engine_folder(folder: Path, key: str, *, model: str = "sign_text", precision: str = "fp32") -> EngineReport:
    """Write what a builder leaves for one engine; return its report."""
    folder.mkdir(parents=True, exist_ok=True)
    content = f"engine {key}".encode() * 100
    identity = identity_of(key, model=model, precision=precision, engine=content)
    (folder / "engine.onnx").write_bytes(content)
    (folder / "engine.json").write_bytes(canonical_json(identity))
    (folder / "golden.npz").write_bytes(b"golden")
    return report_of(identity)


def push_new_engine(registry: FakeRegistry, folder: Path, spec: EngineSpec) -> EngineArtifact:
    report = engine_folder(folder / spec.tag, spec.key, model=spec.model, precision=spec.precision)
    return push_engine(registry, f"{PREFIX}/engines", spec.key, folder / spec.tag, report=report)


def tar_of(files: Mapping[str, bytes], links: Mapping[str, str] | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return stream.getvalue()


def image_config(layers: list[bytes], **extra: object) -> bytes:
    document: dict[str, object] = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2026-11-22T08:00:00Z",
        "config": {"Env": ["PATH=/usr/bin"], "Entrypoint": ["python3", "-m", "runtime.health"], "Hostname": "abc"},
        "container": "0123",
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(one).hexdigest() for one in layers]},
        "history": [{"created_by": "base"} for _ in layers],
    }
    return json.dumps(document | extra).encode()


def docker_archive(layers: list[bytes], config: bytes) -> bytes:
    """What `docker save` of an old Engine writes."""
    names = [f"{number:064x}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "c0ffee.json", "RepoTags": ["x:y"], "Layers": names}]
    files = dict(zip(names, layers, strict=True)) | {"c0ffee.json": config}
    return tar_of(files | {"manifest.json": json.dumps(manifest).encode()})


def push_new_base(registry: FakeRegistry, tag: str) -> str:
    layers = [tar_of({"etc/base": b"debian" * 1000}), tar_of({"opt/jetfleet/lib/runtime.py": b"pass\n"})]
    return upload_base(registry, f"{PREFIX}/bases", tag, [docker_archive(layers, image_config(layers))])


def desired_fleet(version: str = "1.0.0", *, scout: str = "fp16", profile: Profile = PROFILE) -> Desired:
    """Three robots, two variants: amr-001 and amr-002 at fp32, scout-001 at ``scout``."""
    builder = Recipe("builder", profile, {}, (), key_of("builder"))
    runtime = Recipe("runtime", profile, {}, (), key_of("runtime"))
    engines = {spec.key: spec for spec in (_engine(p, profile, builder) for p in dict.fromkeys(("fp32", scout)))}
    by_precision = {spec.precision: spec for spec in engines.values()}
    variants = {p: _variant(by_precision[p], profile, runtime) for p in by_precision}
    groups = {"amr-001": "amr", "amr-002": "amr", "scout-001": "scout"}
    precision = {"amr": "fp32", "scout": scout}
    return Desired(
        fleet="warehouse",
        version=version,
        registry=RegistryRef(address="registry.test:5000/warehouse"),
        engines=engines,
        variants={variant.name: variant for variant in variants.values()},
        robots=tuple(_robot(name, group, variants[precision[group]].name) for name, group in groups.items()),
        tags={group: variants[precision[group]].name for group in ("amr", "scout")},
        rollout=Rollout(),
    )


def _engine(precision: str, profile: Profile, builder: Recipe) -> EngineSpec:
    key = key_of(f"sign_text {precision}")
    job = BuildJob(key, "sign_text", "onnxruntime", precision, "0" * 64, (), (), BuildOptions(), DEVICE, AccuracyGate())
    source = Source(path="x.onnx", sha256="0" * 64)
    return EngineSpec(key, "sign_text", precision, profile, job, source, None, None, Path("golden.npz"), builder)


def _variant(engine: EngineSpec, profile: Profile, runtime: Recipe) -> VariantSpec:
    config = RuntimeConfig(models=(ModelRuntime("sign_text", engine.precision, engine.key, (), ()),))
    return VariantSpec(f"sim-x86-{engine.key[7:15]}", profile, (engine,), config, runtime)


def _robot(name: str, group: str, variant: str) -> DesiredRobot:
    return DesiredRobot(name, RobotAddress(name, "10.0.0.1", 22, "jetson"), group, {}, variant, {}, None)
