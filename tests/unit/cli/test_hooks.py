"""When hooks are told, what a failing one does to a rollout, and which declarations make no sense."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fleet.cli.wiring import Wiring
from fleet.errors import ManifestError, OutsideError
from fleet.manifest.load import load_manifest
from tests.fakes.fleet_folder import write_fleet
from tests.unit.cli.conftest import Desk

ALL = ["before-rollout", "before-wave", "after-wave", "on-pause", "on-failure", "after-rollout"]
URL = "https://hooks.example/T0KEN"


class Poster:
    """Takes what is posted; refuses the events in ``refuses``."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.bodies: list[bytes] = []
        self.refuses: set[str] = set()

    def post(self, url: str, body: bytes, headers: Mapping[str, str], *, deadline_s: float) -> None:
        event = headers["X-Jetfleet-Event"]
        self.got.append(event)
        self.bodies.append(body)
        if event in self.refuses:
            raise OutsideError("hooks.example did not take it: HTTP 500", hint="look")


@pytest.fixture
def poster(monkeypatch: pytest.MonkeyPatch) -> Poster:
    poster = Poster()
    monkeypatch.setattr(Wiring, "poster", poster)
    return poster


def ready(desk: Desk, *hooks: dict[str, Any], **rollout: Any) -> None:
    desk.publish(hooks=list(hooks), rollout={"waves": [1, "100%"], **rollout})
    desk.bootstrapped()


def test_hooks_are_told_in_order(desk: Desk, poster: Poster) -> None:
    ready(desk, {"events": ALL, "url": URL})
    assert desk.json("rollout", "--yes")["hook_failures"] == []
    assert poster.got == [
        "before-rollout", "before-wave", "after-wave", "before-wave", "after-wave", "after-rollout",
    ]  # fmt: skip


def test_a_pause_is_told_and_so_is_what_follows(desk: Desk, poster: Poster) -> None:
    ready(desk, {"events": ALL, "url": URL}, waves=[1, {"to": "100%", "approve": True}])
    desk.json("rollout", "--yes", code=7)
    assert poster.got[-2:] == ["after-wave", "on-pause"]
    desk.json("rollout", "--resume", "--yes", "--reason", "go")
    assert poster.got[4:] == ["before-rollout", "before-wave", "after-wave", "after-rollout"]


def test_a_failed_wave_is_told(desk: Desk, poster: Poster) -> None:
    ready(desk, {"events": ALL, "url": URL})
    desk.updaters["amr-001"].refuse = True
    desk.json("rollout", "--yes", code=4)
    assert poster.got == ["before-rollout", "before-wave", "on-failure", "after-rollout"]


def test_no_payload_has_a_secret(desk: Desk, poster: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    desk.publish(
        hooks=[{"events": ALL, "url": URL, "secret": {"env": "HOOK_SECRET"}}],
        defaults={"environment": {"API_TOKEN": "t0ken-of-a-robot"}},
    )
    desk.bootstrapped()
    desk.json("rollout", "--yes")
    everything = b"".join(poster.bodies)
    assert everything
    assert not [word for word in (b"s3cret", b"t0ken-of-a-robot", b"T0KEN") if word in everything]


def test_a_hook_that_fails_is_said_and_the_rollout_goes_on(desk: Desk, poster: Poster) -> None:
    ready(desk, {"events": ALL, "url": URL})
    poster.refuses = {"before-wave"}
    result = desk.fleet("rollout", "--yes")
    assert "hooks/0 (hooks.example) failed before-wave" in result.err
    document = desk.json("rollout", "--yes", "--force")
    assert document["succeeded"]
    assert {each["event"] for each in document["hook_failures"]} == {"before-wave"}


@pytest.mark.parametrize(("event", "committed"), [("before-rollout", 0), ("before-wave", 0), ("after-wave", 1)])
def test_a_hook_that_may_stop_the_rollout_stops_it(desk: Desk, poster: Poster, event: str, committed: int) -> None:
    """No further robot is begun, and what committed stays: a board that is down is no statement about a release."""
    ready(desk, {"events": [event], "url": URL, "on_error": "stop"})
    poster.refuses = {event}
    document = desk.json("rollout", "--yes", code=3)
    assert f"failed {event}" in document["error"]["message"]
    assert sum(each.state.current is not None for each in desk.updaters.values()) == committed
    history = desk.json("history")["history"]
    assert [each["outcome"] for each in history] == (["failed"] if event != "before-rollout" else [])


def test_a_secret_that_is_missing_is_refused_before_anything_is_changed(desk: Desk, poster: Poster) -> None:
    ready(desk, {"events": ALL, "url": URL, "secret": {"env": "NOT_SET_HERE"}})
    assert "hooks/0/secret" in desk.error("rollout", "--yes", code=2)
    assert poster.got == []


def test_no_hook_stops_a_rollback(desk: Desk, poster: Poster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither one that fails nor one whose secret is missing; both are said."""
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    hooks: list[dict[str, Any]] = [
        {"events": ["before-rollout", "before-wave"], "url": URL, "on_error": "stop"} for _ in range(2)
    ]
    hooks[1]["secret"] = {"env": "HOOK_SECRET"}
    desk.running(hooks=hooks)
    desk.publish("1.1.0", defaults={"environment": {"ROS_DOMAIN_ID": "7"}}, hooks=hooks)
    desk.json("rollout", "--yes")
    poster.refuses = {"before-rollout", "before-wave"}
    monkeypatch.delenv("HOOK_SECRET")
    document = desk.json("rollback", "--yes")
    assert document["succeeded"]
    said = {(each["hook"], each["event"], each["stops"]) for each in document["hook_failures"]}
    assert said == {
        ("hooks/0 (hooks.example)", "before-rollout", False),
        ("hooks/0 (hooks.example)", "before-wave", False),
        ("hooks/1", "before-rollout", False),
    }


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ({"events": ["after-rollout"]}, "a hook is one of two"),
        ({"events": ["after-rollout"], "command": "x", "url": URL}, "a hook is one of two"),
        ({"events": [], "command": "x"}, "events is empty"),
        ({"events": ["after-lunch"], "command": "x"}, "'after-lunch' is not possible here"),
        ({"events": ["after-rollout"], "url": "http://hooks.example/x"}, "can be read on the way"),
        ({"events": ["after-rollout"], "url": "hooks.example/x"}, "the address is none"),
        ({"events": ["after-rollout"], "url": {"env": "A", "file": "b"}}, "an address is in one place"),
        ({"events": ["after-rollout"], "command": "x", "secret": {"env": "A"}}, "a command gets our own document"),
        ({"events": ["after-rollout"], "url": URL, "format": "pagerduty"}, "routing key"),
        (
            {"events": ["before-wave", "on-failure"], "url": URL, "on_error": "stop"},
            "nothing is left to stop",
        ),
        ({"events": ["after-rollout"], "url": URL, "timeout": "10m"}, "out of range"),
        ({"events": ["after-rollout"], "command": "'x"}, "cannot be read"),
    ],
)
def test_declarations_that_make_no_sense(tmp_path: Path, hook: dict[str, Any], says: str) -> None:
    with pytest.raises(ManifestError) as caught:
        load_manifest(write_fleet(tmp_path, fleet={"hooks": [hook]}))
    assert any(says in each.message for each in caught.value.problems), [str(each) for each in caught.value.problems]
