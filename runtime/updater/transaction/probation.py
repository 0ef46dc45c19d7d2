"""After the switch: watch the new release until it is proven, or go back to the old one. One look a call."""

from __future__ import annotations

from dataclasses import replace

from runtime.contract.robot.release import Probation
from runtime.contract.robot.update import FAILED, REFUSED, REVERTED, UpdateOrder
from runtime.updater.state.records import Baseline, Journal, Mark, Watch
from runtime.updater.state.release_folder import order_in, repair_contents
from runtime.updater.state.transitions import ABORTED, commit, finish, give_up, links_of, parts, revert
from runtime.updater.state.world import World, WorldError, elapsed
from runtime.updater.transaction.handover import restore_old_container
from runtime.updater.transaction.judge import BAD, FATAL, GOOD, Judgement, judge, was_unwell
from runtime.updater.transaction.observe import observe
from runtime.updater.transaction.waiting import may_go_back

#: An agent that does not answer for less than this is busy, not gone.
SILENCE_S = 10.0
#: A revert waits at least so long for the old release, whatever the new one's probation says.
MIN_RETURN_S = 60.0
NOT_CONFIRMED = "no confirmation within {:g} s: the controller may have lost the robot"
NOT_REACHED = "reached neither the registry nor the hub over a new connection within {:g} s after the switch"


def probation(journal: Journal, world: World) -> Journal:
    """Look once. Commits when confirmed (or asked for by hand), reverts when it cannot become well in time."""
    order, target = parts(journal)
    try:
        seen = observe(order, world, target.slot)
        verdict = judge(seen, journal.baseline or Baseline(), order.variant)
    except WorldError as error:
        # Docker not answering is a look without result; the deadlines go on.
        verdict = Judgement("wait", (error.message,))
    now = world.mark()
    before = _watch(journal, now)
    watch = _seen(before, verdict, now)
    journal = replace(journal, watch=watch, updated_at=now.wall)
    if verdict.level == FATAL:
        return revert(journal, verdict.why, now, ban=True)
    if before.confirm_since is not None:
        return _awaiting(journal, before.confirm_since, verdict, order.probation, now)
    return _soaking(journal, verdict, order.probation, world, now)


def _awaiting(journal: Journal, since: Mark, verdict: Judgement, rules: Probation, now: Mark) -> Journal:
    watch = _watch(journal, now)
    if watch.healthy_since is None:
        return revert(journal, "was healthy, then not: {}".format(verdict.why), now, ban=True)
    if elapsed(since, now) > rules.confirm_timeout_s:
        why = (NOT_REACHED if journal.pulled else NOT_CONFIRMED).format(rules.confirm_timeout_s)
        return revert(journal, why, now, ban=False)
    return replace(journal, watch=replace(watch, confirm_since=since))


def _soaking(journal: Journal, verdict: Judgement, rules: Probation, world: World, now: Mark) -> Journal:
    watch = _watch(journal, now)
    healthy = watch.healthy_since
    waited = elapsed(watch.armed, now)
    if healthy is None:
        if waited > rules.ready_timeout_s:
            why = "not healthy within {:g} s: {}".format(rules.ready_timeout_s, verdict.why or watch.last)
            return revert(journal, why, now, ban=True)
        world.note("probation: waiting for health: {}".format(verdict.why))
        return journal
    soaked = elapsed(healthy, now)
    if soaked >= rules.soak_s and verdict.level == GOOD:
        if journal.by_hand or (rules.autonomy and not journal.pulled):
            return commit(journal, "degraded: {}".format(verdict.why) if verdict.why else "", now)
        for_what = "a new connection to registry or hub" if journal.pulled else "confirmation"
        world.note("probation: healthy for {:g} s, waiting for {}".format(rules.soak_s, for_what))
        return replace(journal, watch=replace(watch, confirm_since=now))
    if waited > rules.ready_timeout_s + rules.soak_s + SILENCE_S:
        why = "never healthy for {:g} s without a break: {}".format(rules.soak_s, watch.last)
        return revert(journal, why, now, ban=True)
    world.note("probation: healthy for {:.0f} of {:g} s".format(soaked, rules.soak_s))
    return journal


