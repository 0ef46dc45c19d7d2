"""Whose host key is taken: known_hosts lines as people write them, for robots and for jump hosts."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from fleet.errors import HostKeyError, OutsideError, RobotError, RobotOffline
from tests.contract.hosts.local_sshd import keygen
from tests.contract.openssh.site import Operator, Site

JUMP = "Host 127.0.0.3\n  ProxyJump bastion\nHost bastion\n  HostName 127.0.0.8\n  Port {port_bash}\n"


@pytest.fixture
def other_key(operator: Operator) -> str:
    """``ssh-ed25519 AAAA…`` of some other machine."""
    keygen(operator.home / "other-host")
    return " ".join((operator.home / "other-host.pub").read_text().split()[:2])


@pytest.fixture
def authority(site: Site) -> str:
    """The authority that certified the server's key."""
    return " ".join((site.folder / "authority.pub").read_text().split()[:2])


def place(operator: Operator, host: str = "127.0.0.3") -> str:
    return f"[{host}]:{operator.site.ports['plain']}"


def hashed(operator: Operator, line: str) -> str:
    """Return the line as `ssh-keygen -H` writes it."""
    path = operator.home / "to-hash"
    path.write_text(line)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(path)], check=True, timeout=30, capture_output=True)
    return path.read_text()


# ── the fleet's own file ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("form", ["address first", "address alone", "name second", "hashed", "hashed name", "pattern"])
@pytest.mark.parametrize("right", [True, False], ids=["right", "other"])
def test_lines_of_other_hands_are_honoured(operator: Operator, other_key: str, form: str, right: bool) -> None:
    operator.writes(operator.keys)
    robot = operator.site.address("127.0.0.3")
    key = operator.site.host_key if right else other_key
    names = {
        "address first": f"{place(operator)},amr-001",
        "address alone": place(operator),
        "name second": f"{place(operator, '127.0.0.99')},amr-001",
        "hashed": place(operator),
        "hashed name": "amr-001",
        "pattern": f"[127.0.0.*]:{operator.site.ports['plain']}",
    }[form]
    line = f"{names} {key}\n"
    before = hashed(operator, line) if form.startswith("hashed") else line
    (operator.home / "pins").write_text(before)
    if right:
        assert operator.fleet(robot, "echo", "in") == "in\n"
        assert (operator.home / "pins").read_text() == before
        return
    with pytest.raises(HostKeyError) as caught:
        operator.fleet(robot, "true")
    assert caught.value.message.count("SHA256:") == 2
    assert f"{operator.home}/pins:1" in caught.value.message
    with pytest.raises(HostKeyError):
        operator.shells.connect(robot)
    assert (operator.home / "pins").read_text() == before
    operator.shells.learn_host_key(robot, replace=True)
    operator.shells.connect(robot).close()


def test_a_revoked_key_is_refused_and_cannot_be_accepted(operator: Operator) -> None:
    robot = operator.site.address("127.0.0.3")
    line = f"@revoked {place(operator)} {operator.site.host_key}\n"
    (operator.home / "pins").write_text(line)
    operator.writes(operator.keys, known_hosts=line)
    assert operator.ssh(robot, "true").code != 0
    for replace in (False, True):
        with pytest.raises(HostKeyError, match="is revoked"):
            operator.shells.learn_host_key(robot, replace=replace)
    with pytest.raises(HostKeyError, match="is revoked"):
        operator.shells.connect(robot)


@pytest.mark.parametrize(
    "line",
    ["{place} ssh-ed25519\n", "amr-001 ssh-ed25519 not-base64!\n", "|1|x|y ssh-ed25519 AAAA\n", "@trusted * {key}\n"],
)
def test_a_line_that_may_be_this_robots_and_cannot_be_read_is_said(operator: Operator, line: str) -> None:
    operator.writes(operator.keys)
    text = line.format(place=place(operator), key=operator.site.host_key)
    (operator.home / "pins").write_text("# ours\n" + text)
    for use in (operator.shells.learn_host_key, operator.shells.connect):
        with pytest.raises(OutsideError, match=r"pins:2: ") as caught:
            use(operator.site.address("127.0.0.3"))
        assert "git" in caught.value.hint
    assert (operator.home / "pins").read_text() == "# ours\n" + text


