"""What a fallback may be: a known engine, another one, fed as the model is; commands for velocity outputs alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from fleet.errors import ManifestError, Problem
from fleet.manifest.load import LoadedManifest, load_manifest
from fleet.resolve.desired import Desired
from fleet.resolve.resolver import resolve
from runtime.contract.codec import canonical_json, from_json
from runtime.contract.node.runtime_config import RuntimeConfig
from tests.fakes.fleet_folder import MODEL, write_fleet
from tests.unit.resolve.test_resolver import recipes


def small(**changes: Any) -> dict[str, Any]:
    """A second model on the first one's data, ``small``."""
    model = {**copy.deepcopy(MODEL), "name": "small", "precisions": {}, "gates": {}}
    model["outputs"][0]["topic"] = "~/small/scores"
    for key, value in changes.items():
        model[key][0] |= value
    return model


def written(folder: Path, fallback: Any, other: dict[str, Any] | None = None, **changes: Any) -> Path:
    """The small fleet, whose group ``amr`` has this fallback at fp32, and a second model where given."""
    use = {"model": "detector", "precision": "fp32", "fallback": fallback}
    fleet: dict[str, Any] = {"groups": {"amr": {"models": [use]}}}
    if other is not None:
        fleet["models"] = ["models/detector.yaml", "models/small.yaml"]
    write_fleet(folder, fleet=fleet, **changes)
    if other is not None:
        first = yaml.safe_load((folder / "models/detector.yaml").read_text())
        other["source"]["sha256"] = first["source"]["sha256"]
        (folder / "models/small.yaml").write_text(yaml.safe_dump(other, sort_keys=False))
    return folder


def loaded(folder: Path, fallback: Any, other: dict[str, Any] | None = None) -> LoadedManifest:
    return load_manifest(written(folder, fallback, other))


def problem(folder: Path, fallback: Any, other: dict[str, Any] | None = None) -> Problem:
    with pytest.raises(ManifestError) as caught:
        loaded(folder, fallback, other)
    [found] = caught.value.problems
    assert found.line > 0
    return found


def desired(folder: Path, fallback: Any, other: dict[str, Any] | None = None) -> Desired:
    return resolve(loaded(folder, fallback, other), recipes)


def test_another_precision_stands_by_in_the_variant_and_in_what_the_robot_is_told(tmp_path: Path) -> None:
    variant = (found := desired(tmp_path, {"precision": "fp16"})).variants[found.robots[0].variant]
    [own], [beside] = variant.engines, variant.standby
    assert (own.precision, beside.model, beside.precision) == ("fp32", "detector", "fp16")
    assert variant.all_engines == (own, beside)
    assert beside.key in found.engines
    config = from_json(RuntimeConfig, canonical_json(variant.config))
    [model] = config.models
    assert model.fallback is not None
    assert (model.fallback.engine_key, model.fallback.precision) == (beside.key, "fp16")
    assert model.fallback.inputs == model.inputs
    assert model.fallback.outputs == model.outputs


def test_another_model_stands_by_under_the_topics_of_the_one_that_it_stands_in_for(tmp_path: Path) -> None:
    variant = (found := desired(tmp_path, {"model": "small", "precision": "fp32"}, small())).variants[
        found.robots[0].variant
    ]
    [model] = variant.config.models
    assert model.fallback is not None
    assert (model.fallback.model, model.fallback.outputs[0].topic) == ("small", "~/detector/scores")


