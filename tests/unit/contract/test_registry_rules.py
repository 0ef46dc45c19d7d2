"""Rules that robots and operators share at a registry: origins, challenges, tokens, Docker's logins, NO_PROXY."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.contract.registry.authorizer import AuthError, Authorizer
from runtime.contract.registry.challenge import parse_challenges
from runtime.contract.registry.docker_logins import Credentials, DockerLogins
from runtime.contract.registry.no_proxy import without_proxy
from runtime.contract.registry.origin import RedirectRefused, origin_of, redirect_target
from runtime.contract.registry.tokens import TokenRequest, missing_scopes, read_token, repository_of

# ── whose server ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("https://r.test/v2/", "https://R.TEST:443/x?y=1", True),
        ("https://r.test:5000/", "https://r.test:5000/v2/", True),
        ("https://[::1]:5000/", "https://[::1]:5000/v2/", True),
        ("https://r.test/", "http://r.test/", False),
        ("https://r.test/", "https://r.test:5000/", False),
        ("https://r.test/", "https://r.test.evil.test/", False),
        ("http://r.test/", "http://r.test:443/", False),
    ],
)
def test_an_origin_is_scheme_host_and_port(one: str, other: str, same: bool) -> None:
    assert (origin_of(one) == origin_of(other)) is same


@pytest.mark.parametrize("text", ["https://[::1]:5000", "https://r.test", "http://r.test:5000"])
def test_an_origin_is_shown_as_it_is_written(text: str) -> None:
    assert str(origin_of(text + "/v2/")) == text


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/v2/",
        "ftp://r.test/",
        "https://",
        "https://user:pa55@r.test/",
        "https://r.test:x/",
        "https://r.test:99999/",
    ],
)
def test_what_is_no_place_for_a_client_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(RedirectRefused) as caught:
        origin_of(url)
    assert "pa55" not in str(caught.value)


REGISTRY = origin_of("https://r.test:5000")


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://store.test/b?X-Amz-Signature=a%2Fb", "https://store.test/b?X-Amz-Signature=a%2Fb"),
        ("/v2/x/blobs/uploads/1", "https://r.test:5000/v2/x/blobs/uploads/1"),
        ("uploads/1?_state=q", "https://r.test:5000/v2/a/uploads/1?_state=q"),
        ("//store.test/b", "https://store.test/b"),
        ("https://store.test/a b#part", "https://store.test/a%20b"),
        ("http://R.test/v2/a/blobs/uploads/1?s=2", "https://r.test:5000/v2/a/blobs/uploads/1?s=2"),
        ("http://r.test:8080/v2/x", "https://r.test:5000/v2/x"),
    ],
)
def test_where_a_registry_leads(location: str, target: str) -> None:
    assert redirect_target("https://r.test:5000/v2/a/blobs", location, REGISTRY) == target


@pytest.mark.parametrize(
    "location",
    ["", "http://store.test/b", "http://r.test:9000/minio/b", "https://u:p@store.test/", "file:///etc/passwd"],
)
def test_where_nobody_follows(location: str) -> None:
    with pytest.raises(RedirectRefused):
        redirect_target("https://r.test:5000/v2/a", location, REGISTRY)


def test_a_registry_without_tls_may_lead_anywhere_and_tls_is_not_left_on_the_way() -> None:
    plain = origin_of("http://r.test:5000")
    assert redirect_target("http://r.test:5000/v2/a", "http://store.test/b", plain) == "http://store.test/b"
    with pytest.raises(RedirectRefused, match=r"http://third\.test, which has no TLS"):
        redirect_target("https://store.test/b", "http://third.test/c?secret=1", plain)


# ── challenges and tokens ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Basic realm="x", bEaReR realm="https://t.test/t?a=b",service=s', ["basic", "bearer"]),
        ('Bearer realm="https://t.test/",service="a, b",scope="repository:a:pull,push",Basic', ["bearer", "basic"]),
        ("Negotiate, Basic", ["negotiate", "basic"]),
        ("NTLM TlRMTVNTUAAB==, Basic realm=x", ["ntlm", "basic"]),
        (r'Digest realm="a \"quoted\" name", nonce="Basic realm=x"', ["digest"]),
        ("", []),
        (",,=\x00", []),
        ("Bearer " * 5000, ["bearer"]),
    ],
)
def test_challenges_are_read_as_the_specification_writes_them(header: str, schemes: list[str]) -> None:
    found = [each.scheme for each in parse_challenges(header)]
    assert found == schemes or (len(found) > 5 and set(found) == set(schemes))


def test_commas_and_quotes_inside_of_a_value_belong_to_it() -> None:
    header = (
        r'Bearer realm="https://t.test/a,b",service="the \"big\" one",scope="repository:a:pull,push repository:b:pull"'
    )
    (found,) = parse_challenges(header)
    assert found.parameters == {
        "realm": "https://t.test/a,b",
        "service": 'the "big" one',
        "scope": "repository:a:pull,push repository:b:pull",
    }


def test_scopes_that_a_registry_names_are_added() -> None:
    ours = ("repository:a:pull",)
    assert missing_scopes("repository:a:pull repository:b:pull registry:catalog:*", ours, False) == (
        "repository:b:pull",
        "registry:catalog:*",
    )
    assert missing_scopes("repository:a:pull,push", ours, insufficient=False) == ()
    assert missing_scopes("repository:a:pull,push", ours, insufficient=True) == ("repository:a:pull,push",)
    assert repository_of(("repository:warehouse/runtime:pull,push",)) == "warehouse/runtime"
    assert repository_of(()) == ""


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"token":null}', b'{"token":"a\\nb"}', b'{"token":1}', b"\xff", b"[" * 100_000]
)
def test_a_token_that_is_none(body: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  (its words are never shown)
        read_token(body)


@pytest.mark.parametrize("lifetime", ["-5", "0", "1e99", "null"])
def test_a_lifetime_that_makes_no_sense_is_the_usual_one(lifetime: str) -> None:
    assert read_token(b'{"token":"t","expires_in":%s}' % lifetime.encode()).lifetime_s == 60.0


# ── who is shown what ────────────────────────────────────────────────────────────────────────────────────────────

SCOPES = ("repository:warehouse/runtime:pull",)
BEARER = 'Bearer realm="https://t.test/token",service="s"'


class Realm:
    """A token server that takes one password, and whoever it is that is logged in."""

    def __init__(self, password: str = "new", status: int = 401) -> None:
        self.password, self.status, self.logged_in = password, status, "new"
        self.asked: list[TokenRequest] = []
        self.time = 0.0

    def __call__(self, request: TokenRequest) -> tuple[int, bytes]:
        self.asked.append(request)
        right = Credentials("", "robot", self.password).basic()
        if request.headers.get("Authorization") != right:
            return self.status, b"no"
        return 200, b'{"token":"t%d","expires_in":300}' % len(self.asked)

    def lookup(self, repository: str) -> Credentials | None:
        return Credentials("here", "robot", self.logged_in) if self.logged_in else None

    def authorizer(self, tls: bool = True) -> Authorizer:
        return Authorizer("r.test", tls, self.lookup, self, lambda: self.time)


def test_nothing_is_sent_before_the_registry_asks() -> None:
    realm = Realm()
    auth = realm.authorizer()
    assert auth.header(SCOPES) == ""
    assert (realm.asked, auth.used(SCOPES)) == ([], (False, None))


def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    realm = Realm()
    auth = realm.authorizer()
    assert auth.challenged(BEARER, SCOPES, "")
    assert [auth.header(SCOPES) for _ in range(3)] == ["Bearer t1"] * 3
    realm.time = 296.0
    assert auth.header(SCOPES) == "Bearer t2"


def test_a_token_that_is_refused_is_asked_for_again_once() -> None:
    auth = Realm().authorizer()
    assert auth.challenged(BEARER, SCOPES, "")
    sent = auth.header(SCOPES)
    assert auth.challenged(BEARER, SCOPES, sent)
    assert auth.header(SCOPES) == "Bearer t2"


@pytest.mark.parametrize("challenge", [BEARER, 'Basic realm="r"', ""])
def test_a_password_that_ran_out_is_looked_up_again(challenge: str) -> None:
    """A cloud's helper gives passwords that end after some hours, or in mid-fetch."""
    realm = Realm("first")
    realm.logged_in = "first"
    auth = realm.authorizer()
    assert auth.challenged(challenge, SCOPES, "")
    sent = auth.header(SCOPES)
    realm.password = realm.logged_in = "second"
    assert auth.challenged(challenge, SCOPES, sent)
    assert auth.header(SCOPES) not in ("", sent)
    refused = auth.header(SCOPES)
    if challenge != BEARER:
        assert not auth.challenged(challenge, SCOPES, refused), "the same password would be sent for ever"


