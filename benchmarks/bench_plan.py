"""Load, resolve and plan a manifest of 10,000 robots, against a bare YAML parse of the same bytes in the same run.

    python benchmarks/bench_plan.py [--robots 10000] [--limit 3.0]

The claim: everything from the files to the plan (validation of every key, inheritance, cross-checks, ONNX and golden
data checks, engine keys, variants, one planned change a robot) takes at most 3 times what
``yaml.load(data, Loader=yaml.CSafeLoader)`` takes alone, and that is PyYAML's C-accelerated parser. Best of 3 each,
taken in turns, in one process that has its modules imported. What robots would answer is made up beforehand: asking
them is not part of this. Memory is the high-water mark of a process of its own for each. Exit code 1 when over the
limit.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from fleet.manifest.load import load_manifest  # noqa: E402
from fleet.plan.diff import Plan, make_plan  # noqa: E402
from fleet.plan.observed import Observed  # noqa: E402
from fleet.plan.registry_facts import RegistryFacts  # noqa: E402
from fleet.resolve.desired import Desired  # noqa: E402
from fleet.resolve.images.recipe import recipe_for  # noqa: E402
from fleet.resolve.resolver import resolve  # noqa: E402
from runtime.contract.robot.update import RunningRelease, UpdateState  # noqa: E402
from tests.fakes.fleet_folder import write_fleet  # noqa: E402

ROUNDS = 3
PRECISIONS = ("fp32", "fp16", "int8")

HEAD = """\
apiVersion: jetfleet/v1
fleet: big
version: 1.0.0
registry: registry.test:5000/big
trust: unsigned
profiles: [profiles/sim-x86.yaml]
models: [models/detector.yaml]
defaults: {profile: sim-x86, user: jetson}
groups:
  g-fp32: {labels: {site: hall-0}, models: [{model: detector, precision: fp32}]}
  g-fp16: {labels: {site: hall-1}, models: [{model: detector, precision: fp16}]}
  g-int8: {labels: {site: hall-2}, models: [{model: detector, precision: int8}]}
