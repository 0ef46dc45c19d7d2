"""The process that asks a registry whether it would give one image, with this robot's own login; nothing is fetched.

`robot/fetch_process.py` reads its stdout: one JSON object with ``host`` and ``problem`` (empty: it would give it), or
with ``cannot``: only the Engine knows how to reach that registry.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import Dict, List, Optional

from runtime.updater.fetching.credentials import RobotLogins
from runtime.updater.fetching.errors import Cannot, UpstreamError
from runtime.updater.fetching.link import Link
from runtime.updater.fetching.reference import parse_reference
from runtime.updater.fetching.settings import parse_info, way_to
from runtime.updater.fetching.upstream import MANIFEST_TYPES, Upstream
from runtime.updater.robot import process
from runtime.updater.robot.docker_cli import failure
from runtime.updater.robot.registry_login import docker_folder, login_folder
from runtime.updater.state.world import WorldError

ENGINE_S = 15.0


def main(argv: Optional[List[str]] = None) -> int:
    """Ask; what came of it is the last line. Exit code 0 once that line is said."""
    parser = argparse.ArgumentParser(prog="asking")
    parser.add_argument("reference")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--docker", default="docker")
    options = parser.parse_args(argv)
    sys.stdout.write(json.dumps(_asked(options.reference, options.root, options.docker)) + "\n")
    return 0


def _asked(name: str, root: Path, docker: str) -> Dict[str, str]:
    try:
        reference = parse_reference(name)
        ran = process.run([docker, "info", "--format", "{{json .}}"], ENGINE_S)
        if ran.code != 0:
            raise failure("docker info", ran.err)
        way = way_to(reference.host, parse_info(ran.out))
    except (Cannot, WorldError) as error:
        return {"cannot": str(error)}
    logins = RobotLogins(reference.host, login_folder(root), docker_folder())
    upstream = Upstream(reference, way, logins.lookup, Link(0, threading.Event()))
    try:
        upstream.get("manifests/" + reference.digest, {"Accept": MANIFEST_TYPES}).close()
    except Cannot as error:
        return {"cannot": str(error)}
    except UpstreamError as error:
        return {"host": reference.host, "problem": error.message + (" -> " + error.hint if error.hint else "")}
    return {"host": reference.host, "problem": ""}
