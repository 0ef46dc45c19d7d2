"""What a robot is given for a private registry: authority and login, root's alone, in no argument and no error."""

from __future__ import annotations

import ast
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet.bootstrap import registry_access as module
from fleet.bootstrap import remote_registry
from fleet.bootstrap.registry_access import RegistryAccess, install_access, registry_access
from fleet.bootstrap.secret import read_secret
from fleet.errors import RobotError, UsageError
from fleet.manifest.schema.registry_schema import RegistryRef, Secret
from fleet.ports import CommandResult
from runtime.updater.fetching.credentials import RobotLogins
from tests.fakes.robots.local_root import run_registry_program
from tests.unit.bootstrap.test_prepare_robot import Machine

HOST = "registry.test:5000"
PASSWORD = "pa55'\"\\n: ü"
LOGIN = {"auths": {HOST: {"auth": base64.b64encode(f"robots:{PASSWORD}".encode()).decode()}}}
ADDRESS = f"{HOST}/warehouse"


def reference(**more: object) -> RegistryRef:
    return RegistryRef.model_validate({"address": ADDRESS, **more})


# ── the secret ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_is_read_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text(f"{PASSWORD}\r\nsecond line\n")
    monkeypatch.setenv("ROBOTS_PASSWORD", PASSWORD)
    program = f"{sys.executable} -c \"import sys; print(open(sys.argv[1]).read())\" '{tmp_path}/file'"
    for secret in (Secret(env="ROBOTS_PASSWORD"), Secret(file=str(tmp_path / "file")), Secret(command=program)):
        assert read_secret(secret, "x") == PASSWORD


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        (Secret(env="NOT_SET_ANYWHERE"), "the variable NOT_SET_ANYWHERE is empty"),
        (Secret(file="/nowhere/at/all"), "/nowhere/at/all cannot be read"),
        (Secret(file="/dev/null"), "/dev/null is empty"),
        (Secret(command="no-such-program-at-all x"), "cannot be run"),
        (Secret(command="sh -c 'cat /proc/version; echo locked >&2; exit 4'"), "exit code 4: locked"),
        (Secret(command="true"), "`true` is empty"),
        (Secret(command="printf '\\377'"), "is not text"),
    ],
)
def test_a_secret_that_is_not_there_is_said(secret: Secret, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_secret(secret, "registry.robots.password")
    assert says in caught.value.message
    assert caught.value.message.startswith("registry.robots.password: ")
    assert caught.value.hint
    assert "Linux version" not in caught.value.message, "what the program printed may be the secret"


def test_access_is_what_the_manifest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ca.pem").write_bytes(b"PEM")
    monkeypatch.setenv("ROBOTS_PASSWORD", PASSWORD)
    robots = {"username": "robots", "password": {"env": "ROBOTS_PASSWORD"}}
    access = registry_access(reference(ca_file=str(tmp_path / "ca.pem"), robots=robots))
    assert (access.host, access.authority, access.login) == (HOST, b"PEM", LOGIN)
    assert LOGIN["auths"][HOST]["auth"] not in repr(access)
    assert registry_access(reference()) == RegistryAccess(HOST)
    assert registry_access(reference(robots={"helper": "ecr-login"})).login == {"credHelpers": {HOST: "ecr-login"}}
    hub = RegistryRef.model_validate({"address": "docker.io/warehouse", "robots": {"helper": "x"}})
    assert registry_access(hub).login == {"credHelpers": {"https://index.docker.io/v1/": "x"}}


# ── on the way ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_bootstrap_brings_it_on_stdin_alone() -> None:
    machine = Machine()
    assert machine.bootstrap(access=RegistryAccess(HOST, b"PEM", None, LOGIN)).changed
    (told,) = machine.accesses
    assert (told["login"], told["host"], told["robot"]) == (LOGIN, HOST, "amr-001")
    assert (told["folder"], told["certs"]) == ("/var/lib/jetfleet/registry", "/etc/docker/certs.d")


@pytest.mark.parametrize(
    ("code", "said", "hint"),
    [
        (3, "docker-credential-ecr-login is not in /usr/bin of this machine", "install docker-credential-ecr-login"),
        (3, "this machine was never bootstrapped", "fleet bootstrap --robots amr-001"),
        (1, "sudo: a password is required", "check sudo"),
    ],
)
def test_a_robot_that_refuses_is_named(code: int, said: str, hint: str) -> None:
    machine = Machine()
    machine.shells.learn_host_key(machine.address)
    machine.host.programs["sudo"] = lambda args, stdin: CommandResult(code, "", f"noise\n{said}\n")
    shell = machine.shells.connect(machine.address)
    access = RegistryAccess(HOST, None, "ecr-login", {"credHelpers": {HOST: "ecr-login"}})
    with pytest.raises(RobotError, match=r"amr-001: its access to registry\.test:5000 cannot be set up: ") as caught:
        install_access(machine.address, "warehouse", shell, access, as_root=False)
    assert said in caught.value.message
    assert hint in caught.value.hint


# ── what runs at the robot ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def robot(tmp_path: Path) -> Path:
    (tmp_path / "robot.json").write_text('{"robot": "amr-001", "fleet": "warehouse"}')
    return tmp_path


def run(folder: Path, **values: Any) -> CommandResult:
    told: dict[str, Any] = {
        "identity": str(folder / "robot.json"),
        "robot": "amr-001",
        "fleet": "warehouse",
        "host": HOST,
    }
    told |= {"certs": str(folder / "certs.d"), "folder": str(folder / "registry")}
    told |= {"authority": None, "login": None, "helper": None, **values}
    return run_registry_program(told)


def changed(done: CommandResult) -> bool:
    assert done.exit_code == 0, done.stderr
    assert "pa55" not in done.stdout + done.stderr
    found: dict[str, bool] = json.loads(done.stdout)
    return found["changed"]


def test_a_login_is_root_s_alone_renewed_and_taken_away(robot: Path) -> None:
    file = robot / "registry" / "config.json"
    assert changed(run(robot, login=LOGIN))
    assert [path.stat().st_mode & 0o777 for path in (file.parent, file)] == [0o700, 0o600]
    found = RobotLogins(HOST, file.parent).lookup("warehouse/runtime")
    assert found is not None
    assert (found.username, found.secret) == ("robots", PASSWORD)
    assert not changed(run(robot, login=LOGIN))
    file.chmod(0o644)
    assert changed(run(robot, login=LOGIN)), "a file that others can read is not what was asked for"
    assert file.stat().st_mode & 0o777 == 0o600
    renewed = {"auths": {HOST: {"auth": "bmV3Om5ldw=="}}}
    assert changed(run(robot, login=renewed))
    assert json.loads(file.read_text()) == renewed
    assert changed(run(robot))
    assert list((robot / "registry").iterdir()) == []
    assert not changed(run(robot))


def test_an_authority_stands_beside_what_others_put_there(robot: Path) -> None:
    theirs = robot / "certs.d" / HOST / "theirs.crt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("theirs")
    pem = base64.b64encode(b"PEM").decode()
    assert changed(run(robot, authority=pem))
    ours = theirs.with_name("jetfleet-ca.crt")
    assert (ours.read_bytes(), ours.stat().st_mode & 0o777) == (b"PEM", 0o644)
    assert not changed(run(robot, authority=pem))
    assert changed(run(robot, authority=pem, host="other.test")), "a fleet that moved to another registry"
    assert sorted(path.name for path in (robot / "certs.d").glob("*/*")) == ["jetfleet-ca.crt", "theirs.crt"]
    assert changed(run(robot))
    assert [path.name for path in (robot / "certs.d").iterdir()] == [HOST]
    assert theirs.read_text() == "theirs"


def test_a_helper_that_is_not_there_changes_nothing(robot: Path) -> None:
    done = run(robot, helper="no-such-helper", login={"credHelpers": {HOST: "no-such-helper"}}, authority="UEVN")
    assert done.exit_code == 3
    assert "docker-credential-no-such-helper is not in /usr/local/sbin:" in done.stderr
    assert sorted(path.name for path in robot.iterdir()) == ["robot.json"]


@pytest.mark.parametrize("identity", [None, "{", '{"robot": "amr-009", "fleet": "x"}'])
def test_another_robot_s_machine_is_left_alone(tmp_path: Path, identity: str | None) -> None:
    if identity is not None:
        (tmp_path / "robot.json").write_text(identity)
    assert run(tmp_path, login=LOGIN).exit_code == 3
    assert not (tmp_path / "registry").exists()


def test_the_password_is_nobody_else_s_at_no_moment(robot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not while it is written either: the temporary file begins as root's alone, whatever the umask."""
    modes: list[int] = []
    real = os.fchmod

    def fchmod(descriptor: int, mode: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        real(descriptor, mode)

    monkeypatch.setattr(os, "fchmod", fchmod)
    before = os.umask(0)
    try:
        remote_registry.put_login(robot / "registry", LOGIN)
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_the_program_runs_on_the_python_that_robots_have() -> None:
    source = Path(remote_registry.__file__).read_text()
    ast.parse(source, feature_version=(3, 8))
    imports = {node.module or "" for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ImportFrom)}
    imports |= {
        name.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import) for name in node.names
    }
    assert imports <= set(sys.stdlib_module_names) | {"__future__"}
    assert module.LOGIN_DIR.startswith("/var/lib/jetfleet/")
