"""Options of the decoders that find objects, and how exporters lay candidates out: heads. Stdlib only, Python 3.8.

A head says which tensors it reads (``roles``), which options it takes beside the common ones, and what an option is
where it is not given. An option that a head does not take is refused: nothing is written for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, FrozenSet, List, Mapping, Tuple

from runtime.contract.node.options import OptionProblem, OptionSpec

ROWS, END_TO_END, YOLOX = "rows", "end_to_end", "yolox"
DETR, SSD, NMS, NMS_INDICES = "detr", "ssd", "nms", "nms_indices"
LAYOUTS = ("cxcywh", "xyxy", "yxyx", "xywh")
NO_SUPPRESSION = 1.0


@dataclass(frozen=True)
class Head:
    """One layout of candidates."""

    takes: FrozenSet[str]
    """Options beside the common ones."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Where they are others than the table's."""
    roles: Tuple[str, ...] = ()
    """Tensors that must be given under ``tensors``; none: one, under ``tensor``."""
    optional: Tuple[str, ...] = ()


_SELECTED = {"iou": NO_SUPPRESSION}
_SCORED = frozenset({"layout", "normalized", "sigmoid", "softmax", "background"})
HEADS: Dict[str, Head] = {
    ROWS: Head(frozenset({"layout", "normalized", "objectness", "channels_first", "sigmoid"}), {"layout": "cxcywh"}),
    END_TO_END: Head(frozenset({"layout", "normalized", "first_class"}), {"layout": "xyxy", **_SELECTED}),
    YOLOX: Head(frozenset({"strides", "sigmoid"})),
    DETR: Head(_SCORED, {"layout": "cxcywh", "normalized": True, **_SELECTED}, ("boxes", "scores")),
    SSD: Head(_SCORED, {"layout": "xyxy"}, ("boxes", "scores")),
    NMS: Head(
        frozenset({"layout", "normalized", "first_class"}),
        {"layout": "xyxy", **_SELECTED},
        ("boxes", "classes"),
        ("scores", "count"),
    ),
    NMS_INDICES: Head(frozenset({"layout", "normalized"}), _SELECTED, ("boxes", "indices", "scores")),
}
_OF_HEADS = frozenset(
    {"layout", "normalized", "objectness", "channels_first", "sigmoid", "softmax", "background", "strides"}
    | {"first_class"}
)
"""Options that some heads take and others do not."""

_COMMON = (
    OptionSpec("threshold", "number", 0.25, 0.0, 1.0),
    OptionSpec("iou", "number", 0.45, 0.0, 1.0),
    OptionSpec("class_agnostic", "flag", False),
    OptionSpec("max_candidates", "whole", 1000, 1, 2000),
    OptionSpec("labels", "words", ()),
    OptionSpec("classes", "whole", 0, 0, 100000),
)
_IN_ROWS = (
    OptionSpec("head", "choice", ROWS, choices=(ROWS, END_TO_END)),
    OptionSpec("normalized", "flag", False),
    OptionSpec("objectness", "flag", False),
    OptionSpec("channels_first", "flag", False),
    OptionSpec("sigmoid", "flag", False),
    OptionSpec("first_class", "whole", 0, 0, 1),
)
_LAYOUT = OptionSpec("layout", "choice", "", choices=LAYOUTS)
_MOST = OptionSpec("max_detections", "whole", 100, 1, 1000)

BOX_OPTIONS: Dict[str, Tuple[OptionSpec, ...]] = {
    "boxes": (
        OptionSpec("head", "choice", ROWS, choices=tuple(HEADS)),
        *_IN_ROWS[1:],
        OptionSpec("softmax", "flag", False),
        OptionSpec("background", "choice", "none", choices=("first", "last", "none")),
        OptionSpec("strides", "wholes", (8, 16, 32), 1, 1024),
        _LAYOUT,
        _MOST,
        *_COMMON,
    ),
    "keypoints": (
        *_IN_ROWS,
        OptionSpec("keypoints", "names", None, 1, 1000),
        OptionSpec("keypoint_values", "whole", 3, 2, 3),
        _LAYOUT,
        _MOST,
        *_COMMON,
    ),
    "instances": (
        *_IN_ROWS,
        OptionSpec("mask_size", "choice", "camera", choices=("camera", "model")),
        OptionSpec("mask_threshold", "number", 0.5, 0.0, 1.0),
        OptionSpec("max_detections", "whole", 100, 1, 255),
        _LAYOUT,
        *_COMMON,
    ),
    "oriented_boxes": (
        *_IN_ROWS,
        OptionSpec("angle", "choice", "last", choices=("last", "after_box")),
        OptionSpec("angle_unit", "choice", "rad", choices=("rad", "deg")),
        _MOST,
        *_COMMON,
    ),
}
BOX_DECODERS = tuple(BOX_OPTIONS)
"""Decoders whose results have boxes, and whose options have ``head``."""
INSTANCE_ROLES = ("prototypes", "rows")


def with_head(values: Dict[str, Any], given: Mapping[str, Any]) -> Dict[str, Any]:
    """Return the options with the head's own defaults where none is given."""
    head = HEADS[values["head"]]
    own = {name: value for name, value in head.defaults.items() if name not in given and name in values}
    if values["head"] == DETR and "background" not in given:  # a softmax without "no object" would always find some
        own["background"] = "last" if values["softmax"] else "none"
    return {**values, **own}


def head_problems(values: Mapping[str, Any], given: Mapping[str, Any]) -> List[OptionProblem]:
    """Return what does not fit the head. ``values`` are valid one by one."""
    name = values["head"]
    head = HEADS[name]
    found = [
        OptionProblem(option, "is not of head {}".format(name), "leave it out; it is of head {}".format(_heads(option)))
        for option in given
        if option in _OF_HEADS and option not in head.takes
    ]
    if name == NMS_INDICES and "layout" not in given:
        hint = "say xyxy (as PyTorch exports write boxes) or yxyx (as ONNX defines NonMaxSuppression)"
        found.append(OptionProblem(None, "needs layout with head nms_indices", hint))
    if values.get("sigmoid") and values.get("softmax"):
        found.append(OptionProblem("softmax", "is true, and sigmoid too", "choose the one that the model leaves out"))
    if "strides" in given and not values["strides"]:
        found.append(OptionProblem("strides", "names none", "give the network's strides, such as [8, 16, 32]"))
    return [*found, *_class_problems(values)]


def _class_problems(values: Mapping[str, Any]) -> List[OptionProblem]:
    if not values["classes"] and not values["labels"]:
        hint = (
            "give labels (the classes' names) or classes (how many there are): every number of the output has a place"
        )
        return [OptionProblem(None, "needs labels or classes", hint)]
    if values["labels"] and values["classes"] not in (0, len(values["labels"])):
        hint = "leave classes out, or give as many labels"
        message = "is {}, and there are {} labels".format(values["classes"], len(values["labels"]))
        return [OptionProblem("classes", message, hint)]
    return []


def _heads(option: str) -> str:
    return ", ".join(name for name, head in HEADS.items() if option in head.takes)