def test_a_line_of_another_robot_at_this_address_is_not_ours(operator: Operator, other_key: str) -> None:
    operator.writes(operator.keys)
    (operator.home / "pins").write_text(f"amr-009,{place(operator)} {other_key}\n")
    shells = type(operator.shells)(
        operator.home / "pins", ssh_config=operator.home / "config", robots=["amr-001", "amr-009"]
    )
    shells.learn_host_key(operator.site.address("127.0.0.3"))
    assert len((operator.home / "pins").read_text().splitlines()) == 2


# ── the user's own files, for robots ─────────────────────────────────────────────────────────────────────────────


def test_a_robot_that_the_user_knows_by_another_key_is_not_pinned(operator: Operator, other_key: str) -> None:
    operator.writes(operator.keys, known_hosts=f"{place(operator)} {other_key}\n")
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert isinstance(said, HostKeyError)
    assert said.message.count("SHA256:") == 2
    assert f"{operator.home}/known_hosts:1" in said.message
    assert not (operator.home / "pins").exists()


def test_strict_checking_pins_no_strangers(operator: Operator) -> None:
    operator.writes("Host *\n  StrictHostKeyChecking yes\n" + operator.keys, known_hosts="")
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert isinstance(said, HostKeyError)
    assert "StrictHostKeyChecking yes" in said.message
    operator.writes("Host *\n  StrictHostKeyChecking yes\n" + operator.keys)
    assert operator.fleet(operator.site.address("127.0.0.3"), "echo", "in") == "in\n"


@pytest.mark.parametrize("place_of_line", ["known_hosts", "pins"])
def test_an_authority_stands_for_its_robots(operator: Operator, authority: str, place_of_line: str) -> None:
    line = f"@cert-authority [127.0.0.*]:{operator.site.ports['plain']} {authority}\n"
    operator.writes(operator.keys, known_hosts=line)
    if place_of_line == "pins":
        (operator.home / "pins").write_text(line)
        operator.writes(operator.keys, known_hosts="")
    robot = operator.site.address("127.0.0.3")
    assert place_of_line == "pins" or operator.ssh(robot, "echo", "in").out == "in\n"
    assert "certified by ssh-ed25519 SHA256:" in operator.shells.learn_host_key(robot)
    assert operator.fleet(robot, "echo", "in") == "in\n"
    assert place_of_line == "pins" or not (operator.home / "pins").exists(), "an authority needs no pins"


def test_a_certificate_for_other_names_does_not_count(operator: Operator, authority: str) -> None:
    line = f"@cert-authority * {authority}\n"
    operator.writes("Host 10.1.1.1\n  HostName 127.0.1.1\n" + operator.keys, known_hosts=line)
    said = operator.refused(operator.site.address("10.1.1.1"))
    assert isinstance(said, HostKeyError)
    assert "it is for 127.0.0.3, 127.0.0.8, robots.corp, not for" in said.message


def test_a_revoked_authority_certifies_nothing(operator: Operator, authority: str) -> None:
    lines = f"@cert-authority * {authority}\n@revoked * {authority}\n"
    operator.writes(operator.keys, known_hosts=lines)
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert "is revoked" in said.message


# ── jump hosts ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_jump_host_whose_key_changed_is_no_offline_robot(operator: Operator, other_key: str) -> None:
    operator.writes(
        JUMP + operator.keys, known_hosts=operator.site.known("plain") + operator.site.known("bash", key=other_key)
    )
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert isinstance(said, HostKeyError)
    assert not isinstance(said, RobotOffline)
    assert said.exit_code == 3
    assert "the jump host bastion" in said.message
    assert said.message.count("SHA256:") == 2
    assert f"ssh-keygen -R '[127.0.0.8]:{operator.site.ports['bash']}'" in said.hint


