"""Boxes of an object detector, and detections as messages, each against the plain way in the same run.

    python -m benchmarks.bench_decoders [--boxes-limit 10] [--messages-limit 5]

Two claims. Decoding 8400 candidates of 80 classes (a 640x640 YOLO) with vectorised suppression is at least
``boxes-limit`` times faster than a loop over candidates and boxes in Python, with the same boxes. Filling the messages
of one output anew for every frame is at least ``messages-limit`` times faster than making them, for 20 and 100 boxes.
The two ways take turns; the median of each counts. Where vision_msgs is not installed its Python classes are generated
(with ROS's own generator): messages are filled then, not sent, and the figures have no serialization in them; that cost
is the same for both ways. Exit code 1 when a claim does not hold.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.head_scenes import scenes  # noqa: E402
from runtime.decoding.decoders import Boxes, View, decoder_named  # noqa: E402
from runtime.executor.inputs.frames import Stamp  # noqa: E402

SIZE, CLASSES, CANDIDATES = 640, 80, 8400
VIEW = View(720, 1280, letterbox=True, network_height=SIZE, network_width=SIZE)
THRESHOLD, IOU = 0.25, 0.45
STAMP = Stamp(12, 34, "camera")
LABELS = [f"class {number}" for number in range(CLASSES)]


def main() -> int:
    """Measure, print, judge."""
    options = _options()
    result: dict[str, Any] = {"benchmark": "decoders", "python": platform.python_version(), "numpy": np.__version__}
    result["boxes"] = boxes()
    result["heads"] = heads()
    result["messages"] = messages()
    result["holds"] = result["boxes"]["ratio"] >= options.boxes_limit and all(
        one["ratio"] >= options.messages_limit for one in result["messages"]["counts"].values()
    )
    _print(result, options)
    return 0 if result["holds"] else 1


def boxes() -> dict[str, Any]:
    """Decode the same outputs both ways."""
    decode = decoder_named("boxes", {"labels": LABELS, "threshold": THRESHOLD, "iou": IOU})
    found: dict[str, Any] = {}
    for name, objects in (("empty", 0), ("street", 25), ("crowd", 120)):
        tensor = scene(objects)
        ours, theirs = decode(tensor, VIEW), by_loops(tensor[0])
        assert isinstance(ours, Boxes)
        assert len(ours.scores) + ours.capped == len(theirs), f"{len(ours.scores)} boxes, by loops {len(theirs)}"
        assert np.allclose(ours.scores, [score for score, _ in theirs[: len(ours.scores)]])
        fast, slow = _in_turns(lambda tensor=tensor: decode(tensor, VIEW), lambda tensor=tensor: by_loops(tensor[0]))
        found[name] = {
            "candidates": int((tensor[0, :, 4:].max(axis=1) >= THRESHOLD).sum()), "boxes": len(theirs),
            "ms": round(fast * 1e3, 3), "loop_ms": round(slow * 1e3, 2), "ratio": round(slow / fast, 1),
        }  # fmt: skip
    return {"scenes": found, "ratio": min(one["ratio"] for one in found.values())}


def heads() -> dict[str, Any]:
    """Decode a street scene of every head and decoder, to 720p. No claim: what they take."""
    found: dict[str, Any] = {}
    for name, (decoder, options, given) in scenes().items():
        decode = decoder_named(decoder, options)
        result = decode(given, VIEW)
        count = len(result.scores) if isinstance(result, Boxes) else 0
        found[name] = {"boxes": count, "ms": round(_median(lambda d=decode, g=given: d(g, VIEW)) * 1e3, 3)}
    return found


def scene(objects: int) -> np.ndarray:
    """Return (1, 8400, 84): ``objects``, each seen by eight candidates near it, and noise."""
    random = np.random.default_rng(7)
    rows = np.zeros((CANDIDATES, 4 + CLASSES), np.float32)
    rows[:, :2] = random.uniform(0, SIZE, (CANDIDATES, 2))
    rows[:, 2:4] = random.uniform(8, 80, (CANDIDATES, 2))
    rows[:, 4:] = random.uniform(0, 0.05, (CANDIDATES, CLASSES))
    for index in range(objects):
        seen = random.choice(CANDIDATES, 8, replace=False)
        rows[seen, :2] = random.uniform((40, 180), (600, 460)) + random.normal(0, 2, (8, 2))
        rows[seen, 2:4] = random.uniform(20, 60, 2) * random.normal(1, 0.05, (8, 1))
        rows[seen, 4 + index % CLASSES] = random.uniform(0.3, 0.95, 8)
    return rows[None]


def by_loops(rows: np.ndarray) -> list[tuple[float, list[float]]]:
    """Do what the decoder does, the plain way: a loop over candidates, a loop over kept boxes. (score, box) each."""
    scale = min(SIZE / VIEW.width, SIZE / VIEW.height)
    top = (SIZE - round(VIEW.height * scale)) // 2
    candidates = []
    for row in rows.tolist():
        score = max(row[4:])
        if score < THRESHOLD:
            continue
        x, y, wide, high = row[:4]
        corners = [(x - wide / 2) / scale, (y - high / 2 - top) / scale, (x + wide / 2) / scale,
                   (y + high / 2 - top) / scale]  # fmt: skip
        limits = (VIEW.width, VIEW.height) * 2
        corners = [min(max(corner, 0.0), limit) for corner, limit in zip(corners, limits, strict=True)]
        if corners[2] > corners[0] and corners[3] > corners[1]:
            candidates.append((score, row[4:].index(score), corners))
    candidates.sort(key=lambda one: -one[0])
    kept: list[tuple[float, int, list[float]]] = []
    for score, number, box in candidates:
        if all(number != other or _overlap(box, rival) <= IOU for _, other, rival in kept):
            kept.append((score, number, box))
    return [(score, box) for score, _, box in kept]


def _overlap(a: list[float], b: list[float]) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return wide * high / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - wide * high)


def messages() -> dict[str, Any]:
    """Fill one output's messages, and make them anew; publish both where they can be sent."""
    with vision_msgs() as sent:
        import vision_msgs.msg as ros

        from runtime.executor.outputs import messages as ours

        if not ours.HAS_VISION_MSGS:
            raise RuntimeError("runtime.executor.outputs.messages was imported before vision_msgs was there")
        counts = {}
        for count in (5, 20, 100):
            build = ours.message_of(Boxes, "m", {})[1]
            result = Boxes(
                np.random.default_rng(1).uniform(1, 300, (count, 4)).astype(np.float32),
                np.linspace(0.9, 0.3, count, dtype=np.float32), "", np.arange(count) % CLASSES, tuple(LABELS),
            )  # fmt: skip
            assert str(build(STAMP, result)) == str(fresh(ros, result)), "the two ways differ"
            pooled, made = _in_turns(lambda: build(STAMP, result), lambda: fresh(ros, result))  # noqa: B023
            one = {"us": round(pooled * 1e6, 1), "fresh_us": round(made * 1e6, 1), "ratio": round(made / pooled, 1)}
            counts[str(count)] = {**one, **(_serialization(build(STAMP, result)) if sent else {})}
        return {"sent": sent, "counts": counts}


