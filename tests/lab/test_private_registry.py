"""One site's registry is private: TLS by an authority of its own, and passwords. From nothing to a robot that runs.

It serves what the lab's registry stores, so that nothing is built or uploaded again; to robots it is another registry.
"""

from __future__ import annotations

import base64
import io
import json
import secrets
import subprocess
import tarfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from fleetbox import containers
from fleetbox.spec import BAY_HOSTS

from tests.lab.bays import WorkerBay
from tests.lab.site import Site

pytestmark = pytest.mark.xdist_group("lab-private-registry")

ROBOT = "scout-001"
ONLY = ("--robots", ROBOT)
PORT = 5443
LOGIN = "/var/lib/jetfleet/registry/config.json"
UP_S = 60.0
FIND = """
import os, sys
words = [word[::-1].encode() for word in sys.argv[1:]]
pids = [pid for pid in os.listdir("/proc") if pid.isdigit()]
places = ["/proc/%s/%s" % (pid, name) for pid in pids for name in ("cmdline", "environ")]
for top in ("/var/lib/jetfleet", "/var/log", "/run/jetfleet", "/etc", "/root", "/home", "/tmp"):
    places += [os.path.join(folder, name) for folder, _, names in os.walk(top) for name in names]
for place in places:
    try:
        if os.path.isfile(place) and not os.path.islink(place):
            with open(place, "rb") as file:
                content = file.read()
            if any(word in content for word in words):
                print(place)
    except (FileNotFoundError, ProcessLookupError):
        pass
"""


@dataclass
class Private:
    """The site's registry, and the checkout of whoever runs that site."""

    site: Site
    host: str
    authority: Path
    password: str
    """Of the account that robots have."""

    def registry(self, **more: Any) -> None:
        """Set what the manifest says of the registry beyond its address."""
        manifest = self.site.manifest()
        manifest["registry"] = {"address": manifest["registry"]["address"], **more}
        self.site.save(manifest)

    def order(self, code: int) -> dict[str, Any]:
        """Roll the manifest's version out to the robot; return its row."""
        version = str(self.site.manifest()["version"])
        document = self.site.fleet_json("rollout", version, "--yes", "--force", *ONLY, code=code)
        found: dict[str, Any] = next(robot for robot in document["robots"] if robot["name"] == ROBOT)
        return found


