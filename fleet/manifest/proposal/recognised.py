"""What a graph's inputs and outputs are: pictures, states, and the head."""

from __future__ import annotations

from dataclasses import dataclass

from fleet.errors import UsageError
from fleet.manifest.proposal.heads.registry import head_of
from fleet.manifest.proposal.heads.subject import Subject
from fleet.manifest.proposal.images import PROBE, SIDE, Image, images_of
from fleet.manifest.proposal.inspected import Inspected
from fleet.manifest.proposal.metadata import Metadata, read_metadata
from fleet.manifest.proposal.proposal import Head
from fleet.manifest.proposal.vectors import State, states_of


@dataclass(frozen=True)
class Recognised:
    """What was found out about a graph, before anything is written down."""

    graph: Inspected
    """As the file is."""
    fixed: Inspected
    """At the size that was chosen."""
    images: tuple[Image, ...]
    states: tuple[State, ...]
    size: tuple[int, int]
    """Rows and columns of the network's picture."""
    size_why: str
    """Empty: nothing says it."""
    outputs: tuple[str, ...]
    """Those that no state takes; all where states take all."""
    head: Head | None


def recognise(graph: Inspected) -> Recognised:
    """Say what inputs and outputs of a graph are. Raises UsageError for an input that nothing can feed."""
    if not graph.inputs:
        raise UsageError(f"{graph.path}: has no inputs: nothing feeds it", hint="export the model with an input")
    _require_values(graph)
    metadata = read_metadata(graph.metadata)
    images = images_of(graph)
    size, why = _known_size(images, metadata)
    usual = size or (PROBE, PROBE)
    probe = graph.fixed({image.name: image.shape(usual) for image in images})
    rest = tuple(name for name in graph.inputs if name not in {image.name for image in images})
    states = states_of(graph, rest)
    if len(states) == len(graph.inputs):  # a model that takes nothing but itself is none: messages feed these
        states = ()
    fed_back = {state.output for state in states}
    outputs = {name: tensor for name, tensor in probe.outputs.items() if name not in fed_back} or dict(probe.outputs)
    head = head_of(Subject(probe, metadata, images[0] if images else None, usual, outputs))
    chosen = size or (head.size if head and head.size else (SIDE, SIDE))
    fixed = graph.fixed({image.name: image.shape(chosen) for image in images}) if images else probe
    return Recognised(graph, fixed, images, states, chosen, why, tuple(outputs), head)


def _require_values(graph: Inspected) -> None:
    """Raise UsageError for an input that holds nothing: a dimension of 0 is one that ONNX Runtime asks for."""
    for value in graph.model.graph.input:
        dims = value.type.tensor_type.shape.dim if value.name in graph.inputs else ()
        if any(size.HasField("dim_value") and size.dim_value == 0 for size in dims):
            raise UsageError(
                f"{graph.path}: input {value.name} has a dimension of 0: it holds nothing",
                hint="export the model with that dimension left open (dynamic axes), or with a size",
            )


def _known_size(images: tuple[Image, ...], metadata: Metadata) -> tuple[tuple[int, int] | None, str]:
    if not images:
        return None, ""
    rows, columns = images[0].rows, images[0].columns
    if rows and columns:
        return (rows, columns), "the file fixes it"
    if metadata.size:
        return metadata.size, "its metadata say so (imgsz)"
    if rows or columns:
        side = rows or columns or SIDE
        return (side, side), "the file fixes one side, and the other is taken to be the same"
    return None, ""
