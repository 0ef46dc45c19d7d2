"""`fleet init --robot` and `fleet doctor` as a new user has them: an empty folder, and a lab robot that is a Jetson.

The robot carries the recorded files of a device where a Jetson has them, `/proc/device-tree` too, in a mount namespace
whose only program is an OpenSSH server; Docker, sudo and the host are the robot's own.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fakes.fleet_folder import tiny_onnx
from tests.fakes.robots.jetson_files import DEVICES, write_device
from tests.lab.bays import WorkerBay
from tests.lab.site import Result, finish

pytestmark = pytest.mark.xdist_group("lab-trouble-one")

ROBOT = "scout-001"
PORT = 2222
BECOME = r"""
set -e
device=$1
mkdir -p /run/sshd /mnt/proc
mount --bind /proc /mnt/proc
mount -t tmpfs device-tree /proc
for entry in /mnt/proc/[a-z]*; do ln -s "$entry" /proc/; done
cp -r "$device/proc/device-tree" /proc/
for name in etc/nv_tegra_release etc/nvpmodel.conf usr/local/cuda opt/ros; do
  [ -e "$device/$name" ] || continue
  if [ -d "$device/$name" ]; then mkdir -p "/$name"; else touch "/$name"; fi
  mount --bind "$device/$name" "/$name"
done
mkdir -p /var/lib/nvpmodel && mount --bind "$device/var/lib/nvpmodel" /var/lib/nvpmodel
cat /var/lib/dpkg/status >> "$device/var/lib/dpkg/status"
mount --bind "$device/var/lib/dpkg/status" /var/lib/dpkg/status
mkdir -p /opt/jetson && mount -t tmpfs shims /opt/jetson && cp "$device/bin/uname" /opt/jetson/
mount --bind /opt/jetson/uname /usr/bin/uname
exec /usr/sbin/sshd -D -p 2222 -o PidFile=/run/jetson-sshd.pid
"""


@dataclass
class NewUser:
    """Somebody with an ONNX file, an SSH configuration and an empty folder."""

    home: Path
    target: str

    def fleet(self, *words: str, code: int = 0) -> Result:
        """Run `fleet` in the empty folder, and print what was typed and what came of it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        environment |= {"HOME": str(self.home), "XDG_CACHE_HOME": str(self.home / ".cache"), "SSH_AUTH_SOCK": ""}
        began = time.monotonic()
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("fleet")), *words],
            cwd=self.home,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        ended = finish(process, code)
        took = f"exit code {ended.code}, {time.monotonic() - began:.1f} s"
        print(f"$ fleet {' '.join(words)}\n{ended.stdout}{ended.stderr}[{took}]\n")
        return ended

    def missing(self, *words: str, code: int = 3) -> dict[str, str]:
        """Return what `fleet doctor` says is missing, and what to do about each."""
        shown = self.fleet("doctor", "-m", "my-fleet", *words, "--json", code=code).stdout
        (row,) = json.loads(shown)["robots"]
        return {each["what"]: each["do"] for each in row["missing"]}


@pytest.fixture
def device(request: pytest.FixtureRequest, bay: WorkerBay, tmp_path: Path) -> Iterator[NewUser]:
    """A user who has a robot, as just flashed, that is the recorded device of the parameter's name."""
    recorded = DEVICES[str(request.param)]
    bay.fresh(ROBOT)
    box = io.BytesIO()
    with tarfile.open(fileobj=box, mode="w") as archive:
        archive.add(write_device(tmp_path / "device", recorded, at=Path("/")), "device")
    lab = bay.running
    lab.exec(ROBOT, ["rm", "-rf", "/opt/device"]).check()
    lab.lab.container(ROBOT).put_archive("/opt", box.getvalue())
    started = f"setsid unshare --mount sh -c '{BECOME}' become /opt/device >/var/log/jetson.log 2>&1 & "
    waits = "n=0; until ss -tln | grep -q :2222; do n=$((n+1)); [ $n -lt 600 ] || exit 1; sleep 0.05; done"
    lab.exec(ROBOT, ["sh", "-c", started + waits]).check()
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "config").write_text(f"Host *\n  IdentityFile {lab.key}\n  IdentitiesOnly yes\n")
    (home / "detector.onnx").write_bytes(tiny_onnx())
    yield NewUser(home, f"{lab.user}@{lab.robots[ROBOT]}:{PORT}")
    lab.exec(ROBOT, ["sh", "-c", "kill $(cat /run/jetson-sshd.pid)"]).check()