def certificates(folder: Path, address: str) -> None:
    """Make an authority, and a certificate of it for the address."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True, timeout=60)

    ec = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    openssl("req", "-x509", *ec, "-days", "2", "-subj", "/CN=the site's own", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *ec, "-subj", "/CN=registry", "-keyout", "key.pem", "-out", "request.pem")
    (folder / "names").write_text(f"subjectAltName=IP:{address}\n")
    sign = ("x509", "-req", "-in", "request.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial")
    openssl(*sign, "-days", "2", "-extfile", "names", "-out", "cert.pem")


def start(bay: WorkerBay, folder: Path, address: str) -> Any:
    """Start the registry on the lab's network, on what the lab's registry stores; return its container."""
    client, spec = bay.bay.lab.client, bay.bay.spec
    name = f"{spec.place}-private"
    if (left := containers.find(client, name)) is not None:
        left.remove(force=True)
    environment = {
        "REGISTRY_HTTP_ADDR": f":{PORT}",
        "REGISTRY_HTTP_TLS_CERTIFICATE": "/private/cert.pem",
        "REGISTRY_HTTP_TLS_KEY": "/private/key.pem",
        "REGISTRY_AUTH": "htpasswd",
        "REGISTRY_AUTH_HTPASSWD_REALM": "site",
        "REGISTRY_AUTH_HTPASSWD_PATH": "/private/htpasswd",
    }
    made = client.api.create_container(
        bay.bay.images[0],
        name=name,
        environment=environment,
        labels=containers.labels(spec),
        host_config=client.api.create_host_config(
            binds={spec.registry_volume: {"bind": "/var/lib/registry", "mode": "rw"}}
        ),
        networking_config={"EndpointsConfig": {spec.network: client.api.create_endpoint_config(ipv4_address=address)}},
    )
    container = client.containers.get(made["Id"])
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in ("cert.pem", "key.pem", "htpasswd"):
            archive.add(folder / file, f"private/{file}")
    container.put_archive("/", packed.getvalue())
    container.start()
    return container


@pytest.fixture
def private(bay: WorkerBay, tmp_path: Path) -> Iterator[Private]:
    """The robot is on 1.0.0 of the lab's registry; the manifest names the private one."""
    site = bay.on_first(ROBOT, version="1.0.0").site
    address = bay.bay.spec.address(BAY_HOSTS * bay.bay.spec.bay + 3)
    host, password = f"{address}:{PORT}", secrets.token_urlsafe(18)
    certificates(tmp_path, address)
    users = {"ci": "push-it", "robots": password}
    lines = [f"{name}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}" for name, word in users.items()]
    (tmp_path / "htpasswd").write_text("\n".join(lines) + "\n")
    container = start(bay, tmp_path, address)
    try:
        docker = tmp_path / "docker"
        docker.mkdir()
        auth = base64.b64encode(b"ci:push-it").decode()
        (docker / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
        site.environment |= {"DOCKER_CONFIG": str(docker), "ROBOTS_PASSWORD": password}
        site.move(f"{host}/{site.prefix}")
        (site.folder / "certs").mkdir()
        authority = site.folder / "certs" / "site-ca.pem"
        authority.write_bytes((tmp_path / "ca.pem").read_bytes())
        site.set_version("9.0.0")
        yield Private(site, host, authority, password)
    finally:
        container.remove(force=True)


def publish(private: Private) -> None:
    """Publish, as soon as the registry answers."""
    ends = time.monotonic() + UP_S
    while private.site.fleet("registry", "prepare", "--dry-run", code=(0, 3)).code:
        assert time.monotonic() < ends, "the private registry does not answer"
    private.site.fleet("publish")


def test_a_private_registry_from_nothing_to_a_robot_that_runs(private: Private) -> None:
    site = private.site
    private.registry(ca_file="certs/site-ca.pem")
    publish(private)

    # What everybody who has such a registry met first: the robot trusts nobody there, and nothing was changed.
    row = private.order(code=4)
    assert "certificate is not trusted" in row["reason"]
    assert site.releases()[ROBOT] == "1.0.0"

    login = {"username": "robots", "password": {"env": "ROBOTS_PASSWORD"}}
    private.registry(ca_file="certs/site-ca.pem", robots=login)
    (robot,) = site.fleet_json("bootstrap", *ONLY)["robots"]
    assert (robot["ready"], robot["changed"]) == (True, True)
    assert private.order(code=0)["outcome"] == "committed"
    assert site.releases()[ROBOT] == "9.0.0"
    (again,) = site.fleet_json("bootstrap", *ONLY)["robots"]
    assert not again["changed"]

    names = site.lab.exec(ROBOT, ["docker", "image", "ls", "--format", "{{.Repository}}"]).check().split()
    assert any(name.startswith(private.host) for name in names)
    stat = site.lab.exec(ROBOT, ["stat", "-c", "%a %U", LOGIN, str(Path(LOGIN).parent)]).check().splitlines()
    assert stat == ["600 root", "700 root"]
    assert no_other_place(private) == LOGIN


def no_other_place(private: Private) -> str:
    """Return every file and process of the robot in which the password is, plain or as Docker writes it."""
    encoded = base64.b64encode(f"robots:{private.password}".encode()).decode()
    words = [word[::-1] for word in (private.password, encoded)]  # backwards: this command is not to find itself
    return private.site.lab.exec(ROBOT, ["python3", "-c", FIND, *words], deadline_s=120).check().strip()
