"""Who may command a velocity topic: never beside a publisher that may be alive, and never held by one that is proven
dead or that discovery has forgotten."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.executor.robot.commanders import (
    FIND_S,
    GONE_S,
    HIDDEN_S,
    OPEN_S,
    SETTLE_S,
    SPREAD_S,
    Claim,
    Endpoint,
    Identity,
)

TOPIC = "/cmd_vel"
OURS, THEIRS = bytes.fromhex("010f1111aaaaaaaa00000000"), bytes.fromhex("010f2222bbbbbbbb00000000")
US = Identity("/jetfleet", OURS)
OWN = Endpoint(OURS + b"\0\0\x13\x03", "/jetfleet")
BASE = Endpoint(THEIRS + b"\0\0\x14\x04", "/base")
LATEST_S = GONE_S + SPREAD_S + OPEN_S
"""From the last sight of another commander to a command."""


def rival(node: str = "/teleop", number: int = 1) -> Endpoint:
    return Endpoint(THEIRS + bytes([0, 0, number, 3]), node)


@dataclass
class World:
    """One claim, and a graph that shows what it is told to."""

    claim: Claim = field(default_factory=lambda: Claim(TOPIC, US))
    now: float = 0.0
    others: tuple[Endpoint, ...] = ()
    listeners: tuple[Endpoint, ...] = (BASE,)
    gone: frozenset[bytes] = frozenset()
    open: bool = False
    commanded: int = 0

    def step(self, passed: float = 0.05) -> bool:
        """Let time pass, look, and do as the output does. Returns whether it commands."""
        self.now += passed
        own = (OWN,) if self.open else ()
        self.claim.look(self.now, (*self.others, *own), self.listeners, self.gone)
        if self.claim.may_exist and not self.open:
            self.open = True
            self.claim.opened(self.now)
        elif self.open and not self.claim.may_exist:
            self.open = False
            self.claim.withdrawn()
        self.commanded += self.claim.may_command
        return self.claim.may_command

    def run(self, seconds: float) -> bool:
        end = self.now + seconds
        while self.now < end:
            self.step()
        return self.claim.may_command


def driving() -> World:
    world = World()
    assert world.run(FIND_S + 0.2)
    return world


def test_alone_it_commands_once_others_have_had_the_time_to_be_found() -> None:
    world = World()
    assert not world.run(FIND_S - 0.1)
    assert world.claim.reason == "looking for other publishers of /cmd_vel"
    assert world.run(0.3)
    assert (world.claim.reason, world.claim.conflict) == ("", "")


@pytest.mark.parametrize("node", ["/teleop", "/jetfleet", ""])
def test_another_one_is_yielded_to_at_the_very_look_that_shows_him_whatever_his_name(node: str) -> None:
    world = driving()
    world.others = (rival(node),)
    assert not world.step()
    assert not world.open
    assert f"/cmd_vel is also commanded by {node or 'a node without a name'}: stop it" in world.claim.conflict
    assert f"participant {THEIRS.hex()}, host 2222, this node is on 1111" in world.claim.reason
    assert not world.run(3600.0), "a living one counts, however silent he is"


def test_one_whom_discovery_has_forgotten_holds_nobody() -> None:
    world = driving()
    world.others = (rival(""),)
    world.run(20.0)
    world.others = ()
    world.commanded = 0
    world.run(GONE_S - 0.1)
    assert (world.commanded, world.open) == (0, False)
    assert "was commanded by another node a moment ago" in world.claim.reason
    assert world.run(LATEST_S + 0.2)


def test_one_who_is_proven_dead_holds_nobody_for_a_moment() -> None:
    world = World(others=(rival("/jetfleet"),))
    assert not world.run(10.0)
    world.gone = frozenset({rival().gid})
    world.step()
    assert world.step(), "no wait: the lock proves it"


def test_a_living_one_beside_the_dead_counts() -> None:
    world = World(others=(rival(number=1), rival(number=2)), gone=frozenset({rival(number=1).gid}))
    assert not world.run(10.0)


def test_who_is_heard_by_nobody_any_more_stops_and_begins_anew_only_when_it_is_alone() -> None:
    world = driving()
    world.listeners = ()
    assert not world.step()
    assert not world.open, "at the other end of a cut network somebody else may have taken over"
    assert world.claim.reason == "/cmd_vel has no subscriber"
    world.run(10.0)
    assert not world.open
    world.listeners, world.commanded = (BASE,), 0
    world.run(FIND_S - 0.5)
    world.others = (rival(),)  # found later than the listener
    world.run(10.0)
    assert (world.commanded, world.open) == (0, False)
    world.others = ()
    assert world.run(FIND_S + LATEST_S + 0.2)


def test_one_that_is_cut_off_shows_itself_again_in_the_end_and_still_says_nothing() -> None:
    """Tools find a topic by its publishers."""
    world = driving()
    world.listeners, world.commanded = (), 0
    assert not world.run(HIDDEN_S - 1.0)
    assert not world.open
    assert not world.run(2.0)
    assert (world.open, world.commanded) == (True, 0)


def test_a_listener_of_the_same_host_that_goes_is_no_cut_network() -> None:
    world = World(listeners=(Endpoint(OURS[:4] + THEIRS[4:] + b"\0\0\x14\x04", "/base"),))
    assert world.run(FIND_S + 0.2)
    world.listeners = ()
    assert not world.step()
    assert world.open, "it says nothing, and can be found"
    world.listeners = (Endpoint(OURS[:4] + THEIRS[4:] + b"\0\0\x15\x04", "/base"),)
    assert not world.run(SETTLE_S - 0.1)
    assert world.run(0.3), "a base that was restarted"


def test_ones_own_subscription_is_no_listener() -> None:
    world = World(listeners=(Endpoint(OURS + b"\0\0\x15\x04", "/jetfleet"),))
    assert not world.run(10.0)
    assert world.claim.reason == "/cmd_vel has no subscriber"


def test_after_standing_still_it_begins_anew() -> None:
    world = driving()
    world.claim.suspended(world.now)
    assert not world.step()
    assert not world.run(FIND_S - 0.2)
    assert world.run(SETTLE_S)


def test_two_that_find_each_other_both_yield_and_one_comes_back() -> None:
    """Both lose sight of the other at the same moment; their waits differ."""
    first, second = World(), World(claim=Claim(TOPIC, Identity("/jetfleet", THEIRS)))
    own_of = {id(first): OWN, id(second): Endpoint(THEIRS + b"\0\0\x13\x03", "/jetfleet")}
    for world in (first, second):
        world.listeners = (Endpoint(b"\x01\x0f" + bytes(14), "/base"),)
    alone = {id(first): second, id(second): first}

    def step(world: World) -> bool:
        other = alone[id(world)]
        world.others = (own_of[id(other)],) if other.open else ()
        world.now += 0.02
        own = (own_of[id(world)],) if world.open else ()
        world.claim.look(world.now, (*world.others, *own), world.listeners)
        if world.claim.may_exist and not world.open:
            world.open = True
            world.claim.opened(world.now)
        elif world.open and not world.claim.may_exist:
            world.open = False
            world.claim.withdrawn()
        return world.claim.may_command

    both = 0
    last = (False, False)
    for _ in range(500):
        last = (step(first), step(second))
        both += all(last)
    assert both == 0
    assert sum(last) == 1, "one commands in the end"


@pytest.mark.parametrize("names", [["/jetfleet"], ["/teleop"], [""]])
def test_without_readable_ids_names_and_counts_decide_and_nobody_is_proven_dead(names: list[str]) -> None:
    """Another middleware than Fast DDS: the rule that holds too long rather than too short."""
    claim = Claim(TOPIC, Identity("/jetfleet", None), 7)
    there = [Endpoint(bytes([number]) * 16, name) for number, name in enumerate(names)]
    for number in range(400):
        claim.look(number * 0.05, there, [Endpoint(b"base", "/base")], {each.gid for each in there})
        assert not claim.may_exist
    for number in range(400, 440):
        claim.look(number * 0.05, [], [Endpoint(b"base", "/base")])
    assert claim.may_exist
    claim.opened(22.0)
    for number in range(440, 460):
        claim.look(number * 0.05, [Endpoint(b"own", "/jetfleet")], [Endpoint(b"base", "/base")])
    assert claim.may_command


events = st.lists(
    st.tuples(
        st.sampled_from(["come", "go", "deaf", "hear", "stand still", "wait"]), st.floats(min_value=0.01, max_value=2.0)
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(events)
def test_whatever_happens_it_never_commands_beside_another_nor_unheard_and_always_comes_back(
    happened: list[tuple[str, float]],
) -> None:
    world = World()
    for what, passed in happened:
        if what == "come":
            world.others = (rival(),)
        elif what == "go":
            world.others = ()
        elif what == "deaf":
            world.listeners = ()
        elif what == "hear":
            world.listeners = (BASE,)
        elif what == "stand still":
            world.claim.suspended(world.now)
        before = world.commanded
        world.run(passed)
        if world.others or not world.listeners:
            assert world.commanded == before
    world.others, world.listeners = (), (BASE,)
    assert world.run(FIND_S + LATEST_S + 0.5)
