"""What each exporter's layout is recognised as, and that `fleet init` writes a valid manifest of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from fleet.cli import main
from fleet.manifest.load import load_manifest
from fleet.manifest.proposal.inspected import inspect_onnx
from fleet.manifest.proposal.proposal import Head, supported
from fleet.manifest.proposal.recognised import recognise
from tests.unit.manifest.proposal import detectors, others
from tests.unit.manifest.proposal.net import save

Row = tuple[str, Callable[[], ModelProto], str, dict[str, Any]]
THREE = {"labels": ["thing 0", "thing 1", "thing 2"]}
TABLE: list[Row] = [
    ("yolov8", detectors.v8, "boxes", {"channels_first": True, **THREE}),
    ("yolo11-free", lambda: detectors.v8(free=True), "boxes", {"channels_first": True, **THREE}),
    ("yolov8-bare", lambda: detectors.v8(metadata={"author": "me"}), "boxes", {"channels_first": True, "classes": 3}),
    ("yolov5", detectors.v5, "boxes", {"objectness": True, **THREE}),
    ("yolov7", lambda: detectors.v5(metadata=False), "boxes", {"objectness": True, "classes": 3}),
    ("yolox", detectors.yolox, "boxes", {"head": "yolox", "strides": [8, 16, 32], "classes": 3}),
    ("yolox-decoded", lambda: detectors.yolox(decoded=True), "boxes", {"objectness": True, "classes": 3}),
    ("yolo26", detectors.end_to_end, "boxes", {"head": "end_to_end", "layout": "xyxy", **THREE}),
    ("yolo26-as-many-as-cells", lambda: detectors.end_to_end(kept=detectors.CELLS), "boxes",
     {"head": "end_to_end", "layout": "xyxy", **THREE}),
    ("detr", lambda: detectors.detr(100, 92), "boxes", {"head": "detr", "softmax": True, "classes": 91}),
    ("rtdetr", lambda: detectors.detr(300, 80), "boxes", {"head": "detr", "sigmoid": True, "classes": 80}),
    ("rtdetr-ultralytics", detectors.rtdetr_ultralytics, "boxes", {"normalized": True, **THREE}),
    ("ssd", detectors.ssd, "boxes",
     {"head": "ssd", "background": "first", "layout": "xyxy", "normalized": True, "classes": 3}),
    ("tf-ssd", detectors.tensorflow, "boxes",
     {"head": "nms", "layout": "yxyx", "normalized": True, "first_class": 1, "classes": 91}),
    ("efficientnms", detectors.efficient_nms, "boxes", {"head": "nms", "layout": "xyxy", "classes": 80}),
    ("torchvision", detectors.torchvision, "boxes",
     {"head": "nms", "layout": "xyxy", "first_class": 1, "classes": 91}),
    ("nms-indices", detectors.nms_indices, "boxes", {"head": "nms_indices", "layout": "yxyx", "classes": 3}),
    ("pose", lambda: detectors.v8(1, 12, "pose", metadata=detectors.ultralytics("pose", 1, kpt_shape="[4, 3]")),
     "keypoints", {"channels_first": True, "keypoints": 4, "keypoint_values": 3, "labels": ["thing 0"]}),
    ("pose26", lambda: detectors.end_to_end(12, "pose", classes=1), "keypoints",
     {"head": "end_to_end", "layout": "xyxy", "keypoints": 4, "keypoint_values": 3, "labels": ["thing 0"]}),
    ("obb", lambda: detectors.v8(3, 1, "obb"), "oriented_boxes", {"channels_first": True, **THREE}),
    ("obb26", lambda: detectors.end_to_end(1, "obb"), "oriented_boxes", {"head": "end_to_end", **THREE}),
    ("segment", detectors.segmentation, "instances", {"channels_first": True, **THREE}),
    ("segment26", lambda: detectors.end_to_end(32, "segment", prototypes=True), "instances",
     {"head": "end_to_end", "layout": "xyxy", **THREE}),
    ("timm", others.classifier, "classification", {"softmax": True}),
    ("softmax", lambda: others.classifier(7, "Softmax"), "classification", {}),
    ("classify", lambda: others.classifier(3, "Softmax", **detectors.ultralytics("classify", 3)), "classification",
     THREE),
    ("keras", others.keras_classifier, "classification", {}),
    ("segformer", others.segformer, "mask", {}),
    ("deeplab", others.deeplab, "mask", {}),
    ("paddleseg", others.argmax_mask, "mask", {}),
    ("unet", others.plane, "mask", {"threshold": 0.5}),
    ("ch_det", lambda: others.plane(producer="PaddlePaddle", free=True), "text_boxes", {}),
    ("midas_small", lambda: others.plane("Relu", squeezed=True), "depth", {"inverse": True}),
    ("depth_anything", lambda: others.plane("Relu", output="predicted_depth", squeezed=True), "depth",
     {"inverse": True}),
    ("zoedepth_nyu", lambda: others.plane("Softplus", output="metric_depth"), "depth", {}),
]  # fmt: skip


def head_in(path: Path) -> Head:
    head = recognise(inspect_onnx(path)).head
    assert head is not None, "no recogniser knows it"
    return head


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize(("name", "build", "decoder", "options"), TABLE, ids=[row[0] for row in TABLE])
def test_a_layout_is_recognised_and_its_manifest_valid(
    name: str, build: Callable[[], ModelProto], decoder: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = save(build(), tmp_path, name)
    (published,) = head_in(path).published
    assert (published.decoder, published.options) == (decoder, options)
    folder = tmp_path / "fleet"
    assert main.run(["init", str(folder), "--model", str(path)]) == 0
    (model,) = load_manifest(folder).models.values()
    assert supported(published)
    written = model.outputs[0].decoder
    assert (written.name, {key: _plain(value) for key, value in written.options.items()}) == (decoder, options)
    assert (model.outputs[0].tensor, model.outputs[0].tensors) == (published.tensor, published.tensors)


def test_roles_of_several_outputs_go_by_names_and_operators(tmp_path: Path) -> None:
    (published,) = head_in(save(detectors.detr(300, 80), tmp_path)).published
    assert published.tensors == {"scores": "logits", "boxes": "pred_boxes"}
    (published,) = head_in(save(detectors.tensorflow(), tmp_path)).published
    assert published.tensors == {
        "boxes": "detection_boxes", "scores": "detection_scores", "classes": "detection_classes",
        "count": "num_detections",
    }  # fmt: skip
    (published,) = head_in(save(detectors.torchvision(), tmp_path)).published
    assert published.tensors == {"boxes": "boxes", "scores": "scores", "classes": "labels"}
    (published,) = head_in(save(detectors.nms_indices(), tmp_path)).published
    assert published.tensors == {"indices": "selected_indices", "boxes": "boxes", "scores": "scores"}
    (published,) = head_in(save(detectors.segmentation(), tmp_path)).published
    assert published.tensors == {"rows": "output0", "prototypes": "output1"}


@pytest.mark.parametrize(
    ("build", "guess"),
    [
        (lambda: others.classifier(7), "features, a steering command or scores"),
        (lambda: others.plane("Tanh"), "anything"),
        (lambda: others.classifier(7, "Tanh"), "a command"),
        (others.policy, "no picture"),
    ],
)
def test_what_could_be_anything_is_published_as_it_is(
    build: Callable[[], ModelProto], guess: str, tmp_path: Path
) -> None:
    assert recognise(inspect_onnx(save(build(), tmp_path))).head is None, guess


def test_a_guess_says_that_it_is_one_and_what_to_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(detectors.v8(metadata={"author": "me"}), tmp_path)
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(path)]) == 0
    said = capsys.readouterr().err
    assert "note: YOLO rows: 189 candidates of 7 values, one a column" in said
    assert "the file names no classes: 3 are counted" in said
    text = (tmp_path / "fleet" / "models" / "model.yaml").read_text()
    assert "# Written by fleet init from model.onnx: YOLO rows" in text
    assert "  # 189 candidates of 7 values, one a column" in text


@pytest.mark.parametrize(
    ("metadata", "classes"),
    [
        ({"names": "{0: 'a', 2: 'b'}"}, 3),  # a number is missing
        ({"names": "['a', 'b', 'c', 'd']"}, 3),  # one too many
        ({"names": "{" * 5000}, 3),
        ({"names": "[[1], 2, 3]"}, 3),
        ({"names": "\x00", "imgsz": "[0, -1]", "kpt_shape": "[1]", "task": "dance", "stride": "?"}, 3),
    ],
)
def test_metadata_that_make_no_sense_count_for_nothing(metadata: dict[str, str], classes: int, tmp_path: Path) -> None:
    (published,) = head_in(save(detectors.v8(metadata=metadata), tmp_path)).published
    assert published.options["classes"] == classes


def test_names_are_texts_whatever_they_look_like(tmp_path: Path) -> None:
    names = "['yes', '12:30', 'it\\'s \"one\": #1']"
    path = save(detectors.v8(metadata={"names": names, "imgsz": "96"}), tmp_path)
    assert main.run(["init", str(tmp_path / "fleet"), "--model", str(path)]) == 0
    (model,) = load_manifest(tmp_path / "fleet").models.values()
    assert model.outputs[0].decoder.options["labels"] == ("yes", "12:30", 'it\'s "one": #1')


def test_rows_of_other_than_the_named_classes_are_a_doubt(tmp_path: Path) -> None:
    head = head_in(save(detectors.v8(3, metadata={"names": "['a', 'b', 'c', 'd']"}), tmp_path))
    assert not head.sure
    assert "the metadata name 4 classes, and a candidate has 7 values" in head.notes[0]
