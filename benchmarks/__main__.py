"""`make bench`: every benchmark, one after another; exit code 1 when a claim does not hold."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "benchmarks.bench_agent",
    "benchmarks.bench_executor",
    "benchmarks.bench_plan",
    "benchmarks.bench_hub",
    "benchmarks.bench_publish",
    "benchmarks.bench_frames",
    "benchmarks.bench_decoders",
    "benchmarks.bench_switch",
    "benchmarks.bench_ssh",
    "benchmarks.bench_ssh_rollout",
)
DEADLINE_S = 1800


def main() -> int:
    failed = []
    for name in BENCHMARKS:
        print(f"\n── {name.removeprefix('benchmarks.bench_')} ──", flush=True)
        if subprocess.run([sys.executable, "-m", name], check=False, timeout=DEADLINE_S).returncode:
            failed.append(name)
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
