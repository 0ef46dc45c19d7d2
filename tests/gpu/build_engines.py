"""Build engines of `tests.gpu.site` side by side, so that later tests find them: one command's ten minutes go far.

    python3 -m tests.gpu.build_engines [--at-once 4] NETWORK:PRECISION[:warm] …

into ``JETFLEET_GPU_DIR``, which must be set. ``warm`` builds once more with the timing cache of the first build; a cold
one that is not there is built before it. What cannot be built is said and kept as such; exit code 1 when there is any.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runtime.engines.errors import EngineError
from tests.gpu.site import NETWORKS, PRECISIONS, Site


def main() -> int:
    """Build everything that is asked for; return the exit code."""
    options = argparse.ArgumentParser(prog="tests.gpu.build_engines", description=__doc__)
    options.add_argument("engines", nargs="+", type=_engine, metavar="NETWORK:PRECISION[:warm]")
    options.add_argument("--at-once", type=int, default=4, help="builds side by side")
    options.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if not os.environ.get("JETFLEET_GPU_DIR"):
        options.error("JETFLEET_GPU_DIR names no folder: what is built would be lost")
    if given.here:
        return max(_build(*each) for each in given.engines)
    codes = [0]
    with ThreadPoolExecutor(given.at_once) as pool:
        for turn in ("cold", "warm"):  # one after the other: a warm build needs the cache of its cold one
            codes += pool.map(_in_a_process, dict.fromkeys(each for each in given.engines if each[2] == turn))
    return max(codes)


def _engine(text: str) -> tuple[str, str, str]:
    network, precision, run = (*text.split(":"), "cold")[:3]
    if network not in NETWORKS or precision not in PRECISIONS or run not in ("cold", "warm"):
        known = f"{', '.join(NETWORKS)}; {', '.join(PRECISIONS)}; cold, warm"
        raise argparse.ArgumentTypeError(f"{text} is none of: {known}")
    return network, precision, run


def _in_a_process(engine: tuple[str, str, str]) -> int:
    """A CUDA context and TensorRT's memory each: what one build leaves does not weigh on the next."""
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.gpu.build_engines", "--here", ":".join(engine)]
    code = subprocess.run(command, check=False).returncode
    print(f"BUILT {':'.join(engine)} exit {code} after {time.monotonic() - started:.0f} s", flush=True)
    return min(1, abs(code))


def _build(network: str, precision: str, run: str) -> int:
    folder = Path(os.environ["JETFLEET_GPU_DIR"])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _, report = Site(folder).engine(network, precision, run)
    except EngineError as error:
        print(f"NOT BUILT {network} {precision} {run}: {error}", flush=True)
        return 1
    seconds = report.extra["tensorrt_seconds"]
    print(f"ENGINE {network} {precision} {run}: TensorRT {seconds:.1f} s, {report.identity.engine_bytes} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