rollout: {waves: [1, 10%, 50%, 100%], soak: 30s, max_unavailable: {per: site, robots: 50}}
robots:
"""


def main() -> int:
    """Measure, print, judge."""
    options = _options()
    if options.child:
        return _child(options.child, Path(options.folder))
    with tempfile.TemporaryDirectory(prefix="jetfleet-bench-") as name:
        folder = write_fleet(Path(name), fleet_text=manifest_text(options.robots))
        result = _measure(folder, options.robots)
        result["memory_mb"] = {kind: _memory(kind, folder) for kind in ("nothing", "bare", "road")}
    result["limit"] = options.limit
    result["within_limit"] = result["ratio"] <= options.limit
    _print(result)
    return 0 if result["within_limit"] else 1


def manifest_text(robots: int) -> str:
    """Return a manifest: three groups, every tenth robot with labels of its own, every twentieth with a model."""
    lines = [HEAD]
    for index in range(robots):
        precision = PRECISIONS[index % 3]
        host = f"10.{index >> 16}.{(index >> 8) & 255}.{index & 255}"
        extra = ""
        if index % 10 == 0:
            extra += f", labels: {{site: hall-{index % 7}, floor: level-{index % 3}}}"
        if index % 20 == 0:
            extra += f", models: [{{model: detector, precision: {PRECISIONS[index % 2]}}}]"
        lines.append(f"  - {{name: robot-{index:05}, host: {host}, group: g-{precision}{extra}}}\n")
    return "".join(lines)


def road(folder: Path, observed: dict[str, Observed], desired_out: list[Desired] | None = None) -> Plan:
    """Go from the files to the plan."""
    desired = resolve(load_manifest(folder), recipe_for)
    if desired_out is not None:
        desired_out.append(desired)
    facts = RegistryFacts(engines=dict.fromkeys(desired.engines), bases={}, release=None)
    return make_plan(desired, facts, observed)


def _measure(folder: Path, robots: int) -> dict[str, Any]:
    data = (folder / "fleet.yaml").read_bytes()
    first: list[Desired] = []
    cold, _ = _timed(lambda: road(folder, {}, first))
    observed = _observed(first[0])
    variants = len(first.pop().variants)
    gc.collect()
    gc.freeze()  # what this benchmark holds itself must not make the garbage collector slower in what is measured
    stages = {"load": 9e9, "resolve": 9e9, "bare": 9e9, "road": 9e9}
    changes = 0
    for _ in range(ROUNDS):
        seconds, _ = _timed(lambda: yaml.load(data, Loader=yaml.CSafeLoader))
        stages["bare"] = min(stages["bare"], seconds)
        seconds, plan = _timed(lambda: road(folder, observed))
        stages["road"] = min(stages["road"], seconds)
        changes = len(plan.robots)
        seconds, loaded = _timed(lambda: load_manifest(folder))
        stages["load"] = min(stages["load"], seconds)
        seconds, _ = _timed(lambda loaded=loaded: resolve(loaded, recipe_for))
        stages["resolve"] = min(stages["resolve"], seconds)
    assert changes == robots, f"{changes} changes planned for {robots} robots"
    return {
        "benchmark": "plan",
        "robots": robots,
        "variants": variants,
        "bytes": len(data),
        "seconds": {name: round(value, 4) for name, value in stages.items()},
        "cold_seconds": round(cold, 4),
        "ratio": round(stages["road"] / stages["bare"], 2),
        "python": platform.python_version(),
    }


def _observed(desired: Desired) -> dict[str, Observed]:
    """Every robot online, idle, on an earlier release."""
    current = RunningRelease("0.9.0", "sha256:0", "old", "registry.test/x@sha256:0", "/var/lib/jetfleet/releases/0")
    return {
        robot.name: Observed(
            name=robot.name,
            online=True,
            state=UpdateState(robot=robot.name, state="idle", updater_version="1", current=current),
        )
        for robot in desired.robots
    }


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def _memory(kind: str, folder: Path) -> float:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", kind, "--folder", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout)


def _child(kind: str, folder: Path) -> int:
    """Do one thing in a fresh process and print its high-water mark of memory, MB (Linux: VmHWM)."""
    kept: Any = None
    if kind == "bare":
        kept = yaml.load((folder / "fleet.yaml").read_bytes(), Loader=yaml.CSafeLoader)
    elif kind == "road":
        kept = road(folder, {})
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
    print(round(peak / 1024, 1))
    return 0 if kept is not None or kind == "nothing" else 1


def _print(result: dict[str, Any]) -> None:
    seconds, memory = result["seconds"], result["memory_mb"]
    print(f"{result['robots']} robots, {result['variants']} variants, {result['bytes'] / 1e6:.2f} MB of YAML")
    print(f"  bare C-accelerated YAML parse   {seconds['bare'] * 1000:8.0f} ms")
    print(f"  load (checked, with its data)   {seconds['load'] * 1000:8.0f} ms")
    print(f"  resolve                         {seconds['resolve'] * 1000:8.0f} ms")
    print(f"  load + resolve + plan           {seconds['road'] * 1000:8.0f} ms")
    print(f"  first time in the process       {result['cold_seconds'] * 1000:8.0f} ms")
    verdict = "holds" if result["within_limit"] else "DOES NOT HOLD"
    print(f"  ratio {result['ratio']} (claim: at most {result['limit']}; {verdict})")
    print(
        f"  peak memory above the imports: {memory['road'] - memory['nothing']:.1f} MB "
        f"(bare parse {memory['bare'] - memory['nothing']:.1f} MB, imports {memory['nothing']:.1f} MB)"
    )
    print(json.dumps(result))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Load + resolve + plan against a bare YAML parse.")
    parser.add_argument("--robots", type=int, default=10_000)
    parser.add_argument("--limit", type=float, default=3.0, help="claimed ratio")
    parser.add_argument("--child", choices=("nothing", "bare", "road"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
