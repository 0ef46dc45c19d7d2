"""One rollout to robots that pull, step by step: read registry and hub, judge, sign what follows. Nothing is kept here.

Every step holds the rollout lock, and begins from what registry and hub say: any step may be the last one of this
process and the next one another's, on another machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from fleet.cli.desired import office
from fleet.cli.rollout_flow import hooks_of, rollout_lock
from fleet.cli.ui.robots import reports_of
from fleet.cli.wiring import Wiring
from fleet.errors import OutsideError, PlanOutdated, UsageError
from fleet.oci.json_documents import get_record
from fleet.oci.releases import PublishedRelease, load_release
from fleet.publish.tags import TagMove, move_tags
from fleet.rollout import audit
from fleet.rollout.hooks import Hooks
from fleet.rollout.pull import decision
from fleet.rollout.pull.decision import Decision, decide
from fleet.rollout.pull.stages import waves_of
from fleet.rollout.pull.standing import Look, Patience, look_at
from fleet.signing.desired import DesiredStanding, moved_words, publish, read_desired
from runtime.contract.robot.desired import ABORTED, ENDED, PAUSED, REST, REVERTING, RUNNING
from runtime.contract.robot.desired_rules import Followed

OnLook = Callable[[Followed, Look], None]


@dataclass
class Answer:
    """What an operator says about a rollout that waits; an approval is for one stage."""

    reason: str = ""
    resume: bool = False
    abort: bool = False
    pause: bool = False


@dataclass
class PullSteps:
    """Steps of the rollout with this id."""

    wiring: Wiring
    rollout_id: str
    until_wave: int | None = None
    on_look: OnLook = lambda _followed, _look: None
    known: dict[str, int] = field(default_factory=dict)
    """Robot → highest sequence seen: a hub that shows older ones later is seen."""
    _release: PublishedRelease | None = None
    _hooks: Hooks | None = None

    def step(self, answer: Answer | None = None) -> Decision:
        """Look once, and sign what follows. Raises LockHeld, RegistryError, PlanOutdated for one that was replaced."""
        said = answer or Answer()
        with rollout_lock(self.wiring, f"rollout {self.rollout_id}"):
            standing = self.standing()
            standing = self._answered(standing, said)
            found = self._decide(standing, approved=said.resume)
            self._sign(standing, found, said)
        return found

    def standing(self) -> DesiredStanding:
        """Return the statement of this rollout. Raises PlanOutdated when the registry has another."""
        found = read_desired(office(self.wiring), self.wiring.clock.now())
        if found.followed is None:
            raise PlanOutdated(
                f"the desired statement does not count any more: {found.problem}",
                hint="find out who writes to the registry; fleet rollout begins again",
            )
        if found.followed.plan.rollout_id != self.rollout_id:
            raise PlanOutdated(
                f"rollout {found.followed.plan.rollout_id} took the place of {self.rollout_id}",
                hint="fleet status shows what robots run; fleet rollout --watch goes on with the one that counts",
            )
        return found

    def names(self, followed: Followed) -> list[str]:
        """Return the rollout's robots: those of its stages that the manifest still has, and those that are new."""
        listed = {name for stage in followed.plan.stages for name in stage.robots}
        rest = {name for stage in followed.plan.stages if stage.wave == REST for name in stage.robots}
        robots = [robot.name for robot in self.wiring.desired.robots if robot.link == "pull" and robot.name not in rest]
        return robots if not rest else [name for name in robots if name in listed]

    def release(self, followed: Followed) -> PublishedRelease:
        """Return the release of the plan. Raises PlanOutdated when its version names another one now."""
        if self._release is None:
            found = load_release(self.wiring.registry, self.wiring.desired.registry.prefix, followed.plan.version)
            if found.digest != followed.plan.release:
                raise PlanOutdated(
                    f"release {found.version} is {found.digest[7:19]} in the registry now, and the plan was signed for "
                    f"{followed.plan.release[7:19]}",
                    hint="find out who moved the tag; robots take what was signed alone",
                )
            self._release = found
        return self._release

    # ── look and judge ──

    def _decide(self, standing: DesiredStanding, *, approved: bool) -> Decision:
        followed = standing.followed
        assert followed is not None, "standing() has checked it"
        names = self.names(followed)
        verdicts = reports_of(self.wiring, names, self.known)
        for name, verdict in verdicts.items():
            if verdict.report is not None:
                self.known[name] = max(self.known.get(name, 0), verdict.report.sequence)
        policy, pull = self.wiring.desired.rollout, self.wiring.desired.pull
        patience = Patience(pull.reachable, policy.lost.after)
        look = look_at(followed, self.release(followed).document, verdicts, patience, self.wiring.clock.now())
        self.on_look(followed, look)
        return decide(followed, look, names, policy, approved=approved, until_wave=self.until_wave)

    # ── sign ──

    def _answered(self, standing: DesiredStanding, answer: Answer) -> DesiredStanding:
        """Sign what the operator said, before robots are looked at."""
        assert standing.followed is not None
        now = standing.followed.desired.standing
        if answer.abort and now in (RUNNING, PAUSED, ENDED):
            to = REVERTING if self.wiring.desired.rollout.on_failure == "revert" else ABORTED
            return self._move(standing, to=to, reason=f"{decision.OPERATOR}{audit.operator()}: {answer.reason}")
        if answer.pause and now == RUNNING:
            return self._move(standing, to=PAUSED, reason=f"paused by {audit.operator()}: {answer.reason}")
        if answer.resume and now == PAUSED:
            return self._move(standing, to=RUNNING, reason=answer.reason)
        return standing

    def _sign(self, standing: DesiredStanding, found: Decision, answer: Answer) -> None:
        if found.kind == decision.ADVANCE:
            self._advance(standing, found, answer)
        elif found.kind == decision.TAKE_BACK:
            self._move(standing, to=REVERTING, reason=found.reason)
        elif found.kind == decision.STOP:
            self._move(standing, to=ABORTED, reason=found.reason)
        elif found.kind == decision.END:
            self._move(standing, to=ENDED)
        elif found.kind == decision.PAUSE:
            self._move(standing, to=PAUSED, reason=f"paused by {audit.operator()}: {found.reason}")
        elif self._is_old(standing):
            self._move(standing)

    def _advance(self, standing: DesiredStanding, found: Decision, answer: Answer) -> None:
        """Sign the next stage, unless a hook stops the rollout: then it is paused, with the hook's reason."""
        assert standing.followed is not None
        plan = standing.followed.plan
        if plan.stages[found.stage - 1].approve and not answer.reason:
            raise UsageError(
                f"stage {found.stage} wants an approval, and its reason is kept in history",
                hint='say why it may go on: fleet rollout --resume --reason "the canary ran for a day"',
            )
        waves = waves_of(plan)
        wave = next(number for number, stages in enumerate(waves, start=1) if found.stage in stages)
        why = ""
        if found.stage == waves[wave - 1][0]:
            names = [name for stage in waves[wave - 1] for name in plan.stages[stage - 1].robots]
            why = self._tell(standing.followed, "after-wave", wave - 1, found) if wave > 1 else ""
            why = why or self.hooks(standing.followed).wave("before-wave", wave, len(waves), names, {})
        if why:
            self._move(standing, to=PAUSED, reason=why)
            return
        if plan.stages[found.stage - 1].approve:
            self._note_approval(standing.followed, found.stage, answer.reason)
        self._move(standing, stage=found.stage)

    def _tell(self, followed: Followed, event: str, wave: int, found: Decision) -> str:
        stages = waves_of(followed.plan)
        robots = [each for each in found.result.robots if each.wave in stages[wave - 1]]
        counts: dict[str, int] = {}
        for each in robots:
            counts[each.outcome.value] = counts.get(each.outcome.value, 0) + 1
        return self.hooks(followed).wave(event, wave, len(stages), [each.name for each in robots], counts)

    def hooks(self, followed: Followed) -> Hooks:
        """Return the manifest's hooks. Raises UsageError for a secret that is missing."""
        if self._hooks is None:
            self._hooks = hooks_of(self.wiring, self.release(followed), kind_of(followed))
        return self._hooks

    def _note_approval(self, followed: Followed, stage: int, reason: str) -> None:
        plan = followed.plan
        record = audit.approval(
            plan.fleet,
            version=plan.version,
            release_digest=plan.release,
            wave=f"stage {stage} of {len(plan.stages)}",
            reason=reason,
            clock=self.wiring.clock,
        )
        audit.append(self.wiring.registry, self.wiring.desired.registry.prefix, record)

    def _move(
        self, standing: DesiredStanding, *, stage: int | None = None, to: str = "", reason: str = ""
    ) -> DesiredStanding:
        desired = self.wiring.desired
        if standing.plan is None or standing.proof is None:
            raise UsageError(f"no rollout to move: {standing.problem}", hint="begin one with fleet rollout")
        now = self.wiring.clock.now()
        words = moved_words(standing, now, desired.pull.statement, stage=stage, to=to, reason=reason)
        key = desired.trust.advance_with or desired.trust.sign_with
        return publish(office(self.wiring), words, standing.plan, standing.proof, key)

    def _is_old(self, standing: DesiredStanding) -> bool:
        """Whether half of the statement's time is over."""
        assert standing.followed is not None
        desired = standing.followed.desired
        return self.wiring.clock.now() > (desired.issued_at + desired.expires_at) / 2

    # ── the end ──

    def write_down(self, found: Decision) -> tuple[Sequence[TagMove], OutsideError | None]:
        """Record how the rollout ended and move the tags; again and again the same record, by its rollout's id.

        Hooks are told with the first one alone, whoever looks later.
        """
        standing = self.standing()
        followed = standing.followed
        assert followed is not None
        release, prefix = self.release(followed), self.wiring.desired.registry.prefix
        part = any(stage.wave == REST for stage in followed.plan.stages)
        record = audit.record_of(
            found.result,
            kind=kind_of(followed),
            fleet=followed.plan.fleet,
            release_digest=release.digest,
            at=followed.plan.issued_at,
            selector="robots of the plan" if part else "",
            override=followed.plan.override,
        )
        record = dataclasses.replace(
            record, id=self.rollout_id, seconds=round(self.wiring.clock.now() - followed.plan.issued_at, 3)
        )
        try:
            before = get_record(self.wiring.registry, f"{prefix}/audit", self.rollout_id, audit.AuditRecord)
            if before is None or before[0].counts != record.counts:
                audit.append(self.wiring.registry, prefix, record)
            if before is None:
                error = found.result.error()
                self.hooks(followed).ended(found.result, error.message if error else "")
            moves = () if part or not found.result.succeeded else move_tags(self.wiring.registry, prefix, release)
        except OutsideError as error:
            message = f"the rollout is over, but its record and tags could not be written: {error.message}"
            return (), OutsideError(message, hint="run the same command again when the registry is back")
        return tuple(moves), None


def kind_of(followed: Followed) -> str:
    """Return the word of a record: a plan with a signed rollback order is a rollback."""
    return audit.ROLLBACK if followed.plan.rollback is not None else audit.ROLLOUT


def words_of(look: Look) -> Mapping[str, str]:
    """Return robot → what is to be said of it now."""
    return {name: f"{each.outcome.value}  {each.reason}".strip() for name, each in look.ended.items()} | dict(
        look.at_work
    )
