"""One robot, as the controller speaks to its updater: short commands over SSH, JSON both ways.

The update itself runs in the robot's own service, so a lost connection here harms nothing: it is opened again.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from fleet.errors import FleetError, NotPinned, RobotError, RobotOffline, RobotSilent
from fleet.plan.observed import Observed
from fleet.ports import Clock, CommandResult, RobotAddress, RobotShell, RobotShells
from runtime.contract.codec import ContractError, canonical_json, from_json, to_dict
from runtime.contract.json_decoder import WORDS, decode_object
from runtime.contract.node.attestation import Attestation
from runtime.contract.printable import printable
from runtime.contract.robot.newest import Newest
from runtime.contract.robot.pull_settings import PullSettings
from runtime.contract.robot.trust import Signed
from runtime.contract.robot.update import COMMAND_PATH, UPDATER_TRIAL, UpdateOrder, UpdateState
from runtime.contract.robot.verification import VERIFY_MARGIN_S

_POLL_S = 1.0
_CHANGE_S = 10.0
"""A robot that waits for its next change answers after so long in any case: Ctrl-C is looked at between questions."""
_RETRY_S = 2.0
_ASK_TIMEOUT_S = 90.0
_ACT_TIMEOUT_S = 345.0
"""Confirm and revert answer once the updater has acted, at the latest after its own limit of 330 s."""


@dataclass(frozen=True)
class OnTrial:
    """What a robot answers to a new updater."""

    trial: bool


@dataclass(frozen=True)
class PullTaken:
    """What a robot answers when it is told of registry and hub."""

    state: UpdateState
    host_key: str
    """``ssh-ed25519 AAAA…``; empty when it does not report."""


T = TypeVar("T", UpdateState, Attestation, OnTrial, PullTaken)
R = TypeVar("R")
OnState = Callable[[UpdateState], None]


MAX_WORDS = 500
"""Characters of a robot's last words that are shown."""
EXIT_USAGE = 2
"""Of `fleet-updater`: it does not know what it was asked for."""
EXIT_OUTSIDE = 3
"""Of `fleet-updater`: its daemon does not answer, or something outside of it failed."""


class NoUpdater(RobotError):
    """The robot answers, and was never bootstrapped."""


class UpdaterSilent(RobotSilent):
    """The robot answers, its updater does not at the moment: it may just be starting."""


class RobotLost(RobotError):
    """A robot that had taken its order gave no usable answer until the end of the time that it is waited for."""


SILENCE = (RobotOffline, RobotSilent)
"""What may pass by itself: no link, no answer in time."""
OnSilence = Callable[[RobotError, float], None]
"""Called when a robot goes silent: why, and until when it is waited for (monotonic seconds)."""


