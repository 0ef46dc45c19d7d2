"""The operator's login after bootstrap: it may ask the updater, is not root any more, and nobody is locked out."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleet.bootstrap import remote_login
from fleet.bootstrap.login import LoginRights, builds_here, refuse_to_take, why_kept
from fleet.errors import RobotError
from fleet.ports import CommandResult, RobotAddress
from fleet.resolve.shipped_profiles import shipped_profiles
from runtime.contract.robot.update import OPERATORS_GROUP
from tests.unit.bootstrap.test_prepare_robot import Machine

PROGRAM = Path(remote_login.__file__)


class Host:
    """What the machine's account files say; its programs change them as the real ones do."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.etc = root / "etc"
        (self.etc / "sudoers.d").mkdir(parents=True)
        (self.etc / "sudoers.d/jetson").write_text(
            "# by hand\nDefaults:jetson !requiretty\njetson ALL=(ALL) NOPASSWD:ALL\n"
        )
        (self.etc / "sudoers.d/README").write_text("# nothing\n")
        self.shadow(root="*", jetson="*", admin="$6$x")
        self.groups: dict[str, set[str]] = {"sudo": {"jetson", "admin"}, "docker": {"jetson"}, "video": {"jetson"}}
        self.called: list[tuple[str, ...]] = []
        self.sudo_says = False
        socket = root / "updater.sock"
        socket.write_text("")
        self.parameters = {
            "user": "jetson",
            "group": OPERATORS_GROUP,
            "socket": str(socket),
            "state": str(root / "none"),
        }
        self.owned: list[tuple[str, int]] = []
        monkeypatch.setattr(remote_login.grp, "getgrall", self._all)
        monkeypatch.setattr(remote_login.grp, "getgrnam", self._named)
        monkeypatch.setattr(remote_login.grp, "getgrgid", lambda gid: next(g for g in self._all() if g.gr_gid == gid))
        people = {"root": 0, "jetson": 1000, "admin": 1001}
        entries = {name: SimpleNamespace(pw_name=name, pw_uid=uid, pw_gid=9000 + uid) for name, uid in people.items()}
        monkeypatch.setattr(remote_login.pwd, "getpwnam", entries.__getitem__)
        monkeypatch.setattr(remote_login.pwd, "getpwall", lambda: list(entries.values()))
        monkeypatch.setattr(remote_login, "call", self._call)
        monkeypatch.setattr(remote_login, "may_sudo", lambda _user: self.sudo_says)
        monkeypatch.setattr(remote_login.os, "chown", lambda path, _uid, gid: self.owned.append((path, gid)))

    def shadow(self, **secrets: str) -> None:
        (self.etc / "shadow").write_text("".join(f"{name}:{secret}:1:0:9:7:::\n" for name, secret in secrets.items()))

    def _all(self) -> list[Any]:
        return [
            SimpleNamespace(gr_name=name, gr_gid=500000 + at, gr_mem=sorted(people))
            for at, (name, people) in enumerate(self.groups.items())
        ]

    def _named(self, name: str) -> Any:
        if name not in self.groups:
            raise KeyError(name)
        return next(group for group in self._all() if group.gr_name == name)

    def _call(self, *words: str) -> None:
        self.called.append(words)
        if words[0] == "groupadd":
            self.groups[words[-1]] = set()
        elif words[0] == "usermod":
            self.groups[words[3]].add(words[4])
        else:
            self.groups[words[3]].discard(words[2])

    def do(self, what: str, **changes: str) -> dict[str, Any]:
        return remote_login.main({**self.parameters, "etc": str(self.etc), "do": what, **changes})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_looking_changes_nothing(host: Host) -> None:
    found = host.do("look")
    assert found["changed"] is False
    assert "the group docker, the group sudo" in found["rights"]
    assert "sudoers.d/jetson" in found["rights"]
    assert found["console"] == ["admin"]
    assert (host.called, host.owned) == ([], [])


def test_the_login_may_ask_the_updater_and_is_root_no_more(host: Host) -> None:
    assert host.do("join")["changed"]
    found = host.do("drop")
    assert (found["changed"], found["rights"]) == (True, "")
    assert host.groups["sudo"] == {"admin"}
    assert host.groups["docker"] == set()
    assert host.groups["video"] == {"jetson"}, "what is not root stays"
    assert host.groups[OPERATORS_GROUP] == {"jetson"}
    assert sorted(path.name for path in (host.etc / "sudoers.d").iterdir()) == ["README", "jetson.jetfleet-aside"]
    assert [Path(path).name for path, _ in host.owned][:1] == ["updater.sock"]


