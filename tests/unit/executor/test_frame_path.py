"""The measurement of `tests/gpu/test_frame_path.py` on a CPU: the same code with ONNX Runtime. No time decides here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runtime.contract.codec import from_json
from runtime.contract.engine.build import REPORT_FILE, BuildOptions, EngineIdentity, EngineReport
from runtime.engines.build.job import run
from runtime.executor.inputs.frames import Expected, parse_image, pixels
from tests.gpu.frame_path import FramePath, message
from tests.gpu.site import NETWORKS, frames, make_job

DETECTOR = NETWORKS["detector"]
PICTURES = frames(3, DETECTOR.camera, seed=9)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EngineIdentity]:
    folder = tmp_path_factory.mktemp("detector")
    make_job(folder / "job", DETECTOR, "fp32", BuildOptions(), backend="onnxruntime", bench_seconds=0.05)
    assert run(folder / "job", folder / "out") == 0
    report = from_json(EngineReport, (folder / "out" / REPORT_FILE).read_bytes())
    return folder / "out", report.identity


def test_a_message_in_the_boxes_of_the_bare_runner_out(engine: tuple[Path, EngineIdentity]) -> None:
    counts = set()
    with FramePath(*engine, DETECTOR.size) as path:
        for picture in PICTURES:
            milliseconds, found = path.through(message(picture))
            wanted = path.boxes(picture)
            assert milliseconds > 0.0
            np.testing.assert_array_equal(found.corners, wanted.corners)
            np.testing.assert_array_equal(found.scores, wanted.scores)
            counts.add(len(found.scores))
    assert min(counts) > 3
    assert len(counts) > 1, "pictures differ, and so do their boxes"


def test_all_three_are_measured(engine: tuple[Path, EngineIdentity]) -> None:
    with FramePath(*engine, DETECTOR.size) as path:
        found = path.measure([message(picture) for picture in PICTURES], 0.1)
    print(f"FRAMES p50 ms: runner {found.runner:.3f}, with boxes {found.bare:.3f}, path {found.path:.3f}")
    assert min(found.runner, found.bare, found.path) > 0.0


def test_what_the_worker_raises_reaches_the_caller(engine: tuple[Path, EngineIdentity]) -> None:
    with FramePath(*engine, DETECTOR.size) as path, pytest.raises(ValueError, match="said on the worker"):
        path.on_worker(lambda: (_ for _ in ()).throw(ValueError("said on the worker")))


def test_the_message_is_the_picture() -> None:
    taken = pixels(parse_image(message(PICTURES[0])), Expected("rgb8", *DETECTOR.camera))
    np.testing.assert_array_equal(taken, PICTURES[0])
