"""The file of pinned host keys: what is kept, and two that write at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import paramiko
import pytest

from fleet.adapters.ssh.host_keys import HostKeyFile
from fleet.errors import OutsideError
from fleet.ports import RobotAddress

KEY = paramiko.ECDSAKey.generate()
ROBOT = RobotAddress("amr-001", "10.0.0.11", 22, "jetson")

PINNER = """
import sys
from pathlib import Path
import paramiko
from fleet.adapters.ssh.host_keys import HostKeyFile
from fleet.ports import RobotAddress
key, pins = paramiko.ECDSAKey.generate(), HostKeyFile(Path(sys.argv[1]))
sys.stdin.readline()
for number in range(60):
    pins.pin(RobotAddress(f"{sys.argv[2]}-{number:03d}", "10.0.0.1", 22, "u"), key)
"""


def test_a_key_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "not-a-folder").write_text("")
    pins = HostKeyFile(tmp_path / "not-a-folder" / "known_hosts")
    with pytest.raises(OutsideError, match="the host key cannot be written") as caught:
        pins.pin(ROBOT, KEY)
    assert "permissions" in caught.value.hint


def test_processes_that_pin_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    names = ["left", "middle", "right"]
    started = [
        subprocess.Popen([sys.executable, "-c", PINNER, str(path), name], stdin=subprocess.PIPE) for name in names
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(timeout=120) for process in started] == [0, 0, 0]
    pinned = [line.split(",")[0] for line in path.read_text().splitlines() if not line.startswith("#")]
    assert sorted(pinned) == sorted(f"{name}-{number:03d}" for name in names for number in range(60))
    assert [each.name for each in tmp_path.iterdir()] == ["known_hosts"], "no temporary file is left"


def test_a_new_key_takes_the_place_of_this_robots_lines_alone(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    other = f"{KEY.get_name()} {paramiko.ECDSAKey.generate().get_base64()}"
    kept = [
        "# a comment",
        f"amr-002,10.0.0.12 {other}",
        f"amr-00* {other}",
        f"@revoked amr-001 {other}",
        "amr-003 not-a-key",
    ]
    gone = [f"10.0.0.11 {other}", f"10.0.0.11,amr-001 {other}", f"amr-001,10.0.0.99 {other}"]
    path.write_text("\n".join([*kept, *gone]) + "\n")
    path.chmod(0o640)
    HostKeyFile(path).pin(ROBOT, KEY)
    assert path.read_text().splitlines() == [*kept, f"amr-001,10.0.0.11 {KEY.get_name()} {KEY.get_base64()}"]
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_robot_is_found_by_name_first_and_by_address_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    old, new = (f"{KEY.get_name()} {paramiko.ECDSAKey.generate().get_base64()}" for _ in range(2))
    path.write_text(f"10.0.0.11 {old}\n")
    pins = HostKeyFile(path, ["amr-001", "amr-002"])
    assert [line.where for line in pins.lines(ROBOT)] == [f"{path}:1"]
    path.write_text(f"10.0.0.11 {old}\namr-001 {new}\n@revoked * {old}\n")
    assert [line.where for line in pins.lines(ROBOT)] == [f"{path}:2", f"{path}:3"]
    path.write_text(f"amr-002,10.0.0.11 {old}\n")
    assert pins.lines(ROBOT) == [], "the line of another robot that had this address"
