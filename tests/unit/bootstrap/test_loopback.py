"""Docker 29.10's rule for 127.0.0.1: told by bootstrap, changed only when asked for, put back when it did not help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleet.bootstrap import remote_loopback
from fleet.bootstrap.host_facts import facts_from_probe, host_notes
from fleet.bootstrap.loopback import LOOPBACK, UNIT

PROBE = "uid=0\nroot=yes\npython=3.10.12\ndocker=29.10.0\ncompose=2.40.3\ntime=1000\n"


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        ('["10.0.0.0/8"]', True),
        ("[]", True),
        ("null", True),
        ('["::1/128","127.0.0.0/8"]', False),
        ("", False),
    ],
)
def test_an_engine_that_asks_the_loopback_by_tls_is_a_note(networks: str, told: bool) -> None:
    notes = host_notes(facts_from_probe(f"{PROBE}docker_open={networks}\n", "jetson", 1000.0))
    assert any("--open-loopback" in note for note in notes) is told


class Engine:
    """Reads its settings when it is told to, as dockerd does."""

    def __init__(self, file: Path, *, takes: bool = True, reloads: str = "") -> None:
        self.file, self.takes, self.reloads, self.told = file, takes, reloads, 0
        self.networks: list[str] = ["10.0.0.0/8"]

    def is_open(self, network: str) -> bool:
        return network in self.networks

    def reload(self, unit: str) -> str:
        assert unit == UNIT
        self.told += 1
        if self.takes and self.file.exists():
            self.networks = json.loads(self.file.read_text()).get("insecure-registries", [])
        return self.reloads


def change(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.setattr(remote_loopback, "network_is_open", engine.is_open)
    monkeypatch.setattr(remote_loopback, "reload_engine", engine.reload)
    monkeypatch.setattr(remote_loopback, "WAIT_S", 0.05)
    monkeypatch.setattr(remote_loopback, "POLL_S", 0.01)
    return remote_loopback.main({"file": str(engine.file), "network": LOOPBACK, "unit": UNIT})


def test_the_network_is_added_to_what_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "daemon.json"
    file.write_text('{"insecure-registries": ["10.0.0.5:5000"], "data-root": "/mnt/nvme"}')
    file.chmod(0o600)
    engine = Engine(file)
    assert change(engine, monkeypatch) == {"changed": True}
    assert json.loads(file.read_text()) == {
        "insecure-registries": ["10.0.0.5:5000", LOOPBACK],
        "data-root": "/mnt/nvme",
    }
    assert file.stat().st_mode & 0o777 == 0o600
    assert change(engine, monkeypatch) == {"changed": False}
    assert engine.told == 1


@pytest.mark.parametrize("before", ['{"debug": true}', None])
def test_what_did_not_help_is_put_back(
    before: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "docker" / "daemon.json"
    if before is not None:
        file.parent.mkdir()
        file.write_text(before)
    with pytest.raises(SystemExit):
        change(Engine(file, takes=False), monkeypatch)
    assert (file.read_text() if file.exists() else None) == before
    assert "does not take up 127.0.0.0/8" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["{not json", "[]", '{"insecure-registries": "all"}'])
def test_settings_that_cannot_be_read_are_left_alone(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "daemon.json"
    file.write_text(content)
    engine = Engine(file)
    with pytest.raises(SystemExit):
        change(engine, monkeypatch)
    assert (file.read_text(), engine.told) == (content, 0)


def test_an_engine_that_cannot_be_told_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "daemon.json"
    with pytest.raises(SystemExit):
        change(Engine(file, takes=False, reloads="systemctl reload docker.service: no such unit"), monkeypatch)
    assert "no such unit" in capsys.readouterr().err
    assert not file.exists()
