"""A robot that pulls, on real parts: registry, ssh-keygen, the process that looks, the zipapp's daemon."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.signing.pulled_roots import publish_roots
from runtime.contract.codec import canonical_json, from_dict
from runtime.contract.node.attestation import Attestation
from runtime.contract.node.report import NAMESPACE, signed_bytes, unpack
from runtime.contract.robot.desired import PAUSED, REVERTING
from runtime.contract.robot.trust import ROOT, Proof, Signed
from runtime.contract.robot.update import RunningRelease, UpdateOrder, UpdateState
from runtime.updater.robot.pull_file import ask_child
from runtime.updater.state.records import Mark, SeenDesired
from runtime.updater.storage.journal import JournalStore
from tests.contract.signing.test_signatures import Keys, keys
from tests.contract.updater.pull_site import DAY, ROBOT, FakeHub, PullSite, fake_hub
from tests.contract.updater.test_updater_process import Daemon
from tests.fakes.registries.registry_process import find_registry_binary, registry_process

__all__ = ["keys"]
SENT = {"sent": True, "waiting": 0, "renumbered": False}
FOUND = Attestation(UpdateState(ROBOT, "idle", "test"))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    binary = find_registry_binary()
    if binary is None:
        pytest.fail("no registry binary: run make setup")
    with registry_process(binary, tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture
def site(tmp_path: Path, registry: str, keys: Keys) -> PullSite:
    return PullSite(tmp_path, registry, keys, f"w{tmp_path.name.replace('_', '').lower()}"[:60])


def look(site: PullSite, known: str = "", now: float | None = None) -> dict[str, Any]:
    mark = Mark(time.time() if now is None else now, 1.0, "boot")
    return ask_child(site.robot, Path("/"), ["look", "--known", known, "--now", canonical_json(mark).decode()])


def seen_in(found: dict[str, Any]) -> SeenDesired:
    return from_dict(SeenDesired, found["seen"])


def keep(site: PullSite, **changes: Any) -> None:
    """Put on the robot's disk what its daemon would have."""
    store = JournalStore(site.robot / "state")
    store.save(replace(store.load()[0], **changes))


def test_a_robot_finds_its_stage_and_makes_the_order_that_ssh_would_have_brought(site: PullSite) -> None:
    assert look(site) == {"nothing": True}
    site.begin("1")
    waits = look(site)
    assert "order" not in waits
    seen = seen_in(waits)
    assert (seen.mine, seen.stages, seen.statement.stage, seen.version) == (2, 3, 0, "1.1.0")
    assert look(site, seen.digest) == {"same": True}
    site.move(stage=2)
    found = look(site, seen.digest)
    order = from_dict(UpdateOrder, found["order"])
    assert (order.order_id, order.robot) == ("1.1.0-r-1", ROBOT)
    assert order.environment == {"ROS_DOMAIN_ID": "7"}, "its own part, fetched by its digest"
    assert order.release_digest == seen.release
    assert order.proof is not None
    assert order.issued_at == seen_in(found).statement.issued_at


def test_a_robot_that_runs_it_already_and_one_whose_rollout_is_paused_get_no_order(site: PullSite) -> None:
    site.begin("1", stage=2)
    seen = seen_in(look(site))
    keep(site, current=RunningRelease("1.1.0", seen.release, "v", "image", "folder"))
    assert "order" not in look(site)
    keep(site, current=None)
    assert "order" in look(site)
    for standing in (PAUSED, REVERTING):
        site.move(to=standing)
        assert "order" not in look(site)


Forgery = Callable[[PullSite], None]


def replayed(site: PullSite) -> None:
    old = site.registry.get_manifest(site.office.repository, "desired")
    assert old is not None
    site.move(stage=2)
    keep(site, desired=seen_in(look(site)))
    site.registry.put_manifest(site.office.repository, "desired", old.body, old.media_type)


def of_another_fleet(site: PullSite) -> None:
    site.forge(fleet="depot")


