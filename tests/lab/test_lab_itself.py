"""The lab is what it claims to be: other tests stand on it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.lab.bays import CAMERA_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetbox.running import RunningLab

    from tests.lab.bays import WorkerBay

pytestmark = pytest.mark.xdist_group("lab-itself")

ROBOTS = ("amr-002", "scout-001")
"""Two show that robots are apart from each other."""
LAB_PY = Path(__file__).parents[2] / "compose" / "lab" / "lab.py"


@pytest.fixture(scope="module")
def up(bay: WorkerBay) -> RunningLab:
    """Robots as just flashed."""
    bay.fresh(*ROBOTS)
    return bay.running


@pytest.fixture
def breakable(up: RunningLab) -> Iterator[RunningLab]:
    """The same; every break is mended after the test."""
    yield up
    up.repair()


def fetch(url: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, answer.headers.get("Docker-Distribution-Api-Version", "")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers.get("Docker-Distribution-Api-Version", "")


def test_registry_speaks_the_distribution_api(lab: RunningLab) -> None:
    assert fetch(f"http://{lab.registry}/v2/") == (200, "registry/2.0")


def test_registry_allows_deletes(lab: RunningLab) -> None:
    absent = f"http://{lab.registry}/v2/lab-self-test/manifests/sha256:{'0' * 64}"
    status, _ = fetch(absent, "DELETE")
    assert status == 404, "405 would mean that deletes are switched off"


def test_registry_access_log_names_requests(lab: RunningLab) -> None:
    path = f"lab-self-test-{uuid.uuid4().hex}/tags/list"
    fetch(f"http://{lab.registry}/v2/{path}")
    lines = lab.registry_requests()
    assert any(path in line for line in lines), lines[-3:]


@pytest.mark.parametrize("robot", ROBOTS)
def test_ssh_lets_the_key_in_and_the_host_key_is_known(up: RunningLab, robot: str) -> None:
    output = up.ssh(robot, "hostname; id -un; sudo -n id -u; python3 -c 'import sys; print(sys.version_info[0])'")
    assert output.check().split() == [robot, "jetson", "0", "3"]


def test_ssh_refuses_another_key(up: RunningLab, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    options = [
        "-oBatchMode=yes",
        "-oIdentitiesOnly=yes",
        f"-oUserKnownHostsFile={up.known_hosts}",
        "-oConnectTimeout=5",
    ]
    argv = ["ssh", "-F", "none", "-i", str(stranger), *options, f"jetson@{up.robots['amr-002']}", "true"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_commands_end_as_they_do_by_docker_exec(up: RunningLab) -> None:
    both = up.exec("amr-002", ["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert (both.exit_code, both.stdout, both.stderr) == (7, "out\n", "err\n")
    assert up.exec("amr-002", ["id", "-un"], user="jetson").stdout == "jetson\n"
    assert up.exec("amr-002", ["sh", "-c", "kill -9 $$"]).exit_code == 137
    assert up.exec("amr-002", ["no-such-program"]).exit_code == 127
    late = up.exec("amr-002", ["sh", "-c", "echo early; sleep 600"], deadline_s=1)
    assert (late.exit_code, late.stdout) == (124, "early\n")
    assert len(up.exec("amr-002", ["head", "-c", "3000000", "/dev/zero"]).stdout) == 3_000_000
    assert up.ask_updater("amr-002", "status") is None, "nobody has installed an updater"


@pytest.mark.parametrize("robot", ROBOTS)
def test_inner_engine_compose_and_plain_http_registry(up: RunningLab, robot: str) -> None:
    output = up.ssh(
        robot, "docker info --format '{{json .RegistryConfig.IndexConfigs}}'; docker compose version --short"
    )
    configs, compose = output.check().splitlines()
    assert json.loads(configs)[up.registry]["Secure"] is False
    assert int(compose.split(".")[0].lstrip("v")) >= 2


def test_engines_of_robots_are_their_own(up: RunningLab) -> None:
    ids = {up.ssh(robot, "docker info --format '{{.ID}}'").check().strip() for robot in ROBOTS}
    assert len(ids) == len(ROBOTS)


def test_camera_images_arrive_at_their_rate_and_stay_on_their_robot(up: RunningLab) -> None:
    report = up.camera("amr-002", count=15)
    assert report["received"] == 15
    assert report["rate_hz"] == pytest.approx(CAMERA_HZ, rel=0.3)
    assert (report["width"], report["height"], report["encoding"]) == (640, 480, "rgb8")
    assert report["bytes"] == 640 * 480 * 3
    assert report["publishers"] == 1, "another robot's camera is visible: discovery left the robot"


def test_camera_ends_cleanly_and_is_restarted(breakable: RunningLab) -> None:
    lab = breakable
    assert lab.camera("amr-002")["received"] == 1, "the camera must have begun before it can end cleanly"
    old = lab.exec("amr-002", ["cat", "/run/jetfleet-lab/camera.pid"]).check()
    lab.stop_service("amr-002", "camera")
    assert lab.camera("amr-002", deadline_s=3)["received"] == 0
    log = lab.lab.container("amr-002").logs().decode()
    assert re.findall(r"camera ended with (-?\d+)", log)[-1] == "0"
    lab.start_service("amr-002", "camera")
    assert lab.camera("amr-002")["received"] == 1
    assert lab.exec("amr-002", ["cat", "/run/jetfleet-lab/camera.pid"]).check() != old


def test_power_cycle_keeps_volumes_and_host_key(breakable: RunningLab) -> None:
    lab, robot = breakable, "amr-002"
    lab.ssh(robot, "sudo mkdir -p /var/lib/jetfleet && date +%s%N | sudo tee /var/lib/jetfleet/lab-self-test").check()
    mark = lab.ssh(robot, "cat /var/lib/jetfleet/lab-self-test; docker info --format '{{.ID}}'").check()
    boot = lab.exec(robot, ["stat", "-c", "%Y", "/proc/1"]).check()
    lab.power_off(robot)
    assert lab.exec(robot, ["true"]).exit_code in (125, 137), "a robot without power answers"
    lab.power_on(robot)
    assert lab.exec(robot, ["stat", "-c", "%Y", "/proc/1"]).check() != boot
    # ssh runs with StrictHostKeyChecking=yes: a new host key would end this with 255.
    assert lab.ssh(robot, "cat /var/lib/jetfleet/lab-self-test; docker info --format '{{.ID}}'").check() == mark
    lab.ssh(robot, "sudo rm /var/lib/jetfleet/lab-self-test").check()


def test_cut_link_stops_ssh_and_the_robot_goes_on(breakable: RunningLab) -> None:
    lab, robot = breakable, "amr-002"
    lab.cut_link(robot)
    assert lab.ssh(robot, "true").exit_code == 255
    assert lab.camera(robot)["received"] == 1, "a robot without a network still sees"
    lab.restore_link(robot)
    assert lab.ssh(robot, "hostname").check().strip() == robot


def test_a_robot_without_its_nic_cannot_be_reached_after_a_power_cycle_either(breakable: RunningLab) -> None:
    lab, robot = breakable, "amr-002"
    lab.remove_nic(robot)
    lab.power_off(robot)
    lab.lab.container(robot).start()
    assert lab.ssh(robot, "true").exit_code == 255
    lab.restore_link(robot)
    lab.lab.wait_robot(robot)


def test_a_slow_link_is_slow(breakable: RunningLab) -> None:
    lab, robot = breakable, "amr-002"
    lab.slow_link(robot, 1000)
    try:
        argv = ["ssh", *lab.lab.ssh_options(), f"jetson@{lab.robots[robot]}", "cat > /dev/null"]
        started = time.monotonic()
        subprocess.run(argv, input=bytes(300_000), timeout=60, check=True)
        took = time.monotonic() - started
    finally:
        lab.full_speed(robot)
    # 300 kB at 1 Mbit/s are 2.4 s; the bucket lets the first 32 kbit pass at once.
    assert 1.8 < took < 20


def test_inner_engine_can_be_stopped(breakable: RunningLab) -> None:
    lab, robot = breakable, "amr-002"
    lab.stop_inner_engine(robot)
    assert "Cannot connect to the Docker daemon" in lab.ssh(robot, "docker ps").stderr
    lab.start_inner_engine(robot)
    lab.ssh(robot, "docker ps").check()


def test_a_small_disk_is_small_and_the_old_one_comes_back(breakable: RunningLab) -> None:
    lab, robot = breakable, "amr-002"
    engine = lab.ssh(robot, "docker info --format '{{.ID}}'").check()
    lab.shrink_disk(robot, 64)
    free = lab.exec(robot, ["df", "--output=size", "--block-size=1M", "/var/lib/docker"]).check()
    assert int(free.split()[-1]) == 64
    lab.restore_disk(robot)
    assert lab.ssh(robot, "docker info --format '{{.ID}}'").check() == engine


def test_the_supervisor_starts_the_updater_once_installed(breakable: RunningLab) -> None:
    lab, robot = breakable, "scout-001"
    script = "import sys, time; print('serving', sys.argv[1:], flush=True); time.sleep(3600)"
    folder = "/var/lib/jetfleet/updater"
    try:
        lab.exec(robot, ["sh", "-c", f'mkdir -p {folder} && echo "{script}" > {folder}/fleet-updater.pyz']).check()
        lab.start_service(robot, "updater")
        first = lab.exec(robot, ["cat", "/run/jetfleet-lab/updater.pid"]).check()
        lab.kill_service(robot, "updater", "TERM")
        lab.wait_restart(robot, "updater", first)
        assert "serving ['serve']" in lab.exec(robot, ["cat", "/var/log/jetfleet-lab/updater.log"]).check()
    finally:
        lab.exec(robot, ["rm", "-rf", folder]).check()
        lab.kill_service(robot, "updater", "KILL")


def test_the_bay_s_own_registry_has_all_and_can_be_stopped(bay: WorkerBay) -> None:
    release = f"v2/{bay.shared.prefix}/releases/tags/list"
    lab = bay.with_own_registry()
    assert fetch(f"http://{lab.registry}/{release}")[0] == 200
    lab.stop_registry()
    with pytest.raises(OSError, match=r"refused|timed out|unreachable|No route"):
        fetch(f"http://{lab.registry}/v2/")
    lab.start_registry()
    assert fetch(f"http://{lab.registry}/{release}")[0] == 200
    assert fetch(f"http://{bay.running.registry}/v2/")[0] == 200


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("JETFLEET_LAB_NAME", "production", "must be 'jetfleet-lab'"),
        ("JETFLEET_LAB_SUBNET", "10.0.0.0/33", "is no IPv4 network"),
        ("JETFLEET_LAB_SUBNET", "10.0.0.0/30", "is too small"),
        ("JETFLEET_LAB_REGISTRY_PORT", "70000", "is no TCP port"),
    ],
)
def test_bad_settings_are_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, says: str) -> None:
    done = run_lab(monkeypatch, "status", {variable: value})
    assert done.returncode == 3
    assert says in done.stderr
    assert variable in done.stderr


def test_a_taken_subnet_is_named(lab: RunningLab, monkeypatch: pytest.MonkeyPatch) -> None:
    second = {"JETFLEET_LAB_NAME": f"jetfleet-lab-{uuid.uuid4().hex[:8]}"}
    try:
        done = run_lab(monkeypatch, "up", second)
        assert done.returncode == 3
        assert f"{lab.lab.spec.subnet} overlaps with Docker network {lab.lab.spec.network!r}" in done.stderr
        assert "JETFLEET_LAB_SUBNET" in done.stderr
    finally:
        assert run_lab(monkeypatch, "down", second).returncode == 0


def test_no_engine_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done = run_lab(monkeypatch, "status", {"DOCKER_HOST": f"unix://{tmp_path}/none.sock"})
    assert done.returncode == 3
    assert "no Docker Engine answers" in done.stderr
    assert "make setup" in done.stderr


def run_lab(monkeypatch: pytest.MonkeyPatch, verb: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    argv = [sys.executable, str(LAB_PY), verb]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
