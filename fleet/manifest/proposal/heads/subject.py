"""What a recogniser looks at, and questions that several of them ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fleet.manifest.files.onnx_graph import Tensor
from fleet.manifest.proposal.images import PROBE, Image
from fleet.manifest.proposal.inspected import Inspected
from fleet.manifest.proposal.metadata import Metadata
from fleet.manifest.proposal.proposal import Preprocessing

ULTRALYTICS = Preprocessing("letterbox", why="YOLO's trainers letterbox, RGB from 0 to 1")
PLAIN_STRETCH = Preprocessing("stretch", why="resized without letterbox, RGB from 0 to 1")
IMAGENET = Preprocessing(
    mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), why="ImageNet's mean and deviation, as most are trained"
)
STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class Subject:
    """A graph with fixed inputs, and what else is known."""

    graph: Inspected
    metadata: Metadata
    image: Image | None
    """The first input that takes a picture."""
    size: tuple[int, int]
    """Rows and columns that the shapes of outputs belong to."""
    outputs: Mapping[str, Tensor]
    """Those that no state takes."""

    def of_rank(self, *ranks: int) -> dict[str, tuple[int | None, ...]]:
        """Return the float outputs of these ranks, with their shapes, batch of one in front."""
        return {
            name: tensor.shape
            for name, tensor in self.outputs.items()
            if tensor.shape is not None and len(tensor.shape) in ranks and tensor.dtype.startswith("float")
        }

    def cells(self, strides: tuple[int, ...] = STRIDES) -> int:
        """Return how many cells the grids of these strides have."""
        return sum(-(-self.size[0] // stride) * -(-self.size[1] // stride) for stride in strides)

    def classes(self, count: int) -> dict[str, Any]:
        """Return the option that names or counts the classes."""
        if len(self.metadata.names) == count:
            return {"labels": list(self.metadata.names)}
        return {"classes": count}

    def named(self, *parts: str) -> bool:
        """Say whether the file's name, or a name of the graph's or its outputs', has one of these parts."""
        names = (self.graph.path.stem, self.graph.model.graph.name, *self.outputs)
        return any(part in name.lower() for name in names for part in parts)

    @property
    def usual(self) -> tuple[int, int] | None:
        """Return the size of detectors, for files that leave it open."""
        return (PROBE, PROBE)


def role_of(name: str) -> str:
    """Return what an output of a detector holds by its name: boxes, scores, classes, count; empty for another name."""
    low = name.lower().split(":")[0]
    for role, parts in _ROLES:
        if any(part in low for part in parts):
            return role
    return ""


_ROLES = (
    ("count", ("num_det", "numdet", "num_box", "valid_det", "count")),
    ("boxes", ("box", "bbox", "loc")),
    ("classes", ("class", "label", "cls")),
    ("scores", ("score", "conf", "prob", "logit")),
)
