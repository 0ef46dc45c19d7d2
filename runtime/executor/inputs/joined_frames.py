"""Frames of several inputs that belong together by their stamps: a queue an input, the closest set wins.

As message_filters' ApproximateTime: a set is used once nothing that may still come can lie closer to its pivot, the
latest of the oldest frames. Equal stamps are therefore paired however late one of them arrives, and at once. What may
come of an input is bounded by the shortest of its last intervals (there: the inter-message lower bound, declared).
A model with a trigger runs on each of its frames (``match``: at once on the closest that are there, or once those are
known); one that runs by time takes the newest set of which all is known, and may take it again.
"""

from __future__ import annotations

from collections.abc import Sequence

from runtime.contract.node.runtime_config import MATCH_AT_ONCE, MATCH_NEAREST, JoinRule, Trigger
from runtime.executor.inputs.closest_set import Closest, closest_set
from runtime.executor.inputs.frame_queue import FrameQueue
from runtime.executor.inputs.pending import CLOCK_BACK, LATE, REPLACED, STALE, UNMATCHED, AgeLimit, Pending, nanoseconds


class JoinedFrames:
    """The queues of one model. No threads, no clock."""

    def __init__(
        self,
        inputs: Sequence[str],
        trigger: Trigger,
        rule: JoinRule,
        offsets_s: Sequence[float],
        counts: dict[str, int],
    ) -> None:
        """``offsets_s``: seconds, added to the stamps of each input; ``counts``: by cause, counted up here."""
        self._names = tuple(inputs)
        self._queues = tuple(FrameQueue(nanoseconds(offset)) for offset in offsets_s)
        self._trigger = self._names.index(trigger.input) if trigger.input else None
        self._timed = trigger.rate_hz > 0.0
        match = rule.match or (MATCH_NEAREST if self._trigger is None else MATCH_AT_ONCE)
        self._strict = rule.match == MATCH_NEAREST
        """Declared: also the first frames wait for closer ones, where nothing is known of intervals yet."""
        self._at_once = match == MATCH_AT_ONCE and not self._timed
        self._lazy = self._timed or self._trigger is not None
        """Sets are chosen when one is asked for: what comes until then may be better company."""
        self._tolerance_ns, self._back_ns = nanoseconds(rule.tolerance_s or 0.0), nanoseconds(rule.clock_back_s)
        self._length = rule.queue
        self._counts = counts
        self._found: dict[str, Pending] = {}
        """The set to run on, where every input must have something new: its frames have left their queues."""
        self._fresh_in_found = 0
        self._changed = True
        self._candidate: Closest | None = None
        self._set: dict[str, Pending] = {}

    def put(self, name: str, pending: Pending) -> None:
        """Leave a frame in its queue, and look for sets."""
        queue = self._queues[self._names.index(name)]
        at_ns = pending.at_ns + queue.offset_ns
        if not self._in_order(queue, at_ns):
            return
        queue.put(at_ns, pending)
        if len(queue.frames) > self._length:
            unused = queue.drop(1)
            self._counts[REPLACED] += unused if self._waited_for(queue) else 0
        self._changed = True
        if self._lazy:
            self._forget_passed()
        else:
            while self._look_for_all():
                pass

    def news(self) -> tuple[bool, bool]:
        """Return whether there is a set, and whether it has something new. For models that run by time."""
        found = self._chosen()
        if found is None:
            return False, False
        return True, any(queue.fresh[at] for queue, at in zip(self._queues, found.members, strict=True))

    def ready(self) -> bool:
        """There is a set to run on."""
        return self._chosen() is not None if self._lazy else bool(self._found)

    def take(self) -> dict[str, Pending]:
        """Return the set. Only when ready. The same dictionary at every call."""
        if self._lazy:
            found = self._chosen()
            assert found is not None
            self._use(found)
            self._changed = True
        self._set.clear()
        self._set.update(self._found)
        self._found, self._fresh_in_found = {}, 0
        return self._set

    def drop_stale(self, limit: AgeLimit) -> bool:
        """Drop frames that are too old to be used. Returns whether there is no set any more because of that."""
        was = self.ready()
        self._changed = True
        if any(limit.passed(pending) for pending in self._found.values()):
            self._counts[STALE] += self._fresh_in_found
            self._found, self._fresh_in_found = {}, 0
        for queue in self._queues:
            while queue.frames and limit.passed(queue.frames[0]):
                self._counts[STALE] += queue.drop(1)
        return was and not self.ready()

    def waiting(self) -> int:
        """How many frames the model has not run on."""
        return self._fresh_in_found + sum(sum(queue.fresh) for queue in self._queues)

    def clear(self) -> None:
        """Forget every frame and every stamp."""
        self._found, self._fresh_in_found, self._changed = {}, 0, True
        for queue in self._queues:
            queue.forget()

    def _in_order(self, queue: FrameQueue, at_ns: int) -> bool:
        """Say whether the stamp is usable. One that lies far back is of a clock that was set back: all starts again."""
        if queue.last_ns is None or at_ns >= queue.last_ns:
            return True
        if queue.last_ns - at_ns <= self._back_ns:
            self._counts[LATE] += 1
            return False
        self._counts[STALE] += self.waiting()
        self.clear()
        self._counts[CLOCK_BACK] += 1
        return True

    def _waited_for(self, queue: FrameQueue) -> bool:
        """The model runs on every frame of this input, if it can; of others it takes the closest."""
        return not self._timed and (self._trigger is None or queue is self._queues[self._trigger])

    # ── every input has something new ──

    def _look_for_all(self) -> bool:
        """Use or drop what is decided. Returns whether anything was."""
        queues = self._queues
        if not all(queue.frames for queue in queues):
            return self._drop_hopeless()
        pivot_queue = max(range(len(queues)), key=lambda index: queues[index].stamps[0])
        pivot = queues[pivot_queue].stamps[0]
        best = self._closest(pivot_queue, 0)
        if not self._decided(pivot, best):
            return self._drop_hopeless()
        if best is None:
            # No set holds the pivot, and none an older frame: it could hold the pivot with no more spread.
            for queue in queues:
                self._counts[UNMATCHED] += queue.drop(queue.older_than(pivot))
            self._counts[UNMATCHED] += queues[pivot_queue].drop(1)
            return True
        self._use(best)
        return True

    def _drop_hopeless(self) -> bool:
        """Drop what lies too far back from the oldest of another input: nothing that comes can match it."""
        oldest = max((queue.stamps[0] for queue in self._queues if queue.stamps), default=0)
        dropped = 0
        for queue in self._queues:
            count = queue.older_than(oldest - self._tolerance_ns)
            self._counts[UNMATCHED] += queue.drop(count)
            dropped += count
        return dropped > 0

    def _use(self, best: Closest) -> None:
        """Make it the set to run on. One that nobody ran on is replaced; what lies before it is passed over."""
        self._counts[REPLACED] += self._fresh_in_found
        self._found, self._fresh_in_found = {}, 0
        for name, queue, member in zip(self._names, self._queues, best.members, strict=True):
            self._found[name] = queue.frames[member]
            waited = self._waited_for(queue)
            self._fresh_in_found += queue.fresh[member]
            queue.fresh[member] = False
            passed = queue.drop(member + 1 if waited else member)
            self._counts[REPLACED if self._lazy else UNMATCHED] += passed if waited else 0

    # ── a trigger, or a rate ──

    def _chosen(self) -> Closest | None:
        """Return the set that the model would run on now, from what waits; computed when something changed."""
        if self._changed:
            self._candidate, self._changed = self._choose(), False
        return self._candidate

    def _choose(self) -> Closest | None:
        """The newest frame of the trigger that has company; by time, of the input that is furthest behind, as all
        that lies around it is known."""
        if not all(queue.frames for queue in self._queues):
            return None
        leading = self._trigger
        if leading is None:
            leading = min(range(len(self._queues)), key=lambda index: self._queues[index].stamps[-1])
        own = self._queues[leading].stamps
        for at in reversed(range(len(own))):
            best = self._closest(leading, at)
            if best is not None and (self._timed or self._decided(own[at], best)):
                return best
        return None

    def _decided(self, pivot: int, best: Closest | None) -> bool:
        """Say whether nothing that may still come makes a better set with the frame at ``pivot``."""
        if best is None:  # what comes next may be the first that is close enough
            return all(queue.stamps[-1] >= pivot for queue in self._queues)
        return self._at_once or not any(
            queue.may_come_within(best.spread, pivot, unknown=self._strict) for queue in self._queues
        )

    def _closest(self, queue: int, at: int) -> Closest | None:
        return closest_set([each.stamps for each in self._queues], queue, at, self._tolerance_ns)

    def _forget_passed(self) -> None:
        """Drop what can be part of no set any more."""
        best = self._chosen()
        if self._trigger is not None:
            own = self._queues[self._trigger]
            others = [queue for queue in self._queues if queue is not own]
            while own.stamps and any(q.stamps and q.stamps[-1] > own.stamps[0] + self._tolerance_ns for q in others):
                if self._closest(self._trigger, 0) is not None:
                    break
                self._counts[UNMATCHED] += own.drop(1)
                self._changed = True
        elif all(queue.frames for queue in self._queues):
            known = min(queue.stamps[-1] for queue in self._queues)
            for index, queue in enumerate(self._queues):
                count = queue.older_than(known - self._tolerance_ns)
                self._counts[UNMATCHED] += queue.drop(count if best is None else min(count, best.members[index]))
            self._changed = True
