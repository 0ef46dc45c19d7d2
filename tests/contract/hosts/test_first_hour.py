"""The first hour as a new user has it, over a real OpenSSH server, on the files of three devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap import device_probe
from fleet.bootstrap.registry_check import check_registry
from fleet.cli import main
from fleet.manifest.load import load_manifest
from fleet.manifest.schema.registry_schema import RegistryRef
from tests.contract.hosts.local_sshd import LocalSshd
from tests.contract.registry.test_private_registry import PREFIX, Private
from tests.contract.registry.test_private_registry import private as private  # noqa: PLC0414  (its fixture)
from tests.fakes.fleet_folder import tiny_onnx
from tests.fakes.robots.jetson_files import DEVICES, probe_at, write_device
from tests.fakes.robots.local_root import LocalRoot


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSshd]:
    server = LocalSshd(tmp_path_factory.mktemp("sshd"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def home(sshd: LocalSshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and an SSH configuration with the one key."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.delenv("FLEET_MANIFEST", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ssh = tmp_path / "home" / ".ssh"
    ssh.mkdir(parents=True)
    (ssh / "config").write_text(f"Host *\n  IdentityFile {sshd.identity}\n  IdentitiesOnly yes\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str) -> None:
    """Have the probe find the files of a device."""
    root = write_device(tmp_path / "device", DEVICES[device])
    monkeypatch.setattr(device_probe, "PROBE", probe_at(root, device_probe.PROBE))


def fleet(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    capsys.readouterr()
    ended = main.run([*words, "--json"], as_json=True)
    printed = capsys.readouterr()
    assert ended == code, printed.err
    return json.loads(printed.out)


def test_an_nx_from_nothing_to_a_manifest_and_its_doctor(
    sshd: LocalSshd, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, home, "nx-16gb-39.2")
    (home / "detector.onnx").write_bytes(tiny_onnx())
    target = f"{sshd.user}@127.0.0.1:{sshd.port}"
    document = fleet(capsys, "init", "my-fleet", "--robot", target, "--model", "detector.onnx")
    assert any("module p3767-0000, L4T 39.2.0: profile orin-nx-16gb-jp72" in line for line in document["found"])
    loaded = load_manifest(home / "my-fleet")
    profile = loaded.profiles["orin-nx-16gb-jp72"]
    assert profile.builder.endpoint == f"ssh://{sshd.user}@127.0.0.1:{sshd.port}"
    (robot,) = loaded.manifest.robots
    assert (robot.host, robot.port, loaded.manifest.defaults.user) == ("127.0.0.1", sshd.port, sshd.user)
    text = (home / "my-fleet" / "fleet.yaml").read_text()
    assert "# found on 127.0.0.1: power modes MAXN_SUPER (8 SMs), 10W (4 SMs)" in text
    assert "now 15W, 4 SMs on" in text
    assert "robot-001" in (home / "my-fleet" / "known_hosts").read_text()
    fleet(capsys, "validate", "-m", "my-fleet")
    (row,) = fleet(capsys, "doctor", "robot-001", "-m", "my-fleet", code=3)["robots"]
    said = {each["what"]: each["do"] for each in row["missing"]}
    assert any("4 SMs are on (power mode 15W)" in what and "nvpmodel -m 4" in do for what, do in said.items())
    assert any("no runtime `nvidia`" in what for what in said)
    assert any("cannot pull from registry.example:5000" in what for what in said)


def test_a_nano_without_a_model_gets_a_first_one_and_its_cameras_topic(
    sshd: LocalSshd, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, home, "nano-8gb-36.4")
    fleet(capsys, "init", "--robot", f"{sshd.user}@127.0.0.1:{sshd.port}")
    loaded = load_manifest(home / "manifests")
    assert list(loaded.profiles) == ["orin-nano-8gb-jp62"]
    assert loaded.models["mean_colour"].inputs[0].topic == "/camera/color/image_raw"


def test_a_jetpack_5_board_is_refused_and_nothing_is_written(
    sshd: LocalSshd, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, home, "jetpack-5")
    document = fleet(capsys, "init", "--robot", f"{sshd.user}@127.0.0.1:{sshd.port}", code=3)
    assert "L4T 35.4.1 (JetPack 5" in document["error"]["message"]
    assert "flash JetPack" in document["error"]["hint"]
    assert not (home / "manifests" / "fleet.yaml").exists()


def test_doctor_looks_before_any_bootstrap_and_pins_nothing(
    sshd: LocalSshd, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    on(monkeypatch, home, "nano-8gb-36.4")
    fleet(capsys, "init", "--robot", f"{sshd.user}@127.0.0.1:{sshd.port}")
    (home / "manifests" / "known_hosts").unlink()
    (row,) = fleet(capsys, "doctor", code=3)["robots"]
    assert any("not pinned yet" in note for note in row["notes"])
    assert row["device"]["module"] == "p3767-0003"
    assert not (home / "manifests" / "known_hosts").exists()


@pytest.mark.parametrize("target", ["a b", "-oProxyCommand=x", "jetson@", "jetson@host:99999", "x@y@z"])
def test_a_target_that_is_none_is_a_usage_error(home: Path, capsys: pytest.CaptureFixture[str], target: str) -> None:
    document = fleet(capsys, "init", f"--robot={target}", code=2)
    assert "is no user@host" in document["error"]["message"]


def test_profiles_are_listed_shown_and_added(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [each["name"] for each in fleet(capsys, "profiles", "list")["profiles"]]
    assert "orin-nano-8gb-jp62" in names
    assert "base_image: debian:bookworm\n" in fleet(capsys, "profiles", "show", "sim-x86")["text"]
    path = fleet(capsys, "profiles", "add", "orin-nano-8gb-jp62", "--builder", "ssh://me@nano")["written"]
    assert "endpoint: ssh://me@nano, parallel" in Path(path).read_text()
    assert "exists" in fleet(capsys, "profiles", "add", "orin-nano-8gb-jp62", code=2)["error"]["message"]
    assert "did you mean" in fleet(capsys, "profiles", "show", "orin-nano-8gb-jp6", code=2)["error"]["hint"]
    assert (
        "is no builder" in fleet(capsys, "profiles", "add", "sim-x86", "--builder", "nano", code=2)["error"]["message"]
    )


def test_the_login_of_a_robot_is_tried_at_its_registry(private: Private, tmp_path: Path) -> None:
    """Real distribution with TLS and passwords: the right login, a wrong one, none; nothing for a stranger."""
    private.users(robots="right")
    secret = tmp_path / "password"

    def said(password: str | None, *, trusted: bool = True) -> tuple[list[str], list[str]]:
        document: dict[str, Any] = {"address": f"{private.host}/{PREFIX}", "ca_file": str(private.authority)}
        if password is not None:
            secret.write_text(password)
            document["robots"] = {"username": "robots", "password": {"file": str(secret)}}
        reference = RegistryRef.model_validate(document)
        problems, notes = check_registry(
            "amr-001",
            LocalRoot(),  # type: ignore[arg-type]
            reference,
            as_root=True,
            trusted=trusted,
            configs=(),
        )
        return [f"{each.what} | {each.do}" for each in problems], list(notes)

    assert said("right") == ([], [f"it can pull from {private.host} (login: the manifest's)"])
    (wrong,), _ = said("wrong")
    assert "HTTP 401" in wrong
    assert "correct registry.robots" in wrong
    assert "wrong" not in wrong
    (nobody,), _ = said(None)
    assert "login: none" in nobody
    assert "docker login" in nobody
    assert said("right", trusted=False)[0] == []
    assert "when its host key is pinned" in said("right", trusted=False)[1][0]