class RobotClient:
    """Speaks to one robot over at most one connection at a time. Used by one thread at a time.

    Methods raise RobotOffline (not reachable, link lost) and RobotError (refused, or an answer that is none).
    """

    def __init__(
        self,
        robot: RobotAddress,
        shells: RobotShells,
        clock: Clock,
        *,
        connect_timeout_s: float = 10.0,
        status_timeout_s: float = 30.0,
        newest: tuple[Signed, Newest] | None = None,
    ) -> None:
        """``newest``: the statement of the newest release, which a robot that has an older one is brought."""
        self.name = robot.name
        self._newest = newest
        self._robot = robot
        self._shells = shells
        self._clock = clock
        self._connect_timeout_s = connect_timeout_s
        self._status_timeout_s = status_timeout_s
        self._shell: RobotShell | None = None
        self.in_doubt = False
        """The last question may have reached the robot although no answer came."""

    def observe(self, *, attest: bool = False) -> Observed:
        """Look at the robot, once. Never raises FleetError: what went wrong is in the value."""
        try:
            if attest:
                attestation = self.attest()
                state = attestation.state
            else:
                attestation, state = None, self.status()
        except FleetError as error:
            return Observed(
                self.name,
                online=not isinstance(error, RobotOffline),
                error=error.words if isinstance(error, RobotError) else error.message,
                hint=error.hint,
                has_updater=not isinstance(error, NoUpdater),
                needs_bootstrap=isinstance(error, (NoUpdater, NotPinned)),
                fetched_at=self._clock.now(),
            )
        return Observed(self.name, online=True, state=state, attestation=attestation, fetched_at=self._clock.now())

    def status(self) -> UpdateState:
        """Ask where the transaction is."""
        return self._freshened(self._ask(UpdateState, ["status", "--json"], timeout_s=self._status_timeout_s))

    def _freshened(self, state: UpdateState) -> UpdateState:
        """Bring the newest release's statement, once, where the robot has an older one; its refusal is in ``stale``."""
        brought, self._newest = self._newest, None
        if brought is None or not state.root_version or state.unsigned:
            return state
        signed, newest = brought
        if state.generation > newest.generation:
            text = (
                f"it has seen generation {state.generation} of {state.newest}, the registry shows {newest.generation}"
            )
            return replace(state, stale=f"{text} of {newest.version}: is something hidden there?")
        if state.generation == newest.generation and state.newest_until >= newest.expires_at:
            return state
        try:
            return self.take_newest(signed)
        except (RobotOffline, RobotSilent):
            raise
        except RobotError as error:
            return replace(state, stale=f"it refuses the statement of the newest release: {error.words}")

    def submit(self, order: UpdateOrder) -> UpdateState:
        """Hand an order over; the same order twice is one order. Returns the state right after it was taken."""
        return self._ask(UpdateState, ["submit"], stdin=canonical_json(order).decode(), timeout_s=_ASK_TIMEOUT_S)

    def take_root(self, roots: Sequence[Signed]) -> bool:
        """Bring the fleet's roots, oldest first; return whether another one counts now. The robot judges them."""
        before = self.status()
        told = json.dumps({"roots": [to_dict(each) for each in roots]})
        after = self._ask(UpdateState, ["take-root", "--json"], stdin=told, timeout_s=_ASK_TIMEOUT_S)
        return (before.root_version, before.has_root) != (after.root_version, after.has_root)

    def take_updater(self, zipapp: bytes, signed: Signed | None, version: str, trial_s: float) -> bool:
        """Bring an updater; return whether it is on trial now, and not in use already. The robot judges it.

        Without ``zipapp`` the statement is of the one that is in use there.
        """
        told: dict[str, object] = {
            "zipapp": base64.b64encode(zipapp).decode("ascii"),
            "signed": None if signed is None else to_dict(signed),
            "version": version,
            "trial_s": trial_s,
        }
        return self._ask(OnTrial, ["take-updater", "--json"], stdin=json.dumps(told), timeout_s=_ASK_TIMEOUT_S).trial

    def take_newest(self, signed: Signed) -> UpdateState:
        """Bring the statement of the newest release. The robot judges it."""
        told = json.dumps({"signed": to_dict(signed)})
        return self._ask(UpdateState, ["take-newest", "--json"], stdin=told, timeout_s=_ASK_TIMEOUT_S)

    def take_pull(self, settings: PullSettings | None, authority: bytes | None) -> str:
        """Tell the robot of registry and hub; return its public host key, which signs its reports.

        ``settings`` None: it neither pulls nor reports from now on. ``authority``: PEM of the hub's.
        """
        told = {
            "settings": None if settings is None else to_dict(settings),
            "hub_ca": None if authority is None else base64.b64encode(authority).decode("ascii"),
        }
        return self._ask(PullTaken, ["take-pull", "--json"], stdin=json.dumps(told), timeout_s=_ASK_TIMEOUT_S).host_key

    def attest(self) -> Attestation:
        """Ask what really runs."""
        found = self._ask(Attestation, ["attest"], timeout_s=_ASK_TIMEOUT_S)
        return replace(found, state=self._freshened(found.state))

    def attest_anew(self) -> Attestation:
        """As :meth:`attest`, over a connection opened for it: a release that cuts the robot off must not pass."""
        self.close()
        return self.attest()

    def verify(self, seconds: float) -> Attestation:
        """Have the robot check itself, listening for ``seconds``: what really runs, and what it found."""
        limit_s = seconds + VERIFY_MARGIN_S + _ASK_TIMEOUT_S
        found = self._ask(Attestation, ["verify", "--seconds", f"{seconds:g}"], timeout_s=limit_s)
        return replace(found, state=self._freshened(found.state))

    def confirm(self, order_id: str) -> UpdateState:
        """Tell the robot that its release is good: it commits."""
        return self._ask(UpdateState, ["confirm", order_id], timeout_s=_ACT_TIMEOUT_S)

    def revert(self, order_id: str, reason: str) -> UpdateState:
        """Tell the robot to undo this order: leave it when it is in progress, go back when it is committed.

        Returns when the robot has begun; an order that ended without a commit leaves nothing to do.
        """
        return self._ask(UpdateState, ["revert", order_id, "--reason", reason], timeout_s=_ACT_TIMEOUT_S)

    def keep_updater(self, version: str) -> UpdateState:
        """Tell an updater on trial, which must be ``version``, that it is proven."""
        return self._ask(UpdateState, ["keep", version], timeout_s=self._status_timeout_s)

    def updater_trial_failed(self) -> str:
        """Return why the updater installed last was sent back by the robot.

        Empty when it was not, not yet, or when the robot cannot be asked now: ask again, up to a deadline.
        """
        try:
            if self._shell is None:
                self._shell = self._shells.connect(self._robot, timeout_s=self._connect_timeout_s)
            result = self._shell.run(["cat", UPDATER_TRIAL])
            trial = decode_object(result.stdout, "trial", WORDS, clean=printable) if result.exit_code == 0 else {}
        except RobotError:
            self.close()
            return ""
        except ContractError:
            return ""
        return str(trial.get("failed") or "")

    def wait_for(
        self,
        done: Callable[[UpdateState], bool],
        *,
        what: str,
        deadline: float,
        silent_until: Callable[[UpdateState | None, float], float] | None = None,
        on_state: OnState | None = None,
        on_silence: OnSilence = lambda _why, _until: None,
        check: Callable[[], None] = lambda: None,
    ) -> UpdateState:
        """Ask for the state until ``done`` says so; a robot that gives no usable answer is asked again.

        All times are monotonic seconds of the clock. A robot that answers is waited for until ``deadline``; past it
        raises RobotError that says what it is doing. A robot that does not answer, for whatever reason (no link, a
        command that hangs, an answer that is none), is waited for until ``silent_until`` of the last state seen (None
        before the first) and when that was; ``deadline`` when not given. Past it raises RobotLost with the last
        reason. ``check`` is called before every question and may raise to end the wait.
        """
        seen: UpdateState | None = None
        seen_at = self._clock.monotonic()
        silent, known = False, ""
        while True:
            check()
            answer = self._state_or_why(known)
            now = self._clock.monotonic()
            if isinstance(answer, UpdateState):
                seen, seen_at, silent = answer, now, False
                if on_state is not None:
                    on_state(answer)
                if done(answer):
                    return answer
                if now >= deadline:
                    raise self._gave_up(what, answer)
            else:
                until = silent_until(seen, seen_at) if silent_until is not None else deadline
                if not silent:
                    silent = True
                    on_silence(answer, until)
                if now >= until:
                    raise RobotLost(self.name, answer.words, hint=answer.hint) from answer
            if not (isinstance(answer, UpdateState) and answer.mark and answer.mark != known):
                self._clock.sleep(_POLL_S)
            known = answer.mark if isinstance(answer, UpdateState) else ""

    def next_state(self, mark: str) -> UpdateState:
        """Ask for the state that follows the one with ``mark``; what it is after 10 s when nothing changes."""
        verb = ["wait", "--json", "--for-change", mark, "--seconds", f"{_CHANGE_S:g}"]
        return self._ask(UpdateState, verb, timeout_s=_CHANGE_S + self._status_timeout_s)

    def _state_or_why(self, known: str) -> UpdateState | RobotError:
        try:
            return self.next_state(known) if known else self.status()
        except RobotError as error:
            return error

    def _gave_up(self, what: str, seen: UpdateState) -> RobotError:
        return RobotError(
            self.name,
            f"gave up waiting for {what}: it is still {f'{seen.state} {seen.progress}'.strip()}",
            hint=f"fleet status --robots {self.name}; without a confirmation the robot reverts by itself",
        )

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        shell, self._shell = self._shell, None
        if shell is not None:
            shell.close()

    def _ask(
        self,
        answer: type[T],
        verb: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_s: float,
    ) -> T:
        self.in_doubt = False
        try:
            if self._shell is None:
                self._shell = self._shells.connect(self._robot, timeout_s=self._connect_timeout_s)
            self.in_doubt = True
            result = self._shell.run([COMMAND_PATH, *verb], stdin=stdin, timeout_s=timeout_s)
        except BaseException:
            self.close()
            raise
        return self._parse(answer, verb[0], result)

    def _parse(self, answer: type[T], verb: str, result: CommandResult) -> T:
        if result.exit_code in (126, 127):
            raise NoUpdater(self.name, "has no updater", hint=f"fleet bootstrap --robots {self.name}")
        if result.exit_code == EXIT_USAGE and "invalid choice" in result.stderr:
            hint = f"fleet bootstrap --robots {self.name}"
            raise RobotError(self.name, f"its updater is too old for `{verb}`", hint=hint)
        if result.exit_code != 0:
            words, _, hint = _last_words(result).partition(" -> ")
            kind = UpdaterSilent if result.exit_code == EXIT_OUTSIDE else RobotError
            raise kind(
                self.name,
                f"fleet-updater {verb}: {words.removeprefix('fleet-updater: ')}",
                hint=hint or f"fleet exec --robots {self.name} -- {COMMAND_PATH} status",
            )
        try:
            return from_json(answer, result.stdout, WORDS, clean=printable)
        except ContractError as error:
            raise RobotError(
                self.name,
                f"fleet-updater {verb} gave an answer that this fleet cannot read: {error}",
                hint=f"use the same version on both: fleet bootstrap --robots {self.name}",
            ) from error


def insist(ask: Callable[[], R], clock: Clock, until: Callable[[], float], on_silence: OnSilence) -> R:
    """Ask again while the robot is silent; past ``until`` (monotonic seconds) raise what kept us from the answer."""
    silent = False
    while True:
        try:
            return ask()
        except SILENCE as error:
            if clock.monotonic() >= until():
                raise
            if not silent:
                silent = True
                on_silence(error, until())
        clock.sleep(_RETRY_S)


def _last_words(result: CommandResult) -> str:
    """Return the last line of stderr: a robot's words go to a terminal."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    words = lines[-1] if lines else f"exit code {result.exit_code}"
    return printable(words, MAX_WORDS)
