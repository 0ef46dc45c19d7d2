"""What a robot is told to believe: which files, in which order, and that running it again changes nothing."""

from __future__ import annotations

import ast
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap import remote_trust
from fleet.bootstrap.trust_files import MOST_BYTES, TRUST_DIR, install_trust, trust_files
from fleet.errors import RobotError, UsageError
from fleet.ports import CommandResult
from fleet.signing.trust_spec import TrustSpec
from runtime.contract.codec import from_json
from runtime.contract.robot.trust import TrustSettings
from tests.unit.bootstrap.test_prepare_robot import Machine

PROGRAM = Path(remote_trust.__file__)
FILES = {"trust.json": b"{}", "allowed_signers": b"anna@x ssh-ed25519 AAAA\n", "revoked": b"\x00KRL"}


@pytest.fixture
def spec(tmp_path: Path) -> TrustSpec:
    (tmp_path / "allowed_signers").write_bytes(FILES["allowed_signers"])
    (tmp_path / "revoked_keys").write_bytes(FILES["revoked"])
    return TrustSpec(tmp_path / "allowed_signers", 2, None, 60.0, tmp_path / "revoked_keys")


def test_a_signed_fleet_s_robots_get_signers_revoked_keys_and_threshold(spec: TrustSpec) -> None:
    files = trust_files("warehouse", spec)
    assert {name: files[name] for name in ("allowed_signers", "revoked")} == {
        name: FILES[name] for name in ("allowed_signers", "revoked")
    }
    assert from_json(TrustSettings, files["trust.json"]) == TrustSettings("warehouse", 2)


def test_an_unsigned_fleet_s_robots_get_only_that() -> None:
    files = trust_files("warehouse", TrustSpec())
    assert list(files) == ["trust.json"]
    assert from_json(TrustSettings, files["trust.json"]).unsigned


def test_what_cannot_be_read_or_is_too_much_is_said(spec: TrustSpec, tmp_path: Path) -> None:
    (tmp_path / "revoked_keys").write_bytes(b"x" * MOST_BYTES)
    with pytest.raises(UsageError, match="more than 64 KiB") as caught:
        trust_files("warehouse", spec)
    assert "cert-authority" in caught.value.hint
    (tmp_path / "revoked_keys").unlink()
    with pytest.raises(UsageError, match="revoked_keys cannot be read"):
        trust_files("warehouse", spec)


def test_bootstrap_brings_them_and_says_that_something_changed(spec: TrustSpec) -> None:
    machine = Machine()
    assert machine.bootstrap(trust=trust_files("warehouse", spec)).changed
    (told,) = machine.trusts
    assert (told["folder"], told["robot"], told["fleet"]) == (TRUST_DIR, "amr-001", "warehouse")
    assert base64.b64decode(told["files"]["revoked"]) == FILES["revoked"]


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (3, "this machine was never bootstrapped", "fleet bootstrap --robots amr-001"),
        (1, "sudo: a password is required", "check sudo"),
    ],
)
def test_a_robot_that_refuses_them_is_named(code: int, said: str, hint: str) -> None:
    machine = Machine()
    machine.shells.learn_host_key(machine.address)
    machine.host.programs["sudo"] = lambda args, stdin: CommandResult(code, "", f"noise\n{said}\n")
    with pytest.raises(RobotError, match=f"amr-001: its allowed signers cannot be written: {said}") as caught:
        install_trust(machine.address, "warehouse", machine.shells.connect(machine.address), FILES, as_root=False)
    assert hint in caught.value.hint


# ── what runs at the robot ──


def run(folder: Path, files: dict[str, bytes], robot: str = "amr-001") -> subprocess.CompletedProcess[str]:
    values: dict[str, Any] = {
        "folder": str(folder / "trust"),
        "identity": str(folder / "robot.json"),
        "robot": robot,
        "fleet": "warehouse",
        "files": {name: base64.b64encode(content).decode() for name, content in files.items()},
    }
    command = [sys.executable, "-I", "-", json.dumps(values)]
    return subprocess.run(command, input=PROGRAM.read_text(), capture_output=True, text=True, timeout=60, check=False)


def there(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "trust").iterdir()}


def test_files_are_written_once_replaced_and_taken_away(tmp_path: Path) -> None:
    (tmp_path / "robot.json").write_text('{"robot": "amr-001", "fleet": "warehouse"}')
    assert json.loads(run(tmp_path, FILES).stdout) == {"changed": True}
    assert there(tmp_path) == FILES
    assert json.loads(run(tmp_path, FILES).stdout) == {"changed": False}
    rotated = {**FILES, "allowed_signers": b"ben@x ssh-ed25519 AAAA\n"}
    assert json.loads(run(tmp_path, rotated).stdout) == {"changed": True}
    assert there(tmp_path) == rotated
    assert json.loads(run(tmp_path, {"trust.json": b"{}"}).stdout) == {"changed": True}
    assert there(tmp_path) == {"trust.json": b"{}"}


def test_the_settings_come_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "robot.json").write_text('{"robot": "amr-001", "fleet": "warehouse"}')
    written: list[str] = []

    def write(path: Path, content: bytes) -> bool:
        written.append(path.name)
        return True

    monkeypatch.setattr(remote_trust, "write", write)
    names = {"zzz": "", "trust.json": "", "allowed_signers": ""}
    told = {"folder": str(tmp_path / "trust"), "identity": str(tmp_path / "robot.json"), "files": names}
    remote_trust.main({**told, "robot": "amr-001", "fleet": "warehouse"})
    assert written == ["allowed_signers", "zzz", "trust.json"]


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (None, "this machine was never bootstrapped"),
        ("{", "this machine was never bootstrapped"),
        ('{"robot": "amr-009", "fleet": "x"}', "this machine is robot amr-009 of fleet x"),
    ],
)
def test_another_robot_s_machine_is_left_alone(tmp_path: Path, identity: str | None, says: str) -> None:
    if identity is not None:
        (tmp_path / "robot.json").write_text(identity)
    done = run(tmp_path, FILES)
    assert (done.returncode, done.stderr) == (3, says + "\n")
    assert not (tmp_path / "trust").exists()


def test_it_runs_on_the_robots_old_python() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 8))
