"""The way of a frame with TensorRT: a 1280x720 message in, boxes out, against the runner in a bare loop."""

from __future__ import annotations

import numpy as np

from tests.gpu.frame_path import FramePath, message
from tests.gpu.site import NETWORKS, Site, frames

MOST = 1.1
"""Of the bare runner's p50 for the same work: frame in, boxes out."""
DETECTOR = NETWORKS["detector"]


def test_the_frame_path_costs_little_over_the_bare_runner(site: Site) -> None:
    folder, report = site.engine("detector", "fp16")
    raw = [message(picture) for picture in frames(3, DETECTOR.camera, seed=9)]
    with FramePath(folder, report.identity, DETECTOR.size) as path:
        path.measure(raw, 0.5)
        rounds = [path.measure(raw, 1.0) for _ in range(4)]  # in turns, so that a clock that changes changes all
    for each in rounds:
        print(f"FRAMES p50 ms: runner {each.runner:.4f}, with boxes {each.bare:.4f}, path {each.path:.4f}")
    best = min(each.path for each in rounds) / min(each.bare for each in rounds)
    print(f"FRAMES path / runner with boxes {best:.3f}, path / runner alone "
          f"{min(each.path for each in rounds) / min(each.runner for each in rounds):.3f}")  # fmt: skip
    assert best <= MOST


def test_the_frame_path_gives_the_runner_s_boxes(site: Site) -> None:
    folder, report = site.engine("detector", "fp16")
    with FramePath(folder, report.identity, DETECTOR.size) as path:
        for picture in frames(3, DETECTOR.camera, seed=9):
            found, wanted = path.through(message(picture))[1], path.boxes(picture)
            assert len(wanted.scores) > 3
            np.testing.assert_array_equal(found.corners, wanted.corners)
            np.testing.assert_array_equal(found.scores, wanted.scores)
