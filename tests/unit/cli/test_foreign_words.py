"""What robots and a registry say reaches the operator's terminal as text, and ends no rollout without its record."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from fleet.cli import main
from fleet.ports import CommandResult
from fleet.rollout import audit
from tests.unit.cli.conftest import PREFIX, Desk, docker_archive, image_config, tar_of, upload_base

OSC52 = "\x1b]52;c;Y3VybCBldmlsfHNo\x1b\\"
"""Puts words into the clipboard."""
FAKE = "\x1b[2K\x1b[1A\x1b[2K amr-001 committed\n amr-002 committed \x9b31m\u202e"
"""Rewrites the lines above."""
HOSTILE = "camera: " + OSC52 + FAKE


def assert_text(shown: str) -> None:
    assert shown
    assert not [char for char in shown if char != "\n" and not char.isprintable() and char != "\ufffd"], repr(shown)


def release(desk: Desk, version: str) -> None:
    desk.set_version(version)
    desk.build()
    layers = [tar_of({"etc/base": version.encode()})]
    for each in desk.desired.variants.values():
        archive = docker_archive(layers, image_config(layers))
        upload_base(desk.registry, f"{PREFIX}/bases", each.runtime_recipe.tag, [archive])
    desk.fleet("publish")


def test_a_robot_s_words_are_text_wherever_they_are_shown(desk: Desk) -> None:
    desk.running("1.0.0")
    updater = desk.updaters["amr-001"]
    updater.state = dataclasses.replace(updater.state, reason=HOSTILE, outcome="reverted")
    shown = desk.fleet("status").out
    assert_text(shown)
    assert "camera: \ufffd]52;c" in shown.replace("\n", "")
    release(desk, "1.1.0")
    updater.state = dataclasses.replace(updater.state, reason="")
    updater.revert_in, updater.why = "probation", HOSTILE
    ran = desk.fleet("rollout", "--yes", code=4)
    for text in (ran.out, ran.err, desk.fleet("history").out, desk.fleet("verify").out):
        assert_text(text)


@pytest.mark.parametrize(
    "verb", [["exec", "--robots", "amr-001", "--", "evil"], ["logs", "amr-001"]], ids=["exec", "logs"]
)
def test_what_a_robot_prints_keeps_its_colours_on_request_alone(desk: Desk, verb: list[str]) -> None:
    desk.running("1.0.0")
    said = CommandResult(0, f"\x1b[31mred\x1b[0m {OSC52}\x1b[2Jline\n", "")
    for host in desk.hosts.values():
        host.programs["evil"] = host.programs["sh"] = lambda _a, _i: said
    plain = desk.fleet(*verb).out
    assert_text(plain)
    assert "red \ufffd]52;c;" in plain
    in_colour = desk.fleet(verb[0], "--color", *verb[1:]).out
    assert "red" in in_colour
    assert "\x1b]" not in in_colour
    assert "\x1b[2J" not in in_colour
    data = json.loads(desk.fleet(verb[0], "--json", *verb[1:]).out)
    text = data["robots"][0]["stdout"] if verb[0] == "exec" else data["lines"][0]
    assert text.rstrip("\n") == said.stdout.rstrip("\n"), "for machines it stays what it is"


@pytest.mark.parametrize("why", ["x \ud800 y", "\udcff" * 3, HOSTILE, "x" * 100_000])
def test_no_reason_of_a_robot_ends_a_rollout_without_its_record(desk: Desk, why: str) -> None:
    desk.running("1.0.0")
    release(desk, "1.1.0")
    updater = desk.updaters["amr-001"]
    updater.revert_in, updater.why = "probation", why
    ran = desk.fleet("rollout", "--yes", "--json", code=4)
    document = json.loads(ran.out)
    json.dumps(document, ensure_ascii=False).encode("utf-8")
    (record,) = audit.history(desk.registry, PREFIX, 1)
    entry = next(each for each in record.robots if each.name == "amr-001")
    assert (record.version, record.outcome, entry.outcome) == ("1.1.0", "failed", "reverted")
    assert len(entry.reason) <= audit.MAX_REASON
    assert entry.reason.replace("\ufffd", "").isprintable()
    assert "1.1.0" in desk.fleet("history").out


def test_an_answer_with_half_a_surrogate_pair_is_an_answer(desk: Desk) -> None:
    desk.running("1.0.0")
    updater = desk.updaters["amr-001"]
    updater.state = dataclasses.replace(updater.state, reason="x \ud800 y", outcome="reverted")
    assert "x \ufffd y" in desk.fleet("status").out
    rows: list[dict[str, Any]] = json.loads(desk.fleet("status", "--json").out)["robots"]
    assert next(row["reason"] for row in rows if row["name"] == "amr-001") == "x \ufffd y"


def test_an_argument_that_is_no_text_is_refused_before_anything_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run(["rollout", "--override", "because \udcff"]) == 2
    assert "is not UTF-8" in capsys.readouterr().err