def test_an_engine_that_serves_and_stands_by_is_in_the_image_once(tmp_path: Path) -> None:
    folder = written(tmp_path, {"model": "small", "precision": "fp32"}, small())
    text = yaml.safe_load((folder / "fleet.yaml").read_text())
    text["groups"]["amr"]["models"].append({"model": "small", "precision": "fp32"})
    (folder / "fleet.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    found = resolve(load_manifest(folder), recipes)
    variant = found.variants[found.robots[0].variant]
    assert [engine.model for engine in variant.engines] == ["detector", "small"]
    assert variant.standby == ()


def test_none_takes_an_inherited_fallback_away(tmp_path: Path) -> None:
    variant = (found := desired(tmp_path, "none")).variants[found.robots[0].variant]
    assert (variant.standby, variant.config.models[0].fallback) == ((), None)


@pytest.mark.parametrize(
    ("fallback", "message", "hint"),
    [
        ({"model": "smal", "precision": "fp32"}, "no model is called smal", "did you mean small"),
        ({"model": "small"}, "a fallback engine has a precision", "add precision"),
        ({"precision": "fp32"}, "detector fp32 would be its own fallback", "another precision"),
        ({"model": "small", "precision": "int8"}, "small at int8 without calibration data", "calibration"),
        ("zero", "publishes ~/detector/scores with tensor, which has no zero", "velocity outputs"),
        ("stop", "", "zero"),
    ],
)
def test_what_is_wrong_with_a_fallback(tmp_path: Path, fallback: Any, message: str, hint: str) -> None:
    found = problem(tmp_path, fallback, small())
    assert message in found.message
    assert hint in f"{found.message} {found.hint}"
    assert found.path.startswith("groups/amr/models/0/fallback")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (small(inputs={"topic": "/rear/image_raw"}), "small has other inputs than detector: /rear/image_raw"),
        (small(inputs={"encoding": "bgr8"}), "bgr8"),
        (
            small(outputs={"decoder": {"name": "classification"}}),
            "small answers with classification, detector with tensor",
        ),
    ],
    ids=["topic", "encoding", "decoder"],
)
def test_a_fallback_that_does_not_fit_the_models_place(tmp_path: Path, other: dict[str, Any], message: str) -> None:
    assert message in problem(tmp_path, {"model": "small", "precision": "fp32"}, other).message


VELOCITY = {
    "name": "velocity",
    "options": {
        "axes": ["linear.x", "linear.y", "linear.z", "angular.z"],
        "max_linear": 1.0,
        "max_angular": 1.0,
        "max_linear_acceleration": 1.0,
        "max_angular_acceleration": 1.0,
        "on_failure": "hold",
    },
}


def test_a_declared_command_is_for_velocity_outputs_and_says_what_they_say(tmp_path: Path) -> None:
    with_velocity = small(outputs={"decoder": VELOCITY})
    folder = written(tmp_path, "none", with_velocity)
    text = yaml.safe_load((folder / "fleet.yaml").read_text())
    text["groups"]["amr"]["models"] = [{"model": "small", "precision": "fp32", "fallback": "hold"}]
    (folder / "fleet.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    found = resolve(load_manifest(folder), recipes)
    assert found.variants[found.robots[0].variant].config.models[0].on_failure == "hold"
    text["groups"]["amr"]["models"][0]["fallback"] = "zero"
    (folder / "fleet.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    assert "has on_failure: hold" in caught.value.problems[0].message


JOINTS = {
    "joints": ["a", "b", "c", "d"],
    "interface": "position",
    "measured": "/joint_states",
    "max_jump": 0.1,
    "min_position": -1,
    "max_position": 1,
    "max_velocity": 2,
    "on_failure": "hold_position",
}
SPEED = {
    "joints": ["a", "b", "c", "d"],
    "interface": "velocity",
    "measured": "/joint_states",
    "max_jump": 0.1,
    "max_velocity": 2,
    "max_acceleration": 2,
}


@pytest.mark.parametrize(
    ("options", "fallback", "said"),
    [
        (JOINTS, "hold", ""),
        (JOINTS, "zero", "zero, but the joints of ~/small/scores hold without a result"),
        (SPEED, "zero", ""),
        (SPEED, "hold", "hold, but the joints of ~/small/scores stop without a result"),
    ],
)
def test_joints_hold_and_their_velocities_are_zero(
    tmp_path: Path, options: dict[str, Any], fallback: str, said: str
) -> None:
    folder = written(tmp_path, "none", small(outputs={"decoder": {"name": "joints", "options": options}}))
    text = yaml.safe_load((folder / "fleet.yaml").read_text())
    text["groups"]["amr"]["models"] = [{"model": "small", "precision": "fp32", "fallback": fallback}]
    (folder / "fleet.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    if not said:
        found = resolve(load_manifest(folder), recipes)
        assert found.variants[found.robots[0].variant].config.models[0].on_failure == fallback
        return
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    assert said in caught.value.problems[0].message
