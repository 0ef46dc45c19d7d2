"""Whether a robot's own login still opens its registry: a real one with passwords, asked by the real process."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.oci.image_spec import EMPTY, MANIFEST, Bytes, Descriptor, manifest_bytes
from runtime.updater.robot.fetch_process import FetchingDocker
from runtime.updater.robot.registry_login import login_folder
from runtime.updater.state.world import WorldError
from tests.fakes.registries.registry_process import find_registry_binary, registry_process

REPOSITORY = "warehouse/runtime"
INFO = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}


@dataclass
class Robot:
    """A robot with a Docker that says what its Engine's settings are."""

    folder: Path
    host: str
    image: str

    def log_in(self, password: str) -> None:
        login_folder(self.folder).mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"robots:{password}".encode()).decode()
        (login_folder(self.folder) / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))

    def asks(self, image: str = "", **info: str) -> tuple[str, str]:
        docker = self.folder / "docker"
        docker.write_text(f"#!{sys.executable} -S\nprint({json.dumps({**INFO, **info})!r})\n")
        docker.chmod(0o755)
        robot = FetchingDocker(self.folder, threading.Event(), docker=str(docker))
        return robot.ask_registry(f"{self.host}/{REPOSITORY}@{image or self.image}")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The registry, and the digest of an image in it."""
    binary = find_registry_binary()
    assert binary is not None, "no docker-registry binary: make setup"
    folder = tmp_path_factory.mktemp("registry")
    hashed = bcrypt.hashpw(b"pull-it", bcrypt.gensalt(4)).decode()
    (folder / "htpasswd").write_text(f"robots:{hashed}\n")
    with registry_process(binary, folder, extra=f"auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n") as host:
        auth = base64.b64encode(b"robots:pull-it").decode()
        (folder / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        registry = OciRegistry(host, plain_http=True, credentials=DockerCredentials(folder))
        blob = Bytes.of(b"{}")
        registry.push_blob(REPOSITORY, blob)
        body = manifest_bytes(Descriptor(EMPTY, blob.digest, blob.size), [Descriptor("x/y", blob.digest, blob.size)])
        yield host, registry.put_manifest(REPOSITORY, "1.0.0", body, MANIFEST)


@pytest.fixture
def robot(published: tuple[str, str], tmp_path: Path) -> Robot:
    return Robot(tmp_path, *published)


def test_its_login_opens_the_registry_or_it_is_said_why_not(robot: Robot) -> None:
    host, problem = robot.asks()
    assert host == robot.host
    assert "answers 401" in problem
    assert "registry.robots in fleet.yaml, then `fleet bootstrap`" in problem
    robot.log_in("another")
    assert "answers 401" in robot.asks()[1]
    robot.log_in("pull-it")
    assert robot.asks() == (robot.host, "")
    assert "another" not in problem


def test_an_image_that_is_gone_is_said(robot: Robot) -> None:
    robot.log_in("pull-it")
    assert "manifest unknown" in robot.asks("sha256:" + "0" * 64)[1]


def test_a_registry_that_is_not_there_is_said(robot: Robot) -> None:
    robot.host = "127.0.0.1:1"
    assert robot.asks() == ("127.0.0.1:1", "127.0.0.1:1: Connection refused -> check the robot's link to the registry")


def test_where_only_the_engine_knows_the_way_nothing_is_said(robot: Robot) -> None:
    robot.host = "registry.example"
    assert robot.asks(HttpProxy="http://proxy.lan:3128") == ("", "")


def test_a_process_that_breaks_is_an_error_and_no_answer(robot: Robot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtime.updater.robot.fetch_process._CODE", str(robot.folder))
    with pytest.raises(WorldError, match=r"could not be asked: ModuleNotFoundError"):
        robot.asks()