def fresh(ros: Any, result: Boxes) -> Any:
    """Make the message as one does who does not think of it."""
    from std_msgs.msg import Header

    message = ros.Detection2DArray(header=Header(frame_id=STAMP.frame_id))
    message.header.stamp.sec, message.header.stamp.nanosec = STAMP.sec, STAMP.nanosec
    rows = zip(result.corners.tolist(), result.scores.tolist(), result.names(), strict=True)
    for (left, top, width, height), score, name in rows:
        hypothesis = ros.ObjectHypothesisWithPose()
        hypothesis.hypothesis.class_id, hypothesis.hypothesis.score = name, score
        found = ros.Detection2D(header=message.header, results=[hypothesis])
        found.bbox.center.position.x, found.bbox.center.position.y = left + width / 2, top + height / 2
        found.bbox.size_x, found.bbox.size_y = width, height
        message.detections.append(found)
    return message


def _serialization(message: Any) -> dict[str, float]:
    from rclpy.serialization import serialize_message

    return {"serialize_us": round(_median(lambda: serialize_message(message)) * 1e6, 1)}


@contextmanager
def vision_msgs() -> Iterator[bool]:
    """Make vision_msgs importable; answer whether its messages can be sent, too."""
    if importlib.util.find_spec("vision_msgs") is not None:
        yield True
        return
    from tests.fakes.nodes.vision_msgs import write_vision_msgs

    with tempfile.TemporaryDirectory(prefix="jetfleet-bench-") as folder:
        write_vision_msgs(Path(folder))
        sys.path.insert(0, folder)
        try:
            yield False
        finally:
            sys.path.remove(folder)


def _in_turns(one: Callable[[], Any], other: Callable[[], Any], seconds: float = 2.0) -> tuple[float, float]:
    """Return the median seconds of each, measured in turns for ``seconds``, at least 5 of each."""
    one(), other()
    times: tuple[list[float], list[float]] = ([], [])
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 5:
        for work, taken in zip((one, other), times, strict=True):
            start = time.perf_counter()
            work()
            taken.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def _median(work: Callable[[], Any]) -> float:
    return _in_turns(work, lambda: None, 0.5)[0]


def _print(result: dict[str, Any], options: argparse.Namespace) -> None:
    print(f"{CANDIDATES} candidates of {CLASSES} classes")
    for name, one in result["boxes"]["scenes"].items():
        print(
            f"  {name:7} {one['candidates']:5} over threshold, {one['boxes']:3} boxes: {one['ms']:7.2f} ms, "
            f"by loops {one['loop_ms']:7.1f} ms, {one['ratio']:5.1f} times"
        )
    print("every head, a street of 25 objects, to 720p")
    for name, one in result["heads"].items():
        print(f"  {name:24} {one['boxes']:3} boxes: {one['ms']:7.2f} ms")
    kind = "filled, not sent: vision_msgs is not installed" if not result["messages"]["sent"] else "vision_msgs"
    print(f"Detection2DArray ({kind})")
    for count, one in result["messages"]["counts"].items():
        rest = f", serialized {one['serialize_us']:.0f} µs" if "serialize_us" in one else ""
        print(
            f"  {count:>3} boxes: reused {one['us']:7.1f} µs, made {one['fresh_us']:7.1f} µs, "
            f"{one['ratio']:5.1f} times{rest}"
        )
    verdict = "holds" if result["holds"] else "DOES NOT HOLD"
    print(f"  claims: at least {options.boxes_limit} and {options.messages_limit} times; {verdict}")
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Decoders and their messages against the plain way.")
    parser.add_argument("--boxes-limit", type=float, default=10.0, help="claimed ratio")
    parser.add_argument("--messages-limit", type=float, default=5.0, help="claimed ratio")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