def test_without_credentials_a_refused_login_is_no_circle() -> None:
    realm = Realm()
    realm.logged_in = ""
    auth = realm.authorizer()
    assert not auth.challenged('Basic realm="r"', SCOPES, "")
    with pytest.raises(AuthError, match=r"https://t\.test/token refused repository:warehouse/runtime:pull \(401: no\)"):
        auth.challenged(BEARER, SCOPES, "")


def test_a_registry_that_offers_both_gets_the_password_where_its_token_server_refuses() -> None:
    realm = Realm("something else")
    auth = realm.authorizer()
    assert auth.challenged('Basic realm="r", ' + BEARER, SCOPES, "")
    assert auth.header(SCOPES) == Credentials("", "robot", "new").basic()


@pytest.mark.parametrize(
    "realm_url", ["http://t.test/token", "https://u:pa55@t.test/", "token", "http://r.test/token?x=pa55"]
)
def test_a_token_server_without_tls_is_asked_nothing(realm_url: str) -> None:
    realm = Realm()
    with pytest.raises(AuthError, match="no credentials were sent") as caught:
        realm.authorizer().challenged(f'Bearer realm="{realm_url}"', SCOPES, "")
    assert realm.asked == []
    assert "pa55" not in caught.value.message


def test_a_registry_without_tls_may_have_such_a_token_server() -> None:
    assert Realm().authorizer(tls=False).challenged('Bearer realm="http://t.test/"', SCOPES, "")


