"""Jump hosts and proxy commands that do not lead there: whose fault it is, in their own words, at once."""

from __future__ import annotations

import dataclasses
import time

import pytest

from fleet.errors import RobotError, RobotOffline
from tests.contract.openssh.site import Operator, python
from tests.harness import share

JUMP = "Host 127.0.0.3\n  ProxyJump bastion\nHost bastion\n  HostName 127.0.0.8\n  Port {port_KIND}\n"


def jump(kind: str) -> str:
    return JUMP.replace("KIND", kind)


def test_a_jump_host_that_forwards_nothing_is_blamed_for_it(operator: Operator) -> None:
    operator.writes(jump("no_forwarding") + operator.keys)
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert not isinstance(said, RobotOffline)
    assert said.exit_code == 3
    assert "the jump host bastion does not forward connections to 127.0.0.3" in said.message
    assert "prohibited" in said.message
    assert "AllowTcpForwarding" in said.hint


def test_the_manifests_jump_host_is_gone_through_and_wins_over_the_configuration(operator: Operator) -> None:
    """One that forwards nothing is configured; the manifest's forwards. And the other way round."""
    robot = operator.site.address("127.0.0.3")
    good, bad = (f"127.0.0.8:{operator.site.ports[kind]}" for kind in ("plain", "no_forwarding"))
    operator.writes(jump("no_forwarding") + operator.keys)
    assert "here" in operator.fleet(dataclasses.replace(robot, jump=(good,)), "echo", "here")
    assert "straight" in operator.fleet(dataclasses.replace(robot, jump=()), "echo", "straight")
    operator.writes(jump("plain") + operator.keys)
    with pytest.raises(RobotError, match=r"does not forward connections to 127\.0\.0\.3"):
        operator.fleet(dataclasses.replace(robot, jump=(bad,)), "true")


def test_a_jump_host_that_refuses_the_login_is_named(operator: Operator) -> None:
    operator.writes(jump("no_login") + operator.keys)
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert not isinstance(said, RobotOffline)
    assert said.exit_code == 3
    port = operator.site.ports["no_login"]
    assert f"the jump host {operator.site.user}@127.0.0.8:{port} refused the login" in said.message
    assert str(operator.site.identity) in said.message


def test_a_robot_that_is_off_behind_a_jump_host_is_offline(operator: Operator) -> None:
    operator.writes(jump("plain") + operator.keys)
    robot = operator.site.address("127.0.0.3", port=share.free_port())
    said = operator.refused(robot)
    assert isinstance(said, RobotOffline)
    assert "cannot be reached from the jump host bastion" in said.message
    assert "Connect failed" in said.message


def test_a_jump_host_that_is_off_is_named(operator: Operator) -> None:
    operator.writes(f"Host 127.0.0.3\n  ProxyJump 127.0.0.8:{share.free_port()}\n" + operator.keys)
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert isinstance(said, RobotOffline)
    assert "the jump host " in said.message
    assert "it is the jump host that does not answer" in said.hint


def test_a_jump_host_that_does_not_resolve_is_ours_to_correct(operator: Operator) -> None:
    operator.writes("Host 127.0.0.3\n  ProxyJump bastion.invalid\n" + operator.keys)
    said = operator.refused(operator.site.address("127.0.0.3"))
    assert not isinstance(said, RobotOffline)
    assert "bastion.invalid" in said.message
    assert "ProxyJump" in said.hint


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ssh -o BatchMode=yes -W %h:%p nobody@bastion.invalid", "Could not resolve hostname bastion.invalid"),
        ("no-such-program-here %h %p", "no-such-program-here"),
        ("sh -c 'echo my tunnel is broken >&2; exit 7'", "(exit code 7): my tunnel is broken"),
        ("sh -c 'exit 9'", "(exit code 9)"),
    ],
)
def test_a_proxy_command_that_fails_is_passed_on_at_once(operator: Operator, command: str, words: str) -> None:
    operator.writes(f"Host 127.0.0.3\n  ProxyCommand {command}\n" + operator.keys)
    robot = operator.site.address("127.0.0.3")
    assert operator.ssh(robot, "true").code != 0
    cpu, wall = time.process_time(), time.monotonic()
    with pytest.raises(RobotError) as caught:
        operator.shells.learn_host_key(robot, timeout_s=60.0)
    assert time.process_time() - cpu < 2.0, "waiting for it costs nothing"
    assert time.monotonic() - wall < 50.0, "not by the deadline"
    assert not isinstance(caught.value, RobotOffline)
    assert caught.value.exit_code == 3
    assert words in caught.value.message
    assert "ProxyCommand" in caught.value.hint


def test_a_proxy_command_says_that_the_robot_is_off(operator: Operator) -> None:
    config = str(operator.home / "config")
    through = f"ssh -F {config} -o BatchMode=yes -W %h:%p -p {operator.site.ports['plain']} 127.0.0.8"
    operator.writes(f"Host robot\n  HostName 127.0.0.3\n  ProxyCommand {through}\n" + operator.keys)
    said = operator.refused(operator.site.address("robot", port=share.free_port()))
    assert isinstance(said, RobotOffline)
    assert "Connection refused" in said.message


def test_a_proxy_command_that_says_nothing_meets_the_deadline_and_is_ended(operator: Operator) -> None:
    program = f"{python()} -c 'import time; time.sleep(600)' %h"
    operator.writes(f"Host 127.0.0.3\n  ProxyCommand {program}\n" + operator.keys)
    started = time.monotonic()
    with pytest.raises(RobotError, match="did not speak SSH within 1 s"):
        operator.shells.learn_host_key(operator.site.address("127.0.0.3"), timeout_s=1.0)
    assert time.monotonic() - started < 40.0
