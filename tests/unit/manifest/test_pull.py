"""`link`, `hub` and `pull`: robots that come for their release, and what they need."""

# ruff: noqa: E501  (one case a line reads better)
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fleet.manifest.load import load_manifest
from fleet.resolve.resolver import resolve
from tests.fakes.fleet_folder import write_fleet
from tests.unit.manifest.test_trust import ANNA, BEN
from tests.unit.manifest.texts import FLEET, Case, broken, line_of, problems_of
from tests.unit.resolve.test_resolver import recipes

HUB = "hub: {url: 'https://hub.test:8443'}\n"
PULLS = FLEET.replace("group: amr}", "group: amr, link: pull}", 1)

FORM = [
    Case("no such link", "fleet", "user: jetson}", "user: jetson, link: carrier}", "defaults/link", "'carrier' is not possible", "ssh or pull"),
    Case("a hub without an address", "fleet", "trust:", "hub: {}\ntrust:", "hub/url", "url is missing", "add it"),
    Case("a hub with no scheme", "fleet", "trust:", "hub: {url: 'hub.test:8443'}\ntrust:", "hub/url", "not a valid url", "http"),
    Case("a hub with a login in it", "fleet", "trust:", "hub: {url: 'https://me:pw@hub.test'}\ntrust:", "hub/url", "not a valid url", "http"),
    Case("a port that is none", "fleet", "trust:", "hub: {url: 'https://hub.test:70000'}\ntrust:", "hub/url", "no port between", "8443"),
    Case("a port left empty", "fleet", "trust:", "hub: {url: 'https://hub.test:'}\ntrust:", "hub/url", "no port between", "8443"),
    Case("a token written down", "fleet", "trust:", "hub: {url: 'https://hub.test', token: s3cret}\ntrust:", "hub/token", "", ""),
    Case("an authority that is not there", "fleet", "trust:", "hub: {url: 'https://hub.test', ca_file: hub.pem}\ntrust:", "hub/ca_file", "does not exist", "PEM"),
    Case("an authority outside", "fleet", "trust:", "hub: {url: 'https://hub.test', ca_file: ../hub.pem}\ntrust:", "hub/ca_file", "outside", "move the file"),
    Case("polls without a unit", "fleet", "trust:", "pull: {poll: 60}\ntrust:", "pull/poll", "not a duration", "30s"),
    Case("polls without a pause", "fleet", "trust:", "pull: {poll: 0s}\ntrust:", "pull/poll", "out of range", "at least 1"),
    Case("reports rarer than reachable", "fleet", "trust:", "pull: {report: 10m}\ntrust:", "pull/reachable", "every 600 s and are unreachable after 900 s", "twice", at="pull:"),
    Case("statements shorter than polls", "fleet", "trust:", "pull: {poll: 50m, statement: 1h}\ntrust:", "pull/statement", "look every 3000 s", "twice", at="pull:"),
    Case("statements for ever", "fleet", "trust:", "pull: {statement: none}\ntrust:", "pull/statement", "not how long", "12h"),
    Case("statements for longer than robots take", "fleet", "trust:", "pull: {statement: 8d}\ntrust:", "pull/statement", "longer than robots take", "7d or less"),
    Case("no hub", "fleet", "group: amr}", "group: amr, link: pull}", "robots/0/link", "needs a hub", "fleet hub"),
    Case("no hub, by the group", "fleet", "    labels: {site", "    link: pull\n    labels: {site", "groups/amr/link", "needs a hub", "fleet hub"),
    Case("no hub, by the defaults", "fleet", "user: jetson}", "user: jetson, link: pull}", "defaults/link", "needs a hub", "fleet hub"),
    Case("SSH to nowhere", "fleet", "{name: amr-001, host: 10.0.0.11, group", "{name: amr-001, group", "robots/0/host", "host is missing", "add it"),
]  # fmt: skip


@pytest.mark.parametrize("case", FORM, ids=lambda case: case.name.replace(" ", "-"))
def test_what_is_wrong_is_said_at_its_key(case: Case, tmp_path: Path) -> None:
    found = [each for each in broken(case, tmp_path) if each.path == case.path]
    assert len(found) == 1
    assert case.says in found[0].message
    assert case.hint in found[0].hint
    assert found[0].line == line_of(FLEET.replace(case.old, case.new, 1), case.at or case.new.split("\n")[0])


