"""The robot's own road to a registry, over real HTTP: cut, slow, lying and locked registries.

What stands for the Engine here asks the registry on 127.0.0.1 as an Engine does; a real one does so in `tests/lab`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import os
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from runtime.contract.registry.docker_logins import Credentials
from runtime.updater.fetching import upstream as upstream_module
from runtime.updater.fetching.credentials import RobotLogins
from runtime.updater.fetching.download import Downloads
from runtime.updater.fetching.errors import Cannot, UpstreamError
from runtime.updater.fetching.link import Link, Patience
from runtime.updater.fetching.loopback import Loopback
from runtime.updater.fetching.pace import Pace
from runtime.updater.fetching.peer import Kernel, looked_up
from runtime.updater.fetching.reference import Reference
from runtime.updater.fetching.settings import Way, tls_context, way_to
from runtime.updater.fetching.upstream import Upstream
from runtime.updater.storage.blob_store import BlobStore
from tests.fakes.registries.registry_server import Fault, FaultyRegistry, faulty_registry

LAYER = random.Random(1).randbytes(300_000)
CONFIG = b'{"rootfs": {}}'
REPOSITORY = "warehouse/runtime"


def digest(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass
class Site:
    """A registry with one image, and one robot's store."""

    server: FaultyRegistry
    folder: Path
    known: Credentials | None = None
    logins: RobotLogins | None = None
    way: Way | None = None
    rate: int = 0
    stall_s: float = 20.0
    waited: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        parts = {"config": CONFIG, "layer": LAYER}
        self.server.blobs.update({digest(content): content for content in parts.values()})
        described = {name: {"digest": digest(content), "size": len(content)} for name, content in parts.items()}
        body = json.dumps({"config": described["config"], "layers": [described["layer"]]}).encode()
        self.manifest = digest(body)
        self.server.manifests[self.manifest] = body
        self.store = BlobStore(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def begin(self) -> tuple[Loopback, Link]:
        """Start what a fetching process starts."""
        stop = threading.Event()
        link = Link(self.rate, stop)
        way = self.way or Way(self.server.host, ssl.create_default_context(), plain_too=True)
        lookup = self.logins.lookup if self.logins else lambda _: self.known
        upstream = Upstream(Reference(self.server.host, REPOSITORY, self.manifest), way, lookup, link)
        downloads = Downloads(
            self.store, upstream, link, lambda: Patience(link, self.stall_s, stop, self.waited.append)
        )
        downloads.manifest(self.manifest)
        return Loopback(downloads, self.store), link

    def pull(self) -> int:
        """Ask for everything as an Engine does; return the bytes that came over the network. Raises what went wrong."""
        loopback, link = self.begin()
        try:
            for content in (CONFIG, LAYER):
                assert self.ask(loopback, content) == content
        finally:
            loopback.close()
        return link.moved

    def ask(self, loopback: Loopback, content: bytes, start: int = 0) -> bytes:
        headers = {"Range": f"bytes={start}-"} if start else {}
        url = f"http://{loopback.address}/v2/{loopback.repository}/blobs/{digest(content)}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60) as answer:
                found: bytes = answer.read()
        except (OSError, http.client.HTTPException):
            found = b""
        if loopback.failed.is_set():
            raise loopback.error
        return found

    def ranges(self) -> list[str]:
        """Return what was asked for of the layer."""
        return [seen.range for seen in self.server.seen if seen.path.endswith(digest(LAYER))]

    def fault(self, action: str, what: bytes = LAYER, **values: object) -> None:
        path = f"blobs/{digest(what)}" if what in (LAYER, CONFIG) else what.decode()
        self.server.faults.append(Fault(path, action, **values))  # type: ignore[arg-type]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with faulty_registry() as server:
        yield Site(server, tmp_path / "blobs")


def test_everything_comes_once_and_is_here_afterwards(site: Site) -> None:
    assert site.pull() == len(LAYER) + len(CONFIG)
    assert site.store.whole(digest(LAYER)).read_bytes() == LAYER
    assert site.pull() == 0, "what is on the disk was fetched again"


@pytest.mark.parametrize("cuts", [(100_000,), (1,), (90_000, 90_000, 90_000), (0,), (299_999,)])
def test_a_cut_answer_goes_on_where_it_was_cut(site: Site, cuts: tuple[int, ...]) -> None:
    for count in cuts:
        site.fault("truncate", after_bytes=count)
    assert site.pull() == len(LAYER) + len(CONFIG), "bytes that were here came again"
    offsets = [sum(cuts[: i + 1]) for i in range(len(cuts))]
    assert site.ranges() == ["", *(f"bytes={offset}-" if offset else "" for offset in offsets)]
    assert len(site.waited) == len(cuts)


def test_another_process_goes_on_where_the_first_one_died(site: Site) -> None:
    site.stall_s = 0.0
    site.fault("truncate", after_bytes=120_000)
    with pytest.raises(UpstreamError, match="ended early") as caught:
        site.pull()
    assert caught.value.transient
    assert site.store.size(digest(LAYER)) == 120_000
    assert site.pull() == len(LAYER) - 120_000
    assert site.ranges()[-1] == "bytes=120000-"


def test_a_registry_without_ranges_is_read_from_the_start(site: Site) -> None:
    site.fault("truncate", after_bytes=100_000)
    site.fault("ignore_range")
    assert site.pull() == len(LAYER) + len(CONFIG) + 100_000


def test_an_unwanted_range_is_not_believed(site: Site) -> None:
    site.fault("truncate", after_bytes=100_000)
    headers = {"Content-Range": f"bytes 5-9/{len(LAYER)}"}
    site.fault("status", status=206, headers=headers, body=b"wrong")
    assert site.pull() == len(LAYER) + len(CONFIG)
    assert "another range" in site.waited[-1]


def test_bytes_that_are_not_the_digest_s_never_reach_the_engine(site: Site) -> None:
    site.fault("corrupt", times=99)
    with pytest.raises(UpstreamError, match="digest mismatch") as caught:
        site.pull()
    assert not caught.value.transient
    assert "publish" in caught.value.hint
    assert site.store.size(digest(LAYER)) == 0


def test_a_damaged_partial_file_is_fetched_anew_once(site: Site) -> None:
    site.store.partial(digest(LAYER)).write_bytes(bytes(100_000))
    assert site.pull() == 2 * len(LAYER) - 100_000 + len(CONFIG)


def test_a_partial_file_that_is_too_long_is_dropped(site: Site) -> None:
    site.store.partial(digest(LAYER)).write_bytes(bytes(len(LAYER) + 1))
    assert site.pull() == len(LAYER) + len(CONFIG)


def test_a_whole_file_that_was_never_checked_is_checked(site: Site) -> None:
    site.store.partial(digest(LAYER)).write_bytes(LAYER)
    assert site.pull() == len(CONFIG)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_registry_in_trouble_is_asked_again(site: Site, status: int) -> None:
    site.fault("status", status=status, times=2)
    assert site.pull() == len(LAYER) + len(CONFIG)
    assert site.waited == [f"the registry answers {status} to blobs/{digest(LAYER)}"] * 2


def test_trouble_that_stays_ends_at_the_deadline_and_may_be_tried_again(site: Site) -> None:
    site.stall_s = 1.0
    site.fault("status", status=502, times=999)
    with pytest.raises(UpstreamError, match="answers 502") as caught:
        site.pull()
    assert caught.value.transient


def test_silence_ends_at_the_deadline(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "READ_S", 0.3)
    site.stall_s = 0.5
    site.fault("hang", times=99)
    with pytest.raises(UpstreamError, match="timed out") as caught:
        site.pull()
    assert caught.value.transient
    assert "link" in caught.value.hint


def test_nobody_there_may_be_tried_again(site: Site) -> None:
    site.stall_s = 0.0
    site.way = Way("127.0.0.1:9", ssl.create_default_context(), plain_too=True)
    with pytest.raises(UpstreamError, match=r"127\.0\.0\.1:9") as caught:
        site.pull()
    assert caught.value.transient


def test_what_is_not_there_is_said_at_once(site: Site) -> None:
    del site.server.blobs[digest(LAYER)]
    with pytest.raises(UpstreamError, match="404") as caught:
        site.pull()
    assert (caught.value.transient, "publish" in caught.value.hint, site.waited) == (False, True, [])


def test_another_manifest_than_the_digest_s_is_refused(site: Site) -> None:
    site.server.manifests[site.manifest] = b'{"layers": []}'
    with pytest.raises(UpstreamError, match="digest mismatch") as caught:
        site.pull()
    assert not caught.value.transient


def test_the_rate_holds_for_all_connections_together(site: Site) -> None:
    site.rate = 200_000
    started = time.monotonic()
    loopback, link = site.begin()
    askers = [threading.Thread(target=site.ask, args=(loopback, content)) for content in (LAYER, CONFIG)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    took = time.monotonic() - started
    loopback.close()
    assert link.moved == len(LAYER) + len(CONFIG)
    assert took >= link.moved / site.rate - 0.3, f"{link.moved} bytes in {took:.2f} s at {site.rate} bytes/s"


def test_an_engine_that_goes_on_in_the_middle_gets_the_rest(site: Site) -> None:
    loopback, _ = site.begin()
    assert site.ask(loopback, LAYER, start=299_990) == LAYER[299_990:]
    loopback.close()


def test_what_no_manifest_names_is_not_given(site: Site) -> None:
    other = b"somebody else's"
    site.server.blobs[digest(other)] = other
    loopback, _ = site.begin()
    assert site.ask(loopback, other) == b""
    loopback.close()


# ── who else may ask ─────────────────────────────────────────────────────────────────────────────────────────────


def status_of(loopback: Loopback, path: str) -> int:
    host, _, port = loopback.address.partition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def test_what_is_not_part_of_the_image_is_not_asked_for_and_ends_nothing(site: Site) -> None:
    other = json.dumps({"layers": []}).encode()
    site.server.manifests[digest(other)] = other
    loopback, _ = site.begin()
    asked = len(site.server.seen)
    for unknown in ("0" * 64, digest(other).removeprefix("sha256:")):
        assert status_of(loopback, f"/v2/{loopback.repository}/manifests/sha256:{unknown}") == 404
        assert status_of(loopback, f"/v2/{loopback.repository}/blobs/sha256:{unknown}") == 404
    for name in ("x", "jetfleet-fetch", "jetfleet-fetch/" + "0" * 32, loopback.repository[:-1]):
        assert status_of(loopback, f"/v2/{name}/manifests/{site.manifest}") == 404
        assert status_of(loopback, f"/v2/{name}/blobs/{digest(LAYER)}") == 404
    assert not loopback.failed.is_set()
    assert len(site.server.seen) == asked, "the registry was asked with this robot's credentials"
    assert site.ask(loopback, LAYER) == LAYER
    loopback.close()


JUNK = {
    "silence": b"",
    "TLS": b"\x16\x03\x01\x02\x00\x01",
    "a long line": b"GET " + b"x" * 100_000,
    "many headers": b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 3000,
}


@pytest.mark.parametrize("junk", JUNK.values(), ids=JUNK)
def test_junk_on_the_loopback_ends_nothing(site: Site, junk: bytes) -> None:
    loopback, _ = site.begin()
    host, _, port = loopback.address.partition(":")
    held = [socket.create_connection((host, int(port)), timeout=10) for _ in range(80)]
    for connection in held:
        with contextlib.suppress(OSError):
            connection.sendall(junk)
    assert site.ask(loopback, LAYER) == LAYER
    assert loopback.connections <= 64
    for connection in held:
        connection.close()
    assert not loopback.failed.is_set()
    loopback.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_gets_nothing_and_ends_nothing(site: Site) -> None:
    loopback, _ = site.begin()
    program = (
        "import http.client, sys\n"
        "for path in sys.argv[2:]:\n"
        "    try:\n"
        "        c = http.client.HTTPConnection(sys.argv[1], timeout=10); c.request('GET', path)\n"
        "        print(c.getresponse().status)\n"
        "    except (OSError, http.client.HTTPException): print('nothing')\n"
    )
    paths = [f"/v2/{loopback.repository}/manifests/{site.manifest}", f"/v2/{loopback.repository}/blobs/{digest(LAYER)}"]
    asks = ["/usr/bin/python3", "-c", program, loopback.address, "/v2/", *paths]
    ran = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", *asks], capture_output=True, text=True, cwd="/", check=True
    )
    assert ran.stdout.split() == ["nothing"] * 3
    assert (loopback.asked, loopback.failed.is_set()) == (0, False)
    assert site.ask(loopback, LAYER) == LAYER
    loopback.close()


@pytest.mark.parametrize("how", [Kernel().uid_of, looked_up], ids=["asked", "looked up"])
def test_the_kernel_says_who_asks_and_a_closed_connection_is_nobody_s(
    how: Callable[[tuple[str, int], tuple[str, int]], int | None],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        taken, address = server.accept()
        assert how(address, taken.getsockname()) == os.getuid()
        assert how((address[0], 1), taken.getsockname()) is None
        client.close()
        assert how(address, taken.getsockname()) is None, "the kernel calls a closed one root's"
        taken.close()


def test_without_the_kernel_s_tables_nobody_is_known(tmp_path: Path) -> None:
    assert looked_up(("127.0.0.1", 4), ("127.0.0.1", 5), tables=[tmp_path / "none"]) is None


@pytest.mark.parametrize("how", ["drip", "drip_last", "drip_head"])
def test_a_registry_that_drips_is_left(site: Site, how: str) -> None:
    site.fault(how, times=99)
    loopback, link = site.begin()
    link.pace = Pace(lambda: link.moved, 1024, 2.0)
    stop = threading.Event()
    threading.Thread(target=link.pace.watch, args=(stop,), daemon=True).start()
    with pytest.raises(UpstreamError, match="less than 1024 bytes a second") as told:
        site.ask(loopback, LAYER)
    assert told.value.transient
    stop.set()
    loopback.close()


# ── who we are ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_credentials_are_used(site: Site, auth: str) -> None:
    site.server.auth, site.known = auth, Credentials("here", "robot", "s3cret")
    assert site.pull() == len(LAYER) + len(CONFIG)
    tokens = [seen for seen in site.server.seen if seen.path.startswith("/token")]
    assert len(tokens) == (1 if auth == "token" else 0), "a token was asked for again for each blob"


def test_an_identity_token_is_exchanged(site: Site) -> None:
    site.server.auth, site.server.refresh_token = "token", "refresh-me"
    site.known = Credentials("here", identity_token="refresh-me")
    assert site.pull() == len(LAYER) + len(CONFIG)
    assert [seen.method for seen in site.server.seen if seen.path == "/token"] == ["POST"]


def test_a_token_that_ran_out_in_the_middle_is_renewed(site: Site) -> None:
    site.server.auth, site.known = "token", Credentials("here", "robot", "s3cret")
    site.fault("truncate", after_bytes=100_000)
    loopback, link = site.begin()
    site.server.tokens.clear()
    assert site.ask(loopback, LAYER) == LAYER
    assert link.moved == len(LAYER)
    loopback.close()


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("known", [None, Credentials("here", "robot", "wrong")])
def test_wrong_credentials_say_what_to_do(site: Site, auth: str, known: Credentials | None) -> None:
    site.server.auth, site.known = auth, known
    with pytest.raises(UpstreamError) as caught:
        site.pull()
    assert not caught.value.transient
    assert "docker login" in caught.value.hint


def test_an_unknown_way_to_authenticate_is_left_to_the_engine(site: Site) -> None:
    site.fault("status", b"manifests/", status=401, headers={"WWW-Authenticate": "Negotiate"}, times=9)
    with pytest.raises(Cannot, match="authentication by 'negotiate'"):
        site.pull()


def test_who_we_are_is_not_told_to_where_a_registry_redirects(site: Site) -> None:
    site.server.auth, site.known = "basic", Credentials("here", "robot", "s3cret")
    with faulty_registry() as other:
        other.blobs[digest(LAYER)] = LAYER
        place = f"http://{other.host}/v2/elsewhere/blobs/{digest(LAYER)}"
        site.fault("status", status=307, headers={"Location": place}, times=9)
        assert site.pull() == len(LAYER) + len(CONFIG)
        assert [seen.authorization for seen in other.seen] == [""]


@pytest.mark.parametrize("asks", ["basic", "token"])
@pytest.mark.parametrize(
    "known", [Credentials("here", "robot", "s3cret"), Credentials("here", identity_token="refresh")]
)
def test_a_store_that_asks_for_a_password_gets_none(site: Site, asks: str, known: Credentials) -> None:
    """And its refusal may pass: addresses that a registry signs for a store end after some minutes."""
    site.server.auth, site.server.refresh_token, site.known, site.stall_s = "token", "refresh", known, 0.0
    with faulty_registry() as other:
        other.auth, other.refresh_token = asks, "refresh"
        other.blobs[digest(LAYER)] = LAYER
        place = f"http://{other.host}/b/blobs/{digest(LAYER)}?X-Sig=hidden"
        site.fault("status", status=307, headers={"Location": place}, times=99)
        with pytest.raises(UpstreamError, match=f"redirects to http://{other.host}, which answers 401") as caught:
            site.pull()
        assert caught.value.transient
        assert "hidden" not in caught.value.message
        assert {seen.authorization for seen in other.seen} == {""}
        assert not [seen for seen in other.seen if seen.path.startswith("/token")], "its realm was asked for a token"


def test_a_store_on_the_registry_s_own_host_is_not_shown_a_second_proof(site: Site) -> None:
    site.server.auth, site.known, site.server.free = "basic", Credentials("here", "robot", "s3cret"), ("/bucket/",)
    place = f"/bucket/blobs/{digest(LAYER)}?X-Amz-Signature=1"
    site.fault("status", status=307, headers={"Location": place}, times=1)
    assert site.pull() == len(LAYER) + len(CONFIG)


def test_an_address_that_the_store_does_not_take_any_more_is_asked_for_again(site: Site) -> None:
    with faulty_registry() as other:
        other.blobs[digest(LAYER)] = LAYER
        other.faults = [Fault("GET", "status", status=403)]
        site.fault("status", status=307, headers={"Location": f"http://{other.host}/b/blobs/{digest(LAYER)}"}, times=9)
        assert site.pull() == len(LAYER) + len(CONFIG)


def test_nothing_leads_out_of_tls(tls_site: Site, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    tls_site.way = Way(tls_site.server.host, ssl.create_default_context(cafile=str(certificate[0])))
    with faulty_registry() as other:
        tls_site.fault("status", status=307, headers={"Location": f"http://{other.host}/b/blobs/x"}, times=9)
        with pytest.raises(UpstreamError, match=f"redirects to http://{other.host}, which has no TLS"):
            tls_site.pull()
        assert other.seen == []


def test_a_registry_that_asks_for_a_wait_gets_it(site: Site) -> None:
    site.fault("status", status=429, headers={"Retry-After": "2"})
    started = time.monotonic()
    assert site.pull() == len(LAYER) + len(CONFIG)
    assert time.monotonic() - started >= 2.0


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_helper_s_password_that_ends_in_mid_fetch_is_asked_for_again(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    """As ECR's and other clouds' do after some hours: the helper gives another one each time that it is asked."""
    helper = tmp_path / "docker-credential-cloud"
    helper.write_text(
        f"#!/bin/sh\necho x >> {tmp_path}/asked\n"
        f'printf \'{{"Username":"AWS","Secret":"p%d"}}\' "$(wc -l < {tmp_path}/asked)"\n'
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"credHelpers": {site.server.host: "cloud"}}))
    site.logins = RobotLogins(site.server.host, folder)
    site.server.auth, site.server.users = auth, {"AWS": "p1"}
    site.fault("truncate", after_bytes=100_000)
    loopback, link = site.begin()
    site.server.users = {"AWS": "p2"}  # the first one has run out, and so has what it was exchanged for
    site.server.tokens.clear()
    assert site.ask(loopback, LAYER) == LAYER
    assert link.moved == len(LAYER)
    loopback.close()
    assert (tmp_path / "asked").read_text().count("x") == 2


def test_a_redirect_in_circles_ends(site: Site) -> None:
    site.stall_s = 0.0
    site.fault("status", status=307, headers={"Location": f"/v2/x/blobs/{digest(LAYER)}"}, times=99)
    with pytest.raises(UpstreamError, match="redirects more than"):
        site.pull()


def test_a_credential_helper_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-vault"
    helper.write_text('#!/bin/sh\nread host\nprintf \'{"Username": "u-%s", "Secret": "s"}\' "$host"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "config.json").write_text('{"credHelpers": {"registry.test:5000": "vault"}}')
    found = RobotLogins("registry.test:5000", tmp_path).lookup("a/b")
    assert found is not None
    assert (found.username, found.secret) == ("u-registry.test:5000", "s")
    assert RobotLogins("other.test", tmp_path).lookup("a/b") is None
    (tmp_path / "config.json").write_text('{"credsStore": "missing"}')
    with pytest.raises(Cannot, match=r"docker-credential-missing.*not on PATH"):
        RobotLogins("registry.test:5000", tmp_path).lookup("a/b")


def test_a_helper_that_knows_nobody_leaves_what_docker_login_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = tmp_path / "docker-credential-empty"
    helper.write_text("#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n")
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    auth = base64.b64encode(b"u:p:with:colons").decode()
    config = {"credsStore": "empty", "auths": {"https://registry.test/v1/": {"auth": auth}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = RobotLogins("registry.test", tmp_path).lookup("a/b")
    assert found is not None
    assert (found.username, found.secret) == ("u", "p:with:colons")


# ── TLS ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    if shutil.which("openssl") is None:
        pytest.fail("no openssl here: `make setup` installs it")
    folder = tmp_path_factory.mktemp("tls")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=registry"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def tls_site(certificate: tuple[Path, Path], tmp_path: Path) -> Iterator[Site]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with faulty_registry(context) as server:
        yield Site(server, tmp_path / "blobs")


def test_the_registry_s_authority_in_certs_d_is_trusted(
    tls_site: Site, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "certs.d" / tls_site.server.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(certificate[0].read_bytes())
    tls_site.way = Way(tls_site.server.host, tls_context(tls_site.server.host, tmp_path / "certs.d", insecure=False))
    tls_site.fault("truncate", after_bytes=100_000)
    assert tls_site.pull() == len(LAYER) + len(CONFIG)


def test_an_unknown_authority_says_what_to_do(tls_site: Site, tmp_path: Path) -> None:
    tls_site.way = Way(tls_site.server.host, tls_context(tls_site.server.host, tmp_path, insecure=False))
    with pytest.raises(UpstreamError, match="not trusted") as caught:
        tls_site.pull()
    assert (caught.value.transient, "registry.ca_file" in caught.value.hint) == (False, True)


def test_an_insecure_registry_s_certificate_is_not_checked(tls_site: Site, tmp_path: Path) -> None:
    info = {"RegistryConfig": {"InsecureRegistryCIDRs": ["127.0.0.0/8"]}}
    tls_site.way = way_to(tls_site.server.host, info, tmp_path)
    assert tls_site.pull() == len(LAYER) + len(CONFIG)


def test_plain_http_is_refused_where_the_engine_would_refuse_it(site: Site, tmp_path: Path) -> None:
    site.stall_s = 0.0
    site.way = way_to(site.server.host, {"RegistryConfig": {}}, tmp_path)
    with pytest.raises(UpstreamError):
        site.pull()
    assert [seen for seen in site.server.seen if seen.authorization or "/v2/" in seen.path] == []


def test_a_file_in_certs_d_that_is_none_is_left_to_the_engine(tmp_path: Path) -> None:
    (tmp_path / "registry.test").mkdir()
    (tmp_path / "registry.test" / "ca.crt").write_text("nothing")
    with pytest.raises(Cannot, match=r"registry\.test cannot be used"):
        tls_context("registry.test", tmp_path, insecure=False)