@pytest.mark.parametrize("do", ["drop"])
@pytest.mark.parametrize("admin", ["!", "*", "!$6$x", ""])
def test_nobody_is_locked_out(host: Host, do: str, admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    host.shadow(root="!", jetson="$6$x", admin=admin)
    with pytest.raises(SystemExit) as ended:
        host.do(do)
    assert ended.value.code == 3
    assert "only jetson could become root" in capsys.readouterr().err
    assert host.groups["sudo"] == {"jetson", "admin"}
    assert (host.etc / "sudoers.d/jetson").exists()


def test_root_s_own_password_is_a_way_back(host: Host) -> None:
    host.shadow(root="$6$x", jetson="*", admin="*")
    assert host.do("drop")["console"] == ["root"]


def test_a_rule_that_is_about_others_too_stays_and_is_told(host: Host) -> None:
    (host.etc / "sudoers.d/jetson").write_text("jetson ALL=(ALL) NOPASSWD:ALL\nadmin ALL=(ALL) ALL\n")
    host.sudo_says = True
    assert host.do("drop")["rights"] == "a rule in sudoers"
    assert (host.etc / "sudoers.d/jetson").exists()


def test_a_manifest_whose_user_is_root_is_refused(host: Host) -> None:
    with pytest.raises(SystemExit):
        host.do("drop", user="root")


def test_it_runs_on_the_robots_old_python() -> None:
    ast.parse(PROGRAM.read_text(), feature_version=(3, 8))


# ── at the operator's ──


class Rights(Machine):
    """A machine whose login is root, until it is asked to take that away."""

    def __init__(self, console: Sequence[str] = ("admin",), still: str = "") -> None:
        super().__init__()
        self.console, self.still = list(console), still
        self.done: list[str] = []
        self.others: Callable[[Sequence[str], str], CommandResult] = self.host.programs["sudo"]
        self.host.programs["sudo"] = self._as_root

    def _as_root(self, args: Sequence[str], stdin: str) -> CommandResult:
        told = json.loads(stdin)["parameters"]
        if "do" not in told:
            return self.others(args, stdin)
        assert (told["user"], told["group"]) == ("jetson", OPERATORS_GROUP)
        self.done.append(told["do"])
        rights = self.still if told["do"] == "drop" else "the group sudo"
        return CommandResult(0, json.dumps({"changed": True, "rights": rights, "console": self.console}) + "\n", "")


def test_bootstrap_looks_joins_installs_and_takes_the_rights_last() -> None:
    machine = Rights()
    steps: list[str] = []
    report = machine.bootstrap(privileged_login=False, on_step=steps.append)
    assert machine.done == ["look", "join", "drop"]
    assert steps[-1] == "taking root's rights from the login"
    assert report.login == ""
    assert machine.updater.verbs[-1] == "status", "the updater answers the login over a new connection"


def test_bootstrap_refuses_to_lock_people_out_before_anything_is_changed() -> None:
    machine = Rights(console=())
    with pytest.raises(RobotError, match="only jetson could become root at its console") as caught:
        machine.bootstrap(privileged_login=False)
    assert "--privileged-login" in caught.value.hint
    assert (machine.done, machine.installed) == (["look"], [])


def test_rights_that_stay_are_told() -> None:
    assert Rights(still="a rule in sudoers").bootstrap(privileged_login=False).login == "a rule in sudoers"


def test_a_privileged_login_is_shown() -> None:
    machine = Rights()
    assert machine.bootstrap().login == "jetson has sudo"
    assert machine.done == []


@pytest.mark.parametrize(
    ("endpoint", "same"),
    [
        ("ssh://jetson@10.0.0.11", True),
        ("ssh://jetson@10.0.0.11:2222", True),
        ("ssh://10.0.0.11", True),
        ("ssh://jetson@AMR-001", True),
        ("ssh://builder@10.0.0.11", False),
        ("ssh://jetson@10.0.0.12", False),
        ("tcp://10.0.0.11:2376", False),
        ("local", False),
    ],
)
def test_a_login_that_builds_engines_keeps_the_group_that_it_needs(endpoint: str, same: bool) -> None:
    """It is what `fleet init --robot` writes: without the group docker, the next `fleet build` would be refused."""
    robot = RobotAddress("amr-001", "10.0.0.11", 22, "jetson")
    shipped = shipped_profiles()["orin-nano-8gb-jp62"].profile
    profile = shipped.model_copy(update={"builder": shipped.builder.model_copy(update={"endpoint": endpoint})})
    builds = builds_here(robot, [profile])
    assert builds == ("orin-nano-8gb-jp62" if same else "")
    found = LoginRights(False, "the group docker", ("root",))
    kept = why_kept(robot, found, builds)
    assert (kept is not None) is same
    if kept is not None:
        assert "for which it needs the group docker" in kept.what
        assert "--privileged-login" in kept.do
        with pytest.raises(RobotError, match="builds engines there"):
            refuse_to_take(robot, found, builds)
    assert why_kept(robot, LoginRights(False, "", ()), builds) is None


def test_nobody_is_locked_out_and_doctor_says_so_before() -> None:
    robot = RobotAddress("amr-001", "10.0.0.11", 22, "jetson")
    kept = why_kept(robot, LoginRights(False, "the group sudo", ()), "")
    assert kept is not None
    assert "only jetson could become root" in kept.what
    assert kept.do.startswith("at the robot: sudo passwd root; or leave the login its rights")
    assert why_kept(robot, LoginRights(False, "the group sudo", ("root",)), "") is None
