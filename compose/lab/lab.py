"""Command line of the lab: `make lab-up`, `make lab-down`, `make lab-status`, `make lab-reset`. See docs/lab.md."""

from __future__ import annotations

import argparse
import sys
import time

from fleetbox.lab import Lab
from fleetbox.spec import LabError, LabSpec


def say(text: str) -> None:
    """Progress, on stderr."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def main() -> int:
    """Run one verb; exit code 3 when something outside failed, 2 for a bad setting."""
    parser = argparse.ArgumentParser(prog="lab.py", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="bring the lab up; what runs is left alone")
    verbs.add_parser("down", help="remove robots, registry, volumes and network")
    verbs.add_parser("reset", help="down, then up: fresh robots and an empty registry")
    verbs.add_parser("fresh", help="robots as just flashed; the registry keeps what it has")
    verbs.add_parser("images", help="build the lab's images where their content is new")
    verbs.add_parser("status", help="say how every part is; exit code 1 unless all are well")
    options = parser.parse_args()
    started = time.monotonic()
    try:
        lab = Lab(LabSpec.from_environment(), say)
        return run(lab, options.verb, started)
    except LabError as error:
        print(f"lab: error: {error}", file=sys.stderr)
        if error.hint:
            print(f"     {error.hint}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("lab: interrupted; run the same command again to finish", file=sys.stderr)
        return 130


def run(lab: Lab, verb: str, started: float) -> int:
    """Do what the verb says."""
    if verb == "status":
        return status(lab)
    if verb == "images":
        print("\n".join(lab.images()))
    if verb in ("down", "reset"):
        say(f"removed {lab.down()} containers, volumes and networks")
    if verb == "fresh":
        say(f"removed {lab.fresh_robots()} robots")
    if verb in ("up", "reset", "fresh"):
        lab.up()
        say(f"up after {time.monotonic() - started:.1f} s")
        print(summary(lab))
    return 0


def summary(lab: Lab) -> str:
    """Return where everything is."""
    spec = lab.spec
    lines = [f"registry   {spec.registry_address}  (this machine: 127.0.0.1:{spec.published_port})"]
    lines += [f"{robot.name:<10} {robot.address}" for robot in spec.robots]
    lines.append(f"ssh        ssh -i {spec.key} jetson@{spec.robots[0].address}")
    return "\n".join(lines)


def status(lab: Lab) -> int:
    """Print one line a part; return 1 unless all are well."""
    reasons = {"registry": lab.registry_reason()}
    for robot in lab.spec.robots:
        reasons[robot.name] = lab.robot_reason(robot.name)
    for name, reason in reasons.items():
        print(f"{name:<10} {reason or 'ok'}")
    return 1 if any(reasons.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
