"""What a manifest comes to: inheritance, engines and variants made once, keys that change when engines would."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.manifest_schema import Profile
from fleet.resolve.desired import Desired, Recipe
from fleet.resolve.resolver import resolve
from runtime.contract.codec import digest_of, from_json, to_dict
from runtime.contract.engine.task_metric import MetricGate
from runtime.contract.node.runtime_config import RuntimeConfig
from runtime.contract.robot.power import ENV_POWER, GovernorSettings, PowerPolicy
from tests.fakes.fleet_folder import MODEL, frames, npz, tiny_onnx, write_fleet


def recipes(kind: str, profile: Profile) -> Recipe:
    """A recipe whose digest is a function of what it is for."""
    return Recipe(kind, profile, {}, (), digest_of([kind, profile.name, profile.base_image]))


def resolved(folder: Path, **changes: Any) -> Desired:
    return resolve(load_manifest(write_fleet(folder, **changes)), recipes)


def robots_of(count: int, **extra: Any) -> list[dict[str, Any]]:
    return [{"name": f"r-{i:05}", "host": f"h{i}", "group": ("amr", "scout")[i % 2], **extra} for i in range(count)]


def test_engines_and_variants_are_made_once(tmp_path: Path) -> None:
    desired = resolved(tmp_path)
    assert len(desired.engines) == 2
    assert len(desired.variants) == 2
    amr, other, scout = desired.robots
    assert amr.variant == other.variant != scout.variant
    assert desired.tags == {"amr": amr.variant, "scout": scout.variant}
    assert desired.robot("amr-002") is other
    with pytest.raises(KeyError):
        desired.robot("nobody")


def test_the_job_is_complete(tmp_path: Path) -> None:
    desired = resolved(tmp_path)
    (engine,) = (engine for engine in desired.engines.values() if engine.precision == "fp16")
    job = engine.job
    assert job.key == engine.key
    assert engine.key.startswith("sha256:")
    assert engine.tag == engine.key[7:]
    assert (job.model, job.backend, job.precision) == ("detector", "onnxruntime", "fp16")
    assert job.inputs[0].preprocess is not None
    assert (job.inputs[0].preprocess.height, job.inputs[0].preprocess.width) == (12, 16)
    assert job.inputs[0].preprocess.mean == (0.5, 0.5, 0.5)
    assert job.device.platform == "linux/amd64"
    assert job.max_latency_p99_ms == pytest.approx(250.0)
    assert job.enforce_accuracy
    assert engine.calibration is None
    assert engine.source_path == tmp_path / "models" / "onnx" / "detector.onnx"
    assert engine.golden == tmp_path / "models" / "golden" / "detector.npz"
    assert engine.builder_recipe.kind == "builder"


def test_the_configuration_is_complete(tmp_path: Path) -> None:
    desired = resolved(tmp_path)
    variant = desired.variants[desired.robots[0].variant]
    (model,) = variant.config.models
    assert model.engine_key == variant.engines[0].key
    assert (model.inputs[0].topic, model.inputs[0].height) == ("/camera/image_raw", 12)
    assert (model.outputs[0].topic, model.outputs[0].decoder) == ("~/detector/scores", "tensor")
    assert model.thresholds.max_latency_p99_ms == pytest.approx(250.0)
    assert model.thresholds.min_input_rate_hz == 1.0
    assert variant.runtime_recipe.kind == "runtime"
    assert from_json(RuntimeConfig, json.dumps(to_dict(variant.config))) == variant.config


def test_inheritance(tmp_path: Path) -> None:
    robots = [
        {"name": "a", "host": "ha", "group": "amr"},
        {
            "name": "b", "host": "hb", "group": "amr", "port": 2222, "user": "root", "power_mode": "MAXN",
            "labels": {"site": "hall-9", "dock": "left"}, "environment": {"B": "2"},
            "models": [{"model": "detector", "threads": 2}], "identity_file": "~/key",
        },
        {"name": "c", "host": "hc", "models": [{"model": "detector", "precision": "int8"}]},
    ]  # fmt: skip
    defaults = {"labels": {"owner": "us"}, "environment": {"A": "1", "B": "1"}, "power_mode": "15W"}
    desired = resolved(tmp_path, fleet={"robots": robots, "defaults": {**defaults, "identity_file": "keys/id"}})
    a, b, c = desired.robots
    assert (a.address.user, a.address.port, a.power_mode) == ("jetson", 22, "15W")
    assert a.labels == {"owner": "us", "site": "hall-1"}
    assert a.address.identity_file == str(tmp_path / "keys" / "id")
    assert (b.address.user, b.address.port, b.power_mode) == ("root", 2222, "MAXN")
    assert b.labels == {"owner": "us", "site": "hall-9", "dock": "left"}
    assert b.environment == {"A": "1", "B": "2"}
    assert b.address.identity_file == str(Path("~/key").expanduser())
    (used,) = desired.variants[b.variant].config.models
    assert (used.precision, used.threads) == ("fp32", 2)
    assert desired.variants[c.variant].engines[0].precision == "int8"
    assert desired.variants[c.variant].engines[0].calibration == tmp_path / "models" / "calibration"
    first, second = sorted([a, b], key=lambda robot: robot.variant)  # even: the first by name stands for the group
    assert desired.tags == {"amr": first.variant, f"amr-{second.name}": second.variant, "c": c.variant}


def test_power_is_a_robots_own_and_in_no_variant(tmp_path: Path) -> None:
    robots = robots_of(4)
    robots[0]["power"] = {"governor": {"hot": 70}}
    desired = resolved(tmp_path, fleet={"robots": robots})
    own, *others = desired.robots
    assert from_json(PowerPolicy, own.environment[ENV_POWER]).governor == GovernorSettings(hot_c=70.0)
    assert all(ENV_POWER not in robot.environment for robot in others)
    assert own.variant == others[1].variant


def test_threads_make_another_variant_but_no_other_engine(tmp_path: Path) -> None:
    robots = robots_of(4)
    robots[0]["models"] = [{"model": "detector", "threads": 4}]
    desired = resolved(tmp_path, fleet={"robots": robots})
    assert len(desired.engines) == 2
    assert len(desired.variants) == 3


def test_the_same_everywhere(tmp_path: Path) -> None:
    one, two = resolved(tmp_path / "a" / "b"), resolved(tmp_path / "c")
    assert list(one.engines) == list(two.engines)
    assert list(one.variants) == list(two.variants)
    assert [variant.config for variant in one.variants.values()] == [v.config for v in two.variants.values()]


def test_version_and_robots_are_not_in_variants(tmp_path: Path) -> None:
    one = resolved(tmp_path / "a")
    robots = [{"name": "else", "host": "x", "group": "amr"}, {"name": "other", "host": "y", "group": "scout"}]
    two = resolved(tmp_path / "b", fleet={"version": "2.0.0", "fleet": "other", "robots": robots})
    assert list(one.variants) == list(two.variants)


SAME_ENGINE: dict[str, dict[str, Any]] = {
    "latency gate": {"model": {"gates": {"latency_p99": {"sim-x86": "1s"}}}},
    "waiver": {"model": {"gates": {"waive_build_accuracy": "hotfix"}}},
    "topic": {"model": {"outputs": [{"tensor": "scores", "topic": "~/x", "decoder": {"name": "tensor"}}]}},
    "gate of another precision": {"model": {"gates": {"accuracy": {"fp32": {"min_cosine": 0.5}}}}},
    "power modes": {"profile": {"power_modes": ["15W"]}},
    "builder endpoint": {"profile": {"builder": {"endpoint": "ssh://a@b"}}},
}
OTHER_ENGINE: dict[str, dict[str, Any]] = {
    "model": {"onnx": tiny_onnx(seed=3)},
    "preprocessing": {"model": {"inputs": [{**MODEL["inputs"][0], "preprocess": {"color": "rgb"}}]}},
    "calibration": {"calibration": 9},
    "golden": {"golden": {"image": frames(3, seed=5)}},
    "self-test": {"model": {"gates": {"accuracy": {"int8": {"min_cosine": 0.95}}}}},
    "method": {"model": {"precisions": {"int8": {"method": "entropy"}}}},
    "excluded operators": {"model": {"precisions": {"int8": {"exclude_ops": ["Conv"]}}}},
    "builder recipe": {"profile": {"base_image": "debian:trixie"}},
}
INT8 = {"groups": {"amr": {"models": [{"model": "detector", "precision": "int8"}]}}}


def _int8_key(folder: Path, changes: dict[str, Any]) -> str:
    return next(e.key for e in resolved(folder, fleet=INT8, **changes).engines.values() if e.precision == "int8")


@pytest.mark.parametrize("name", SAME_ENGINE)
def test_key_stays(name: str, tmp_path: Path) -> None:
    assert _int8_key(tmp_path / "a", {}) == _int8_key(tmp_path / "b", SAME_ENGINE[name])


@pytest.mark.parametrize("name", OTHER_ENGINE)
def test_key_changes(name: str, tmp_path: Path) -> None:
    assert _int8_key(tmp_path / "a", {}) != _int8_key(tmp_path / "b", OTHER_ENGINE[name])


def test_key_of_fp32_ignores_calibration(tmp_path: Path) -> None:
    one, two = resolved(tmp_path / "a"), resolved(tmp_path / "b", calibration=12)
    assert list(one.engines) == list(two.engines)


def test_device_facts_are_in_the_key(tmp_path: Path) -> None:
    jetson = {
        "platform": "linux/arm64", "backend": "tensorrt", "module": "p3767-0000", "l4t": "36.4.3",
        "tensorrt": "10.3.0.30", "cuda": "12.6", "sm_count": 8, "ros_distro": "humble",
    }  # fmt: skip
    other = {"module": "p3767-0001", "l4t": "36.4.4", "tensorrt": "10.3.0.31", "sm_count": 4, "cuda": "12.6.68"}
    profiles = [jetson, *({**jetson, key: value} for key, value in other.items())]
    keys = {
        next(iter(resolved(tmp_path / str(index), profile=profile).engines)) for index, profile in enumerate(profiles)
    }
    assert len(keys) == 6


def test_a_reading_of_the_key_that_must_never_change_by_accident(tmp_path: Path) -> None:
    """Keys are addresses in registries: a change here builds every engine of every fleet again."""
    from fleet.resolve.documents.engine_key import engine_key
    from runtime.contract.engine.build import AccuracyGate, BuildJob, BuildOptions, DeviceFacts, TensorSpec

    job = BuildJob(
        key="", model="m", backend="onnxruntime", precision="fp32", onnx_sha256="0" * 64,
        inputs=(TensorSpec("x", (1, 3, 8, 8)),), outputs=(TensorSpec("y", ()),), options=BuildOptions(),
        device=DeviceFacts("linux/amd64"), accuracy=AccuracyGate(),
    )  # fmt: skip
    key = engine_key(job, calibration_digest=None, golden_digest="sha256:1", builder_recipe_digest="sha256:2")
    assert key == "sha256:57fe08c64bcd9b2e8604bd6eada6f0d45478ed233bad58f3b7cb3685b6e583da"
    ranged = replace(job, inputs=(TensorSpec("x", (1, 3, 8, 8), min_shape=(1, 3, 4, 4), max_shape=(1, 3, 9, 9)),))
    assert (
        engine_key(ranged, calibration_digest=None, golden_digest="sha256:1", builder_recipe_digest="sha256:2") != key
    )


def test_a_metric_is_in_the_key_like_the_accuracy_gate_and_only_where_it_is_declared(tmp_path: Path) -> None:
    metric = {"name": "top1", "output": "scores", "min": {"fp16": 0.5}}
    plain, measured, stricter = (
        resolved(tmp_path / str(index), model={"gates": {"metric": value}} if value else {})
        for index, value in enumerate((None, metric, {**metric, "min": {"fp16": 1.0}}))
    )
    keys = {key for desired in (plain, measured, stricter) for key in desired.engines}
    assert len(keys) == sum(len(desired.engines) for desired in (plain, measured)) + 1, "the limit is fp16's alone"
    found = {engine.precision: engine.job.metric for engine in measured.engines.values()}
    assert found["fp16"] == MetricGate("top1", "scores", 0.5)
    assert all(gate == MetricGate("top1", "scores") for name, gate in found.items() if name != "fp16")
    assert all(engine.job.metric is None for engine in plain.engines.values())


def test_ten_thousand_robots(tmp_path: Path) -> None:
    loaded = load_manifest(write_fleet(tmp_path, fleet={"robots": robots_of(10_000)}))
    calls: list[str] = []

    def counted(kind: str, profile: Profile) -> Recipe:
        calls.append(kind)
        return recipes(kind, profile)

    started = time.process_time()
    desired = resolve(loaded, counted)
    assert time.process_time() - started < 5
    assert len(desired.robots) == 10_000
    assert (len(desired.engines), len(desired.variants), len(calls)) == (2, 2, 4)
    assert desired.robots[0].labels is desired.robots[2].labels


def test_a_file_that_vanishes_after_loading(tmp_path: Path) -> None:
    loaded = load_manifest(write_fleet(tmp_path))
    (tmp_path / "models" / "golden" / "detector.npz").unlink()
    with pytest.raises(ManifestError) as caught:
        resolve(loaded, recipes)
    assert "golden" in caught.value.problems[0].message
    assert caught.value.problems[0].hint


def test_moving_tags_that_would_collide(tmp_path: Path) -> None:
    robots = [
        {"name": "amr-001", "host": "a", "models": [{"model": "detector", "precision": "int8"}], "group": None},
        {"name": "x", "host": "b", "group": "amr"},
        {"name": "y", "host": "c", "group": "amr"},
        {"name": "001", "host": "d", "group": "amr", "models": [{"model": "detector", "precision": "fp16"}]},
    ]
    with pytest.raises(ManifestError) as caught:
        resolved(tmp_path, fleet={"robots": robots})
    (problem,) = caught.value.problems
    assert problem.path == "robots/3/name"
    assert problem.line > 0


def test_a_tag_too_long(tmp_path: Path) -> None:
    group, name = "g" * 63, "n" * 63
    use = [{"model": "detector", "precision": "fp32"}]
    robots = [
        {"name": "a", "host": "a", "group": group},
        {"name": "b", "host": "b", "group": group},
        {"name": name, "host": "c", "group": group, "models": [{"model": "detector", "precision": "fp16"}]},
    ]
    with pytest.raises(ManifestError) as caught:
        resolved(tmp_path, fleet={"robots": robots, "groups": {group: {"models": use}}})
    assert "128" in caught.value.problems[0].message


def test_calibration_readme_changes_nothing(tmp_path: Path) -> None:
    before = _int8_key(tmp_path, {})
    (tmp_path / "models" / "calibration" / "README.md").write_text("frames of hall 1", encoding="utf-8")
    assert _int8_key(tmp_path, {}) == before
    (tmp_path / "models" / "calibration" / "000.npz").write_bytes(npz({"image": frames(1, seed=77)}))
    loaded = load_manifest(tmp_path)
    assert before not in resolve(loaded, recipes).engines


def test_nodes_kept_at_fp32_are_in_the_key(tmp_path: Path) -> None:
    fp16 = [{"name": "r", "host": "10.0.0.9", "models": [{"model": "detector", "precision": "fp16"}]}]
    keys = []
    for index, names in enumerate(([], ["Conv_0"])):
        model = {"precisions": {"fp16": {"keep_fp32_nodes": names}}}
        found = resolved(tmp_path / str(index), model=model, fleet={"groups": None, "robots": fp16})
        (engine,) = found.engines.values()
        assert engine.job.options.keep_fp32_nodes == tuple(names)
        keys.append(engine.key)
    assert keys[0] != keys[1]


def test_a_decoder_of_several_tensors_reaches_builder_and_robot(tmp_path: Path) -> None:
    options = {"head": "detr", "sigmoid": True, "labels": ["cat"]}
    roles = {"scores": "scores", "boxes": "hidden"}
    output = {"tensors": roles, "tensor": None, "topic": "~/cats", "decoder": {"name": "boxes", "options": options}}
    gates = {"metric": {"name": "map50", "output": "hidden"}}
    found = resolved(tmp_path, model={"outputs": [output], "gates": gates}, onnx=two_outputs())
    job = next(iter(found.engines.values())).job
    assert [spec.name for spec in job.outputs] == ["hidden", "scores"]
    (decoder,) = job.decoders
    assert (decoder.output, decoder.tensors, decoder.sources) == ("hidden, scores", roles, ("hidden", "scores"))
    assert job.metric is not None
    assert (job.metric.tensors, job.metric.decoder["classes"]) == (roles, 1)
    (binding,) = next(iter(found.variants.values())).config.models[0].outputs
    assert (binding.tensor, binding.tensors, binding.options["labels"]) == ("", roles, ("cat",))


def two_outputs() -> bytes:
    """The tiny model, its hidden values an output too."""
    from onnx import ModelProto, TensorProto, helper

    model = ModelProto.FromString(tiny_onnx())
    model.graph.node.append(helper.make_node("Identity", ["scores"], ["hidden"]))
    model.graph.output.append(helper.make_tensor_value_info("hidden", TensorProto.FLOAT, [1, 4]))
    return model.SerializeToString()


def test_boxes_are_measured_as_the_robot_decodes_them(tmp_path: Path) -> None:
    def jobs(folder: str, **options: Any) -> dict[str, Any]:
        options = {"classes": 1, **options}
        output = {"tensor": "scores", "topic": "~/detector/scores", "decoder": {"name": "boxes", "options": options}}
        gates = {"metric": {"name": "map50", "output": "scores", "min": {"fp16": 0.9}}}
        found = resolved(tmp_path / folder, model={"outputs": [output], "gates": gates}).engines.values()
        return {engine.precision: engine for engine in found}

    plain, cat, surer = jobs("1", threshold=0.4), jobs("2", threshold=0.4, labels=["cat"]), jobs("3", threshold=0.6)
    assert plain["fp16"].job.metric == MetricGate("map50", "scores", 0.9, decoder={"threshold": 0.4, "classes": 1})
    assert cat["fp16"].key == plain["fp16"].key, "a name changes nothing that is measured"
    assert surer["fp16"].key != plain["fp16"].key
