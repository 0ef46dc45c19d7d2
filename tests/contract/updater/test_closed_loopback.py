"""An Engine that asks 127.0.0.1 by TLS, as Docker 29.10 does beside other insecure registries: said before a fetch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
REFERENCE = "registry.test:5000/warehouse/runtime@sha256:" + "1" * 64
ENGINE = """#!/bin/sh
test "$1" = info || { echo "$@" >> "$0.asked"; exit 1; }
echo '{"RegistryConfig": {"InsecureRegistryCIDRs": %s, "IndexConfigs": {}}}'
"""


def fetch(tmp_path: Path, networks: str) -> tuple[list[dict[str, object]], Path]:
    docker = tmp_path / "docker"
    docker.write_text(ENGINE % networks)
    docker.chmod(0o755)
    (tmp_path / "blobs").mkdir()
    command = [sys.executable, "-c", "import sys; from runtime.updater.fetching.child import main; sys.exit(main())"]
    command += [
        REFERENCE,
        "--order",
        "o-1",
        "--store",
        str(tmp_path / "blobs"),
        "--docker",
        str(docker),
        "--stall",
        "1",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()], docker.with_name("docker.asked")


@pytest.mark.parametrize("networks", ['["10.0.0.0/8"]', "[]"])
def test_it_is_the_reason_before_anything_is_asked_for(networks: str, tmp_path: Path) -> None:
    said, asked = fetch(tmp_path, networks)
    (cannot,) = said
    assert "asks registries on 127.0.0.1 by TLS" in str(cannot["cannot"])
    assert "fleet bootstrap --open-loopback" in str(cannot["cannot"])
    assert not asked.exists()


def test_an_engine_that_names_the_loopback_is_no_such_one(tmp_path: Path) -> None:
    said, _ = fetch(tmp_path, '["127.0.0.0/8"]')
    assert all("cannot" not in each for each in said), said
    assert "failed" in said[-1]  # nobody answers at registry.test
