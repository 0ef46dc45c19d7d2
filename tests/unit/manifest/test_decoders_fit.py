"""Decoders that do not fit their model: pixels without a picture, and topics that two outputs would share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.errors import ManifestError, Problem
from fleet.manifest.load import load_manifest
from tests.fakes.fleet_folder import write_fleet

SCAN = {"tensor": "image", "shape": [1, 3, 8, 8], "topic": "/scan", "type": "sensor_msgs/msg/LaserScan"}


def problems(folder: Path, **model: Any) -> tuple[Problem, ...]:
    write_fleet(folder, model=model)
    with pytest.raises(ManifestError) as caught:
        load_manifest(folder)
    return caught.value.problems


@pytest.mark.parametrize(
    "decoder",
    [
        {"name": "boxes", "options": {"classes": 4}},
        {"name": "keypoints", "options": {"classes": 1, "keypoints": 1}},
        {"name": "text_boxes"},
        {"name": "mask", "options": {"size": "camera"}},
        {"name": "depth", "options": {"size": "camera"}},
    ],
)
def test_pixels_of_a_camera_need_a_camera(decoder: dict[str, Any], tmp_path: Path) -> None:
    outputs = [{"tensor": "scores", "topic": "~/found", "decoder": decoder}]
    found = problems(tmp_path, inputs=[SCAN], outputs=outputs)
    (wrong,) = (each for each in found if "the model has no image input" in each.message)
    assert wrong.path == "outputs/0/decoder/name"
    assert wrong.hint


def test_what_belongs_to_a_result_has_its_topic_to_itself(tmp_path: Path) -> None:
    masks = {
        "tensors": {"rows": "scores", "prototypes": "scores"},
        "topic": "~/things",
        "decoder": {"name": "instances", "options": {"classes": 1}},
    }
    taken = {"tensor": "scores", "topic": "~/things/mask", "decoder": {"name": "tensor"}}
    found = problems(tmp_path, outputs=[masks, taken])
    (wrong,) = found
    assert wrong.message == "~/things/mask is where instances of outputs/0 publishes too"
    assert (wrong.path, wrong.hint) == ("outputs/1/topic", "give this output another topic")