def _seen(watch: Watch, verdict: Judgement, now: Mark) -> Watch:
    """Add one verdict to the watch: a break, or one look more of health."""
    restarted = verdict.restarts > watch.restarts
    if verdict.level == GOOD:
        since = now if watch.healthy_since is None or restarted else watch.healthy_since
        return replace(watch, healthy_since=since, silent_since=None, restarts=verdict.restarts, degraded=verdict.why)
    watch = replace(watch, last=verdict.why, restarts=max(watch.restarts, verdict.restarts))
    silent = watch.silent_since or now
    if verdict.silent and elapsed(silent, now) < SILENCE_S:
        return replace(watch, silent_since=silent)
    return replace(watch, healthy_since=None, silent_since=silent if verdict.silent else None)


def reverting(journal: Journal, world: World) -> Journal:
    """Start the release before, from local images, then look until it is as it was. Needs no network."""
    now = world.mark()
    watch = _watch(journal, now)
    if not watch.acted:
        if not may_go_back(journal, world, now):
            return journal
        return _go_back(journal, watch, world)
    order = order_in(world, journal.current.folder) if journal.current else None
    if order is None:
        reason = "{} (nothing ran before: the containers were removed)".format(journal.reason)
        return finish(journal, REVERTED, reason, "correct the release and roll out again", world.mark())
    return _returned(journal, order, watch, world)


def _go_back(journal: Journal, watch: Watch, world: World) -> Journal:
    world.note("reverting: {}".format(journal.reason))
    world.set_links(links_of(journal))
    if journal.current is not None:
        repair_contents(world, journal.current.folder, journal.current.slot)
        restore_old_container(journal, world)
    elif journal.target is not None and journal.target.folder in world.releases():
        world.compose_down(journal.target.folder, journal.target.slot)
    world.release_update_lock()
    return replace(journal, watch=replace(watch, acted=True, armed=world.mark()))


def _returned(journal: Journal, order: UpdateOrder, watch: Watch, world: World) -> Journal:
    baseline = journal.baseline or Baseline()
    verdict = judge(observe(order, world, journal.current.slot if journal.current else ""), baseline, order.variant)
    now = world.mark()
    back = journal.current.version if journal.current else ""
    if verdict.level == GOOD or (was_unwell(baseline) and verdict.level == BAD):
        state = "" if verdict.level == GOOD else " (not well, as before: {})".format(verdict.why)
        return _reverted(journal, "{}; {} runs again{}".format(journal.reason, back, state), now)
    limit = max(order.probation.ready_timeout_s, MIN_RETURN_S)
    if elapsed(watch.armed, now) <= limit:
        world.note("reverting: waiting for {}: {}".format(back, verdict.why))
        return journal
    if not baseline.answered and verdict.level != FATAL:
        state = "the release before did not answer before the update either"
        return _reverted(journal, "{}; {} runs again ({})".format(journal.reason, back, state), now)
    return give_up(journal, "{} is not healthy after {:g} s: {}".format(back, limit, verdict.why), "", now)


def _reverted(journal: Journal, reason: str, now: Mark) -> Journal:
    hint = "correct the release and publish it under a new version" if journal.ban else ""
    if journal.by_hand and journal.reason.startswith(ABORTED):
        return finish(
            journal, REFUSED, reason, "the revert was undone: it runs the release from before the request", now
        )
    if journal.by_hand:
        return finish(journal, FAILED, "could not revert: " + reason, "see `fleet-updater history`", now)
    return finish(journal, REVERTED, reason, hint, now)


def _watch(journal: Journal, now: Mark) -> Watch:
    return journal.watch or Watch(armed=now)
