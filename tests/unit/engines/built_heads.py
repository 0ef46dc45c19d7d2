"""A model of one exporter's layout, built as builders do, and what its engine's decoder finds, against arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from runtime.contract.codec import from_json
from runtime.contract.engine.build import (
    CALIBRATION_DIR,
    FAILURE_FILE,
    REPORT_FILE,
    AccuracyGate,
    BuildOptions,
    EngineReport,
    Int8Options,
    Preprocess,
    TensorSpec,
)
from runtime.contract.engine.decoded import OutputDecoder, output_name
from runtime.decoding.results import Boxes, Instances, Keypoints, OrientedBoxes
from runtime.engines.build.job import EXIT_BUILT, run
from runtime.engines.golden.decoded import decoders_of, view_of
from runtime.engines.golden.selftest import self_test
from runtime.engines.onnxruntime_ import BACKEND
from tests.fakes.head_models import ANGLE, CLASSES, LAYOUTS, SIDE, SIZE, Layout, expected, pictures
from tests.unit.decoding import plain_numpy as plain
from tests.unit.engines.models import make_job

ROWS = 48
IMAGE = TensorSpec("image", (1, 3, SIZE, SIZE), preprocess=Preprocess(ROWS, SIZE, "rgb8", "rgb", "letterbox"))


@dataclass(frozen=True)
class Difference:
    """Of what was found from what arithmetic says, over all frames."""

    boxes: int
    lost: int
    """Boxes that only one side has, but for those whose score is within 0.05 of the threshold."""
    pixels: float
    score: float
    said: str
    """What the build's report says."""


def build_and_compare(name: str, precision: str, folder: Path) -> Difference:
    """Build, test as a robot does, and compare. Raises AssertionError with the builder's words when it refuses."""
    layout, frames = LAYOUTS[name](), pictures(3)
    roles = {role: tensor for role, tensor in layout.outputs.items() if role}
    options = {**layout.options, "classes": CLASSES, "threshold": 0.25}
    decoder = OutputDecoder(output_name(layout.outputs.get("", ""), roles), layout.decoder, options, roles)
    int8 = BuildOptions(int8=Int8Options("minmax")) if precision == "int8" else BuildOptions()
    make_job(
        folder / "job", model=layout.model, golden={"image": frames}, inputs=(IMAGE,), decoders=(decoder,),
        outputs=tuple(TensorSpec(tensor, ()) for tensor in layout.outputs.values()), precision=precision, options=int8,
        accuracy=AccuracyGate(0.9),
    )  # fmt: skip
    np.savez(folder / "job" / CALIBRATION_DIR / "frames.npz", image=pictures(16, seed=9))
    out = folder / "out"
    code = run(folder / "job", out)
    assert code == EXIT_BUILT, (out / FAILURE_FILE).read_text()
    report = from_json(EngineReport, (out / REPORT_FILE).read_bytes())
    runner = BACKEND.load(out)
    try:
        tested = self_test(runner, report.identity, out / "golden.npz", (decoder,), view_of((IMAGE,)))
        assert tested.passed, tested.message
        made, _ = decoders_of((decoder,), view_of((IMAGE,)), plugins=False)
        samples = []
        for frame in frames:
            runner.inputs["image"][...] = frame
            samples.append({key: np.array(value) for key, value in runner.infer().items()})
    finally:
        runner.close()
    return _compared(layout, frames, made(samples)[decoder.output], report.decoded[0].said)


def _compared(layout: Layout, frames: np.ndarray, results: Any, said: str) -> Difference:
    lost, pixels, score, count = 0, 0.0, 0.0, 0
    for frame, result in zip(frames, results, strict=True):
        assert isinstance(result, Boxes)
        every = [each for each in expected(frame, layout.places) if each["score"] >= 0.25]
        right = thinned_turned(every) if layout.decoder == "oriented_boxes" else plain.thinned(every, 0.45)
        assert result.classes is not None
        left = list(range(len(result.scores)))
        for one in right:
            found = next((index for index in left if is_same(result, index, one)), None)
            if found is None:
                lost += one["score"] > 0.3
                continue
            left.remove(found)
            count += 1
            pixels = max(pixels, *np.abs(edges(result, found) - np.array(one["box"])))
            score = max(score, abs(float(result.scores[found]) - one["score"]))
            check_more(result, found, one)
        lost += sum(float(result.scores[index]) > 0.3 for index in left)
    return Difference(count, int(lost), float(pixels), float(score), said)


def edges(result: Boxes, index: int) -> np.ndarray:
    x, y, wide, high = result.corners[index].astype("f8")
    if isinstance(result, OrientedBoxes):
        x, y, wide, high, _ = result.rotated[index].astype("f8")
        x, y = x - wide / 2, y - high / 2
    return np.array([x, y, x + wide, y + high])


def is_same(result: Boxes, index: int, one: dict[str, Any]) -> bool:
    assert result.classes is not None
    apart = np.abs(edges(result, index) - np.array(one["box"])).max()
    return bool(result.classes[index] == one["class"] and apart < 3.0)


def thinned_turned(every: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Boxes at an angle are not cut at the frame's edges, and suppress each other by their polygons."""
    kept: list[dict[str, Any]] = []
    for one in sorted(every, key=lambda each: -each["score"]):
        (x, y), half = one["centre"], SIDE / 2
        turned = (x, y, SIDE, SIDE, ANGLE)
        rivals = (other for other in kept if other["class"] == one["class"])
        if all(plain.polygon_overlap(turned, other["turned"]) <= 0.45 for other in rivals):
            kept.append({**one, "box": (x - half, y - half, x + half, y + half), "turned": turned})
    return kept


def check_more(result: Boxes, index: int, one: dict[str, Any]) -> None:
    """What a box has besides its corners."""
    x, y = one["centre"]
    if isinstance(result, Keypoints):
        np.testing.assert_allclose(result.points[index], [(x - 6, y), (x + 6, y + 2)], atol=0.5)
        np.testing.assert_allclose(result.visible[index], (0.9, 0.2), atol=0.01)
    if isinstance(result, OrientedBoxes):
        assert abs(result.rotated[index, 4] - ANGLE) < 0.01
    if isinstance(result, Instances):
        assert 1 <= result.ids[int(y), int(x)] <= index + 1, "the square's own middle is its own, or a better one's"
        assert np.count_nonzero(result.ids == index + 1) <= SIDE**2
