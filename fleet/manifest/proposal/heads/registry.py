"""The recognisers, in the order in which they are asked: what says most of itself first."""

from __future__ import annotations

from collections.abc import Callable

from fleet.manifest.proposal.heads import (
    classification,
    depth,
    detr,
    end_to_end,
    indices,
    instances,
    keypoints,
    mask,
    oriented,
    rows,
    selected,
    ssd,
    text,
    yolox,
)
from fleet.manifest.proposal.heads.subject import Subject
from fleet.manifest.proposal.proposal import Head

RECOGNISERS: tuple[Callable[[Subject], Head | None], ...] = (
    selected.recognise,
    indices.recognise,
    keypoints.recognise,
    oriented.recognise,
    instances.recognise,
    end_to_end.recognise,
    detr.recognise,
    ssd.recognise,
    yolox.recognise,
    rows.recognise,
    text.recognise,
    depth.recognise,
    mask.recognise,
    classification.recognise,
)


def head_of(subject: Subject) -> Head | None:
    """Return what the first recogniser says that knows the model; None where none does."""
    for recognise in RECOGNISERS:
        if (head := recognise(subject)) is not None:
            return head
    return None
