"""The rollout lock: one holder, whatever the interleaving."""

from __future__ import annotations

import json
import random
import threading

import pytest

from fleet.errors import LockHeld, RegistryError
from fleet.oci.image_spec import Bytes
from fleet.oci.json_documents import get_record, put_record
from fleet.rollout import audit
from fleet.rollout.ended_tickets import OVER_S, TAG, Ended
from fleet.rollout.lock import LOCK_TYPE, TTL_S, RolloutLock, Ticket
from tests.fakes.clock import FakeClock
from tests.fakes.registries.registry import FakeRegistry


def lock(registry: FakeRegistry, clock: FakeClock, reason: str = "rollout 1.0.0") -> RolloutLock:
    return RolloutLock(registry, "warehouse", clock, reason=reason)


def test_held_is_told_with_who_why_since_and_until() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    with lock(registry, clock), pytest.raises(LockHeld) as caught:
        lock(registry, clock, "rollout 2.0.0").acquire()
    assert caught.value.exit_code == 5
    assert (
        f"{audit.operator()} holds the rollout lock since 2027-01-15 08:00:00 UTC (rollout 1.0.0)"
        in caught.value.message
    )
    assert "fleet lock steal" in caught.value.hint


def test_released_is_free_and_leaves_nothing() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    with lock(registry, clock):
        pass
    assert registry.tags("warehouse/locks") == []
    with lock(registry, clock):
        pass


def test_a_lease_of_somebody_dead_ends_by_itself() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    lock(registry, clock).acquire()
    clock.sleep(TTL_S + 1)
    lock(registry, clock).acquire()


def test_keeping_it_renews_the_lease() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    held = lock(registry, clock)
    held.acquire()
    for _ in range(20):
        clock.sleep(TTL_S / 4)
        held.keep()
    with pytest.raises(LockHeld):
        lock(registry, clock).acquire()


def test_keeping_costs_nothing_while_it_is_not_due() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    held = lock(registry, clock)
    held.acquire()
    before = registry.requests_made
    for _ in range(100):
        held.keep()
    assert registry.requests_made == before


def test_stealing_is_audited_and_noticed_by_the_robbed() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    robbed, thief = lock(registry, clock), lock(registry, clock, "it hangs")
    robbed.acquire()
    assert [ticket.reason for ticket in thief.steal("warehouse")] == ["rollout 1.0.0"]
    (record,) = audit.history(registry, "warehouse")
    assert record.kind == audit.LOCK_BROKEN
    assert "rollout 1.0.0" in record.reason
    assert "it hangs" in record.reason
    clock.sleep(TTL_S / 2)
    thief.keep()
    with pytest.raises(LockHeld, match="taken over"):
        robbed.keep()
    robbed.release()
    assert len(registry.tags("warehouse/locks")) == 1


def test_a_theft_in_the_moment_of_renewal_is_noticed_too() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    robbed, thief = lock(registry, clock), lock(registry, clock)
    robbed.acquire()
    clock.sleep(TTL_S / 2)

    def steal(verb: str, target: str) -> None:
        if verb == "push_blob":
            registry.hook = None
            thief.steal("warehouse")

    registry.hook = steal
    robbed.keep()
    clock.sleep(10)
    with pytest.raises(LockHeld, match="taken over"):
        robbed.keep()
    thief.keep()


def test_a_registry_that_is_away_for_a_while_does_not_end_a_lease() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    held = lock(registry, clock)
    held.acquire()

    def down(verb: str, target: str) -> None:
        raise RegistryError("registry.test: connection refused")

    registry.hook = down
    clock.sleep(TTL_S / 2)
    held.keep()
    clock.sleep(TTL_S)
    with pytest.raises(LockHeld, match="could not be renewed"):
        held.keep()


def test_a_registry_that_does_not_delete_still_frees_the_lock() -> None:
    registry, clock = FakeRegistry(), FakeClock()

    def no_deletes(verb: str, target: str) -> None:
        if verb == "delete_manifest":
            raise RegistryError("registry.test: UNSUPPORTED")

    registry.hook = no_deletes
    with lock(registry, clock):
        pass
    with lock(registry, clock):
        pass


def test_an_error_inside_is_not_hidden_by_a_release_that_fails() -> None:
    registry, clock = FakeRegistry(), FakeClock()

    def down(verb: str, target: str) -> None:
        raise RegistryError("registry.test: connection refused")

    def fail() -> None:
        with lock(registry, clock):
            registry.hook = down
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()


@pytest.mark.parametrize("seed", range(5))
def test_never_two_holders(seed: int) -> None:
    """Eight contenders with random pauses at every request to the registry."""
    registry, clock = FakeRegistry(), FakeClock()
    chance = random.Random(seed)
    holding, most, taken = 0, 0, 0
    counting = threading.Lock()

    def pause(verb: str, target: str) -> None:
        threading.Event().wait(chance.random() * 0.003)

    registry.hook = pause

    def contend() -> None:
        nonlocal holding, most, taken
        for _ in range(4):
            one = lock(registry, clock)
            try:
                one.acquire()
            except LockHeld:
                continue
            with counting:
                holding += 1
                taken += 1
                most = max(most, holding)
            threading.Event().wait(0.002)
            with counting:
                holding -= 1
            one.release()

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive()
    assert most <= 1
    assert taken >= 1


class Undeletable(FakeRegistry):
    """A registry that deletes nothing: every ticket stays."""

    def delete_manifest(self, repository: str, digest: str) -> None:
        self._request("delete_manifest", digest)
        raise RegistryError("405")


