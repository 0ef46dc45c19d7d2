"""A private registry end to end: real distribution with TLS by an authority of its own, and passwords (htpasswd).

The operator pushes; a robot gets what `fleet bootstrap` sends, for real, and pulls with that alone.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.retry import RetryPolicy
from fleet.bootstrap.registry_access import registry_access
from fleet.errors import RegistryAuthError, RegistryError
from fleet.manifest.schema.registry_schema import RegistryRef
from fleet.oci.image_spec import EMPTY, MANIFEST, Bytes, Descriptor, manifest_bytes
from runtime.updater.fetching.credentials import RobotLogins
from runtime.updater.fetching.errors import UpstreamError
from runtime.updater.fetching.link import Link
from runtime.updater.fetching.reference import Reference
from runtime.updater.fetching.settings import way_to
from runtime.updater.fetching.upstream import Upstream
from tests.fakes.registries.registry_process import find_registry_binary, registry_process
from tests.fakes.robots.local_root import run_registry_program

PREFIX, REPOSITORY = "warehouse", "warehouse/runtime"


@dataclass
class Private:
    """The registry, and who may enter."""

    host: str
    folder: Path

    @property
    def authority(self) -> Path:
        return self.folder / "ca.pem"

    def users(self, **passwords: str) -> None:
        """Write who may enter; distribution reads the file again when it has changed."""
        lines = (f"{name}:{_hashed(password)}" for name, password in passwords.items())
        path = self.folder / "htpasswd"
        path.write_text("\n".join(lines) + "\n")
        os.utime(path, ns=(self._tick(), self._tick()))

    def _tick(self) -> int:
        """Another time at each call: its change is what distribution looks at, and files of one second look alike."""
        self._ticks = getattr(self, "_ticks", 0) + 1
        return (1_700_000_000 + self._ticks) * 10**9

    def operator(self, folder: Path, password: str = "push-it", ca_file: Path | None = None) -> OciRegistry:
        folder.mkdir(exist_ok=True)
        auth = base64.b64encode(f"ci:{password}".encode()).decode()
        (folder / "config.json").write_text(json.dumps({"auths": {self.host: {"auth": auth}}}))
        return OciRegistry(
            self.host,
            ca_file=ca_file,
            prefix=PREFIX,
            credentials=DockerCredentials(folder),
            retry=RetryPolicy(tries=1),
        )


def _hashed(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    binary = find_registry_binary()
    if binary is None:
        pytest.skip("no docker-registry binary: apt-get install docker-registry")
    folder = tmp_path_factory.mktemp("private")
    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    _openssl(folder, "req", "-x509", *ec, "-days", "2", "-subj", "/CN=our own", "-keyout", "ca.key", "-out", "ca.pem")
    _openssl(folder, "req", *ec, "-subj", "/CN=registry", "-keyout", "key.pem", "-out", "request.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    sign = ("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    _openssl(folder, *sign, "-days", "2", "-extfile", "names", "-out", "cert.pem")
    (folder / "htpasswd").write_text(f"ci:{_hashed('push-it')}\nrobots:{_hashed('pull-it')}\n")
    extra = f"auth: {{htpasswd: {{realm: 'our registry', path: {folder}/htpasswd}}}}\n"
    with registry_process(binary, folder, extra=extra, tls=(folder / "cert.pem", folder / "key.pem")) as host:
        yield Private(host, folder)


@pytest.fixture
def image(private: Private, tmp_path: Path) -> str:
    """An image that the operator pushed; its digest."""
    private.users(ci="push-it", robots="pull-it")
    registry = private.operator(tmp_path / "operator", ca_file=private.authority)
    config, layer = Bytes.of(b"{}"), Bytes.of(b"layer" * 1000)
    for blob in (config, layer):
        registry.push_blob(f"{PREFIX}/bases", blob)
        assert registry.mount_blob(REPOSITORY, blob.digest, f"{PREFIX}/bases")
    layers = [Descriptor("application/vnd.oci.image.layer.v1.tar", layer.digest, layer.size)]
    body = manifest_bytes(Descriptor(EMPTY, config.digest, config.size), layers)
    digest = registry.put_manifest(REPOSITORY, "1.0.0", body, MANIFEST)
    assert registry.tags(REPOSITORY) == ["1.0.0"]
    return digest


class Robot:
    """The files of a robot, written by the program that `fleet bootstrap` sends, and its road to the registry."""

    def __init__(self, folder: Path, private: Private) -> None:
        self.folder, self.private = folder, private
        folder.mkdir()
        (folder / "robot.json").write_text('{"robot": "amr-001", "fleet": "warehouse"}')

    def bootstrap(self, **registry: object) -> bool:
        """Return whether anything changed."""
        access = registry_access(RegistryRef.model_validate({"address": f"{self.private.host}/{PREFIX}", **registry}))
        told: dict[str, Any] = {"identity": str(self.folder / "robot.json"), "robot": "amr-001", "fleet": "warehouse"}
        told |= {"host": access.host, "certs": str(self.folder / "certs.d"), "folder": str(self.folder / "registry")}
        authority = base64.b64encode(access.authority).decode() if access.authority else None
        told |= {"authority": authority, "login": access.login, "helper": access.helper}
        done = run_registry_program(told)
        assert done.exit_code == 0, done.stderr
        found: dict[str, bool] = json.loads(done.stdout)
        return found["changed"]

    def upstream(self, image: str) -> Upstream:
        link = Link(0, threading.Event())
        way = way_to(self.private.host, {"RegistryConfig": {}}, self.folder / "certs.d")
        logins = RobotLogins(self.private.host, self.folder / "registry", self.folder / ".docker")
        return Upstream(Reference(self.private.host, REPOSITORY, image), way, logins.lookup, link)

    def pull(self, image: str) -> int:
        answer = self.upstream(image).get("manifests/" + image, {"Accept": MANIFEST})
        answer.close()
        return answer.status


@pytest.fixture
def robot(private: Private, tmp_path: Path) -> Robot:
    return Robot(tmp_path / "robot", private)


def test_a_robot_pulls_with_what_bootstrap_brought_and_nothing_else(
    private: Private, robot: Robot, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UpstreamError, match="its certificate is not trusted") as caught:
        robot.pull(image)
    assert "registry.ca_file of fleet.yaml, then run `fleet bootstrap`" in caught.value.hint
    assert robot.bootstrap(ca_file=str(private.authority))
    with pytest.raises(UpstreamError, match="answers 401") as caught:
        robot.pull(image)
    assert "registry.robots in fleet.yaml, then `fleet bootstrap`" in caught.value.hint
    assert not caught.value.transient
    monkeypatch.setenv("ROBOTS_PASSWORD", "pull-it")
    login = {"username": "robots", "password": {"env": "ROBOTS_PASSWORD"}}
    assert robot.bootstrap(ca_file=str(private.authority), robots=login)
    assert robot.pull(image) == 200
    assert not robot.bootstrap(ca_file=str(private.authority), robots=login)


def test_a_password_is_renewed_by_bootstrap_in_mid_fetch_too(private: Private, robot: Robot, image: str) -> None:
    (robot.folder / "password").write_text("pull-it\n")
    settings: dict[str, object] = {"ca_file": str(private.authority)}
    settings["robots"] = {"username": "robots", "password": {"file": str(robot.folder / "password")}}
    robot.bootstrap(**settings)
    upstream = robot.upstream(image)
    upstream.get("manifests/" + image, {"Accept": MANIFEST}).close()
    private.users(ci="push-it", robots="another")
    with pytest.raises(UpstreamError, match="answers 401"):
        upstream.get("manifests/" + image, {"Accept": MANIFEST})
    (robot.folder / "password").write_text("another\n")
    assert robot.bootstrap(**settings)
    upstream.get("manifests/" + image, {"Accept": MANIFEST}).close()


def test_an_operator_is_told_what_is_missing(private: Private, image: str, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="its TLS certificate is not accepted") as caught:
        private.operator(tmp_path / "operator", ca_file=Path(DEFAULT_CA_BUNDLE_PATH)).ping()
    assert "registry.ca_file" in caught.value.hint
    with pytest.raises(RegistryAuthError, match=r"refused \(401") as refused:
        private.operator(tmp_path / "operator", "wrong", private.authority).ping()
    assert "used user 'ci' from" in refused.value.message
    assert f"docker login {private.host}" in refused.value.hint
    registry = private.operator(tmp_path / "operator", ca_file=private.authority)
    assert registry.head_manifest(REPOSITORY, "1.0.0") == image
    assert registry.head_manifest(REPOSITORY, "2.0.0") is None
    assert registry.tags(f"{PREFIX}/none") == []
    registry.check_push(f"{PREFIX}/engines")


def test_the_machine_s_authorities_count_beside_ca_file(
    private: Private, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    other.write_text(ssl.get_server_certificate((private.host.split(":")[0], int(private.host.split(":")[1]))))
    monkeypatch.setenv("SSL_CERT_FILE", str(private.authority))
    private.operator(tmp_path / "operator", ca_file=other).ping()