def test_robots_that_pull_need_no_address_and_the_nearest_link_counts(tmp_path: Path) -> None:
    text = FLEET.replace("labels: {site", "link: pull\n    labels: {site").replace("host: 10.0.0.11, ", "")
    text = text.replace("10.0.0.12, group: amr", "10.0.0.12, group: amr, link: ssh")
    write_fleet(tmp_path, fleet_text=HUB + text)
    desired = resolve(load_manifest(tmp_path), recipes)
    assert [(each.name, each.link, each.address.host) for each in desired.robots] == [
        ("amr-001", "pull", ""),
        ("amr-002", "ssh", "10.0.0.12"),
        ("scout-001", "ssh", "10.0.0.13"),
    ]
    assert desired.hub is not None
    assert desired.hub.url == "https://hub.test:8443"
    assert (desired.pull.poll, desired.pull.report, desired.pull.reachable) == (60.0, 300.0, 900.0)
    assert desired.pull.statement == 86400.0


def test_two_robots_without_an_address_do_not_share_one(tmp_path: Path) -> None:
    text = PULLS.replace("host: 10.0.0.11, ", "").replace("host: 10.0.0.12, group: amr", "group: amr, link: pull")
    write_fleet(tmp_path, fleet_text=HUB + text)
    assert [robot.host for robot in load_manifest(tmp_path).manifest.robots] == ["", "", "10.0.0.13"]


def test_a_hub_alone_changes_no_link(tmp_path: Path) -> None:
    write_fleet(tmp_path, fleet_text=FLEET + "hub: {url: 'http://hub.test/fleet/', token: {file: read-token}}\n")
    desired = resolve(load_manifest(tmp_path), recipes)
    assert {robot.link for robot in desired.robots} == {"ssh"}
    assert desired.hub is not None
    assert desired.hub.url == "http://hub.test/fleet"
    assert desired.hub.token is not None
    assert desired.hub.token.file == str(tmp_path / "read-token")


@pytest.mark.parametrize(
    ("signers", "advance", "path", "says"),
    [
        (f'anna@x namespaces="jetfleet.*" {ANNA}\n', None, "", ""),
        (f"anna@x {ANNA}\n", f'ci@x namespaces="jetfleet.newest,jetfleet.desired" {BEN}\n', "", ""),
        (f'anna@x namespaces="jetfleet.release,jetfleet.pins,jetfleet.desired" {ANNA}\n', None, "trust/signers", "may sign in jetfleet.plan"),
        (f'anna@x namespaces="jetfleet.release,jetfleet.plan,jetfleet.desired" {ANNA}\n', None, "trust/signers", "may sign in jetfleet.pins"),
        (f'anna@x namespaces="jetfleet.release,jetfleet.plan,jetfleet.pins" {ANNA}\n', None, "trust/signers", "may sign in jetfleet.desired"),
        (f"anna@x {ANNA}\n", f'ci@x namespaces="jetfleet.newest" {BEN}\n', "trust/advance", "may sign in jetfleet.desired"),
    ],
)  # fmt: skip
def test_somebody_may_sign_what_robots_that_pull_follow(
    tmp_path: Path, signers: str, advance: str | None, path: str, says: str
) -> None:
    named = "" if advance is None else ", advance: allowed_advance"
    text = HUB + PULLS.replace("trust: unsigned", f"trust: {{signers: allowed_signers{named}}}")
    (tmp_path / "allowed_signers").write_text(signers)
    (tmp_path / "allowed_advance").write_text(advance or "")
    if not path:
        write_fleet(tmp_path, fleet_text=text)
        assert load_manifest(tmp_path).manifest.robots[0].link == "pull"
        return
    (found,) = problems_of(tmp_path, fleet=text)
    assert found.path == path
    assert says in found.message
    assert "jetfleet." in found.hint


def test_a_private_key_is_no_authority_of_a_hub(tmp_path: Path) -> None:
    (tmp_path / "hub.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    (found,) = problems_of(tmp_path, fleet=FLEET + "hub: {url: 'https://hub.test', ca_file: hub.pem}\n")
    assert "holds a private key" in found.message


def test_an_inventory_has_links_too(tmp_path: Path) -> None:
    (tmp_path / "robots.csv").write_text("name,host,group,link\ncart-1,,amr,pull\n")
    write_fleet(tmp_path, fleet_text=HUB + FLEET + "inventory: {csv: robots.csv}\n")
    last: Any = load_manifest(tmp_path).manifest.robots[-1]
    assert (last.name, last.host, last.link) == ("cart-1", "", "pull")
