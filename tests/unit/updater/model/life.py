"""One robot's life as its controller and the people around it lead it: orders, questions, deaths, and an end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from runtime.contract.node.health import Check
from runtime.contract.robot.release import Probation
from runtime.contract.robot.trust import ROLLBACK, TrustSettings
from runtime.contract.robot.update import COMMITTED, UpdateOrder
from runtime.updater.daemon.retention import pinned
from runtime.updater.state.lock_answer import FREE, LockAnswer
from runtime.updater.state.records import ABORT, CONFIRM, Request
from runtime.updater.state.world import WorldError
from runtime.updater.transaction.state_machine import is_active
from runtime.updater.transaction.update_state import Rejected
from tests.fakes.robots.robot_world import Behaviour, digest, order, reference
from tests.fakes.signed_orders import ANNA, BEN, DAY, EVE, document_of, prove, statement_of
from tests.unit.updater.model.faulty import FaultyRobot
from tests.unit.updater.model.laws import Laws
from tests.unit.updater.robot import Crash

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
#: Letter of an image → how it behaves, always.
IMAGES = {
    "1": Behaviour(ready_after_s=1.0),
    "2": Behaviour(),
    "3": Behaviour(ready_after_s=6.0),
    "4": Behaviour(state="degraded", checks=(Check("temperature", "warn", "cpu 91 °C"),)),
    "5": Behaviour(hangs_after_s=30.0),
    "6": Behaviour(cosine=0.41),
    "7": Behaviour(exits=True),
    "8": Behaviour(silent=True),
    "9": Behaviour(turns_bad_after_s=3.0),
    "a": Behaviour(ready_after_s=500.0),
    "b": Behaviour(key=digest("7")),
    "c": Behaviour(turns_bad_after_s=1.0, only_when_serving=True),
    "f": Behaviour(),
}
GOOD = frozenset("12345f")
PROBATION = Probation(soak_s=2.0, ready_timeout_s=9.0, confirm_timeout_s=6.0)


class Life:
    """A robot with its orders, and the laws that watch it. Whoever makes one ends it."""

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(dir=MEMORY)
        self.robot = FaultyRobot(Path(self._folder.name))
        self.robot.world.behaviour = {reference(letter): behaviour for letter, behaviour in IMAGES.items()}
        # Its fault shows only in a release that takes turns.
        self.laws = Laws(self.robot, {reference(letter) for letter in GOOD | {"c"}})
        self.robot.world.signers = {ANNA: ("anna@x",), BEN: ("ben@x",)}
        self.robot.world.revoked = {BEN}
        self.orders: list[UpdateOrder] = []
        self.skew = 0.0
        """Seconds by which the robot's clock is ahead of the controller's."""
        self.cut = "process"
        """What ends with the updater's next death: process | robot | robot-long."""

    def close(self) -> None:
        """Leave nothing behind."""
        self.robot.close()
        self._folder.cleanup()

    def order(self, letter: str, proof: str = "anna", **changes: Any) -> UpdateOrder:
        """Make an order, newer than all before it. ``proof``: anna | nobody | eve | ben (revoked) | older."""
        number = len(self.orders)
        base = order(letter, version=f"1.{number}.0", order_id=f"{number}-{letter}", probation=PROBATION)
        made = replace(base, **changes)
        if proof == "older":
            made = replace(made, version=f"0.{number}.0")
        if proof != "nobody":
            made = self._signed(made, {"eve": EVE, "ben": BEN}.get(proof, ANNA), rollback=proof == "older")
        self.orders.append(made)
        return made

    def _signed(self, made: UpdateOrder, key: str, rollback: bool) -> UpdateOrder:
        now = self.robot.world.time - self.skew
        document = document_of(made, switch={made.robot: made.switch})
        back = statement_of(document, ROLLBACK, issued_at=now, expires_at=now + DAY) if rollback else None
        return prove(made, [key], document=document, rollback=back, issued_at=now, expires_at=now + 90 * DAY)

    def be_signed(self) -> None:
        """Belong to a fleet whose releases are signed."""
        self.robot.world.settings = TrustSettings("warehouse")

    def take_turns(self) -> None:
        """Have releases whose old and new container may be there at once."""
        self.robot.world.take_turns(self.robot.world.published)
        self.laws.good.discard(reference("c"))

    def jump_clock(self, seconds: float) -> None:
        """Set the robot's clock."""
        self.skew += seconds
        self.robot.jump_clock(seconds)

    def submit(self, what: UpdateOrder) -> None:
        self.ask(lambda: self.robot.updater.submit(what))

    def meanwhile(self, kind: str) -> None:
        """What a server's thread does while the driver works, short of waiting for it."""
        updater = self.robot.updater
        state = updater.status()
        if kind == "submit" and not is_active(updater._journal):
            updater.submit(self.order("2"))
        elif kind == "pin" and updater._journal.current is not None:
            updater.amend(lambda journal: pinned(journal, "current"))
        elif (kind == CONFIRM and state.awaiting_confirmation) or (kind == ABORT and is_active(updater._journal)):
            updater.leave(Request(kind, state.order_id, "meanwhile"))

    def ask(self, question: Callable[[], object]) -> None:
        def asked() -> None:
            try:
                question()
            except (Rejected, WorldError, OSError) as error:
                self.laws.said(error)

        self.alive(asked)

    def alive(self, act: Callable[[], object]) -> None:
        """Do something to the updater; where it dies of it, a new one starts."""
        try:
            act()
        except Crash:
            self.restart()

    def restart(self) -> None:
        for _ in range(20):
            self.robot.hurt("restart")
            if self.cut != "process":
                self.robot.reboot(30.0 if self.cut == "robot" else 5000.0)
            try:
                self.robot.boot()
            except Crash:
                continue
            except OSError:
                # Its supervisor starts it again, and again, until somebody makes room.
                self.laws.could_not_start()
                self.robot.disk.free()
                continue
            return
        raise AssertionError("the updater does not start")

    def settle(self, confirms: bool = True) -> None:
        """Go on until the robot has nothing left to do: it must come to that."""
        self.robot.disk.free()
        for _ in range(4000):
            if not self.robot.updater.busy:
                break
            state = self.robot.updater.status()
            if confirms and state.awaiting_confirmation:
                self.ask(lambda: self.robot.updater.confirm(self.robot.updater.status().order_id))
            else:
                self.alive(lambda: self.robot.work(1))
        assert not self.robot.updater.busy, f"never ended: {self.robot.updater.status()}"
        self.laws.check_quiet()

    def end_well(self) -> None:
        """Whatever was: with the faults gone, the robot is whole and takes the next release."""
        self.robot.calm()
        self.settle()
        self.robot.world.room, self.robot.world.lock = Behaviour(), LockAnswer(FREE)
        self.jump_clock(-self.skew)
        self.cut = "process"
        self.restart()
        self.settle()
        self.laws.check_history()
        self.submit(self.order("f", force=True))
        self.settle()
        last = self.robot.durable.last
        assert last is not None
        assert (last.order_id, last.outcome) == (self.orders[-1].order_id, COMMITTED), last
        self.laws.check_history()
