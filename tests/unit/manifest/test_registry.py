"""`registry`, hosts and tags: what no registry or robot would take is said by `validate`."""

# ruff: noqa: E501  (one case a line reads better)
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleet.errors import ManifestError
from fleet.manifest.load import load_manifest
from fleet.resolve.images.recipe import recipe_for
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.texts import FLEET, Case, broken

ADDRESS = 'registry: {address: "registry.test:5000/testing", plain_http: true}'


def registry(more: str) -> str:
    return f'registry: {{address: "registry.test:5000/testing", {more}}}'


def case(name: str, more: str, path: str, message: str, hint: str, at: str = "registry") -> Case:
    return Case(name, "fleet", ADDRESS, registry(more), path, message, hint, at=at)


CASES = [
    case("no password", "robots: {username: a}", "registry/robots", "a login has a user and a password", "or helper"),
    case("no user", "robots: {password: {env: A}}", "registry/robots", "a login has a user and a password", "username"),
    case("helper and user", "robots: {helper: ecr-login, username: a}", "registry/robots", "a helper provides user and password", "give helper, or"),
    case("a password itself", "robots: {username: a, password: pa55}", "registry/robots/password", "is expected here", ""),
    case("two places", "robots: {username: a, password: {env: A, file: b}}", "registry/robots/password", "a secret is in one place", "one of command, file and env"),
    case("no place", "robots: {username: a, password: {}}", "registry/robots/password", "a secret is in one place", "one of"),
    case("open quote", "robots: {username: a, password: {command: \"pass 'x\"}}", "registry/robots/password/command", "the command cannot be read", "quotes closed"),
    case("colon in the user", "robots: {username: 'a:b', password: {env: A}}", "registry/robots/username", "is not a valid username", ""),
    case("helper with a path", "robots: {helper: ../x}", "registry/robots/helper", "is not a valid helper", ""),
    case("no such ca_file", "ca_file: certs/none.pem", "registry/ca_file", "does not exist", "PEM file"),
    case("a ca_file elsewhere", "ca_file: ../ca.pem", "registry/ca_file", "is outside of the manifest's folder", "move the file"),
    Case("host with port", "fleet", "host: 10.0.0.12,", 'host: "10.0.0.12:2222",', "robots/1/host", "has a port in it", "write 10.0.0.12 here and 2222 as key port"),
    Case("name with port", "fleet", "host: 10.0.0.12,", 'host: "amr-2.lan:22",', "robots/1/host", "has a port in it", "22 as key port"),
    Case("IPv6 with port", "fleet", "host: 10.0.0.12,", 'host: "[fd00::1]:22",', "robots/1/host", "has a port in it", "without brackets"),
    Case("a colon", "fleet", "host: 10.0.0.12,", 'host: "amr:x",', "robots/1/host", "neither a name nor an IPv6 address", "no colon"),
    Case("host with user", "fleet", "host: 10.0.0.12,", "host: jetson@10.0.0.12,", "robots/1/host", "is not a valid host", "without user and port"),
    Case("address with user", "fleet", "registry.test:5000/testing", "u:p@registry.test/testing", "registry/address", "is not a valid address", "host[:port]/repository"),
    Case("address too long", "fleet", "registry.test:5000/testing", "registry.test/" + "a" * 250, "registry/address", "has 250 characters", "at most"),
]  # fmt: skip


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name.replace(" ", "-"))
def test_what_is_written_wrong_is_said(each: Case, tmp_path: Path) -> None:
    found = [problem for problem in broken(each, tmp_path) if problem.path == each.path]
    assert found, "no problem of that key"
    assert each.says in found[0].message
    assert each.hint in found[0].hint
    assert "pa55" not in found[0].hint


@pytest.mark.parametrize("host", ["fd00::1", "::1", "amr-1.lan", "10.0.0.9", "amr_1"])
def test_hosts_that_are_right(host: str, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet_text=FLEET.replace("10.0.0.12", f'"{host}"'))
    assert load_manifest(tmp_path).manifest.robots[1].host == host


@pytest.mark.parametrize("host", ["[fd00::5]:5000", "Registry.Example", "10.0.0.5:443"])
def test_addresses_that_are_right(host: str, tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet_text=FLEET.replace("registry.test:5000/testing", f"{host}/testing"))
    assert load_manifest(tmp_path).manifest.registry.host == host


@pytest.mark.parametrize(("length", "right"), [(124, True), (125, False)])
def test_a_version_that_makes_a_tag_too_long(length: int, right: bool, tmp_path: Path) -> None:
    """Tags have 128 characters at most; that of group amr is the version, a dash, and amr; scout's is two longer."""
    version = "1.0.0-" + "a" * (length - 6 - 2)
    write_fleet(tmp_path, fleet_text=FLEET.replace("version: 1.0.0", f"version: {version}"))
    loaded = load_manifest(tmp_path)
    if right:
        assert len(max((f"{version}-{suffix}" for suffix in resolve(loaded, recipe_for).tags), key=len)) == 128
        return
    with pytest.raises(ManifestError) as caught:
        resolve(loaded, recipe_for)
    (problem,) = caught.value.problems
    assert (problem.path, problem.line) == ("version", 3)
    assert "longer than 128 characters (129)" in problem.message
    assert "shorten the version" in problem.hint


def authority(folder: Path) -> str:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=ca", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
    return (folder / "cert.pem").read_text()


@pytest.mark.parametrize(
    ("what", "why"), [("key", "holds a private key"), ("nothing", "holds no certificate"), ("right", "")]
)
def test_what_goes_to_every_robot_is_looked_into(what: str, why: str, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    certificate = authority(own)
    content = {"key": certificate + (own / "key.pem").read_text(), "nothing": "-----BEGIN\n", "right": certificate}
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "ca.pem").write_text(content[what])
    write_fleet(tmp_path, fleet_text=FLEET.replace(ADDRESS, registry("ca_file: certs/ca.pem")))
    if not why:
        assert resolve(load_manifest(tmp_path), recipe_for).registry.ca_file == str(tmp_path / "certs" / "ca.pem")
        return
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path)
    (problem,) = caught.value.problems
    assert problem.path == "registry/ca_file"
    assert why in problem.message
