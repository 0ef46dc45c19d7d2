"""What broken links and refusals mean: no exception of the HTTP library gets through, every sentence has a way on."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import requests
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from fleet.adapters.docker.docker_config import DockerCredentials
from fleet.adapters.registry.oci_registry import OciRegistry
from fleet.adapters.registry.registry_auth import Authenticator
from fleet.adapters.registry.registry_errors import TransientRegistryError, link_broken, refused
from fleet.adapters.retry import RetryPolicy
from fleet.errors import RegistryAuthError, RegistryError
from runtime.contract.registry.tokens import TokenRequest
from tests.fakes.clock import FakeClock

HOST = "registry.test:5000"


def library_errors() -> list[type[requests.RequestException]]:
    found = [error for _, error in inspect.getmembers(requests.exceptions, inspect.isclass)]
    return [error for error in found if issubclass(error, requests.RequestException)]


@pytest.mark.parametrize("error", library_errors(), ids=lambda error: error.__name__)
def test_every_exception_of_the_library_is_translated(error: type[requests.RequestException]) -> None:
    instance = error("x", "doc", 0) if "JSONDecode" in error.__name__ else error("what it says")
    translated = link_broken(HOST, "manifest a:1", instance)
    assert isinstance(translated, RegistryError)
    assert HOST in translated.message
    assert "manifest a:1" in translated.message
    assert translated.hint


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (requests.ConnectionError("refused"), True),
        (requests.ConnectTimeout("slow"), True),
        (requests.ReadTimeout("slow"), True),
        (requests.exceptions.ChunkedEncodingError("cut"), True),
        (requests.exceptions.ProxyError("proxy"), True),
        (requests.exceptions.SSLError("EOF occurred in violation of protocol"), True),
        (requests.exceptions.SSLError("certificate verify failed"), False),
        (requests.exceptions.InvalidURL("bad"), False),
    ],
)
def test_only_what_may_pass_is_tried_again(error: requests.RequestException, transient: bool) -> None:
    assert isinstance(link_broken(HOST, "x", error), TransientRegistryError) is transient


def errors(code: str, message: str, **more: object) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, **more}]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "says", "hint"),
    [
        (
            401,
            errors("UNAUTHORIZED", "who are you"),
            "refused (401: UNAUTHORIZED: who are you); used x",
            "docker login",
        ),
        (403, b"", "refused (403); used x", "docker login"),
        (404, errors("NAME_UNKNOWN", "no"), "not found (404: NAME_UNKNOWN: no)", "registry.address"),
        (405, b"", "does not allow it (405)", "registry.address"),
        (413, b"<html>", "too large for the registry (413: <html>)", "client_max_body_size"),
        (400, errors("MANIFEST_BLOB_UNKNOWN", "gone"), "MANIFEST_BLOB_UNKNOWN: gone", "run the same command again"),
        (400, b"Client sent an HTTP request to an HTTPS server.", "does not accept it", "plain_http"),
        (429, b"", "too many requests (429)", "wait"),
        (500, errors("UNKNOWN", "x", detail={"Err": 28}), "disk is full", "garbage collection"),
        (500, b"write: no space left on device", "disk is full", "garbage collection"),
        (507, b"", "disk is full (507)", "free space"),
        (500, b"", "the registry failed (500)", "log"),
        (418, b"\xff\xfe", "unexpected answer (418", "OCI registry"),
        (400, b'{"errors":"odd"}', "does not accept it", ""),
    ],
)
def test_every_refusal_says_what_and_what_to_do(status: int, body: bytes, says: str, hint: str) -> None:
    error = refused(HOST, "upload", status, body, "used x")
    assert error.message.startswith(f"{HOST}: upload: ")
    assert says in error.message
    assert hint in error.hint
    assert error.hint
    assert isinstance(error, RegistryAuthError) is (status in (401, 403))
    assert error.exit_code == 3


def test_backoff_grows_and_is_capped() -> None:
    policy = RetryPolicy(base_s=1.0, cap_s=5.0)
    waits = [policy.wait_s(failures, None) for failures in (1, 2, 3, 9)]
    assert 1.0 <= waits[0] <= 1.5
    assert 2.0 <= waits[1] <= 3.0
    assert 4.0 <= waits[2] <= 5.0
    assert waits[3] == 5.0
    assert policy.wait_s(1, 4.0) == 4.0
    assert policy.wait_s(1, 400.0) == 5.0


@pytest.mark.parametrize("digest", ["", "sha512:" + "0" * 128, "sha256:xyz", "latest"])
def test_what_is_no_digest_is_not_asked_for(digest: str) -> None:
    registry = OciRegistry(HOST)
    for ask in (registry.has_blob, registry.read_blob, registry.delete_manifest):
        with pytest.raises(RegistryError, match="not a sha256 digest"):
            ask("warehouse/engines", digest)
    assert registry.requests_made == 0


@pytest.mark.parametrize(
    ("host", "options", "base"),
    [
        ("registry.test:5000", {}, "https://registry.test:5000"),
        ("registry.test:5000", {"plain_http": True}, "http://registry.test:5000"),
        ("localhost:5000", {}, "http://localhost:5000"),
        ("127.0.5.1:5000", {}, "http://127.0.5.1:5000"),
        ("[::1]:5000", {}, "http://[::1]:5000"),
        ("localhost:5000", {"ca_file": DEFAULT_CA_BUNDLE_PATH}, "https://localhost:5000"),
        ("docker.io", {}, "https://registry-1.docker.io"),
    ],
)
def test_https_unless_local_or_asked(host: str, options: Mapping[str, object], base: str) -> None:
    assert OciRegistry(host, **options)._http.base_url == base  # type: ignore[arg-type]


# ── token servers ────────────────────────────────────────────────────────────────────────────────────────────────


def authenticator(answer: bytes, asked: list[str] | None = None) -> Authenticator:
    """One whose token server answers with ``answer``; ``asked`` takes the URLs."""

    def fetch(request: TokenRequest) -> tuple[int, bytes]:
        if asked is not None:
            asked.append(request.url)
        return 200, answer

    return Authenticator(HOST, DockerCredentials(Path("/nowhere")), fetch, FakeClock(), plain_realm=False)


def test_a_token_server_without_tls_gets_no_credentials() -> None:
    asked: list[str] = []
    auth = authenticator(b"{}", asked)
    with pytest.raises(RegistryAuthError, match="is not https: no credentials were sent"):
        auth.challenged('Bearer realm="http://token.test/token",service="s"', (), "")
    assert asked == []


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"token":null}', b'{"token":"x","expires_in":"soon"}'])
def test_a_token_server_that_gives_no_token_is_named(body: bytes) -> None:
    auth = authenticator(body)
    with pytest.raises(RegistryAuthError, match="answered without a token"):
        auth.challenged('Bearer realm="https://token.test/token"', (), "")


def test_a_challenge_is_read_whatever_its_form() -> None:
    asked: list[str] = []
    auth = authenticator(b'{"access_token":"t"}', asked)
    header = 'Basic realm="x", bEaReR realm="https://token.test/t?a=b", service=s, scope="repository:b:pull"'
    assert auth.challenged(header, ("repository:b:pull",), "")
    assert auth.header(("repository:b:pull",)) == "Bearer t"
    assert asked == ["https://token.test/t?a=b&service=s&scope=repository%3Ab%3Apull&client_id=jetfleet"]


def test_an_unknown_scheme_is_not_tried() -> None:
    auth = authenticator(b"{}")
    assert not auth.challenged("Negotiate", (), "")
    assert "asks for negotiate, not for Basic or Bearer" in auth.describe()