TOOLKIT = "Docker has no runtime `nvidia` (or it cannot be asked)"


@pytest.mark.parametrize("device", ["nx-16gb-39.2"], indirect=True)
def test_an_nx_from_an_empty_folder_to_all_that_is_missing(device: NewUser) -> None:
    made = device.fleet("init", "my-fleet", "--robot", device.target, "--model", "detector.onnx").stdout
    assert "found module p3767-0000, L4T 39.2.0: profile orin-nx-16gb-jp72" in made
    assert "now 15W, 4 SMs on" in made
    assert f"port: {PORT}" in (device.home / "my-fleet" / "fleet.yaml").read_text()
    device.fleet("validate", "-m", "my-fleet")
    device.fleet("doctor", "robot-001", "-m", "my-fleet", code=3)
    missing = device.missing()
    assert missing[TOOLKIT].startswith("sudo apt-get install nvidia-container-toolkit")
    sms = "4 SMs are on (power mode 15W), engines of profile orin-nx-16gb-jp72 are for 8"
    assert missing[sms].startswith("sudo nvpmodel -m 4 ")
    said = " ".join(missing)
    assert len(missing) == 4
    assert "jetson builds engines there over ssh:// (profile orin-nx-16gb-jp72)" in said
    assert "cannot pull from registry.example:5000" in said  # the placeholder that is still to be replaced


@pytest.mark.parametrize("device", ["jetpack-5"], indirect=True)
def test_a_jetpack_5_board_is_refused_and_nothing_is_written(device: NewUser) -> None:
    refused = device.fleet("init", "my-fleet", "--robot", device.target, "--model", "detector.onnx", code=3).stderr
    assert "it runs L4T 35.4.1 (JetPack 5 or older" in refused
    assert "flash JetPack 6.2 or 7.2" in refused
    assert not (device.home / "my-fleet" / "fleet.yaml").exists()


@pytest.mark.parametrize("device", ["nano-8gb-36.4"], indirect=True)
def test_a_nano_becomes_a_robot_once_it_has_what_doctor_asked_for(device: NewUser, bay: WorkerBay) -> None:
    """All but the container toolkit of a Jetson, which a lab robot has no use for."""
    made = device.fleet("init", "my-fleet", "--robot", device.target, "--model", "detector.onnx").stdout
    assert "found module p3767-0003, L4T 36.4.3: profile orin-nano-8gb-jp62" in made
    assert "ROS 2 humble; images on /camera/color/image_raw (Image)" in made
    path = device.home / "my-fleet" / "fleet.yaml"
    address = f'{{address: "{bay.running.registry}/first-hour", plain_http: true}}'
    path.write_text(path.read_text().replace("registry.example:5000/my-fleet", address))
    device.fleet("validate", "-m", "my-fleet")
    keeps = "jetson builds engines there over ssh:// (profile orin-nano-8gb-jp62)"
    assert keeps in device.fleet("bootstrap", "-m", "my-fleet", code=3).stderr
    assert list(device.missing("--privileged-login")) == [TOOLKIT]
    device.fleet("bootstrap", "-m", "my-fleet", "--privileged-login")
    assert "robot-001  idle" in device.fleet("status", "-m", "my-fleet").stdout

    # A better builder: the login need not be root any more, once somebody else can be it at the console.
    (profile,) = (device.home / "my-fleet" / "profiles").iterdir()
    profile.write_text(profile.read_text().replace(f"ssh://{device.target}", "ssh://builder@orin.example"))
    assert "only jetson could become root" in device.fleet("bootstrap", "-m", "my-fleet", code=3).stderr
    bay.running.exec(ROBOT, ["sh", "-c", "echo root:console | chpasswd"]).check()
    device.fleet("bootstrap", "-m", "my-fleet")
    assert list(device.missing()) == [TOOLKIT]
