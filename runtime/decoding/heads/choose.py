"""A head by its name in a decoder's options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.contract.node.box_options import DETR, END_TO_END, NMS, NMS_INDICES, ROWS, SSD, YOLOX
from runtime.decoding.heads.candidates import Head
from runtime.decoding.heads.rows import EndToEnd, Rows
from runtime.decoding.heads.scored import Scored
from runtime.decoding.heads.selected import Nms, NmsIndices
from runtime.decoding.heads.yolox import Yolox

_HEADS: dict[str, type[Any]] = {
    ROWS: Rows,
    END_TO_END: EndToEnd,
    YOLOX: Yolox,
    DETR: Scored,
    SSD: Scored,
    NMS: Nms,
    NMS_INDICES: NmsIndices,
}


def head_named(decoder: str, take: Mapping[str, Any], classes: int) -> Head:
    """Return the head that valid options of ``decoder`` name, for so many classes."""
    head: Head = _HEADS[take["head"]](decoder, take, classes)
    return head
