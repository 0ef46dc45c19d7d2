"""Credentials out of Docker's own configuration, credential helpers included."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from fleet.adapters.docker.docker_config import Credentials, DockerCredentials
from fleet.errors import RegistryAuthError

HOST = "registry.test:5000"


def encoded(user: str, secret: str) -> str:
    return base64.b64encode(f"{user}:{secret}".encode()).decode()


def configured(folder: Path, config: object) -> DockerCredentials:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
    return DockerCredentials(folder, helper_timeout_s=5.0)


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper on PATH that logs what it is asked and answers with the file `answer`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-fake"
    program.write_text(f'#!/bin/sh\necho "$1 $(cat)" >> {folder}/asked\n. {folder}/answer\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def answer(helper: Path, script: str) -> None:
    (helper / "answer").write_text(script + "\n")


@pytest.mark.parametrize("name", [HOST, f"https://{HOST}", f"http://{HOST}/v2/", f"https://{HOST}/v1/"])
def test_auths_are_found_however_they_are_written(tmp_path: Path, name: str) -> None:
    found = configured(tmp_path, {"auths": {name: {"auth": encoded("robot", "s3:cret")}}}).lookup(HOST)
    assert found is not None
    assert (found.username, found.secret) == ("robot", "s3:cret")
    assert found.source == f"{tmp_path / 'config.json'} (auths → {name})"


def test_docker_hub_has_a_name_of_its_own(tmp_path: Path) -> None:
    docker = configured(tmp_path, {"auths": {"https://index.docker.io/v1/": {"auth": encoded("robot", "x")}}})
    for host in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        assert docker.lookup(host) is not None


@pytest.mark.parametrize("config", [{}, {"auths": {}}, {"auths": {HOST: {}}}, {"auths": {"other": {"auth": "eDp5"}}}])
def test_nothing_known_is_none(tmp_path: Path, config: object) -> None:
    assert configured(tmp_path, config).lookup(HOST) is None


def test_no_file_is_none(tmp_path: Path) -> None:
    assert DockerCredentials(tmp_path / "none").lookup(HOST) is None


def test_tokens_are_taken(tmp_path: Path) -> None:
    docker = configured(tmp_path, {"auths": {HOST: {"identitytoken": "i"}, "two": {"registrytoken": "r"}}})
    first, second = docker.lookup(HOST), docker.lookup("two")
    assert first is not None
    assert second is not None
    assert (first.identity_token, second.registry_token) == ("i", "r")


def test_the_folder_comes_from_the_environment(tmp_path: Path) -> None:
    assert DockerCredentials.from_environment({"DOCKER_CONFIG": str(tmp_path)}).path == tmp_path / "config.json"
    assert DockerCredentials.from_environment({}).path == Path.home() / ".docker" / "config.json"


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": ' * 100_000])
def test_a_broken_file_is_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(RegistryAuthError, match=r"config\.json: Docker's configuration cannot be read"):
        configured(tmp_path, text).lookup(HOST)


def test_a_broken_auth_value_is_named_without_showing_it(tmp_path: Path) -> None:
    with pytest.raises(RegistryAuthError, match="not base64") as caught:
        configured(tmp_path, {"auths": {HOST: {"auth": "s3cret!"}}}).lookup(HOST)
    assert "s3cret" not in caught.value.message
    assert f"docker login {HOST}" in caught.value.hint


@pytest.mark.parametrize("config", [{"credHelpers": {HOST: "fake"}}, {"credsStore": "fake"}])
def test_a_helper_is_asked(tmp_path: Path, helper: Path, config: object) -> None:
    answer(helper, """echo '{"ServerURL":"x","Username":"robot","Secret":"s3cret"}'""")
    found = configured(tmp_path, config).lookup(HOST)
    assert found is not None
    assert (found.username, found.secret) == ("robot", "s3cret")
    assert "docker-credential-fake" in found.source
    assert (helper / "asked").read_text() == f"get {HOST}\n"


def test_a_helper_of_the_registry_goes_before_the_common_one(tmp_path: Path, helper: Path) -> None:
    answer(helper, """echo '{"Username":"own","Secret":"x"}'""")
    found = configured(tmp_path, {"credHelpers": {HOST: "fake"}, "credsStore": "missing"}).lookup(HOST)
    assert found is not None
    assert found.username == "own"


def test_a_helper_may_hold_an_identity_token(tmp_path: Path, helper: Path) -> None:
    answer(helper, """echo '{"Username":"<token>","Secret":"refresh"}'""")
    found = configured(tmp_path, {"credsStore": "fake"}).lookup(HOST)
    assert found is not None
    assert (found.username, found.secret, found.identity_token) == ("", "", "refresh")


def test_a_store_that_knows_nothing_leaves_it_to_the_file(tmp_path: Path, helper: Path) -> None:
    answer(helper, "echo credentials not found in native keychain; exit 1")
    config = {"credsStore": "fake", "auths": {HOST: {"auth": encoded("robot", "x")}}}
    found = configured(tmp_path, config).lookup(HOST)
    assert found is not None
    assert found.username == "robot"


def test_what_a_failing_helper_says_is_kept(tmp_path: Path, helper: Path) -> None:
    answer(helper, "echo 'gpg: decryption failed: No secret key' >&2; exit 3")
    with pytest.raises(RegistryAuthError, match="exit code 3: gpg: decryption failed") as caught:
        configured(tmp_path, {"credsStore": "fake"}).lookup(HOST)
    assert "docker-credential-fake get" in caught.value.hint


def test_a_helper_that_hangs_meets_a_deadline(tmp_path: Path, helper: Path) -> None:
    answer(helper, "exec sleep 60")
    docker = configured(tmp_path, {"credsStore": "fake"})
    docker = DockerCredentials(tmp_path, helper_timeout_s=0.2)
    with pytest.raises(RegistryAuthError, match="no answer within"):
        docker.lookup(HOST)


def test_a_helper_that_is_not_installed_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegistryAuthError, match=r"docker-credential-nowhere.* not on PATH"):
        configured(tmp_path, {"credsStore": "nowhere"}).lookup(HOST)


def test_an_answer_that_is_no_json_is_named(tmp_path: Path, helper: Path) -> None:
    answer(helper, "echo s3cret")
    with pytest.raises(RegistryAuthError, match="not JSON") as caught:
        configured(tmp_path, {"credsStore": "fake"}).lookup(HOST)
    assert "s3cret" not in str(caught.value)


def test_secrets_are_never_printed() -> None:
    credentials = Credentials("here", "robot", "pa55", identity_token="1dentity", registry_token="t0ken")
    for text in (str(credentials), repr(credentials)):
        assert "robot" in text
        assert not [secret for secret in ("pa55", "1dentity", "t0ken") if secret in text]
