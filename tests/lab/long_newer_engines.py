"""Engines that are newer than the lab's: what they say of themselves, and where their images really lie.

Debian's trixie has Engine 26.1 and forky 28.5 with containerd 2.1, here with containerd's image store. Needs mmdebstrap
and root.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.bootstrap.updater_package import updater_zipapp

PACKAGES = "python3,docker.io,docker-cli,iptables,ca-certificates,procps"
ENGINES = {"trixie": ({}, "/var/lib/docker"), "forky": ({"features": {"containerd-snapshotter": True}}, "")}
"""Suite → the Engine's settings, and where its images lie (empty: containerd's folder, which it must find)."""
LIKE_A_ROBOT = [
    "--cap-add=ALL",
    "--cap-drop=SYS_RESOURCE",
    "--security-opt=seccomp=unconfined",
    "--security-opt=apparmor=unconfined",
    "--security-opt=systempaths=unconfined",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--volume=/var/lib/docker",
    "--volume=/var/lib/containerd",
    "--tmpfs=/run",
    "--tmpfs=/tmp:exec",
]
START = """
mkdir -p /etc/docker; echo "$1" > /etc/docker/daemon.json
containerd > /var/log/containerd.log 2>&1 & until test -S /run/containerd/containerd.sock; do sleep 0.1; done
exec dockerd --containerd /run/containerd/containerd.sock > /var/log/dockerd.log 2>&1
"""
ASK = """
import json, sys, threading
sys.path.insert(0, "/updater.pyz")
from pathlib import Path
from runtime.updater.robot import engine_info, process
info = json.loads(process.run(["docker", "info", "--format", "{{json .}}"], 60).out)
print(json.dumps({
    "version": info["ServerVersion"], "images": engine_info.images_folder(info, Path("/")),
    "runtimes": engine_info.runtimes(info), "plain": engine_info.plain_loopback(info),
}))
"""


def docker(*words: str, given: bytes | None = None, timeout_s: float = 600) -> str:
    done = subprocess.run(["docker", *words], input=given, capture_output=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, (words, done.stderr.decode())
    return done.stdout.decode().strip()


@pytest.fixture(scope="module", params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A machine of that suite whose Engine runs; its suite and the name of its container."""
    suite, folder = request.param, tmp_path_factory.mktemp("base")
    tag, name = f"jetfleet-lab/engines:{suite}", f"jetfleet-lab-engines-{uuid.uuid4().hex[:8]}"
    if not docker("images", "--quiet", tag):
        options = ['--aptopt=APT::Sandbox::User "root"', '--aptopt=Acquire::Check-Valid-Until "false"']
        base = ["mmdebstrap", "--quiet", *options, "--variant=minbase", f"--include={PACKAGES}", suite]
        subprocess.run([*base, str(folder / "base.tar")], check=True, timeout=900)
        docker("import", str(folder / "base.tar"), tag)
    settings = json.dumps(ENGINES[suite][0])
    docker("run", "--detach", "--name", name, *LIKE_A_ROBOT, tag, "sh", "-c", START, "sh", settings)
    try:
        docker("exec", name, "timeout", "120", "sh", "-c", "until docker info > /dev/null 2>&1; do sleep 0.2; done")
        docker("exec", "--interactive", name, "sh", "-c", "cat > /updater.pyz", given=updater_zipapp())
        yield suite, name
    finally:
        docker("rm", "--force", "--volumes", name)


def test_its_images_lie_where_the_updater_looks(engine: tuple[str, str], tmp_path: Path) -> None:
    suite, name = engine
    told = json.loads(docker("exec", name, "python3", "-I", "-c", ASK))
    print(told)
    assert "runc" in told["runtimes"]
    assert told["plain"] is True
    assert told["images"] == (ENGINES[suite][1] or "/var/lib/containerd")
    (tmp_path / "layer").write_bytes(bytes(20 << 20))
    layer = subprocess.run(["tar", "-C", str(tmp_path), "-c", "layer"], capture_output=True, check=True).stdout
    used = f"du -sm {told['images']} | cut -f 1"
    before = int(docker("exec", name, "sh", "-c", used))
    docker("exec", "--interactive", name, "docker", "import", "-", "one:1", given=layer)
    assert int(docker("exec", name, "sh", "-c", used)) >= before + 15
