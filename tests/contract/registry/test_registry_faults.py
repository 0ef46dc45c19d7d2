"""The registry client against a server that misbehaves to order: what is retried, what is resumed, what it says."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import pytest

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.least_rate import pieces
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.registry.registry_http import Timeouts
from fleet.adapters.retry import RetryPolicy
from fleet.errors import FleetError, OutsideError, RegistryAuthError, RegistryError
from fleet.oci.image_spec import MANIFEST, Bytes
from tests.fakes.registries.registry_server import Fault, FaultyRegistry, faulty_registry
from tests.harness import share

REPOSITORY = "warehouse/engines"
CHUNK = 1 << 20
SECRET = "s3cret"


class PatientClock:
    """Never waits, and remembers for how long it was asked to."""

    def __init__(self) -> None:
        self.waits: list[float] = []
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.time += seconds


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with faulty_registry() as state:
        yield state


@pytest.fixture
def clock() -> PatientClock:
    return PatientClock()


Connect = Callable[..., OciRegistry]


@pytest.fixture
def connect(server: FaultyRegistry, clock: PatientClock, tmp_path: Path) -> Iterator[Connect]:
    made: list[OciRegistry] = []

    def client(config: dict[str, object] | None = None, **options: object) -> OciRegistry:
        folder = tmp_path / "docker"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config or {}))
        settings: dict[str, object] = {"clock": clock, "chunk_bytes": CHUNK, "timeouts": Timeouts(2.0, 0.5)}
        settings |= {"credentials": DockerCredentials(folder), **options}
        made.append(OciRegistry(str(settings.pop("host", server.host)), **settings))  # type: ignore[arg-type]
        return made[-1]

    yield client
    for one in made:
        one.close()


def auths(host: str, user: str = "robot", secret: str = SECRET) -> dict[str, object]:
    return {"auths": {host: {"auth": base64.b64encode(f"{user}:{secret}".encode()).decode()}}}


# ── retries ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429])
def test_transient_answers_are_tried_again(
    server: FaultyRegistry, connect: Connect, clock: PatientClock, status: int
) -> None:
    server.faults = [Fault("GET /v2/$", "status", times=2, status=status)]
    registry = connect()

    registry.ping()

    assert registry.requests_made == len(server.seen) == 3
    assert 0.5 <= clock.waits[0] <= 0.75
    assert 1.0 <= clock.waits[1] <= 1.5


def test_retries_are_bounded_and_the_last_error_is_told(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("GET", "status", times=99, status=503, body=b'{"errors":[{"code":"UNAVAILABLE"}]}')]
    registry = connect()

    with pytest.raises(RegistryError) as caught:
        registry.ping()

    assert registry.requests_made == RetryPolicy().tries
    assert server.host in caught.value.message
    assert "503: UNAVAILABLE" in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_code == 3


def test_retry_after_is_honoured_and_capped(server: FaultyRegistry, connect: Connect, clock: PatientClock) -> None:
    server.faults = [
        Fault("GET", "status", status=429, headers={"Retry-After": "7"}),
        Fault("GET", "status", status=429, headers={"Retry-After": "9999"}),
    ]
    connect().ping()
    assert clock.waits == [7.0, RetryPolicy().cap_s]


def test_a_refusal_is_not_tried_again(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("GET", "status", status=403, body=b'{"errors":[{"code":"DENIED","message":"no"}]}', times=9)]
    registry = connect()
    with pytest.raises(RegistryAuthError, match="DENIED: no"):
        registry.ping()
    assert registry.requests_made == 1


def test_a_hanging_registry_meets_a_deadline(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("GET", "hang", times=9)]
    with pytest.raises(RegistryError, match="no answer in time") as caught:
        connect(timeouts=Timeouts(1.0, 0.1)).ping()
    assert "timed out" in caught.value.message


def test_a_broken_link_is_tried_again(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("GET", "reset")]
    connect().ping()
    assert len(server.seen) == 2


def test_nobody_listening_says_where_and_what_to_do(connect: Connect) -> None:
    host = f"127.0.0.1:{share.free_port()}"
    with pytest.raises(RegistryError, match="not reachable") as caught:
        connect(host=host).ping()
    assert host in caught.value.message
    assert "Connection refused" in caught.value.message
    assert "registry.address" in caught.value.hint


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_upload_resumes_where_the_registry_left_off(server: FaultyRegistry, connect: Connect) -> None:
    blob = Bytes.of(os.urandom(3 * CHUNK + 5))
    server.faults = [Fault("PATCH", "reset", times=1, after_bytes=700_000)]

    connect().push_blob(REPOSITORY, blob)

    assert server.blobs[blob.digest] == blob.content
    ranges = [one.content_range for one in server.seen if one.method == "PATCH"]
    assert ranges[0] == f"0-{CHUNK - 1}"
    assert ranges[1].startswith("700000-")


def test_an_upload_survives_breaks_with_progress_between_them(server: FaultyRegistry, connect: Connect) -> None:
    blob = Bytes.of(os.urandom(6 * CHUNK))
    server.faults = [Fault("PATCH", "reset", times=8, after_bytes=300_000)]
    connect().push_blob(REPOSITORY, blob)
    assert server.blobs[blob.digest] == blob.content


def test_an_upload_without_progress_gives_up(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("PATCH", "reset", times=99)]
    with pytest.raises(RegistryError, match="not reachable"):
        connect().push_blob(REPOSITORY, Bytes.of(os.urandom(2 * CHUNK)))
    assert server.methods().count("PATCH") == RetryPolicy().tries


def test_an_upload_that_the_registry_forgot_begins_again(server: FaultyRegistry, connect: Connect) -> None:
    blob = Bytes.of(os.urandom(3 * CHUNK))
    server.faults = [Fault("PATCH", "status", status=404)]
    connect().push_blob(REPOSITORY, blob)
    assert server.blobs[blob.digest] == blob.content
    assert server.methods().count("POST") == 2


def test_a_registry_that_forgets_every_upload_is_told_so(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("PATCH", "status", status=404, times=99)]
    with pytest.raises(RegistryError, match="broke off 5 times"):
        connect().push_blob(REPOSITORY, Bytes.of(os.urandom(2 * CHUNK)))


@pytest.mark.parametrize("status", [405, 501])
def test_without_chunks_the_blob_goes_in_one_request(server: FaultyRegistry, connect: Connect, status: int) -> None:
    blob = Bytes.of(os.urandom(3 * CHUNK))
    server.faults = [Fault("PATCH", "status", status=status, times=99)]
    connect().push_blob(REPOSITORY, blob)
    assert server.blobs[blob.digest] == blob.content


@pytest.mark.parametrize("relative", [True, False])
def test_locations_may_be_relative(server: FaultyRegistry, connect: Connect, relative: bool) -> None:
    server.relative_location = relative
    blob = Bytes.of(os.urandom(2 * CHUNK + 1))
    connect().push_blob(REPOSITORY, blob)
    assert server.blobs[blob.digest] == blob.content


def test_a_full_disk_is_named_and_not_tried_again(server: FaultyRegistry, connect: Connect) -> None:
    detail = {"DriverName": "filesystem", "Enclosed": {"Op": "write", "Path": "/data", "Err": 28}}
    body = json.dumps({"errors": [{"code": "UNKNOWN", "message": "unknown error", "detail": detail}]}).encode()
    server.faults = [Fault("PATCH", "status", status=500, body=body, times=9)]
    with pytest.raises(RegistryError, match="disk is full") as caught:
        connect().push_blob(REPOSITORY, Bytes.of(os.urandom(2 * CHUNK)))
    assert "garbage collection" in caught.value.hint
    assert server.methods().count("PATCH") == 1


def test_a_proxy_with_a_size_limit_gets_smaller_chunks(server: FaultyRegistry, connect: Connect) -> None:
    server.max_body = 2 * CHUNK
    blob = Bytes.of(os.urandom(9 * CHUNK))
    connect(chunk_bytes=64 * CHUNK).push_blob(REPOSITORY, blob)
    assert server.blobs[blob.digest] == blob.content


def test_a_proxy_with_a_tiny_size_limit_is_named(server: FaultyRegistry, connect: Connect) -> None:
    server.max_body = 1000
    with pytest.raises(RegistryError, match="too large for the registry") as caught:
        connect().push_blob(REPOSITORY, Bytes.of(os.urandom(2 * CHUNK)))
    assert "client_max_body_size" in caught.value.hint


def test_a_lost_last_answer_is_settled_by_asking(server: FaultyRegistry, connect: Connect) -> None:
    """The registry closed the upload, the answer got lost, and the second PUT finds no upload."""
    blob = Bytes.of(os.urandom(2 * CHUNK))
    server.blobs[blob.digest] = blob.content
    server.faults = [
        Fault("HEAD", "status", status=404),
        Fault("GET", "status", status=404),
        Fault("PUT", "status", status=404),
    ]
    connect().push_blob(REPOSITORY, blob)
    assert server.methods().count("POST") == 1


# ── downloads ────────────────────────────────────────────────────────────────────────────────────────────────────


def hold(server: FaultyRegistry, content: bytes) -> str:
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    server.blobs[digest] = content
    return digest


def test_a_download_resumes_by_range(server: FaultyRegistry, connect: Connect, tmp_path: Path) -> None:
    content = os.urandom(3 * CHUNK)
    digest = hold(server, content)
    server.faults = [Fault("GET", "truncate", after_bytes=CHUNK + 7)]

    connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob")

    assert (tmp_path / "blob").read_bytes() == content
    resumed = [one.range for one in server.seen if one.range]
    assert len(resumed) == 1
    assert 0 < int(resumed[0].removeprefix("bytes=").rstrip("-")) <= CHUNK + 7


def test_a_registry_that_ignores_ranges_sends_it_all_again(
    server: FaultyRegistry, connect: Connect, tmp_path: Path
) -> None:
    content = os.urandom(3 * CHUNK)
    digest = hold(server, content)
    server.faults = [Fault("GET", "truncate", after_bytes=2 * CHUNK), Fault("GET", "ignore_range")]
    connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == content


def test_wrong_bytes_are_never_kept(server: FaultyRegistry, connect: Connect, tmp_path: Path) -> None:
    digest = hold(server, os.urandom(2 * CHUNK))
    (tmp_path / "blob").write_bytes(b"what was there before")
    server.faults = [Fault("GET", "corrupt", times=9)]
    with pytest.raises(RegistryError, match="digest mismatch"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob")
    assert (tmp_path / "blob").read_bytes() == b"what was there before"
    assert [path.name for path in tmp_path.glob("*blob*")] == ["blob"]


def test_a_download_that_never_ends_well_gives_up(server: FaultyRegistry, connect: Connect, tmp_path: Path) -> None:
    digest = hold(server, os.urandom(CHUNK))
    server.faults = [Fault("GET", "truncate", times=99, after_bytes=0)]
    with pytest.raises(RegistryError, match=r"link broke|not reachable"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob")
    assert not (tmp_path / "blob").exists()
    assert list(tmp_path.glob(".blob*")) == []


def test_a_folder_that_is_not_there_is_an_error_of_ours(
    server: FaultyRegistry, connect: Connect, tmp_path: Path
) -> None:
    digest = hold(server, b"x")
    with pytest.raises(OutsideError, match="cannot be written"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "none" / "blob")


def test_a_blob_is_not_read_past_what_its_descriptor_or_the_registry_says(
    server: FaultyRegistry, connect: Connect, tmp_path: Path
) -> None:
    digest = hold(server, os.urandom(CHUNK))
    with pytest.raises(RegistryError, match="larger than the 9 bytes"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob", size=9)
    connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob", size=CHUNK)
    server.faults = [Fault("GET", "endless", times=2)]
    with pytest.raises(RegistryError, match="does not say how large it is"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "other")
    with pytest.raises(RegistryError, match=f"larger than the {CHUNK} bytes"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "other", size=CHUNK)
    assert not [path for path in tmp_path.iterdir() if path.name not in ("blob", "docker")]


def test_a_blob_that_does_not_fit_the_disk_is_refused_before_it_comes(
    server: FaultyRegistry, connect: Connect, tmp_path: Path
) -> None:
    digest = hold(server, b"x")
    with pytest.raises(OutsideError, match="are to come"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob", size=1 << 60)


def test_a_registry_that_drips_is_left(
    server: FaultyRegistry, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hold(server, os.urandom(CHUNK))
    server.faults = [Fault("GET", "drip", times=9)]
    monkeypatch.setattr("fleet.adapters.received_file.pieces", partial(pieces, over_s=0.5))
    with pytest.raises(RegistryError, match="less than 1024 a second"):
        connect().fetch_blob(REPOSITORY, digest, tmp_path / "blob")


def test_a_manifest_that_drips_is_left(
    server: FaultyRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = connect()
    registry.put_manifest(REPOSITORY, "1.0.0", b'{"schemaVersion":2,"x":"' + b"x" * 5000 + b'"}', MANIFEST)
    server.faults = [Fault("GET", "drip", times=9)]
    monkeypatch.setattr("fleet.adapters.registry.registry_http.pieces", partial(pieces, over_s=0.5))
    with pytest.raises(RegistryError, match="less than 1024 a second"):
        registry.get_manifest(REPOSITORY, "1.0.0")


@pytest.mark.parametrize("what", ["manifests", "blobs"])
def test_an_answer_whose_head_never_ends_is_hung_up_on(
    server: FaultyRegistry, connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """A byte of a header now and then: no timeout of a socket ever comes, and no body begins."""
    digest = hold(server, os.urandom(CHUNK))
    server.faults = [Fault(what, "drip_head", times=99)]
    monkeypatch.setattr("fleet.adapters.http_session.HEAD_S", 0.5)
    registry = connect()
    asks = {
        "manifests": lambda: registry.get_manifest(REPOSITORY, "1.0.0"),
        "blobs": lambda: registry.fetch_blob(REPOSITORY, digest, tmp_path / "blob"),
    }
    with pytest.raises(RegistryError, match="the head of its answer did not end"):
        asks[what]()


# ── manifests ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_manifest_with_other_bytes_is_refused(server: FaultyRegistry, connect: Connect) -> None:
    registry = connect()
    body = b'{"schemaVersion":2}'
    digest = registry.put_manifest(REPOSITORY, "1.0.0", body, MANIFEST)
    for reference in ("1.0.0", digest):
        server.faults = [Fault("GET", "corrupt")]
        with pytest.raises(RegistryError, match="digest mismatch"):
            registry.get_manifest(REPOSITORY, reference)


def test_a_truncated_manifest_is_asked_for_again(server: FaultyRegistry, connect: Connect) -> None:
    registry = connect()
    registry.put_manifest(REPOSITORY, "1.0.0", b'{"schemaVersion":2}', MANIFEST)
    server.faults = [Fault("GET", "truncate", after_bytes=4)]
    found = registry.get_manifest(REPOSITORY, "1.0.0")
    assert found is not None
    assert found.body == b'{"schemaVersion":2}'


def test_tags_follow_links(server: FaultyRegistry, connect: Connect) -> None:
    server.tag_pages = [["c", "a"], ["b"], ["d"]]
    registry = connect()
    assert registry.tags(REPOSITORY) == ["a", "b", "c", "d"]
    assert registry.requests_made == 3


def test_deletes_that_are_switched_off_say_so(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("DELETE", "status", status=405)]
    with pytest.raises(RegistryError, match="does not allow deletes") as caught:
        connect().delete_manifest(REPOSITORY, "sha256:" + "0" * 64)
    assert "REGISTRY_STORAGE_DELETE_ENABLED" in caught.value.hint


def test_a_web_server_is_not_a_registry(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("GET", "status", status=200, body=b"<html>log in</html>")]
    with pytest.raises(RegistryError, match="not a JSON document"):
        connect().tags(REPOSITORY)


# ── credentials ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_basic_auth_from_the_docker_config(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "basic"
    registry = connect(auths(server.host))
    registry.ping()
    registry.push_blob(REPOSITORY, Bytes.of(b"x"))
    # Asked once; from then on the header goes along.
    assert [one.authorization for one in server.seen].count("") == 1


@pytest.mark.parametrize("scheme", ["basic", "token"])
def test_wrong_credentials_name_their_source_and_never_the_secret(
    server: FaultyRegistry, connect: Connect, scheme: str, tmp_path: Path
) -> None:
    server.auth = scheme
    registry = connect(auths(server.host, secret="wr0ng"))
    with pytest.raises(RegistryAuthError) as caught:
        registry.ping()
    text = f"{caught.value.message} {caught.value.hint} {caught.value.__cause__!r}"
    assert "user 'robot'" in text
    assert str(tmp_path / "docker" / "config.json") in text
    assert f"docker login {server.host}" in text
    assert "wr0ng" not in text
    assert base64.b64encode(b"robot:wr0ng").decode() not in text


def test_no_credentials_at_all_is_said(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "basic"
    with pytest.raises(RegistryAuthError, match=r"no credentials for it in .*config\.json"):
        connect().ping()


def test_tokens_are_fetched_once_for_a_scope(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    registry = connect(auths(server.host))
    for number in range(4):
        registry.push_blob(REPOSITORY, Bytes.of(str(number).encode()))
    scopes = sorted(server.tokens.values())
    assert scopes == [f"repository:{REPOSITORY}:pull", f"repository:{REPOSITORY}:pull,push"]


def test_a_mount_asks_for_both_repositories(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    connect(auths(server.host)).mount_blob("warehouse/runtime", "sha256:" + "1" * 64, "warehouse/engines")
    assert list(server.tokens.values()) == ["repository:warehouse/runtime:pull,push repository:warehouse/engines:pull"]
    assert server.uploads == {}, "the upload that the registry began instead is cancelled"


def test_an_expired_token_is_renewed_before_it_is_used(
    server: FaultyRegistry, connect: Connect, clock: PatientClock
) -> None:
    server.auth = "token"
    registry = connect(auths(server.host))
    registry.ping()
    clock.time += 400
    registry.ping()
    assert len(server.tokens) == 2
    assert [one.method for one in server.seen if not one.path.startswith("/token")] == ["GET", "GET", "GET"]


def test_a_revoked_token_is_renewed_on_401(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    registry = connect(auths(server.host))
    registry.ping()
    server.tokens.clear()
    registry.ping()
    assert len(server.tokens) == 1


def test_a_token_that_ends_in_the_middle_of_an_upload(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    registry = connect(auths(server.host))
    content = os.urandom(3 * CHUNK)
    revoked: list[bool] = []

    class Revoking(io.BytesIO):
        """Ends all tokens when the second chunk is read."""

        def read(self, size: int | None = -1, /) -> bytes:
            if not revoked and self.tell() >= CHUNK:
                revoked.append(True)
                server.tokens.clear()
            return super().read(size)

    class Blob(Bytes):
        def open(self) -> BinaryIO:
            return Revoking(self.content)

    blob = Blob.of(content)
    registry.push_blob(REPOSITORY, blob)

    assert revoked
    assert server.blobs[blob.digest] == content


def test_a_scope_that_is_denied_names_it(server: FaultyRegistry, connect: Connect) -> None:
    server.auth, server.deny_scope = "token", "push"
    registry = connect(auths(server.host))
    assert registry.head_manifest(REPOSITORY, "1.0.0") is None
    with pytest.raises(RegistryAuthError, match=f"repository:{REPOSITORY}:pull,push"):
        registry.put_manifest(REPOSITORY, "1.0.0", b"{}", MANIFEST)


def test_an_identity_token_is_exchanged(server: FaultyRegistry, connect: Connect) -> None:
    server.auth, server.refresh_token, server.users = "token", "refresh-me", {"other": "x"}
    connect({"auths": {server.host: {"identitytoken": "refresh-me"}}}).ping()
    assert [one.method for one in server.seen] == ["GET", "POST", "GET"]


def test_a_token_server_that_stumbles_is_tried_again(server: FaultyRegistry, connect: Connect) -> None:
    server.auth = "token"
    server.faults = [Fault("GET /token", "status", status=503, times=2)]
    connect(auths(server.host)).ping()
    assert len(server.tokens) == 1


def test_netrc_is_not_taken(
    server: FaultyRegistry, connect: Connect, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login thief password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    connect().ping()
    assert server.seen[0].authorization == ""


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
def tls_server(certificate: tuple[Path, Path]) -> Iterator[FaultyRegistry]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with faulty_registry(context) as state:
        yield state


def test_an_own_authority_is_trusted_by_file(
    tls_server: FaultyRegistry, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    tls_server.auth, tls_server.relative_location = "token", False  # its Locations say http://, as behind a proxy
    registry = connect(auths(tls_server.host), host=tls_server.host, ca_file=certificate[0])
    blob = Bytes.of(os.urandom(2 * CHUNK))
    registry.push_blob(REPOSITORY, blob)
    assert tls_server.blobs[blob.digest] == blob.content


def test_an_unknown_authority_is_refused_with_a_way_on(
    tls_server: FaultyRegistry, connect: Connect, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        "/CN=other",
        "-keyout",
        "/dev/null",
        "-out",
        str(other),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    with pytest.raises(RegistryError, match="certificate is not accepted") as caught:
        connect(host=tls_server.host, ca_file=other).ping()
    assert "registry.ca_file" in caught.value.hint


def test_plain_http_where_tls_is_expected(
    server: FaultyRegistry, connect: Connect, certificate: tuple[Path, Path]
) -> None:
    with pytest.raises(RegistryError, match="does not speak TLS") as caught:
        connect(host=server.host, ca_file=certificate[0]).ping()
    assert "plain_http: true" in caught.value.hint


def test_tls_where_plain_http_is_expected(server: FaultyRegistry, connect: Connect) -> None:
    server.faults = [Fault("GET", "status", status=400, body=b"Client sent an HTTP request to an HTTPS server.\n")]
    with pytest.raises(RegistryError) as caught:
        connect().ping()
    assert "remove registry.plain_http" in caught.value.hint


def test_a_ca_file_that_is_not_there(connect: Connect, tmp_path: Path) -> None:
    with pytest.raises(FleetError, match="no such file"):
        connect(ca_file=tmp_path / "none.pem")
