"""How long a robot gives no answers when its release is switched: with both containers, and one after the other.

    python benchmarks/bench_switch.py [--rounds 3] [--robot amr-001]

On a lab robot (brought up when it is not; docs/lab.md): real Compose, rclpy, ONNX Runtime, a camera of 5 Hz, so that
0.2 s between two answers is no downtime. A listener beside the containers takes the model's answers; the figure is its
longest time between two answers of a whole rollout, from the last one of the old release to the first one of the new.
It also counts publishers of the topic, every 5 ms. The claim: with both containers it is shorter, and there is never a
second publisher. Exit code 1 when that does not hold.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "compose" / "lab")]

from fleetbox.lab import Lab  # noqa: E402
from fleetbox.running import RunningLab  # noqa: E402
from fleetbox.spec import LabSpec  # noqa: E402

from tests.lab.handover import ROBOT, Heard, Pair  # noqa: E402

WAYS = {"beside": "auto", "stop_start": "stop-start"}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--robot", default=ROBOT)
    arguments = parser.parse_args()
    rounds = arguments.rounds
    box = Lab(LabSpec.from_environment(), lambda text: print(f"lab: {text}", file=sys.stderr))
    box.up()
    heard: dict[str, list[Heard]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair.create(RunningLab(box), Path(folder) / "manifests", arguments.robot)
        for _ in range(rounds):
            for way, handover in WAYS.items():
                heard[way].append(switch(pair, handover))
                print(f"{way}: {heard[way][-1]}", file=sys.stderr, flush=True)
    figures = {
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "rounds": rounds,
        **{f"{way}_s": [round(one.gap_s, 2) for one in found] for way, found in heard.items()},
        **{f"{way}_median_s": round(median(found), 2) for way, found in heard.items()},
        **{f"{way}_publishers": max(one.publishers for one in found) for way, found in heard.items()},
    }
    print(json.dumps(figures, indent=1))
    if any(one.publishers != 1 for found in heard.values() for one in found):
        print("FAILED: two publishers of one topic", file=sys.stderr)
        return 1
    if median(heard["beside"]) >= median(heard["stop_start"]):
        print("FAILED: both containers are no shorter than one after the other", file=sys.stderr)
        return 1
    return 0


def switch(pair: Pair, handover: str) -> Heard:
    """Roll out one more release that way; return what was heard meanwhile."""
    pair.site.until_well()
    pair.publish(handover)
    pair.site.fleet("publish")
    pair.listen()
    result = pair.end(pair.begin())
    if result["outcome"] != "committed":
        raise SystemExit(f"the rollout ended as {result}")
    pair.site.until_well()
    return pair.heard()


def median(found: list[Heard]) -> float:
    return statistics.median(one.gap_s for one in found)


if __name__ == "__main__":
    sys.exit(main())