def test_an_unknown_jump_host_is_said_and_how_to_come_to_know_it(operator: Operator) -> None:
    operator.writes(JUMP + operator.keys, known_hosts=operator.site.known("plain"))
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert "the jump host bastion is not trusted" in said.message
    assert said.hint == "log in there once: ssh bastion"


@pytest.mark.parametrize("how", ["no", "accept-new"])
def test_a_new_jump_host_is_remembered_where_the_user_says_so(operator: Operator, how: str) -> None:
    config = JUMP + f"Host *\n  StrictHostKeyChecking {how}\n" + operator.keys
    operator.writes(config, known_hosts="")
    assert operator.fleet(operator.site.address("127.0.0.3"), "echo", "in") == "in\n"
    assert operator.site.host_key in (operator.home / "known_hosts").read_text()
    assert operator.ssh(operator.site.address("127.0.0.3"), "true").code == 0


def test_a_jump_hosts_alias_and_files_are_used(operator: Operator) -> None:
    own = operator.home / "bastions"
    own.write_text(f"bastion.corp {operator.site.host_key}\n")
    config = JUMP.replace("Host bastion\n", "Host bastion\n  HostKeyAlias bastion.corp\n  UserKnownHostsFile {own}\n")
    operator.writes(config.replace("{own}", str(own)) + operator.keys, known_hosts=operator.site.known("plain"))
    robot = operator.site.address("127.0.0.3")
    assert operator.ssh(robot, "echo", "in").out == "in\n"
    assert operator.fleet(robot, "echo", "in") == "in\n"
    own.write_text("")
    assert isinstance(operator.refused(robot), RobotError)


@pytest.mark.parametrize("marked", [True, False], ids=["alone", "beside other lines"])
def test_a_jump_host_certified_by_an_authority(
    operator: Operator, authority: str, other_key: str, marked: bool
) -> None:
    line = f"@cert-authority [127.0.0.*]:{operator.site.ports['bash']} {authority}\n"
    lines = operator.site.known("plain") + line + ("" if marked else f"elsewhere {other_key}\n# a comment\n")
    operator.writes(JUMP + operator.keys, known_hosts=lines)
    robot = operator.site.address("127.0.0.3")
    assert operator.ssh(robot, "echo", "in").out == "in\n"
    assert operator.fleet(robot, "echo", "in") == "in\n"


def test_hashed_lines_of_jump_hosts(operator: Operator) -> None:
    line = f"[127.0.0.8]:{operator.site.ports['bash']} {operator.site.host_key}\n"
    operator.writes(JUMP + operator.keys, known_hosts=operator.site.known("plain") + hashed(operator, line))
    robot = operator.site.address("127.0.0.3")
    assert operator.ssh(robot, "echo", "in").out == "in\n"
    assert operator.fleet(robot, "echo", "in") == "in\n"


def test_an_expired_certificate_is_said(operator: Operator, tmp_path: Path) -> None:
    """Another server, as a running one reads its certificate once."""
    from tests.contract.openssh.site import serving

    folder = tmp_path / "expired"
    folder.mkdir()
    make = Site.make

    def expired(site: Site) -> None:
        make(site)
        site.certify("127.0.0.3", host=True, validity="20200101:20200102")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Site, "make", expired)
        with serving(folder) as site:
            mine = Operator(site, operator.home)
            authority = " ".join((folder / "authority.pub").read_text().split()[:2])
            mine.writes(mine.keys, known_hosts=f"@cert-authority * {authority}\n")
            said = mine.refused(site.address("127.0.0.3"))
    assert "it was valid until 2020-01-0" in said.message