# ── Docker's logins ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def login(tmp_path: Path) -> Callable[..., str | None]:
    """Return the user that a configuration with these keys gives, each key being its own user."""

    def user(host: str, repository: str, *keys: str) -> str | None:
        auths = {key: {"auth": base64.b64encode(f"{key}|:x".encode()).decode()} for key in keys}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        found = DockerLogins(tmp_path).lookup(host, repository)
        return found.source.split("→ ")[1].rstrip(")") if found else None

    return user


@pytest.mark.parametrize(
    ("repository", "keys", "found"),
    [
        ("warehouse/runtime", ("r.lan:5000/other", "r.lan:5000"), "r.lan:5000"),
        ("warehouse/runtime", ("r.lan:5000/other",), None),
        ("other/x", ("r.lan:5000", "r.lan:5000/other"), "r.lan:5000/other"),
        ("other/x/y", ("r.lan:5000/other", "r.lan:5000/other/x", "r.lan:5000/other/x/z"), "r.lan:5000/other/x"),
        ("otherwise/x", ("r.lan:5000/other", "https://r.lan:5000/v1/"), "https://r.lan:5000/v1/"),
        ("", ("r.lan:5000/other", "R.LAN:5000/"), "R.LAN:5000/"),
        ("a", ("r.lan", "r.lan:5001", "x.r.lan:5000"), None),
        ("a", ("http://r.lan:5000", "r.lan:5000"), "r.lan:5000"),
    ],
)
def test_the_longest_path_wins(
    login: Callable[..., str | None], repository: str, keys: tuple[str, ...], found: str | None
) -> None:
    assert login("r.lan:5000", repository, *keys) == found


def test_the_port_that_goes_without_saying_is_the_same_registry(login: Callable[..., str | None]) -> None:
    assert login("r.lan:443", "a", "r.lan") == "r.lan"
    assert login("r.lan", "a", "https://r.lan:443") == "https://r.lan:443"


def test_a_helper_with_a_path_counts_for_what_is_below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "docker-credential-fake"
    helper.write_text('#!/bin/sh\nprintf \'{"Username":"%s","Secret":"x"}\' "$(cat)"\n')
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    config = {"credHelpers": {"r.lan/a": "fake"}, "auths": {"r.lan": {"username": "file", "password": "x"}}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    users = [DockerLogins(tmp_path).lookup("r.lan", repository) for repository in ("a/b", "c")]
    assert [user.username for user in users if user] == ["r.lan/a", "file"]
    assert not DockerLogins(tmp_path).knows("other.lan")


# ── proxies ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rules", "host", "port", "direct"),
    [
        ("*.lan", "registry.lan", 443, True),
        ("*.lan", "lan", 443, False),
        (".lan", "registry.lan", 443, True),
        ("lan", "registry.lan", 443, True),
        ("lan", "lan", 443, True),
        ("lan", "wlan", 443, False),
        ("*", "registry.example", 443, True),
        ("10.0.0.0/8", "10.1.2.3", 5000, True),
        ("10.0.0.0/8", "registry.lan", 5000, False),
        ("10.0.0.1", "10.0.0.1", 5000, True),
        ("registry.lan:5000", "registry.lan", 5000, True),
        ("registry.lan:5000", "registry.lan", 443, False),
        ("[fd00::1]:5000", "fd00::1", 5000, True),
        ("fd00::/8", "fd00::1", 5000, True),
        ("10.0.0.0/99, , bad/", "10.0.0.1", 80, False),
        ("a.lan b.lan", "b.lan", 80, True),
        ("", "localhost", 5000, True),
        ("", "127.0.5.1", 5000, True),
        ("", "::1", 5000, True),
        ("", "registry.lan", 5000, False),
        ("REGISTRY.LAN", "registry.lan", 5000, True),
    ],
)
def test_no_proxy_is_read_as_the_engine_reads_it(rules: str, host: str, port: int, direct: bool) -> None:
    assert without_proxy(rules, host, port) is direct
