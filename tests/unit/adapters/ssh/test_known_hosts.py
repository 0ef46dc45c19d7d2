from __future__ import annotations

import paramiko
import pytest

from fleet.adapters.ssh.judge import ShownKey, State, judge
from fleet.adapters.ssh.known_hosts import UnreadableLine, host_name, named, read_line

KEYS = [paramiko.ECDSAKey.generate() for _ in range(3)]
HASHED = "|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg="  # 192.168.1.61, out of sshd's own tests


def text(number: int) -> str:
    return f"{KEYS[number].get_name()} {KEYS[number].get_base64()}"


@pytest.mark.parametrize(
    ("names", "name", "found"),
    [
        ("robot", "robot", True),
        ("Robot", "rObot", True),
        ("a,robot,b", "robot", True),
        ("rob*", "robot", True),
        ("r?bot", "robot", True),
        ("*.lan,!bad.lan", "good.lan", True),
        ("*.lan,!bad.lan", "bad.lan", False),
        ("!bad.lan", "good.lan", False),
        ("[10.0.0.*]:2222", "[10.0.0.9]:2222", True),
        ("[10.0.0.*]:2222", "10.0.0.9", False),
        ("[abc]", "a", False),
        (HASHED, "192.168.1.61", True),
        (HASHED, "192.168.1.62", False),
    ],
)
def test_names(names: str, name: str, found: bool) -> None:
    assert named(names, name) is found


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a ssh-ed25519",
        "a ssh-ed25519 AAAA",
        "@other a k k",
        "|1|a ssh-rsa AAAA",
        "a ssh-rsa " + text(0).split()[1],
    ],
)
def test_unreadable_lines(line: str) -> None:
    with pytest.raises(UnreadableLine, match=r"^file:3: "):
        read_line(line, "file:3")


@pytest.mark.parametrize("line", ["", "   ", "# a comment", "  # another"])
def test_lines_that_say_nothing(line: str) -> None:
    assert read_line(line, "file:3") is None


def test_host_names() -> None:
    assert host_name("Robot", 22) == "robot"
    assert host_name("fe80::1", 2222) == "[fe80::1]:2222"


@pytest.mark.parametrize(
    ("lines", "state"),
    [
        ([], State.UNKNOWN),
        (["r " + text(0)], State.TRUSTED),
        (["r " + text(1)], State.CHANGED),
        (["r " + text(1), "r " + text(0)], State.TRUSTED),
        (["other " + text(1)], State.UNKNOWN),
        (["loose " + text(0)], State.TRUSTED),
        (["loose " + text(1)], State.UNKNOWN),
        (["r " + text(0), "@revoked * " + text(0)], State.REVOKED),
        (["r " + text(0), "@revoked other " + text(0)], State.TRUSTED),
        (["@cert-authority * " + text(0)], State.UNKNOWN),
    ],
)
def test_verdicts(lines: list[str], state: State) -> None:
    read = [line for each in lines if (line := read_line(each, "f:1")) is not None]
    shown = ShownKey(KEYS[0].asbytes())
    assert judge(read, shown, names=["r"], certified=["r"], loose=["loose"]).state is state