def other_plan(site: PullSite) -> None:
    first = site.begin("2", "r-2")
    site.begin("1", "r-1")
    assert first.plan is not None
    assert first.proof is not None
    found = site.move(stage=1)
    assert found.followed is not None
    text = canonical_json(found.followed.desired).decode()
    site.push(Signed(text, (site.sign("carl", text, "desired"),)), first.plan, first.proof)


def other_release(site: PullSite) -> None:
    """A plan that signers signed, with the proof of another release that they signed too."""
    other = site.begin("2", "r-2")
    here = site.begin("1", "r-1", stage=2)
    assert here.followed is not None
    assert here.plan is not None
    assert other.proof is not None
    text = canonical_json(here.followed.desired).decode()
    site.push(Signed(text, (site.sign("carl", text, "desired"),)), here.plan, other.proof)


def unsigned_release(site: PullSite) -> None:
    here = site.begin("1", "r-1", stage=2)
    assert here.followed is not None
    assert here.plan is not None
    assert here.proof is not None
    text = canonical_json(here.followed.desired).decode()
    bare = replace(here.proof, release=Signed(here.proof.release.statement))
    site.push(Signed(text, (site.sign("carl", text, "desired"),)), here.plan, bare)


def junk(site: PullSite) -> None:
    site.push(Signed("{"), Signed("}"), Proof("", Signed("")))


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (replayed, "an old one was put back"),
        (of_another_fleet, "the desired statement is of fleet depot, this is warehouse"),
        (lambda site: site.forge(stage=4), "says stage 4, and the signed plan has 3"),
        (lambda site: site.forge(by="eve", stage=2), "the desired statement is signed by 0 of 1"),
        (other_plan, "names another plan than the one that lies with it"),
        (other_release, "not the one that the plan names"),
        (unsigned_release, "release 1.1.0 is signed by 0 of 1"),
        (junk, "signed by 0 of 1"),
    ],
    ids=lambda value: getattr(value, "__name__", "") if callable(value) else value[:24],
)
def test_what_does_not_count_is_refused_in_a_sentence(site: PullSite, forge: Forgery, says: str) -> None:
    site.begin("1", stage=1)
    forge(site)
    found = look(site)
    assert says in found["refused"], found
    assert found["hint"]


def test_a_robot_follows_the_trust_roots_that_lie_in_the_registry_and_no_others(site: PullSite) -> None:
    site.begin("1", stage=2)
    first = Signed(site.root.text, (site.sign("anna", site.root.text, ROOT),))
    second = replace(site.root, version=2, advance=f'new@x namespaces="jetfleet.*" {site.keys.public("new")}\n')
    forged = Signed(second.text, (site.sign("eve", second.text, ROOT),))
    publish_roots(site.office, [first, forged])
    found = look(site)
    assert "the trust roots in the registry are refused" in found["note"]
    assert "order" in found, "what counted goes on counting"
    signed = Signed(second.text, (site.sign("anna", second.text, ROOT),))
    assert publish_roots(site.office, [first, signed])
    assert not publish_roots(site.office, [first, signed])
    assert "the desired statement is signed by 0 of 1" in look(site)["refused"], "Carl is of the role no more"
    site.forge(by="new", stage=2)
    assert "order" in look(site)


def test_time_holds_what_it_must(site: PullSite) -> None:
    site.begin("1", stage=2)
    assert "clock was never set" in look(site, now=1000.0)["refused"]
    assert "more than a day before" in look(site, now=time.time() - 2 * DAY)["refused"]
    late = look(site, now=time.time() + 2 * DAY)
    assert "order" not in late, "an expired statement is taken note of, and brings no order"
    assert seen_in(late).statement.expires_at < time.time() + 2 * DAY


def test_a_registry_that_is_away_or_asks_for_a_login_is_a_problem_and_no_refusal(site: PullSite) -> None:
    site.begin("1", stage=2)
    site.configure(registry="http://127.0.0.1:9")
    found = look(site)
    assert "127.0.0.1:9" in found["failed"]
    assert found["hint"]
    assert "failed" in ask_child(site.robot, Path("/"), ["reach"])


