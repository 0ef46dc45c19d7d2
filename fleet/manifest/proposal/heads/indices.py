"""ONNX's NonMaxSuppression at the end: numbers of the selected boxes, beside all boxes and scores."""

from __future__ import annotations

from fleet.manifest.proposal.heads.subject import ULTRALYTICS, Subject
from fleet.manifest.proposal.proposal import Head, Published


def recognise(subject: Subject) -> Head | None:
    """Return boxes by their numbers: an output of NonMaxSuppression itself, and outputs that it read."""
    graph = subject.graph
    for name in subject.outputs:
        node = graph.last(name)
        if node is None or node.op_type != "NonMaxSuppression" or len(node.input) < 2:
            continue
        boxes, scores = (_output(subject, each) for each in node.input[:2])
        if boxes is None or scores is None:
            return None
        shape = subject.outputs[scores].shape or ()
        classes = shape[1] if len(shape) == 3 and shape[1] else len(subject.metadata.names) or 80
        centre = next((each.i for each in node.attribute if each.name == "center_point_box"), 0)
        options = {"head": "nms_indices", "layout": "cxcywh" if centre else "yxyx", **subject.classes(classes)}
        why = f"{name} holds which boxes of {boxes} NonMaxSuppression selected, {classes} classes"
        tensors = {"indices": name, "boxes": boxes, "scores": scores}
        published = (Published("boxes", "boxes", options, tensors=tensors, why=why),)
        note = "boxes are taken for pixels of the network's input: check normalized and layout"
        return Head("NMS in the graph", published, ULTRALYTICS, subject.usual, sure=False, notes=(note,))
    return None


def _output(subject: Subject, tensor: str) -> str | None:
    """Return the output that is this tensor, None where it is none."""
    return tensor if tensor in subject.outputs else None
