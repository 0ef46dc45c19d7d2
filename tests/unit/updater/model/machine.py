"""The transaction, model-checked: any order of orders, requests and faults, and what must hold after each of them."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from runtime.contract.node.health import Check
from runtime.contract.node.resources import ENV_INHIBIT
from runtime.contract.robot.switching import HANDOVER_AUTO, HANDOVER_NEVER, SwitchRules, Window
from runtime.updater.daemon.retention import pinned, unpinned
from runtime.updater.state.lock_answer import FREE, HELD, SILENT, LockAnswer
from runtime.updater.state.records import ABORT, CONFIRM
from runtime.updater.state.world import WorldError
from tests.fakes.robots.robot_world import START, Behaviour
from tests.unit.updater.model.life import IMAGES, PROBATION, Life

STEPS = 20
BROKEN_ROOM = Behaviour(state="unhealthy", checks=(Check("camera", "error", "no frame"),))
ANSWERS = (LockAnswer(FREE), LockAnswer(HELD, ("the robot drives",)), LockAnswer(SILENT, ("nobody writes it",)))
#: Open for one minute of the day, long after the fake clock's start.
CLOSED = (Window(0, 1), Window(12 * 60, 12 * 60 + 1))

letters = st.sampled_from(sorted(set(IMAGES) - {"f"}))
ticks = st.integers(1, 120)


class Transaction(RuleBasedStateMachine):
    """One robot's life."""

    sequences = 0

    def __init__(self) -> None:
        super().__init__()
        self.life = Life()
        self.robot, self.laws = self.life.robot, self.life.laws
        type(self).sequences += 1

    def teardown(self) -> None:
        try:
            self.life.end_well()
        finally:
            self.life.close()

    # ── orders ──

    @initialize(letter=st.sampled_from("12"), signed=st.booleans(), turns=st.booleans())
    def first_release(self, letter: str, signed: bool, turns: bool) -> None:
        if signed:
            self.life.be_signed()
        if turns:
            self.life.take_turns()
        self.life.submit(self.life.order(letter))
        self.life.settle()

    @rule(
        letter=letters,
        force=st.booleans(),
        guarded=st.booleans(),
        told=st.booleans(),
        autonomy=st.booleans(),
        override=st.sampled_from(["", "", "hotfix"]),
        proof=st.sampled_from(["anna", "anna", "anna", "nobody", "eve", "ben", "older"]),
        rules=st.sampled_from([SwitchRules(), SwitchRules(), SwitchRules(switch=CLOSED), SwitchRules(download=CLOSED)]),
        handover=st.sampled_from([HANDOVER_AUTO, HANDOVER_AUTO, HANDOVER_NEVER]),
    )
    def give_order(
        self,
        letter: str,
        force: bool,
        guarded: bool,
        told: bool,
        autonomy: bool,
        override: str,
        proof: str,
        rules: SwitchRules,
        handover: str,
    ) -> None:
        self.life.submit(
            self.life.order(
                letter,
                proof,
                force=force,
                override=override,
                switch=replace(rules, wait_s=5.0, handover=handover),
                environment={"ROS_DOMAIN_ID": "7", **({ENV_INHIBIT: '{"rules":[]}'} if guarded else {})},
                issued_at=self.robot.world.time - self.life.skew if told else 0.0,
                probation=replace(PROBATION, autonomy=autonomy),
            )
        )

    @precondition(lambda self: self.life.orders)
    @rule(back=st.integers(1, 3))
    def give_an_order_again(self, back: int) -> None:
        self.life.submit(self.life.orders[-min(back, len(self.life.orders))])

    @precondition(lambda self: self.life.orders)
    @rule()
    def give_other_content_under_the_same_id(self) -> None:
        self.life.submit(replace(self.life.orders[-1], environment={"ROS_DOMAIN_ID": "8"}))

    # ── requests ──

    @rule()
    def confirm(self) -> None:
        self.life.ask(lambda: self.robot.updater.confirm(self.robot.updater.status().order_id))

    @rule()
    def abort(self) -> None:
        self.life.ask(lambda: self.robot.updater.abort(self.robot.updater.status().order_id, "wrong one"))

    @rule(only_last=st.booleans())
    def revert(self, only_last: bool) -> None:
        last = self.robot.updater.status().order_id if only_last else ""
        self.life.ask(lambda: self.robot.updater.revert("by hand", last))

    @rule(name=st.sampled_from(["current", "previous"]))
    def pin(self, name: str) -> None:
        self.life.ask(lambda: self.robot.updater.amend(lambda journal: pinned(journal, name)))

    @rule()
    def unpin(self) -> None:
        version = next(iter(self.robot.updater.status().pinned), "none")
        self.life.ask(lambda: self.robot.updater.amend(lambda journal: unpinned(journal, version)))

    @rule()
    def recover_by_hand(self) -> None:
        self.life.ask(self.robot.updater.recover)

    @rule(at=ticks, kind=st.sampled_from([CONFIRM, ABORT, "submit", "pin"]))
    def somebody_asks_meanwhile(self, at: int, kind: str) -> None:
        self.robot.news[self.robot.ticks + at] = lambda: self.life.meanwhile(kind)

    # ── time passes ──

    @rule(steps=st.integers(1, 12))
    def work(self, steps: int) -> None:
        self.life.alive(lambda: self.robot.work(steps))

    @rule(confirms=st.booleans())
    def settle(self, confirms: bool) -> None:
        self.life.settle(confirms)

    # ── faults ──

    @rule(at=ticks, cut=st.sampled_from(["process", "robot", "robot-long"]))
    def die_at(self, at: int, cut: str) -> None:
        self.robot.crash_at, self.life.cut = self.robot.ticks + at, cut

    @rule(cut=st.sampled_from(["process", "robot", "robot-long"]))
    def die_now(self, cut: str) -> None:
        self.life.cut = cut
        self.life.restart()

    @rule()
    def leave_in_order(self) -> None:
        self.robot.updater.stop()
        self.robot.work(3)
        self.life.cut = "process"
        self.life.restart()

    @rule(at=ticks, kind=st.sampled_from(["transient", "lasting", "gap"]), times=st.integers(1, 3))
    def call_fails_at(self, at: int, kind: str, times: int) -> None:
        for number in range(times):
            self.robot.trouble[self.robot.ticks + at + number] = kind

    @rule(transient=st.booleans(), times=st.integers(1, 6))
    def pulls_fail(self, transient: bool, times: int) -> None:
        self.robot.world.fail("pull", *[WorldError("docker pull: EOF", transient=transient)] * times)

    @rule(seconds=st.sampled_from([3.0, 40.0, 130.0, 900.0]))
    def engine_dies(self, seconds: float) -> None:
        self.robot.engine_down(seconds)

    @rule()
    def disk_is_full(self) -> None:
        self.robot.disk.fill()

    @rule()
    def disk_is_free(self) -> None:
        self.robot.disk.free()

    @rule(seconds=st.sampled_from([-366 * 86400.0, -3600.0, -20.0, 20.0, 7200.0, 400 * 86400.0]))
    def clock_jumps(self, seconds: float) -> None:
        if self.robot.world.time + seconds > START - 900 * 86400.0:
            self.life.jump_clock(seconds)

    @rule(broken=st.booleans())
    def room(self, broken: bool) -> None:
        self.robot.world.room = BROKEN_ROOM if broken else Behaviour()
        self.laws.room_changed()

    @rule(answer=st.sampled_from(ANSWERS))
    def node_says(self, answer: LockAnswer) -> None:
        self.robot.world.lock = answer

    # ── what must hold ──

    @invariant()
    def laws_hold(self) -> None:
        self.laws.check()


def check(sequences: int, *, the_same_each_time: bool) -> None:
    """Lead so many lives. Raises what the first broken law raises, after the shortest life that breaks it was found."""
    Transaction.sequences = 0
    run_state_machine_as_test(
        Transaction,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=STEPS,
            deadline=None,
            derandomize=the_same_each_time,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink],
            print_blob=False,
            report_multiple_bugs=False,
        ),
    )
    print(f"{Transaction.sequences} sequences, no law broken")
    assert Transaction.sequences >= sequences
