"""What models of every head give for a street scene: for `bench_decoders.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

SIZE, OBJECTS, SEEN = 640, 25, 8
"""Network's input, objects, and candidates near each."""
Scene = tuple[str, dict[str, Any], Any]
"""Decoder, options, what it is called with."""


def scenes() -> dict[str, Scene]:
    """Return a scene for each head and decoder, by its name."""
    random = np.random.default_rng(7)
    rows = _rows(random, 8400, 80)
    pose = np.concatenate((_rows(random, 8400, 1), random.uniform(0, 1, (8400, 51)).astype("f4")), axis=1)
    masks = np.concatenate((rows, random.normal(size=(8400, 32)).astype("f4")), axis=1)
    turned = np.concatenate((_rows(random, 8400, 15), random.uniform(-1, 1, (8400, 1)).astype("f4")), axis=1)
    best = np.argsort(-rows[:, 4:].max(axis=1))[:300]
    selected = np.concatenate(
        (rows[best, :4], rows[best, 4:].max(axis=1)[:, None], rows[best, 4:].argmax(axis=1)[:, None]), axis=1
    )
    logits = np.log(np.clip(rows[best, 4:], 1e-4, 1 - 1e-4) / (1 - np.clip(rows[best, 4:], 1e-4, 1 - 1e-4)))
    grid = np.concatenate((random.normal(0, 0.5, (8400, 4)), np.ones((8400, 1)), rows[:, 4:]), axis=1)
    return {
        "rows 8400 x 84": ("boxes", {"classes": 80}, rows[None]),
        "end_to_end 300 x 6": ("boxes", {"classes": 80, "head": "end_to_end", "layout": "cxcywh"}, selected[None]),
        "yolox 8400 x 85": ("boxes", {"classes": 80, "head": "yolox"}, grid.astype("f4")[None]),
        "detr 300 x 80": (
            "boxes",
            {"classes": 80, "head": "detr", "sigmoid": True},
            {"boxes": rows[best, :4][None] / SIZE, "scores": logits.astype("f4")[None]},
        ),
        "nms 300": (
            "boxes",
            {"classes": 80, "head": "nms", "layout": "cxcywh"},
            {"boxes": selected[None, :, :4], "scores": selected[None, :, 4], "classes": selected[None, :, 5]},
        ),
        "keypoints 8400 x 56": ("keypoints", {"classes": 1, "keypoints": 17}, pose[None]),
        "instances 8400 x 116": (
            "instances",
            {"classes": 80},
            {"rows": masks[None], "prototypes": random.normal(size=(1, 32, 160, 160)).astype("f4")},
        ),
        "oriented_boxes 8400 x 20": ("oriented_boxes", {"classes": 15}, turned[None]),
        "depth 518 x 518": (
            "depth",
            {"inverse": True, "size": "camera"},
            random.uniform(0.1, 1, (1, 518, 518)).astype("f4"),
        ),
    }


def _rows(random: np.random.Generator, count: int, classes: int) -> np.ndarray:
    """Return (count, 4 + classes): objects that several candidates see, and noise."""
    rows = np.zeros((count, 4 + classes), np.float32)
    rows[:, :2] = random.uniform(0, SIZE, (count, 2))
    rows[:, 2:4] = random.uniform(8, 80, (count, 2))
    rows[:, 4:] = random.uniform(0, 0.05, (count, classes))
    for index in range(OBJECTS):
        seen = random.choice(count, SEEN, replace=False)
        rows[seen, :2] = random.uniform((40, 180), (600, 460)) + random.normal(0, 2, (SEEN, 2))
        rows[seen, 2:4] = random.uniform(20, 60, 2) * random.normal(1, 0.05, (SEEN, 1))
        rows[seen, 4 + index % classes] = random.uniform(0.3, 0.95, SEEN)
    return rows