def test_reaching_out_takes_the_hub_where_the_registry_is_away(site: PullSite) -> None:
    assert ask_child(site.robot, Path("/"), ["reach"]) == {"reached": "registry"}
    with fake_hub() as hub:
        site.configure(registry="http://127.0.0.1:9", hub=hub.url)
        assert ask_child(site.robot, Path("/"), ["reach"]) == {"reached": "hub"}


@pytest.mark.parametrize("broken", ['{"fleet": 1}', "[", '{"fleet":"w","robot":"a","registry":"ftp://x","prefix":"w"}'])
def test_a_damaged_pull_file_is_said(site: PullSite, broken: str) -> None:
    (site.robot / "pull.json").write_text(broken)
    found = look(site)
    assert "pull.json cannot be used" in found["failed"]
    assert "bootstrap" in found["hint"]


# ── reports ──


def report(site: PullSite, attestation: Attestation | None = FOUND) -> dict[str, Any]:
    given = b"" if attestation is None else canonical_json(attestation)
    return ask_child(site.robot, Path("/"), ["report", "--at", "12.5"], given)


@pytest.fixture
def hub(site: PullSite) -> Iterator[FakeHub]:
    with fake_hub() as found:
        site.configure(hub=found.url)
        yield found


def test_a_report_is_signed_with_the_host_key_and_numbered(site: PullSite, hub: FakeHub, tmp_path: Path) -> None:
    assert report(site) == SENT
    assert report(site) == SENT
    one, two = hub.taken
    assert (one.sequence, two.sequence, one.key) == (1, 2, site.keys.public("host"))
    said = unpack(one.body)
    assert (said.robot, said.sequence, said.at, said.link) == (ROBOT, 1, 12.5, "pull")
    (tmp_path / "signature").write_text(one.signature)
    (tmp_path / "allowed").write_text(f"{ROBOT} {one.key}\n")
    words = ["ssh-keygen", "-Y", "verify", "-f", str(tmp_path / "allowed"), "-I", ROBOT, "-n", NAMESPACE]
    for body, code in ((one.body, 0), (two.body, 255)):
        ran = subprocess.run(
            [*words, "-s", str(tmp_path / "signature")],
            input=signed_bytes(one.fleet, one.robot, one.sequence, body),
            capture_output=True,
            check=False,
        )
        assert ran.returncode == code


