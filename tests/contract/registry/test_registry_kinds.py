"""Registries as people have them: stores behind redirects, refused mounts, odd HEADs, proxies, own authorities.

The client of operators; the robot's own is in `test_fetching.py`.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.http_session import BUNDLES
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.registry.registry_http import Timeouts
from fleet.errors import RegistryAuthError, RegistryError, RepositoryMissing
from fleet.oci.image_spec import MANIFEST, Bytes
from fleet.oci.repositories import repositories_of
from tests.contract.registry.test_registry_faults import PatientClock
from tests.fakes.registries.registry_server import Fault, FaultyRegistry, faulty_registry

REPOSITORY, CHUNK, SECRET = "warehouse/engines", 1 << 20, "s3cret"
NO_REPOSITORY = b'{"errors":[{"code":"NAME_UNKNOWN","message":"The repository with name \'x\' does not exist"}]}'
Connect = Callable[..., OciRegistry]


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as state:
        yield state


@pytest.fixture
def other() -> Iterator[FaultyRegistry]:
    """Another server on this machine: a store of blobs, or somebody's trap."""
    with faulty_registry() as state:
        yield state


@pytest.fixture
def connect(server: FaultyRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    made: list[OciRegistry] = []
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", *BUNDLES):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def client(**options: object) -> OciRegistry:
        folder = tmp_path / "docker"
        folder.mkdir(exist_ok=True)
        host = str(options.pop("host", server.host))
        pair = base64.b64encode(f"robot:{SECRET}".encode()).decode()
        (folder / "config.json").write_text(json.dumps(options.pop("config", {"auths": {host: {"auth": pair}}})))
        settings: dict[str, object] = {"clock": PatientClock(), "chunk_bytes": CHUNK, "timeouts": Timeouts(5.0, 5.0)}
        settings |= {"credentials": DockerCredentials(folder), "prefix": "warehouse", **options}
        made.append(OciRegistry(host, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield client
    for one in made:
        one.close()


def hold(server: FaultyRegistry, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    server.blobs[digest] = content
    return digest


def lead(server: FaultyRegistry, match: str, to: str, status: int = 307) -> None:
    server.faults.append(Fault(match, "status", times=99, status=status, headers={"Location": to}))


# ── credentials stay at their origin ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("asks", ["basic", "token"])
@pytest.mark.parametrize("registry_asks", ["basic", "token"])
def test_a_store_that_asks_for_a_password_gets_none(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect, asks: str, registry_asks: str
) -> None:
    server.auth, other.auth = registry_asks, asks
    digest = hold(server, b"layer")
    lead(server, "(GET|HEAD) .*/blobs/", f"http://{other.host}/v2/bucket/blobs/{digest}")
    registry = connect()
    with pytest.raises(RegistryError, match=f"redirects to http://{other.host}, which answers 401") as caught:
        registry.read_blob(REPOSITORY, digest)
    with pytest.raises(RegistryError, match="which answers 401"):
        registry.has_blob(REPOSITORY, digest)
    assert "registry.address" in caught.value.hint
    assert {seen.authorization for seen in other.seen} == {""}
    assert not [seen for seen in other.seen if seen.path.startswith("/token")], "its realm was asked for a token"


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_another_name_or_port_is_somebody_else(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect, name: str
) -> None:
    server.auth = "basic"
    digest = hold(other, b"layer")
    lead(server, "GET .*/blobs/", f"http://{name}:{other.host.rpartition(':')[2]}/v2/x/blobs/{digest}?X-Sig=1")
    assert connect().read_blob(REPOSITORY, digest) == b"layer"
    assert [seen.authorization for seen in other.seen] == [""]


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_an_upload_that_goes_on_elsewhere_takes_no_credentials_along(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect, method: str
) -> None:
    server.auth = "basic"
    other.uploads["here"] = bytearray()
    where = "/v2/x/blobs/uploads/" if method == "POST" else "/v2/x/blobs/uploads/here"
    if method == "POST":
        lead(server, "POST", f"http://{other.host}{where}")
    else:
        headers = {"Location": f"http://{other.host}{where}?_state=1"}
        server.faults.append(Fault("POST", "status", times=9, status=202, headers=headers))
    blob = Bytes.of(os.urandom(2 * CHUNK))
    connect().push_blob(REPOSITORY, blob)
    assert other.blobs[blob.digest] == blob.content
    assert {seen.authorization for seen in other.seen} == {""}


@pytest.mark.parametrize("asks", [False, True])
def test_a_store_on_the_registry_s_own_host_is_not_shown_a_second_proof(
    server: FaultyRegistry, connect: Connect, asks: bool
) -> None:
    """Its addresses are signed, and two proofs are one too many (S3: 400). One that asks for ours gets them."""
    server.auth = "token"
    digest = hold(server, b"layer")
    lead(server, "GET /v2/.*/blobs/", f"/bucket/blobs/{digest}?X-Amz-Signature=1")
    server.free = () if asks else ("/bucket/",)
    assert connect().read_blob(REPOSITORY, digest) == b"layer"
    shown = [bool(seen.authorization) for seen in server.seen if seen.path.startswith("/bucket/")]
    assert shown == ([False, True] if asks else [False])


@pytest.mark.parametrize("status", [307, 302])
def test_netrc_is_never_read(
    server: FaultyRegistry,
    other: FaultyRegistry,
    connect: Connect,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """Not at a redirect either, where requests would look into it again. A registry that is not on this machine."""
    real = socket.getaddrinfo
    names = {"registry.test", "s3.test"}
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if host in names else host, *a, **k)
    )
    (tmp_path / "netrc").write_text(
        "machine s3.test login thief password stolen\nmachine registry.test login a password b\n"
    )
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    digest = hold(other, b"layer")
    lead(server, "GET .*/blobs/", f"http://s3.test:{other.host.rpartition(':')[2]}/v2/b/blobs/{digest}", status)
    registry = connect(host=f"registry.test:{server.host.rpartition(':')[2]}", plain_http=True, config={})
    assert registry.read_blob(REPOSITORY, digest) == b"layer"
    assert {seen.authorization for seen in (*server.seen, *other.seen)} == {""}


def test_cookies_of_one_server_are_not_shown_to_another(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect
) -> None:
    """A cookie knows no port: the store on the same host would get the registry's session."""
    digest = hold(other, b"layer")
    headers = {"Set-Cookie": "sid=s3cret; Path=/", "Location": f"http://{other.host}/v2/b/blobs/{digest}"}
    server.faults.append(Fault("GET .*/blobs/", "status", times=9, status=307, headers=headers))
    assert connect().read_blob(REPOSITORY, digest) == b"layer"
    assert [seen.cookie for seen in other.seen] == [""]


def test_a_redirect_in_circles_ends(server: FaultyRegistry, connect: Connect) -> None:
    lead(server, "GET", "/v2/")
    with pytest.raises(RegistryError, match="redirects to places in a circle"):
        connect().ping()


def test_a_token_server_that_moves_gets_no_password_elsewhere(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect
) -> None:
    server.auth = "token"
    lead(server, "GET /token", f"http://{other.host}/token")
    other.users = {}
    server.tokens = other.tokens
    connect().ping()
    assert [seen.authorization for seen in other.seen] == [""]


def test_a_refresh_token_is_not_sent_on(server: FaultyRegistry, other: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    lead(server, "POST /token", f"http://{other.host}/token")
    with pytest.raises(RegistryError, match="no credentials were sent there"):
        connect(config={"auths": {server.host: {"identitytoken": "refresh-me"}}}).ping()
    assert other.seen == []


# ── redirects of what is sent ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_what_is_sent_is_sent_again_where_the_registry_leads(
    server: FaultyRegistry, connect: Connect, status: int, method: str
) -> None:
    server.auth = "token"
    blob = Bytes.of(os.urandom(2 * CHUNK))
    registry = connect()

    real = server.fault

    def once(line: str) -> Fault | None:
        if line.startswith(method + " /v2") and "blobs" in line and "moved=1" not in line:
            path = line.partition(" ")[2]
            return Fault(
                "", "status", status=status, headers={"Location": f"{path}{'&' if '?' in path else '?'}moved=1"}
            )
        return real(line)

    server.fault = once  # type: ignore[method-assign]
    registry.push_blob(REPOSITORY, blob)
    assert server.blobs[blob.digest] == blob.content
    assert registry.put_manifest(REPOSITORY, "1.0.0", b"{}", MANIFEST)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_redirect_that_would_lose_what_is_sent_is_named(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect, status: int
) -> None:
    lead(server, "POST", f"http://{other.host}/v2/secret?token=1", status)
    with pytest.raises(RegistryError, match=f"redirects to http://{other.host} by {status}") as caught:
        connect().push_blob(REPOSITORY, Bytes.of(b"x"))
    assert "registry.address" in caught.value.hint
    assert "token=1" not in caught.value.message
    assert other.seen == []


# ── mounts, HEADs, repositories, lists ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 422, 429, 500, 503])
def test_a_mount_that_is_refused_in_any_way_is_no_error(server: FaultyRegistry, connect: Connect, status: int) -> None:
    server.auth = "token"
    server.faults = [Fault("POST .*mount=", "status", times=99, status=status, body=b'{"errors":[{"code":"DENIED"}]}')]
    registry, blob = connect(), Bytes.of(b"layer")
    assert not registry.mount_blob("warehouse/runtime", blob.digest, "warehouse/bases")
    registry.push_blob("warehouse/runtime", blob)
    assert server.blobs[blob.digest] == b"layer"


def test_a_token_for_both_repositories_that_is_denied_is_no_error_either(
    server: FaultyRegistry, connect: Connect
) -> None:
    server.auth, server.deny_scope = "token", "warehouse/bases"
    assert not connect().mount_blob("warehouse/runtime", hold(server, b"x"), "warehouse/bases")


@pytest.mark.parametrize("status", [400, 403, 404, 405, 501])
def test_what_head_does_not_give_get_gives(server: FaultyRegistry, connect: Connect, status: int) -> None:
    registry = connect()
    digest = registry.put_manifest(REPOSITORY, "1.0.0", b"{}", MANIFEST)
    blob = hold(server, b"layer")
    server.faults = [Fault("HEAD", "status", times=99, status=status)]
    assert registry.head_manifest(REPOSITORY, "1.0.0") == digest
    assert registry.has_blob(REPOSITORY, blob)
    assert registry.head_manifest(REPOSITORY, "2.0.0") is None
    assert not registry.has_blob(REPOSITORY, "sha256:" + "0" * 64)
    assert server.methods().count("HEAD") == 2, "a HEAD that gave nothing is asked once for each kind"


def test_head_is_believed_once_it_found_something(server: FaultyRegistry, connect: Connect) -> None:
    registry = connect()
    registry.put_manifest(REPOSITORY, "1.0.0", b"{}", MANIFEST)
    assert registry.head_manifest(REPOSITORY, "1.0.0")
    server.seen.clear()
    assert [registry.head_manifest(REPOSITORY, f"{n}.0.0") for n in range(2, 6)] == [None] * 4
    assert server.methods() == ["HEAD"] * 4


def test_a_store_that_signs_for_get_alone_has_the_blob(
    server: FaultyRegistry, other: FaultyRegistry, connect: Connect
) -> None:
    digest = hold(other, b"layer")
    lead(server, "(GET|HEAD) .*/blobs/", f"http://{other.host}/v2/b/blobs/{digest}?X-Sig=1")
    other.faults = [Fault("HEAD", "status", times=99, status=403)]
    assert connect().has_blob(REPOSITORY, digest)


def test_a_repository_that_nobody_created_names_all_that_are_needed(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("(POST|PUT|PATCH)", "status", times=99, status=404, body=NO_REPOSITORY)]
    registry = connect()
    for ask in (
        lambda: registry.push_blob(REPOSITORY, Bytes.of(b"x")),
        lambda: registry.put_manifest(REPOSITORY, "1.0.0", b"{}", MANIFEST),
        lambda: registry.check_push(REPOSITORY),
    ):
        with pytest.raises(RepositoryMissing, match="warehouse/engines does not exist") as caught:
            ask()
        assert "fleet registry prepare" in caught.value.hint
        assert all(name in caught.value.hint for name in repositories_of("warehouse"))


def test_a_trial_upload_leaves_nothing(server: FaultyRegistry, connect: Connect) -> None:
    connect().check_push(REPOSITORY)
    assert server.methods() == ["POST", "DELETE"]
    assert server.uploads == {}


def test_a_registry_that_lists_fewer_tags_a_page_is_asked_for_its_own(server: FaultyRegistry, connect: Connect) -> None:
    server.tag_pages = [["a"], ["b"]]
    server.faults = [Fault(r"GET .*\?n=1000", "status", times=9, status=400)]
    assert connect().tags(REPOSITORY) == ["a", "b"]


def test_a_manifest_without_a_digest_in_its_head_is_read(server: FaultyRegistry, connect: Connect) -> None:
    registry = connect()
    digest = registry.put_manifest(REPOSITORY, "1.0.0", b"{}", MANIFEST)
    server.faults = [Fault("HEAD", "status", status=200)]
    assert registry.head_manifest(REPOSITORY, "1.0.0") == digest


@pytest.mark.parametrize(("late_s", "waits"), [(7.0, (6.0, 7.0)), (-5.0, (0.5, 0.75))])
def test_a_wait_may_be_a_date(
    server: FaultyRegistry, connect: Connect, late_s: float, waits: tuple[float, float]
) -> None:
    clock = PatientClock()
    headers = {"Retry-After": formatdate(clock.time + late_s, usegmt=True)}
    server.faults = [Fault("GET", "status", status=429, headers=headers)]
    connect(clock=clock).ping()
    assert waits[0] <= clock.waits[0] <= waits[1]


# ── who we are ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_login_for_another_path_is_not_shown(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "basic"
    wrong, right = (base64.b64encode(pair).decode() for pair in (b"wrong:wrong", f"robot:{SECRET}".encode()))
    connect(config={"auths": {f"{server.host}/other": {"auth": wrong}, server.host: {"auth": right}}}).ping()
    only = connect(config={"auths": {f"{server.host}/warehouse": {"auth": right}, server.host: {"auth": wrong}}})
    only.ping()
    only.push_blob("warehouse/engines", Bytes.of(b"x"))
    sent = {base64.b64decode(seen.authorization.split()[-1]) for seen in server.seen if seen.authorization}
    assert sent == {f"robot:{SECRET}".encode()}


def test_a_401_that_does_not_say_what_it_wants_gets_the_password(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "basic"
    server.challenge = ""
    connect().ping()
    with pytest.raises(RegistryAuthError, match="no credentials for it in"):
        connect(config={}).ping()


def test_both_kinds_in_one_answer(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    server.challenge = f'Basic realm="a, b", Bearer realm="http://{server.host}/token",service="x, y"'
    connect().ping()
    assert [seen.path for seen in server.seen if "/token" in seen.path] == ["/token?service=x%2C+y&client_id=jetfleet"]


# ── TLS and proxies ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def make_certificate(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, ssl.SSLContext]]:
    """Return a maker of self-signed certificates for 127.0.0.1: its file, and a server's context."""

    def make(name: str) -> tuple[Path, ssl.SSLContext]:
        folder = tmp_path_factory.mktemp(name)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        command += ["-keyout", "key.pem", "-out", "cert.pem"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        return folder / "cert.pem", context

    return make


def test_ca_file_adds_to_this_machines_authorities_and_the_right_server_is_blamed(
    make_certificate: Callable[[str], tuple[Path, ssl.SSLContext]],
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    company, company_tls = make_certificate("company")
    public, public_tls = make_certificate("public")
    with faulty_registry(company_tls) as server, faulty_registry(public_tls) as store:
        digest = hold(store, b"layer")
        lead(server, "GET .*/blobs/", f"https://{store.host}/v2/b/blobs/{digest}?X-Sig=hidden")
        with pytest.raises(RegistryError) as caught:
            connect(host=server.host, ca_file=company, config={}).read_blob(REPOSITORY, digest)
        assert f"redirects to https://{store.host}, whose TLS certificate is not accepted" in caught.value.message
        assert store.host in caught.value.hint
        assert "hidden" not in caught.value.message
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
            with monkeypatch.context() as patch:
                patch.setenv(name, str(public))
                assert connect(host=server.host, ca_file=company, config={}).read_blob(REPOSITORY, digest) == b"layer"
        monkeypatch.setenv("SSL_CERT_FILE", str(public.with_name("none.pem")))
        with pytest.raises(RegistryError, match=r"SSL_CERT_FILE=.*none\.pem: no such file"):
            connect(host=server.host, config={})


def test_nothing_leads_out_of_tls(
    make_certificate: Callable[[str], tuple[Path, ssl.SSLContext]], other: FaultyRegistry, connect: Connect
) -> None:
    certificate, context = make_certificate("company")
    with faulty_registry(context) as server:
        digest = hold(other, b"layer")
        lead(server, "GET .*/blobs/", f"http://{other.host}/b/blobs/{digest}")
        with pytest.raises(RegistryError, match=f"redirects to http://{other.host}, which has no TLS"):
            connect(host=server.host, ca_file=certificate).read_blob(REPOSITORY, digest)
    assert other.seen == []


@contextmanager
def socks_proxy(to: str) -> Iterator[tuple[int, list[str]]]:
    """A SOCKS 5 proxy for one name: it reaches ``to`` whatever it is asked for, and notes what that was."""
    asked: list[str] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(client: socket.socket) -> None:
        client.recv(2 + client.recv(2)[1] - 2)
        client.sendall(b"\x05\x00")
        client.recv(4)
        asked.append(client.recv(client.recv(1)[0]).decode())
        client.recv(2)
        host, _, port = to.rpartition(":")
        server = socket.create_connection((host, int(port)), timeout=10)
        client.sendall(b"\x05\x00\x00\x01" + struct.pack("!IH", 0, 0))
        for one, two in ((client, server), (server, client)):
            threading.Thread(target=pump, args=(one, two), daemon=True).start()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], asked
    finally:
        listener.close()


def test_a_socks_proxy_works_or_is_said(
    server: FaultyRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks_proxy(server.host) as (port, asked):
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{port}")
        registry = connect(host="registry.lan:5000", plain_http=True, config={})
        if importlib.util.find_spec("socks"):
            registry.ping()
            assert asked == ["registry.lan"]
        else:
            with pytest.raises(RegistryError, match="a SOCKS proxy is set, and this Python lacks PySocks") as caught:
                registry.ping()
            assert "pip install" in caught.value.hint


@pytest.mark.parametrize(("exempt", "through"), [("*.lan", False), (".example", True), ("registry.lan:443", True)])
def test_no_proxy_decides_name_by_name(
    server: FaultyRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch, exempt: str, through: bool
) -> None:
    """An HTTP proxy gets the whole URL: our server plays both."""
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: real("127.0.0.1" if "lan" in str(host) else host, *a, **k)
    )
    monkeypatch.setenv("HTTP_PROXY", f"http://{server.host}")
    monkeypatch.setenv("NO_PROXY", exempt)
    connect(host=f"registry.lan:{server.host.rpartition(':')[2]}", plain_http=True, config={}).ping()
    assert server.seen[0].path.startswith("http://registry.lan:" if through else "/v2/")
