"""Whose host key is taken: a robot's by the fleet's pinned keys, a jump host's by the user's own known hosts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace

from fleet.adapters.ssh.config.options import SshOptions
from fleet.adapters.ssh.config.resolve import Note
from fleet.adapters.ssh.host_keys import HostKeyFile
from fleet.adapters.ssh.judge import ShownKey, State, UserKnownHosts, Verdict, describe, judge, names_of
from fleet.adapters.ssh.known_hosts import AUTHORITY, KnownLine
from fleet.errors import HostKeyError, NotPinned, RobotError
from fleet.ports import RobotAddress

_TRUSTING = ("no", "off", "false", "accept-new")


class Trust(ABC):
    """What is known of one host before it shows its key."""

    def __init__(self, robot: RobotAddress, options: SshOptions, known: UserKnownHosts) -> None:
        self.robot = robot
        self.options = options
        self._known = known

    @property
    @abstractmethod
    def lines(self) -> list[KnownLine]:
        """Known lines of this host, marked ones too."""

    @property
    def kinds(self) -> list[str]:
        """Kinds of the keys that are known, to be asked for first: a host may have several."""
        return [line.kind for line in self.lines if not line.marker]

    @property
    def certificates(self) -> bool:
        """An authority is known: ask for a certificate."""
        return any(line.marker == AUTHORITY for line in self.lines)

    @property
    def _users_lines(self) -> list[KnownLine]:
        names, _, loose = names_of(self.options)
        return [line for line in self._known.lines(self.options.known_hosts) if line.is_for([*names, *loose])]

    def _users_verdict(self, shown: ShownKey) -> Verdict:
        names, certified, loose = names_of(self.options)
        return judge(self._users_lines, shown, names=names, certified=certified, loose=loose)

    def _refuse(self, who: str, verdict: Verdict, shown: ShownKey, changed_hint: str) -> HostKeyError:
        """Return the error for a verdict that says no."""
        line = verdict.line
        if verdict.state is State.REVOKED and line is not None:
            return HostKeyError(
                self.robot.name,
                f"the host key of {who} is revoked: {shown} ({line.where})",
                hint="that key may be stolen: give the machine a new one, or remove the line if it is wrong",
            )
        if verdict.state is State.BAD_CERTIFICATE:
            return HostKeyError(
                self.robot.name,
                f"the host certificate of {who} ({shown}) is not valid: {verdict.flaw}",
                hint="sign its host key again (ssh-keygen -s CA -h -n NAMES), or check the clocks",
            )
        known = describe(line.blob) if line is not None else "another one"
        where = f" ({line.where})" if line is not None else ""
        return HostKeyError(
            self.robot.name, f"the host key of {who} is {shown}, known is {known}{where}", hint=changed_hint
        )


class JumpTrust(Trust):
    """A machine of the user's own configuration: the user's own known hosts decide, as with `ssh`."""

    def __init__(self, robot: RobotAddress, options: SshOptions, known: UserKnownHosts, note: Note) -> None:
        super().__init__(robot, options, known)
        self._note = note

    @property
    def lines(self) -> list[KnownLine]:
        """Known lines of the jump host."""
        return self._users_lines

    def check(self, shown: ShownKey) -> None:
        """Raise HostKeyError for a key that is not the known one, RobotError for a host that is not known at all."""
        verdict = self._users_verdict(shown)
        strict = self.options.text("stricthostkeychecking").lower() or "ask"
        who = f"the jump host {self.options.host} ({self.options.where})"
        if verdict.state is State.TRUSTED:
            return
        if verdict.state is State.UNKNOWN and strict in _TRUSTING:
            self._known.add(self.options, shown)
            return
        if verdict.state is State.CHANGED and strict in ("no", "off", "false"):
            self._note("", f"{who} has a new host key {shown}, taken as StrictHostKeyChecking is {strict}")
            return
        if verdict.state is State.UNKNOWN:
            raise RobotError(
                self.robot.name,
                f"the jump host {self.options.host} is not trusted: its key {shown} is in none of "
                + (", ".join(map(str, self.options.known_hosts[:2])) or "your known hosts files"),
                hint=f"log in there once: ssh {self.options.host}",
            )
        name = names_of(self.options)[0][0]
        raise self._refuse(
            who,
            verdict,
            shown,
            f"compare the fingerprints at the jump host itself; when it is really the new key: ssh-keygen -R '{name}', "
            f"then ssh {self.options.host}",
        )


class RobotTrust(Trust):
    """A robot: the keys pinned next to the manifest decide."""

    def __init__(self, robot: RobotAddress, options: SshOptions, known: UserKnownHosts, pins: HostKeyFile) -> None:
        super().__init__(robot, options, known)
        self._pins = pins
        names, certified, loose = names_of(options)
        self._pinned = pins.lines(robot, [*names, *loose])
        self._certified = list(dict.fromkeys([robot.name, robot.host, *certified]))

    @property
    def lines(self) -> list[KnownLine]:
        """Pinned lines; the user's own of a robot that has none."""
        return self._pinned if any(not line.marker for line in self._pinned) else [*self._pinned, *self._users_lines]

    def check(self, shown: ShownKey) -> None:
        """Raise HostKeyError unless the key is pinned, or certified by an authority that is known."""
        verdict = self._verdict(shown)
        if verdict.state is State.UNKNOWN:
            raise NotPinned(
                self.robot.name,
                f"no host key is pinned (it shows {shown})",
                hint=f"fleet bootstrap --robots {self.robot.name}",
            )
        if verdict.state is not State.TRUSTED:
            raise self._refuse(self._who, verdict, shown, self._hint)

    def learn(self, shown: ShownKey, *, accept: bool) -> str:
        """Pin the key, unless it is known to be another; return it in words.

        ``accept``: a changed key is taken. Nothing is pinned where an authority certifies the key.
        """
        verdict = self._verdict(shown)
        if verdict.state is State.UNKNOWN:
            verdict = self._users_verdict(shown)
            if verdict.state is State.UNKNOWN and not accept:
                self._refuse_strangers(shown)
        if verdict.state is State.TRUSTED and verdict.by_authority and verdict.line is not None:
            return f"{shown} (certified by {describe(verdict.line.blob)})"
        refused = verdict.state in (State.REVOKED, State.BAD_CERTIFICATE) or (
            verdict.state is State.CHANGED and not accept
        )
        if refused:
            raise self._refuse(self._who, verdict, shown, self._hint)
        pinned = [line.where for line in self._pinned if not line.marker]
        if verdict.state is not State.TRUSTED or verdict.line is None or verdict.line.where not in pinned:
            self._pins.pin(self.robot, shown)
        return str(shown)

    def _verdict(self, shown: ShownKey) -> Verdict:
        """Judge by the pinned lines, and by what the user's own files revoke or certify."""
        names, certified, loose = names_of(self.options)
        marked = [line for line in self._users_lines if line.marker]
        users = judge(marked, shown, names=names, certified=certified, loose=loose)
        if users.state is State.REVOKED:
            return users
        # Found by name or address already, which a certificate's names do not change.
        found = [replace(line, names="*") for line in self._pinned]
        verdict = judge(found, shown, names=["*"], certified=self._certified)
        return users if verdict.state is State.UNKNOWN and users.by_authority else verdict

    def _refuse_strangers(self, shown: ShownKey) -> None:
        if self.options.text("stricthostkeychecking").lower() in ("yes", "true"):
            raise HostKeyError(
                self.robot.name,
                f"its host key {shown} is not known, and your SSH configuration accepts no unknown keys "
                "(StrictHostKeyChecking yes)",
                hint=f"add its line to {self._pins.path}, or: fleet bootstrap --robots {self.robot.name} "
                "--accept-new-host-key",
            )

    @property
    def _who(self) -> str:
        return self.robot.place

    @property
    def _hint(self) -> str:
        return (
            "compare with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` at the robot itself; when it is really "
            f"the new one: fleet bootstrap --robots {self.robot.name} --accept-new-host-key"
        )