def test_reports_wait_for_the_hub_in_their_order_and_the_newest_is_never_dropped(
    site: PullSite, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.configure(hub="http://127.0.0.1:9")
    for _ in range(3):
        assert "127.0.0.1:9" in report(site)["failed"]
    site.configure(hub=hub.url)
    assert report(site, None) == SENT
    assert [each.sequence for each in hub.taken] == [1, 2, 3]


def test_a_hub_that_knows_newer_numbers_is_followed(site: PullSite, hub: FakeHub) -> None:
    hub.known[ROBOT] = 700
    assert report(site) == {**SENT, "renumbered": True}
    assert report(site) == SENT
    assert [each.sequence for each in hub.taken] == [701, 702]
    assert unpack(hub.taken[0].body).sequence == 701


@pytest.mark.parametrize(
    ("status", "says", "waiting"),
    [
        (403, "this robot is retired", 1),
        (429, "asks for fewer", 1),
        (507, "quota", 1),
        (500, "answers 500", 1),
        (400, "no report", 0),
    ],
)
def test_what_the_hub_does_not_take_is_said(site: PullSite, hub: FakeHub, status: int, says: str, waiting: int) -> None:
    hub.answers = [(status, {"error": "no\nreally"})]
    found = report(site)
    assert says in found["failed"]
    assert len(list((site.robot / "state" / "reports").glob("*.json"))) == waiting
    assert report(site, None)["sent"]
    assert len(hub.taken) == waiting


def test_a_report_too_large_for_the_hub_comes_without_its_details(site: PullSite, hub: FakeHub) -> None:
    hub.answers = [(413, {})]
    assert report(site, replace(FOUND, report_json='{"big": 1}'))["sent"]
    (taken,) = hub.taken
    said = unpack(taken.body).attestation
    assert (said.report_json, said.state) == ("", FOUND.state)
    assert "left out" in said.report_error


def test_a_report_larger_than_any_hub_takes_is_cut_before_it_is_sent(site: PullSite, hub: FakeHub) -> None:
    import random

    noise = "".join(random.Random(7).choices("0123456789abcdef", k=900_000))
    assert report(site, replace(FOUND, report_json=noise))["sent"]
    assert "left out" in unpack(hub.taken[0].body).attestation.report_error


def test_a_torn_report_and_a_lost_number_stop_nothing(site: PullSite, hub: FakeHub) -> None:
    report(site)
    folder = site.robot / "state" / "reports"
    (folder / "2.json").write_bytes(b'{"fleet":')
    (folder / "sequence").write_bytes(b"\xff")
    assert report(site)["sent"]
    assert [each.sequence for each in hub.taken] == [1, 3]


def test_a_robot_without_a_host_key_says_so(site: PullSite, hub: FakeHub) -> None:
    site.configure(host_key=str(site.folder / "none"))
    assert "has no SSH host key" in report(site)["failed"]


# ── the daemon ──


@pytest.fixture
def daemon(site: PullSite) -> Iterator[Daemon]:
    (site.robot / "trust-root").rename(site.folder / "trust-root")
    (site.robot / "state" / "robot.json").unlink()
    (site.robot / "state").rmdir()
    found = Daemon(site.robot, sys.executable)
    for path in (site.robot / "trust").iterdir():
        path.unlink()
    (site.robot / "trust").rmdir()
    (site.folder / "trust-root").rename(site.robot / "trust-root")
    yield found
    if found.process is not None:
        found.stop(9)


def test_the_daemon_comes_for_its_order_by_itself_and_says_what_holds_it(
    site: PullSite, hub: FakeHub, daemon: Daemon
) -> None:
    site.begin("1", stage=1)
    site.configure(poll_s=2.0)
    daemon.start()
    daemon.wait(lambda: (state := daemon.state().pull) is not None and state.generation > 0, "statement")
    waits = daemon.state().pull
    assert waits is not None
    assert waits.held == "waits for its stage: it is in stage 2 of 3, the rollout has reached 1"
    site.move(stage=2)
    polled = daemon.ask("poll", "--json")
    assert json.loads(polled.stdout)["pull"]["rollout_id"] == "r-1"
    daemon.wait(lambda: daemon.state().outcome, "outcome")  # there is no Engine: the order ends in preflight
    state = daemon.state()
    assert (state.order_id, state.outcome) == ("1.1.0-r-1", "refused")
    assert state.pull is not None
    daemon.wait(lambda: "1.1.0-r-1 ended: refused" in (daemon.state().pull or waits).held, "sentence")
    assert "held      its order 1.1.0-r-1 ended: refused" in daemon.ask("status").stdout
    daemon.wait(lambda: any(unpack(each.body).attestation.state.outcome for each in hub.taken), "report of it")
    numbers = [each.sequence for each in hub.taken]
    assert numbers == sorted(set(numbers))
    last = unpack(hub.taken[-1].body)
    assert last.pull is not None
    assert last.pull.rollout_id == "r-1"
    daemon.stop()
    daemon.start()
    daemon.wait(lambda: "ended: refused" in (daemon.state().pull or waits).held, "sentence after a restart")


def test_an_idle_daemon_that_pulls_stays_small(site: PullSite, hub: FakeHub, daemon: Daemon) -> None:
    site.begin("1", stage=1)
    site.configure(poll_s=1.0, report_s=1.0)
    daemon.start()
    daemon.wait(lambda: len(hub.taken) > 3, "reports")
    assert daemon.process is not None
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert resident <= 21 * 1024, "what an idle daemon may take"


def test_a_robot_that_does_not_pull_says_so(daemon: Daemon, site: PullSite) -> None:
    (site.robot / "pull.json").unlink()
    daemon.start()
    polled = daemon.ask("poll")
    assert polled.returncode == 4
    assert "this robot does not pull" in polled.stderr
    assert daemon.state().pull is None