def test_where_nothing_is_deleted_the_tickets_of_the_past_are_not_read_again() -> None:
    registry, clock = Undeletable(), FakeClock()
    for number in range(60):
        put_record(
            registry,
            "warehouse/locks",
            f"rollout-{number:012x}",
            Ticket(f"{number:012x}", "ci", "x", 0.0, 0.0),
            LOCK_TYPE,
        )
    with lock(registry, clock):
        pass
    before = registry.requests_made
    with lock(registry, clock) as held:
        clock.sleep(TTL_S / 4)
        held.keep()
    assert registry.requests_made - before < 60, "as many requests as there were rollouts"
    with lock(registry, clock), pytest.raises(LockHeld):
        lock(registry, clock).acquire()


def test_tickets_of_many_rollouts_stay_bounded() -> None:
    registry, clock = Undeletable(), FakeClock()
    spent = []
    for _ in range(80):
        before = registry.requests_made
        with lock(registry, clock):
            pass
        spent.append(registry.requests_made - before)
        clock.sleep(2 * 86400.0)
    assert len(registry.tags("warehouse/locks")) == 81
    assert max(spent) < 80
    assert sum(spent[-20:]) <= sum(spent[20:40]) + 20


def test_only_what_can_never_live_again_is_listed() -> None:
    """Neither a live ticket, nor one whose lease ended a moment ago by clocks that may differ."""
    registry, clock = Undeletable(), FakeClock()
    now = clock.now()
    ends = [0.0] * 12 + [now - 3600.0, now - 80_000.0, now + 500.0]
    for number, expires in enumerate(ends):
        ticket = Ticket(f"{number:012x}", "ci", "x", 0.0, expires)
        put_record(registry, "warehouse/locks", f"rollout-{number:012x}", ticket, LOCK_TYPE)
    with pytest.raises(LockHeld):
        lock(registry, clock).acquire()
    assert get_record(registry, "warehouse/locks", TAG, Ended) is None, "who does not get the lock writes nothing"
    clock.sleep(501.0)
    with lock(registry, clock):
        pass
    found = get_record(registry, "warehouse/locks", TAG, Ended)
    assert found is not None
    assert found[0].tags == tuple(f"rollout-{number:012x}" for number in range(12))


def test_a_list_that_is_none_costs_requests_and_nothing_else() -> None:
    registry, clock = Undeletable(), FakeClock()
    for number in range(12):
        ticket = Ticket(f"{number:012x}", "ci", "x", 0.0, 0.0 if number else clock.now() + 60.0)
        put_record(registry, "warehouse/locks", f"rollout-{number:012x}", ticket, LOCK_TYPE)
    put_record(registry, "warehouse/locks", TAG, {"tags": 7}, LOCK_TYPE)
    with pytest.raises(LockHeld, match="ci holds"):
        lock(registry, clock).acquire()
    clock.sleep(61.0)
    with lock(registry, clock):
        pass


def test_a_lease_that_ended_long_ago_is_not_renewed() -> None:
    """A laptop that slept for a day: our ticket may be in the list of those that ended. An hour is no harm."""
    registry, clock = FakeRegistry(), FakeClock()
    held = lock(registry, clock)
    held.acquire()
    clock.sleep(TTL_S + 3600.0)
    held.keep()
    clock.sleep(TTL_S + OVER_S / 2)
    with pytest.raises(LockHeld, match="has expired: this machine did not renew it in time"):
        held.keep()
    with lock(registry, clock):
        held.release()


# ── what anybody may put beside the tickets ──


def put(registry: FakeRegistry, tag: str, content: bytes) -> None:
    blob = Bytes.of(content)
    registry.push_blob("warehouse/locks", blob)
    body = json.dumps({"config": {"digest": blob.digest, "size": blob.size}}).encode()
    registry.put_manifest("warehouse/locks", tag, body, "application/json")


TICKET = b'{"id":"%s","holder":"a@b","reason":"r","acquired":%s,"expires":%s}'


@pytest.mark.parametrize("content", [b"", b"\xff", b"[" * 100_000, b"[]", TICKET % (b"x", b"1" + b"0" * 400, b"1")])
def test_a_tag_that_is_no_ticket_is_named_and_holds_nobody_up(content: bytes) -> None:
    registry, clock, said = FakeRegistry(), FakeClock(), list[str]()
    put(registry, "rollout-junk", content)
    registry.put_manifest("warehouse/locks", "rollout-other", b"{}", "application/json")
    with RolloutLock(registry, "warehouse", clock, reason="r", on_junk=said.append) as held:
        assert len(said) == 2
        clock.sleep(TTL_S / 2)
        held.keep()
        with pytest.raises(LockHeld, match="holds the rollout lock"):
            lock(registry, clock).acquire()
    assert len(said) == 2, "each once"


def test_a_ticket_for_all_time_is_told_and_can_be_broken() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    put(registry, "rollout-x", TICKET % (b"x", b"-1e300", b"1e300"))
    with pytest.raises(LockHeld, match="a@b holds the rollout lock since 1970-01-01"):
        lock(registry, clock).acquire()
    assert [ticket.holder for ticket in lock(registry, clock).steal("warehouse")] == ["a@b"]


def test_a_ticket_of_a_newer_fleet_counts_as_held() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    put(registry, "rollout-x", b'{"schema":99}')
    with pytest.raises(LockHeld, match="a newer fleet may hold the rollout lock") as caught:
        lock(registry, clock).acquire()
    assert "update fleet" in caught.value.hint


def test_a_copy_of_our_ticket_under_another_tag_is_nobody_s() -> None:
    registry, clock = FakeRegistry(), FakeClock()
    held = lock(registry, clock)
    held.acquire()
    (tag,) = registry.tags("warehouse/locks")
    manifest = registry.get_manifest("warehouse/locks", tag)
    assert manifest is not None
    held.release()
    put(registry, "rollout-copy", manifest.body)
    lock(registry, clock).acquire()
